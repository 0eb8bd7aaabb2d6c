"""A trial, the unit of every dataset: one person doing one thing once, in front of one camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from eventveil.errors import DatasetError
from eventveil.events import EventPacket, Sensor
from eventveil.io.source import Disorder

NO_SPLIT = "all"  # of a dataset that publishes none; `eventveil.replay.datasets.splits` makes one


class PacketSource(Protocol):
    """What `Trial.open` gives: a context manager and an iterator of packets, as `eventveil.io.EventSource` is."""

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
        name: names the trial in its dataset and in lists of trials: its path below the dataset's folder, with what
            else tells it apart from others of the same file.
        path: the file, or the folder of frames, that holds its events.
        subject: the person, as the dataset names people.
        target: index of its class in `Dataset.classes`; None where the dataset has no classes.
        label: name of that class; None likewise.
        session: the session or the camera, as the dataset names them.
        lighting: as the dataset names it; None where it is not known.
        duration_us: microseconds.
        split: "train", "test" or what else a split names; "all" where the dataset publishes none.
        opener: opens its events; takes `on_disorder`, as `eventveil.io.open_events` does.
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

    def open(self, on_disorder: Disorder = "raise") -> PacketSource:
        """Open the events, with their times as the file has them.

        Args:
            on_disorder: what happens where time goes back: "raise", "sort" or "clip", as in `eventveil.io.open_events`.

        Raises:
            EventVeilError: the events cannot be read.
        """
        return self.opener(on_disorder=on_disorder)


@dataclass(frozen=True)
class Dataset:
    """The index of a dataset.

    Attributes:
        kind: "dvs-gesture", "see" or "event-reid".
        layout: in which of its published forms it lies there.
        root: its folder.
        classes: names of the classes; empty where the dataset has none.
        trials: in the order of their names, numbers as numbers.

    Raises:
        DatasetError: there is no trial, two have the same name, or a person stands in two splits.
    """

    kind: str
    layout: str
    root: Path
    classes: tuple[str, ...]
    trials: tuple[Trial, ...]

    def __post_init__(self) -> None:
        if not self.trials:
            raise DatasetError(f"{self.root}: a folder of {self.layout}, and no trial in it; fetch the dataset again")
        if len(self.by_name) < len(self.trials):
            raise DatasetError(f"{self.root}: two trials have the same name; remove one of them")
        sides: dict[str, str] = {}
        for trial in self.trials:
            side = sides.setdefault(trial.subject, trial.split)
            if side != trial.split:
                raise DatasetError(
                    f"{self.root}: person {trial.subject} stands in two splits, {side} and {trial.split}; "
                    "figures for unseen people would be wrong: move the person to one of them"
                )

    @cached_property
    def by_name(self) -> dict[str, Trial]:
        """The trials by their names."""
        return {trial.name: trial for trial in self.trials}

    @property
    def subjects(self) -> tuple[str, ...]:
        """The people, sorted."""
        return tuple(sorted({trial.subject for trial in self.trials}))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits, in the order in which trials name them."""
        return tuple(dict.fromkeys(trial.split for trial in self.trials))

    def of(self, split: str) -> tuple[Trial, ...]:
        """The trials of a split.

        Raises:
            DatasetError: there is no such split.
        """
        if split not in self.splits:
            raise DatasetError(f"{self.root}: expected a split of {', '.join(self.splits)}, got {split!r}")
        return tuple(trial for trial in self.trials if trial.split == split)
