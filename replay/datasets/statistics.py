"""Counts the people, classes, trials, minutes and events of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from eventveil.errors import DatasetError, EventFileError
from eventveil.replay.datasets.trials import Dataset, Trial, people_of


@dataclass(frozen=True, slots=True)
class StatisticsRow:
    """A row of the table; the fields are the keys of `eventveil datasets check --json`.

    Attributes:
        people: number of people; scenes without a known person do not count.
        classes: number of classes that occur.
        trials: number of trials.
        minutes: total length of the trials.
        events: total of the trials, as far as they could be read.
    """

    people: int
    classes: int
    trials: int
    minutes: float
    events: int


def count_events(
    dataset: Dataset, *, watch: Callable[[Trial], object] = str, fault: Callable[[Exception], object]
) -> dict[str, int]:
    """Read every trial and return its number of events, by its name.

    Args:
        dataset: the dataset; its events are checked like those of any recording.
        watch: called with each trial after it was read, to show progress.
        fault: called with each error of a trial. The readable part of the trial is counted.
    """
    counts = {}
    for trial in dataset.trials:
        counts[trial.name] = _events_of(trial, fault)
        watch(trial)
    return counts


def _events_of(trial: Trial, fault: Callable[[Exception], object]) -> int:
    events, readable = 0, True
    try:
        with trial.open() as packets:
            while readable:
                try:
                    for packet in packets:
                        events += len(packet)
                    break
                except EventFileError as error:
                    fault(error)
                    readable = error.recoverable
    except (EventFileError, DatasetError) as error:
        fault(error)
    return events


def table(dataset: Dataset, events: dict[str, int]) -> dict[str, StatisticsRow]:
    """Return a row for each split, and one for the whole dataset under "total"."""
    rows = {split: _row(dataset.of(split), events) for split in dataset.splits}
    return {**rows, "total": _row(dataset.trials, events)}


def _row(trials: Iterable[Trial], events: dict[str, int]) -> StatisticsRow:
    trials = tuple(trials)
    return StatisticsRow(
        people=len(people_of(trials)),
        classes=len({trial.target for trial in trials if trial.target is not None}),
        trials=len(trials),
        minutes=sum(trial.duration_us for trial in trials) / 60e6,
        events=sum(events[trial.name] for trial in trials),
    )
