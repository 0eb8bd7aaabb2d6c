"""`eventveil datasets check`: validate a dataset and summarise it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from eventveil.cli.options import JsonOption, print_json, stdout

if TYPE_CHECKING:
    from eventveil.replay.datasets.statistics import StatisticsRow
    from eventveil.replay.datasets.trials import Dataset

PathArgument = Annotated[Path, typer.Argument(metavar="PATH", help="Folder of a dataset.")]

datasets = typer.Typer(no_args_is_help=True, help="Validate datasets.")


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(datasets, name="datasets")


@datasets.callback()
def about() -> None:
    """Validate datasets: DVS128 Gesture, SEE and Event-ReId, in the folder layouts in which they are published."""


@datasets.command("check")
def check(path: PathArgument, json: JsonOption = False) -> None:
    """Detect the kind of a dataset, read all of it, and print its people, classes, trials, minutes and events.

    Damaged trials are reported and counted as far as they can be read; the exit status is then 1.

    Example:  eventveil datasets check data/DVSGesture
    """
    from eventveil.cli.progress import DelayedProgress, FaultReporter
    from eventveil.replay.datasets import open_dataset
    from eventveil.replay.datasets.statistics import count_events, table

    dataset = open_dataset(path)
    damages: list[Exception] = []
    with DelayedProgress("trials", len(dataset.trials)) as progress:
        events = count_events(dataset, watch=lambda _: progress.count(), fault=damages.append)
    rows = table(dataset, events)
    if json:
        print_json(_as_json(dataset, rows))
    else:
        _print_table(dataset, rows)
    faults = FaultReporter()
    for damage in damages:
        faults.report(damage)
    faults.finish()


def _as_json(dataset: Dataset, rows: dict[str, StatisticsRow]) -> dict[str, object]:
    return {
        "kind": dataset.kind,
        "layout": dataset.layout,
        "classes": dataset.classes,
        "rows": {name: asdict(row) for name, row in rows.items()},
    }


def _print_table(dataset: Dataset, rows: dict[str, StatisticsRow]) -> None:
    summary = Table(title=dataset.layout, title_justify="left")
    summary.add_column("split")
    for name in ("people", "classes", "trials", "minutes", "events"):
        summary.add_column(name, justify="right")
    for name, row in rows.items():
        summary.add_row(
            name, str(row.people), str(row.classes), f"{row.trials:,}", f"{row.minutes:,.1f}", f"{row.events:,}"
        )
    stdout.print(summary)
