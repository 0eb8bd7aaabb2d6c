"""Every source that can be played: what its URI names, and the playlist it gives.

trial.aedat4, trial.npy?unit=ms          a recording
dvs-gesture:PATH, see:PATH?split=test    the trials of a dataset, one after the other
simulate:, simulate:?subjects=3&seed=5   people in front of the simulated camera, without end
dv://, prophesee://SERIAL, dv+tcp://...  a live camera, which is not played: eventveil.io.camera.live reads it
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eventveil.errors import ConfigError, DatasetError, EventVeilError
from eventveil.events import Sensor
from eventveil.io.camera.uri import EXAMPLES, CameraUri, is_camera
from eventveil.io.detect import check_file, locate
from eventveil.io.source import Damage, Disorder, EventSource, open_events
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
"""The possible labels of a kind of source, where they are known."""


@dataclass(frozen=True, slots=True)
class SourceUri:
    """A URI in its parts.

    Attributes:
        kind: "recording", "simulate", "camera", or the kind of a dataset.
        name: the path, which for a recording includes its options; for a camera the whole URI.
        options: the options of a dataset or of the simulated camera.
    """

    kind: str
    name: str
    options: dict[str, str]

    @property
    def is_dataset(self) -> bool:
        """True where there are trials whose order can be chosen."""
        return self.kind in index.KINDS

    @property
    def is_camera(self) -> bool:
        """True where events come when they happen, and only then."""
        return self.kind == CAMERA

    @classmethod
    def parse(cls, uri: str) -> SourceUri:
        """Parse a URI, without opening what it names.

        Raises:
            EventVeilError: the kind of source or an option is unknown, a value is out of range, or a path is missing.
        """
        if is_camera(uri):
            CameraUri.parse(uri)  # raises where it is malformed
            return cls(CAMERA, uri, {})
        kind, colon, rest = uri.partition(":")
        if colon and kind in index.KINDS:
            return _parse_dataset(uri, kind, rest)
        if colon and kind == SIMULATE:
            return _parse_simulate(uri, rest)
        _refuse_unknown_kind(uri)
        return cls(RECORDING, uri, {})


def _parse_dataset(uri: str, kind: str, rest: str) -> SourceUri:
    path, options = locate(rest)
    if not rest.partition("?")[0]:
        raise ConfigError(f"{uri}: expected the folder of the dataset, as in {kind}:data/folder")
    if unknown := options.keys() - {"split"}:
        raise ConfigError(f"{uri}: unknown option {', '.join(sorted(unknown))}; a dataset takes split")
    try:
        return SourceUri(kind, str(path.expanduser()), options)  # the shell does not expand a ~ after a colon
    except (RuntimeError, ValueError):
        raise ConfigError(f"{uri}: the home folder of this user is unknown; write out the path") from None


def _parse_simulate(uri: str, rest: str) -> SourceUri:
    if rest and not rest.startswith("?"):
        raise ConfigError(f"{uri}: expected options after a '?', as in {SIMULATE}:?subjects=3")
    parsed = SourceUri(SIMULATE, "", locate(rest)[1] if rest else {})
    if parsed.options:
        _people(parsed)  # raises where one is wrong
    return parsed


def _people(uri: SourceUri) -> SimulatedPeople:
    from eventveil.replay.simulation.people import SimulatedPeople  # compiles, so only simulations load it

    return SimulatedPeople.parse(uri.options)


def _refuse_unknown_kind(uri: str) -> None:
    """Refuse a URI that begins like a kind of source and names no file: it is more likely a typing error."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", uri)
    if scheme is not None and scheme[1] != "file" and not os.path.exists(uri):  # noqa: PTH110 - as below
        raise ConfigError(f"{uri}: unknown kind of source {scheme[1]!r}; expected {KNOWN}")
    kind = re.match(r"[a-z][\w-]+(?=:(?!//)|$)", uri)
    if kind is None or not (":" in uri or uri in CLASSES):
        return
    if not os.path.exists(uri.partition("?")[0]):  # noqa: PTH110 - Path raises where a name is too long
        raise ConfigError(f"{uri}: unknown kind of source {kind[0]!r}; expected {KNOWN}")


def open_playlist(
    uri: SourceUri,
    *,
    sensor: Sensor | None,
    on_disorder: Disorder,
    on_damage: Damage = "stop",
    shuffle: bool,
    seed: int | None,
) -> Playlist:
    """Check that a source exists, and return what it plays.

    Args:
        uri: what to open.
        sensor: geometry; must equal the source's where the source has one.
        on_disorder: what to do where time goes back, as in `eventveil.io.open_events`.
        on_damage: what to do with damaged bytes of a recording, as there.
        shuffle: play the trials of a dataset in random order, drawn again for each pass.
        seed: seed of the order; None draws it.

    Raises:
        EventVeilError: there is no such source, or it is not of the kind that the URI names.
    """
    look_for(uri)
    if uri.kind == RECORDING:
        return _recording(partial(open_events, uri.name, sensor=sensor, on_disorder=on_disorder, on_damage=on_damage))
    if uri.is_camera:
        raise ConfigError(f"{uri.name}: is a live camera and cannot be replayed; `eventveil run {uri.name}` reads it")
    if uri.kind == SIMULATE:
        people = _people(uri)
        _check_sensor(sensor, people.shot.sensor, "simulate:?sensor=WxH changes it")
        return Playlist(people.shot.sensor, lambda _: people.takes(), begins_us=0)
    return _dataset(uri, sensor, on_disorder, (secrets.randbits(32) if seed is None else seed) if shuffle else None)


def look_for(uri: SourceUri) -> None:
    """Check that a source exists, and that a folder holds the dataset its URI names, without reading either.

    So mistakes are reported early.

    Raises:
        DatasetError: a folder does not hold the dataset.
        EventFileError: there is no such recording, or it cannot be read.
    """
    folder = Path(uri.name)
    if uri.is_dataset or (uri.kind == RECORDING and folder.is_dir()):
        kind = index.recognise(folder).KIND
        if kind != uri.kind:
            expected = "a recording" if uri.kind == RECORDING else f"a {uri.kind} dataset"
            raise DatasetError(f"{folder}: is not {expected}; play it as {kind}:{folder}")
    elif uri.kind == RECORDING:
        check_file(uri.name)


def _recording(opener: Callable[[], EventSource]) -> Playlist:
    with opener() as events:
        return Playlist(events.sensor, lambda _: (Clip(opener),))


def _dataset(uri: SourceUri, sensor: Sensor | None, on_disorder: Disorder, seed: int | None) -> Playlist:
    root = Path(uri.name)
    layout = index.recognise(root)
    # An error of a trial holds its path, which names a person: keep it out of the pipeline's log.
    try:
        dataset = layout.index(root)
        with dataset.trials[0].open() as packets:
            dataset_sensor = packets.sensor
    except EventVeilError:
        raise DatasetError(f"{root}: cannot be played; `eventveil datasets check {root}` shows why") from None
    public_error = (
        f"{root}: a trial cannot be read, or its sensor is not {dataset_sensor} as in the first trial; "
        f"`eventveil datasets check {root}` lists what cannot be read"
    )
    _check_sensor(sensor, dataset_sensor, "leave the sensor out")
    trials: Sequence[Trial] = dataset.of(uri.options["split"]) if "split" in uri.options else dataset.trials

    def clips(number: int) -> list[Clip]:
        return [_clip(trial, dataset_sensor, on_disorder) for trial in _order(trials, seed, number)]

    return Playlist(dataset_sensor, clips, begins_us=0, public_error=public_error)


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
        raise DatasetError(f"{trial.path}: has a sensor of {packets.sensor}, other trials have {sensor}")
    return packets


def _check_sensor(expected: Sensor | None, actual: Sensor, remedy: str) -> None:
    if expected not in (None, actual):
        raise ConfigError(f"the source has a sensor of {actual}, not {expected}; {remedy}")
