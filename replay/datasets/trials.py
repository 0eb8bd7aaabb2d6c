"""A trial, the unit of every dataset: one person doing one thing once, in front of one camera."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from eventveil.errors import DatasetError
from eventveil.events import EventPacket, Sensor
from eventveil.io.source import Disorder

NO_SPLIT = "all"  # where a dataset publishes no split; `eventveil.replay.datasets.splits` makes one


class PacketSource(Protocol):
    """What `Trial.open` returns: a context manager and an iterator of packets, like `eventveil.io.EventSource`."""

    sensor: Sensor

    def __iter__(self) -> Iterator[EventPacket]: ...

    def __next__(self) -> EventPacket: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Trial:
    """One row of a dataset's index.

    Attributes:
        name: identifies the trial in its dataset and in lists of trials: its path below the dataset's folder, with a
            suffix where a file holds several trials.
        path: the file, or the folder of frames, that holds its events.
        subject: the person, as named by the dataset.
        target: index of its class in `Dataset.classes`; None where the dataset has no classes.
        label: name of that class; None likewise.
        session: the session or the camera, as named by the dataset.
        lighting: as named by the dataset; None where unknown.
        duration_us: microseconds.
        split: "train", "test" or another part of a split; "all" where the dataset publishes none.
        start_us: where it begins in a file that holds several trials, microseconds; 0 in a file of its own.
        opener: opens its events; takes `on_disorder`, as `eventveil.io.open_events` does.
        person: whether the subject is a person who can be seen: not in a scene without a known person, and not while
            the person is out of the picture.
    """

    name: str
    path: Path
    subject: str
    target: int | None
    label: str | None
    session: str
    lighting: str | None
    duration_us: int
    split: str
    opener: Callable[..., PacketSource] = field(repr=False, compare=False)
    start_us: int = 0
    person: bool = True

    def open(self, on_disorder: Disorder = "raise") -> PacketSource:
        """Open the events, with the times of the file.

        Args:
            on_disorder: what to do where time goes back: "raise", "sort" or "clip", as in `eventveil.io.open_events`.

        Raises:
            EventVeilError: the events cannot be read.
        """
        return self.opener(on_disorder=on_disorder)


@dataclass(frozen=True)
class Dataset:
    """The index of a dataset.

    Attributes:
        kind: "dvs-gesture", "see" or "event-reid".
        layout: which of its published forms the folder has, in words.
        root: its folder.
        classes: names of the classes; empty where the dataset has none.
        trials: sorted by name, numbers numerically.

    Raises:
        DatasetError: there is no trial, two have the same name, or a person is in two splits.
    """

    kind: str
    layout: str
    root: Path
    classes: tuple[str, ...]
    trials: tuple[Trial, ...]

    def __post_init__(self) -> None:
        if not self.trials:
            raise DatasetError(f"{self.root}: a folder of {self.layout} without a trial; fetch the dataset again")
        if len(self.by_name) < len(self.trials):
            raise DatasetError(f"{self.root}: two trials have the same name; remove one of them")
        splits: dict[str, str] = {}
        for trial in self.trials:
            split = splits.setdefault(trial.subject, trial.split)
            if split != trial.split:
                raise DatasetError(
                    f"{self.root}: person {trial.subject} is in two splits, {split} and {trial.split}; "
                    "results for unseen people would be wrong: move the person to one of them"
                )

    @cached_property
    def by_name(self) -> dict[str, Trial]:
        """The trials by name."""
        return {trial.name: trial for trial in self.trials}

    @property
    def subjects(self) -> tuple[str, ...]:
        """The people, sorted, and the scenes without a known person."""
        return tuple(sorted({trial.subject for trial in self.trials}))

    @property
    def people(self) -> tuple[str, ...]:
        """The people, sorted."""
        return people_of(self.trials)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits, in order of appearance."""
        return tuple(dict.fromkeys(trial.split for trial in self.trials))

    def of(self, split: str) -> tuple[Trial, ...]:
        """The trials of a split.

        Raises:
            DatasetError: there is no such split.
        """
        if split not in self.splits:
            raise DatasetError(f"{self.root}: expected a split of {', '.join(self.splits)}, got {split!r}")
        return tuple(trial for trial in self.trials if trial.split == split)


def people_of(trials: Iterable[Trial]) -> tuple[str, ...]:
    """Return the people of some trials, sorted."""
    return tuple(sorted({trial.subject for trial in trials if trial.person}))
