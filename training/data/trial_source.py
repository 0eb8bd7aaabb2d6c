"""The trials of any source, for PyTorch datasets: recordings, datasets, simulated people, and live cameras."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from eventveil.errors import ConfigError, DatasetError
from eventveil.events import EventPacket, Sensor
from eventveil.io.camera.live import open_camera
from eventveil.io.detect import locate
from eventveil.io.source import Disorder, open_events
from eventveil.replay.datasets import dvs_gesture
from eventveil.replay.datasets.index import open_dataset, recognise
from eventveil.replay.datasets.trials import NO_SPLIT, PacketSource, Trial, people_of
from eventveil.replay.player.sources import RECORDING, SourceUri

if TYPE_CHECKING:
    from eventveil.replay.simulation.people import SimulatedPeople

OpenPackets = Callable[[], AbstractContextManager[Iterable[EventPacket]]]
UNKNOWN_US = 0
"""The duration of a trial whose length is unknown until its events are read."""


@dataclass(frozen=True, slots=True)
class TrialSource:
    """The trials of a source.

    Attributes:
        trials: its trials, in the same order in each iteration and in each process.
        classes: names of the classes; empty where it has none.
        people: the people, sorted; empty where none is known.
        endless: whether there is always another trial, or a trial never ends.
    """

    trials: Iterable[Trial]
    classes: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    endless: bool = False


def open_trials(uri: str | Path, *, sensor: Sensor | None = None, people: Collection[str] | None = None) -> TrialSource:
    """Find the trials of a source; no events are read.

    Args:
        uri: a source as `eventveil run` takes it, or the folder of a dataset.
        sensor: geometry of a recording that does not hold it.
        people: the only people whose trials are used.

    Raises:
        ConfigError: the URI names no source, or a source without known people is to be limited to some.
        DatasetError: a folder does not hold the dataset, or one of these people is not in it.
        EventFileError: there is no such recording.
    """
    parsed = SourceUri.parse(str(uri))
    if parsed.kind == RECORDING and Path(parsed.name).is_dir():
        parsed = SourceUri(recognise(Path(parsed.name)).KIND, parsed.name, {})
    if parsed.is_dataset:
        source = _dataset(parsed)
    elif parsed.is_camera:
        trial = _unknown(parsed.name, Path(), partial(_camera, parsed.name))
        source = TrialSource((trial,), endless=True)
    elif parsed.kind == RECORDING:
        opener = partial(open_events, parsed.name, sensor=sensor)
        opener().close()  # so that mistakes are reported now, not in a process of a data loader
        # Another sensor makes other windows of the same file, also in a cache.
        name = parsed.name if sensor is None else f"{parsed.name} ({sensor})"
        recording = _unknown(name, locate(parsed.name)[0], opener)
        source = TrialSource((recording,))
    else:
        source = _simulated(parsed)
    return source if people is None else _only(source, uri, people)


def _only(source: TrialSource, uri: str | Path, people: Collection[str]) -> TrialSource:
    if not source.people:
        raise ConfigError(f"{uri}: the people in it are not known, so it cannot be split by person; leave people out")
    if unknown := sorted(set(people) - set(source.people)):
        raise DatasetError(f"{uri}: expected some of the people {', '.join(source.people)}, got {', '.join(unknown)}")
    names = tuple(sorted(set(people)))
    if source.endless:
        return TrialSource(_TrialsOf(names, source.trials), source.classes, names, endless=True)
    return TrialSource(tuple(_TrialsOf(names, source.trials)), source.classes, names)


def _dataset(uri: SourceUri) -> TrialSource:
    dataset = open_dataset(uri.name)
    if dataset.kind != uri.kind:
        raise DatasetError(f"{uri.name}: not a {uri.kind} dataset; open it as {dataset.kind}:{uri.name}")
    trials = dataset.of(uri.options["split"]) if "split" in uri.options else dataset.trials
    return TrialSource(trials, dataset.classes, people_of(trials))


def _simulated(uri: SourceUri) -> TrialSource:
    from eventveil.replay.simulation.people import SimulatedPeople  # compiles, so only simulations load it

    simulated = SimulatedPeople.parse(uri.options)

    people = () if simulated.negatives else tuple(f"user{number:02d}" for number in range(1, simulated.subjects + 1))
    return TrialSource(_SimulatedTrials(simulated), dvs_gesture.GESTURES, people, endless=True)


@dataclass(frozen=True, slots=True)
class _SimulatedTrials:
    """Endless takes of simulated people."""

    simulated: SimulatedPeople

    def __iter__(self) -> Iterator[Trial]:
        for number, clip in enumerate(self.simulated.takes()):
            target = dvs_gesture.GESTURES.index(clip.label) if clip.label in dvs_gesture.GESTURES else None
            yield Trial(
                str(number), Path(), clip.subject or "", target, clip.label, "", None, clip.duration_us, NO_SPLIT,
                partial(_take, self.simulated.shot.sensor, clip.open), person=not self.simulated.negatives,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _TrialsOf:
    """The trials of some people."""

    people: tuple[str, ...]
    trials: Iterable[Trial]

    def __iter__(self) -> Iterator[Trial]:
        return (trial for trial in self.trials if trial.subject in self.people)


def _unknown(name: str, path: Path, opener: Callable[..., PacketSource]) -> Trial:
    """Return a trial that has events but no label and no person."""
    return Trial(name, path, "", None, None, "", None, UNKNOWN_US, NO_SPLIT, opener, person=False)


def _camera(uri: str, *, on_disorder: Disorder) -> PacketSource:  # noqa: ARG001 - a camera repairs times itself
    return _Opened(open_camera(uri))


def _take(sensor: Sensor, opener: OpenPackets, *, on_disorder: Disorder) -> PacketSource:  # noqa: ARG001 - in order
    return _Opened(opener(), sensor)


class _Opened:
    """The packets of a context manager, as `Trial.open` returns them; a camera says itself which sensor it has."""

    sensor: Sensor

    def __init__(self, context: AbstractContextManager[Iterable[EventPacket]], sensor: Sensor | None = None) -> None:
        self._context = context
        if sensor is not None:
            self.sensor = sensor

    def __enter__(self) -> Self:
        packets = self._context.__enter__()
        self.sensor = getattr(packets, "sensor", None) or self.sensor
        self._packets = iter(packets)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, trace)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventPacket:
        return next(self._packets)
