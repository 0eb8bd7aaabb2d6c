"""A dataset of simulated recordings, in the folder layout that tonic uses for DVS128 Gesture.

`ibmGestureTrain|ibmGestureTest/userNN_light/K.npy`: NN counts people from 1, the light identifies the session, K is the
gesture. A file is one float32 array with a row x, y, p, t per event, t in milliseconds: exact to half a microsecond in
the first 8 s of a trial.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eventveil.errors import EventFileError
from eventveil.events import EventPacket
from eventveil.host.files import atomic_file, locked_folder, private_folder, remove_parts, write_atomic
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.camera import Shot, simulate
from eventveil.replay.simulation.recipe import RECIPE, read_recipe
from eventveil.replay.simulation.scene import LIGHTINGS

TRAIN_SHARE = 23 / 29  # of the people, as in DVS128 Gesture
DEFAULT_SHOTS = (Shot(),)


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """One recording of a set, to be written to `path`: person `subject` from 1, in `session` from 0, and `gesture`."""

    path: Path
    subject: int
    session: int
    gesture: int


def training_people(folder: Path, subjects: int, sessions: int) -> int:
    """Return how many people of a set, the first ones, are for training: 23 of 29, and at least one is for tests.

    Raises:
        EventFileError: a side would be empty, or there are more sessions than lights to identify them.
    """
    if not (2 <= subjects <= 999 and 1 <= sessions <= len(LIGHTINGS)):
        raise EventFileError(
            folder,
            format="DVS128 Gesture",
            expected=f"a set has 2 to 999 subjects and 1 to {len(LIGHTINGS)} sessions, got {subjects} and {sessions}",
            remedy="change --subjects or --sessions",
        )
    return min(round(subjects * TRAIN_SHARE), subjects - 1)


def plan(folder: Path, *, subjects: int, sessions: int) -> list[PlannedTrial]:
    """List the trials of a set; the first 23/29 of the people are for training, the others, at least one, for tests.

    Raises:
        EventFileError: a side would be empty, or there are more sessions than lights to identify them.
    """
    train = training_people(folder, subjects, sessions)
    return [
        PlannedTrial(
            folder
            / ("ibmGestureTrain" if subject <= train else "ibmGestureTest")
            / f"user{subject:02d}_{LIGHTINGS[session]}"
            / f"{gesture}.npy",
            subject,
            session,
            gesture,
        )
        for subject in range(1, subjects + 1)
        for session in range(sessions)
        for gesture in range(len(GESTURES))
    ]


def check_recipe(
    folder: Path, *, seed: int, seconds: float, subjects: int, shots: Sequence[Shot] = DEFAULT_SHOTS
) -> None:
    """Write the options of a set of gestures to its folder, or check that they equal the ones written there.

    Raises:
        EventFileError: the folder holds a set made with other options, or other files, or cannot be written.
    """
    options = {"seed": seed, "seconds": seconds, "subjects": subjects} | camera_options(shots)
    _begin(folder, options)
    if (written := read_recipe(folder)) != options:
        raise _other_set(folder, written, options)


def check_part_recipes(folder: Path, parts: dict[str, dict[str, Any]], *, alone: bool = False) -> None:
    """Write the options of parts of a set to its folder, or check that they equal the ones written there.

    A folder that is refused stays as it is.

    Args:
        folder: folder of the set; its other parts keep their options.
        parts: what each part is made from; parts are "sequences", "series" and "negatives".
        alone: refuse a folder that holds other parts.

    Raises:
        EventFileError: the folder holds another kind of set, or one of the parts made with other options, or other
            parts with `alone`, or cannot be written.
    """
    _begin(folder, parts)
    with reporting_writes(folder / RECIPE), locked_folder(folder):  # another process may be adding another part
        written = read_recipe(folder)
        differ = any(written.get(part, options) != options for part, options in parts.items())
        if differ or not written.keys() <= {"sequences", "series", "negatives"}:
            raise _other_set(folder, written, parts)
        if alone and (others := sorted(written.keys() - parts.keys())):
            raise EventFileError(
                folder, format="DVS128 Gesture",
                expected=f"a set of {', '.join(parts)} is wanted, and the folder also holds {', '.join(others)}",
                remedy="choose another folder",
            )  # fmt: skip
        if parts.keys() - written.keys():
            write_atomic(folder / RECIPE, _encoded(written | parts))


def camera_options(shots: Sequence[Shot]) -> dict[str, float | str]:
    """Return the options of the camera that differ from the default; the looks are in one text."""
    shot, looks = shots[0], ",".join(shot.look for shot in shots)
    camera: dict[str, float | str] = {"distance": shot.distance, "camera_motion": shot.camera_motion, "look": looks}
    return {name: value for name, value in camera.items() if value != getattr(DEFAULT_SHOTS[0], name)}


def _begin(folder: Path, options: dict[str, Any]) -> None:
    """Create the folder of a set with its options, unless it has some.

    Simulated people are not added to other files: whatever lies next to the options counts as simulated.
    """
    path = folder / RECIPE
    with reporting_writes(path):
        private_folder(folder)
        # Listed before the options are looked for: another process may be writing the same set, its options first.
        others = sorted(file.name for file in folder.iterdir() if not file.name.startswith(f".{RECIPE}"))
        if path.exists():
            return
        if others:
            raise EventFileError(
                folder,
                format=None,
                expected=f"expected a new or empty folder, or a set of simulated people; it holds {others[0]}",
                remedy="choose a new folder",
            )
        with suppress(FileExistsError):  # another process was faster; its options are compared with these
            write_atomic(path, _encoded(options), replace=False)


def _encoded(options: dict[str, Any]) -> bytes:
    return (json.dumps(options) + "\n").encode()


@contextmanager
def reporting_writes(path: Path) -> Iterator[None]:
    """Turn an `OSError` in the block into an `EventFileError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise EventFileError(
            path, format=None, expected=f"cannot write: {error.strerror}", remedy="check the folder"
        ) from error


def _other_set(folder: Path, written: dict[str, Any], options: dict[str, Any]) -> EventFileError:
    return EventFileError(
        folder / RECIPE,
        format=None,
        expected=f"this folder holds a set made with {json.dumps(written)}, not with {json.dumps(options)}",
        remedy="give the same options to resume it, or another folder",
    )


def write_trials(
    planned: Sequence[PlannedTrial], *, seed: int, seconds: float, shots: Sequence[Shot] = DEFAULT_SHOTS
) -> Iterator[PlannedTrial]:
    """Simulate and write the missing trials, and yield each trial once it exists.

    A file gets its name only when it is complete, so an interrupted run can be resumed.

    Args:
        planned: the trials.
        seed: seed of the whole simulated world.
        seconds: length of a trial.
        shots: the camera, with the look of the first person, of the second, and so on in turn.

    Raises:
        EventFileError: a file cannot be written.
    """
    for trial in planned:
        if not trial.path.exists():
            packets = simulate(
                seed,
                subject=trial.subject,
                session=trial.session,
                gesture=trial.gesture,
                seconds=seconds,
                shot=shots[(trial.subject - 1) % len(shots)],
            )
            _write(trial.path, list(packets))
        yield trial


def _write(path: Path, packets: list[EventPacket]) -> None:
    table = np.empty((sum(map(len, packets)), 4), np.float32)
    for column, name in enumerate("xyp"):
        table[:, column] = np.concatenate([getattr(packet, name) for packet in packets])
    table[:, 3] = np.concatenate([packet.t for packet in packets]) / 1e3
    try:
        private_folder(path.parent)
        remove_parts(path)
        with atomic_file(path) as file:
            np.save(file, table)
    except OSError as error:
        raise EventFileError(
            path, format="NPY", expected=f"cannot write: {error.strerror}", remedy="check the folder and its free space"
        ) from error
