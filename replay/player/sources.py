"""Every source that can be played, behind one door: what a URI names, and what is played of it.

trial.aedat4, trial.npy?unit=ms         a recording
dvs-gesture:PATH, see:PATH?split=test   the trials of a dataset, one behind the other
simulate:, simulate:?subjects=3&seed=5  people before the simulated camera, without end
dv://, prophesee://SERIAL, dv+tcp://...  a live camera, which is not played: eventveil.io.camera.live reads it
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eventveil.errors import ConfigError, DatasetError, EventVeilError
from eventveil.events import Sensor
from eventveil.io.camera.uri import EXAMPLES, CameraUri, is_camera
from eventveil.io.detect import locate
from eventveil.io.source import Disorder, open_events
from eventveil.replay.datasets import dvs_gesture, index, see
from eventveil.replay.datasets.trials import PacketSource, Trial
from eventveil.replay.playlist import Clip, Playlist

if TYPE_CHECKING:
    from eventveil.replay.simulation.people import SimulatedPeople

RECORDING, SIMULATE, CAMERA = "recording", "simulate", "camera"
_DATASETS, _CAMERAS = (f"{kind}:PATH" for kind in index.KINDS), (f"{kind}://" for kind in EXAMPLES)
KNOWN = f"the path of a recording, {', '.join(_DATASETS)}, {SIMULATE}: or a camera, {', '.join(_CAMERAS)}"
CLASSES: dict[str, tuple[str, ...]] = {
    dvs_gesture.KIND: dvs_gesture.GESTURES,
    see.KIND: see.EMOTIONS,
    SIMULATE: dvs_gesture.GESTURES,
}
"""What may be done in a source of a kind, where that is known."""


@dataclass(frozen=True, slots=True)
class SourceUri:
    """A URI in its parts.

    Attributes:
        kind: "recording", "simulate", "camera", or the kind of a dataset.
        name: the path, with its options where it is of a recording; the whole URI of a camera.
        options: of a dataset or of the simulated camera.
    """

    kind: str
    name: str
    options: dict[str, str]

    @property
    def is_dataset(self) -> bool:
        """True where there are trials to be put in an order."""
        return self.kind in index.KINDS

    @property
    def is_camera(self) -> bool:
        """True where events come when they happen, and only then."""
        return self.kind == CAMERA

    @classmethod
    def parse(cls, uri: str) -> SourceUri:
        """Read a URI, without looking for what it names.

        Raises:
            EventVeilError: the kind of source or an option is unknown, a value is out of range, or a path is missing.
        """
        if is_camera(uri):
            CameraUri.parse(uri)  # which knows what is right
            return cls(CAMERA, uri, {})
        kind, colon, rest = uri.partition(":")
        if kind in index.KINDS and colon:
            path, options = locate(rest)
            if not rest.partition("?")[0]:
                raise ConfigError(f"{uri}: expected the folder of the dataset, as in {kind}:data/folder")
            if unknown := options.keys() - {"split"}:
                raise ConfigError(f"{uri}: unknown option {', '.join(sorted(unknown))}; a dataset takes split")
            try:
                return cls(kind, str(path.expanduser()), options)  # the shell leaves a ~ behind a colon as it is
            except (RuntimeError, ValueError):
                raise ConfigError(f"{uri}: nobody has a home folder of that name; write the path out") from None
        if kind == SIMULATE and colon:
            if rest and not rest.startswith("?"):
                raise ConfigError(f"{uri}: expected options behind a '?', as in {SIMULATE}:?subjects=3")
            parsed = cls(kind, "", locate(rest)[1] if rest else {})
            _people(parsed)  # which knows what is right
            return parsed
        named = re.match(r"[a-z][\w-]+(?=:(?!//)|$)", uri)
        is_there = os.path.exists(uri.partition("?")[0])  # noqa: PTH110 - Path raises where a name is too long
        if named and (colon or kind in CLASSES) and not is_there:
            raise ConfigError(f"{uri}: unknown kind of source {named[0]!r}; expected {KNOWN}")
        return cls(RECORDING, uri, {})


def open_playlist(
    uri: SourceUri, *, sensor: Sensor | None, on_disorder: Disorder, shuffle: bool, seed: int | None
) -> Playlist:
    """Open a source: look for it, and tell what is to be played.

    Args:
        uri: what to open.
        sensor: geometry, where the source does not tell it; where it does, it must be the same.
        on_disorder: what happens where time goes back, as in `eventveil.io.open_events`.
        shuffle: play the trials of a dataset in a drawn order, another one in each pass.
        seed: of the order; None draws it.

    Raises:
        EventVeilError: there is no such source, or it is not what the URI says.
    """
    look_for(uri)
    if uri.kind == RECORDING:
        return _recording(uri, sensor, on_disorder)
    if uri.is_camera:
        raise ConfigError(f"{uri.name}: is a live camera, and cannot be played; `eventveil run {uri.name}` reads it")
    if uri.kind == SIMULATE:
        people = _people(uri)
        _hold(sensor, people.shot.sensor, "simulate:?sensor=WxH changes it")
        return Playlist(people.shot.sensor, lambda _: people.takes(), begins_us=0)
    return _dataset(uri, sensor, on_disorder, (secrets.randbits(32) if seed is None else seed) if shuffle else None)


def look_for(uri: SourceUri) -> None:
    """See that a folder is the dataset that it is said to be, without reading it: who errs is told at once.

    Raises:
        DatasetError: it is not.
    """
    folder = Path(uri.name)
    if uri.is_dataset or (uri.kind == RECORDING and folder.is_dir()):
        kind = index.recognise(folder).KIND
        if kind != uri.kind:
            raise DatasetError(f"{folder}: is no {uri.kind}; play it as {kind}:{folder}")


def _recording(uri: SourceUri, sensor: Sensor | None, on_disorder: Disorder) -> Playlist:
    clip = Clip(partial(open_events, uri.name, sensor=sensor, on_disorder=on_disorder))
    with open_events(uri.name, sensor=sensor, on_disorder=on_disorder) as events:
        return Playlist(events.sensor, lambda _: (clip,))


def _people(uri: SourceUri) -> SimulatedPeople:
    from eventveil.replay.simulation.people import SimulatedPeople  # compiles: only who simulates waits

    return SimulatedPeople.parse(uri.options)


def _dataset(uri: SourceUri, sensor: Sensor | None, on_disorder: Disorder, seed: int | None) -> Playlist:
    root = Path(uri.name)
    layout = index.recognise(root)
    # What is said of a trial, its path to begin with, names a person: that stays out of the line's log.
    try:
        dataset = layout.index(root)
        with dataset.trials[0].open() as packets:
            held = packets.sensor
    except EventVeilError:
        raise DatasetError(f"{root}: cannot be played; `eventveil datasets check {root}` tells why") from None
    public_error = (
        f"{root}: a trial cannot be read, or is not of {held} as the first one; "
        f"`eventveil datasets check {root}` tells what cannot be read"
    )
    _hold(sensor, held, "leave the sensor out")
    trials: Sequence[Trial] = dataset.of(uri.options["split"]) if "split" in uri.options else dataset.trials

    def clips(number: int) -> list[Clip]:
        return [_clip(trial, held, on_disorder) for trial in _order(trials, seed, number)]

    return Playlist(held, clips, begins_us=0, public_error=public_error)


def _order(trials: Sequence[Trial], seed: int | None, number: int) -> Sequence[Trial]:
    """Draw the order of a pass, the same on every machine."""
    if seed is None:
        return trials
    return sorted(trials, key=lambda trial: hashlib.sha256(f"{seed}/{number}/{trial.name}".encode()).digest())


def _clip(trial: Trial, sensor: Sensor, on_disorder: Disorder) -> Clip:
    return Clip(partial(_open_trial, trial, sensor, on_disorder), trial.duration_us, trial.label, trial.subject)


def _open_trial(trial: Trial, sensor: Sensor, on_disorder: Disorder) -> PacketSource:
    packets = trial.open(on_disorder)
    if packets.sensor != sensor:
        packets.__exit__(None, None, None)
        raise DatasetError(f"{trial.path}: is of {packets.sensor}, and other trials are of {sensor}")
    return packets


def _hold(sensor: Sensor | None, held: Sensor, remedy: str) -> None:
    if sensor not in (None, held):
        raise ConfigError(f"the source is of a sensor of {held}, not {sensor}; {remedy}")
