"""What is in a dataset, in numbers: people, classes, trials, minutes, events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from eventveil.errors import DatasetError, EventFileError
from eventveil.replay.datasets.trials import Dataset, Trial


@dataclass(frozen=True, slots=True)
class StatisticsRow:
    """One row of the table; the fields are the keys of `eventveil datasets check --json`.

    Attributes:
        people: how many.
        classes: how many different ones trials are of.
        trials: how many.
        minutes: of all trials together.
        events: in all trials that could be read.
    """

    people: int
    classes: int
    trials: int
    minutes: float
    events: int


def count_events(
    dataset: Dataset, *, watch: Callable[[Trial], object] = str, fault: Callable[[Exception], object]
) -> dict[str, int]:
    """Read every trial, and return by name how many events it has.

    Args:
        dataset: whose events are checked on the way, as those of any recording are.
        watch: called with each trial that was read, to show progress.
        fault: called with what is wrong with a trial. What can be read of it is counted.
    """
    counts = {}
    for trial in dataset.trials:
        counts[trial.name] = _events_of(trial, fault)
        watch(trial)
    return counts


def _events_of(trial: Trial, fault: Callable[[Exception], object]) -> int:
    events, going_on = 0, True
    try:
        with trial.open() as packets:
            while going_on:
                try:
                    for packet in packets:
                        events += len(packet)
                    break
                except EventFileError as error:
                    fault(error)
                    going_on = error.recoverable
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
        people=len({trial.subject for trial in trials}),
        classes=len({trial.target for trial in trials if trial.target is not None}),
        trials=len(trials),
        minutes=sum(trial.duration_us for trial in trials) / 60e6,
        events=sum(events[trial.name] for trial in trials),
    )
