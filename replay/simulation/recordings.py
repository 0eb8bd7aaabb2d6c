"""Datasets of long recordings with a label for every moment, in the layout of DVS128 Gesture's original release.

`NAME_LIGHT.aedat4`, and `NAME_LIGHT_labels.csv` with the start and the end of each label in microseconds;
`trials_to_train.txt` and `trials_to_test.txt` list the recordings. The classes 1 to 11 are the gestures; 12 is "nobody"
and 13 "person, no gesture". Names are userNN for people, sceneNN for scenes without a gesture.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from eventveil.errors import EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.host.files import locked_folder, private_folder, remove_parts, write_atomic
from eventveil.io.formats.aedat4_writer import Aedat4Writer
from eventveil.replay.datasets.dvs_gesture import LABEL_COLUMNS, LABELS, RELEASE_LISTS
from eventveil.replay.simulation.camera import Shot
from eventveil.replay.simulation.dataset import reporting_writes, training_people
from eventveil.replay.simulation.negatives import film_negative, label_of
from eventveil.replay.simulation.scene import LIGHTINGS
from eventveil.replay.simulation.sequence import Labelled

Filming = Callable[[], tuple[Iterator[EventPacket], list[Labelled]]]


@dataclass(frozen=True, slots=True)
class PlannedRecording:
    """One recording of a set, to be written to `path`, and the part of the split that it belongs to."""

    path: Path
    split: str
    filmed: Filming


def plan_people(
    folder: Path,
    film: Callable[..., tuple[Iterator[EventPacket], list[Labelled]]],
    *,
    seed: int,
    subjects: int,
    sessions: int | None = None,
    after: int = 0,
    seconds: float,
    shots: Sequence[Shot],
) -> list[PlannedRecording]:
    """List the recordings of people; the first 23/29 of the people are for training.

    Args:
        folder: folder of the set.
        film: films one recording: `film_visit` or `film_series`.
        seed: seed of the whole simulated world.
        subjects: how many people.
        sessions: how many recordings of each person; None for one each, in the lights in turn.
        after: the number before that of the first person.
        seconds: length, as `film` takes it.
        shots: the camera, with the looks that people have in turn, by their numbers.

    Raises:
        EventFileError: a side would be empty, or there are more sessions than lights to identify them.
    """
    train = training_people(folder, subjects, 1 if sessions is None else sessions)
    return [
        PlannedRecording(
            folder / f"user{after + number:02d}_{LIGHTINGS[session]}.aedat4",
            "train" if number <= train else "test",
            partial(
                film,
                seed,
                subject=after + number,
                session=session,
                seconds=seconds,
                shot=shots[(after + number - 1) % len(shots)],
            ),
        )
        for number in range(1, subjects + 1)
        for session in ([number % len(LIGHTINGS)] if sessions is None else range(sessions))
    ]


def plan_negatives(
    folder: Path, *, seed: int, kinds: Sequence[str], takes: int, seconds: float, shots: Sequence[Shot]
) -> list[PlannedRecording]:
    """List the scenes of a set: `takes` of each kind, of which one in five, at least one, is for tests.

    Takes have the looks of `shots`, in turn.

    Raises:
        EventFileError: there are fewer than two takes.
    """
    if not 2 <= takes <= 999:
        raise EventFileError(
            folder, format="DVS128 Gesture", expected=f"a set has 2 to 999 takes of each kind, got {takes}",
            remedy="change --takes",
        )  # fmt: skip
    tests = max(1, takes // 5)
    return [
        PlannedRecording(
            folder / f"scene{take * len(kinds) + number + 1:02d}_{kind.replace('-', '_')}.aedat4",
            "train" if take < takes - tests else "test",
            partial(_film_negative, seed, kind, take, seconds, shots[take % len(shots)]),
        )
        for take in range(takes)
        for number, kind in enumerate(kinds)
    ]


def _film_negative(
    seed: int, kind: str, take: int, seconds: float, shot: Shot
) -> tuple[Iterator[EventPacket], list[Labelled]]:
    packets = film_negative(seed, kind, take=take, seconds=seconds, shot=shot)
    return packets, [Labelled(label_of(kind), 0, round(seconds * 1e6))]


def write_recordings(planned: Sequence[PlannedRecording], sensor: Sensor) -> Iterator[PlannedRecording]:
    """Simulate and write the missing recordings, and yield each once it exists; the lists come last.

    A recording gets its name only when it is complete, and after its labels, so an interrupted run can be resumed.

    Raises:
        EventFileError: a file cannot be written.
    """
    for recording in planned:
        if not recording.path.exists():
            _write(recording, sensor)
        yield recording


def write_lists(folder: Path, planned: Sequence[PlannedRecording]) -> None:
    """Write which recordings are for training and which for tests, besides those that the lists name already.

    Raises:
        EventFileError: a file cannot be written.
    """
    for name, split in RELEASE_LISTS.items():
        path = folder / name
        with reporting_writes(path), locked_folder(folder):  # another process may be adding its own recordings
            listed = path.read_text(encoding="utf-8").split() if path.exists() else []
            names = sorted({*listed, *(recording.path.name for recording in planned if recording.split == split)})
            write_atomic(path, "".join(f"{name}\n" for name in names).encode())


def _write(recording: PlannedRecording, sensor: Sensor) -> None:
    path = recording.path
    packets, labels = recording.filmed()
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(LABEL_COLUMNS)
    rows.writerows((LABELS.index(span.label) + 1, span.start_us, span.end_us) for span in labels)
    with reporting_writes(path):
        private_folder(path.parent)
        remove_parts(path)
        write_atomic(path.with_name(f"{path.stem}_labels.csv"), table.getvalue().encode())
    with Aedat4Writer(path, sensor) as writer:
        for packet in packets:
            writer.write(packet)
