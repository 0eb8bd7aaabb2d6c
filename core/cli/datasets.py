"""The command on datasets: `eventveil datasets check`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from eventveil.cli.options import JsonOption, print_json, say, stderr, stdout
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.statistics import StatisticsRow, count_events, table
from eventveil.replay.datasets.trials import Dataset, Trial

PATIENCE_S = 2.0  # what takes longer shows a progress bar
MAX_FAULTS_TOLD = 10

PathArgument = Annotated[Path, typer.Argument(metavar="PATH", help="The folder of a dataset.")]

datasets = typer.Typer(no_args_is_help=True, help="Look at datasets.")


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(datasets, name="datasets")


@datasets.callback()
def about() -> None:
    """Look at datasets: DVS128 Gesture, SEE, Event-ReId, in the folders in which they are published."""


@datasets.command("check")
def check(path: PathArgument, json: JsonOption = False) -> None:
    """Recognise a dataset, read all of it, and print what there is: people, classes, trials, minutes, events.

    Damaged trials are told and counted as far as they can be read; the exit status is 1 then.

    Example:  eventveil datasets check data/DVSGesture
    """
    dataset = open_dataset(path)
    faults: list[Exception] = []
    with _Progress(len(dataset.trials)) as progress:
        events = count_events(dataset, watch=progress.watch, fault=faults.append)
    rows = table(dataset, events)
    if json:
        print_json(_as_json(dataset, rows))
    else:
        _print_table(dataset, rows)
    for fault in faults[:MAX_FAULTS_TOLD]:
        say(f"eventveil: {fault}")
    if len(faults) > MAX_FAULTS_TOLD:
        say(f"eventveil: and {len(faults) - MAX_FAULTS_TOLD} more faults")
    if faults:
        raise typer.Exit(1)


def _as_json(dataset: Dataset, rows: dict[str, StatisticsRow]) -> dict[str, object]:
    return {
        "kind": dataset.kind,
        "layout": dataset.layout,
        "classes": dataset.classes,
        "rows": {name: asdict(row) for name, row in rows.items()},
    }


def _print_table(dataset: Dataset, rows: dict[str, StatisticsRow]) -> None:
    shown = Table(title=dataset.layout, title_justify="left")
    shown.add_column("split")
    for name in ("people", "classes", "trials", "minutes", "events"):
        shown.add_column(name, justify="right")
    for name, row in rows.items():
        shown.add_row(
            name, str(row.people), str(row.classes), f"{row.trials:,}", f"{row.minutes:,.1f}", f"{row.events:,}"
        )
    stdout.print(shown)


class _Progress(Progress):
    """A bar of trials, shown to those who have waited a while."""

    def __init__(self, trials: int) -> None:
        columns = TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        super().__init__(*columns, console=stderr, transient=True, disable=not stderr.is_terminal)
        self._patience_ends = time.monotonic() + PATIENCE_S
        self._bar = self.add_task("trials", total=trials)

    def __enter__(self) -> _Progress:
        return self  # and do not start yet

    def watch(self, trial: Trial) -> None:  # noqa: ARG002 - which one does not matter
        """Count a trial."""
        self.advance(self._bar)
        if time.monotonic() > self._patience_ends:
            self.start()
