"""Progress bars and damage reports of commands that read whole recordings or datasets."""

from __future__ import annotations

import time

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from eventveil.cli.options import say, stderr

PATIENCE_S = 2.0  # work that takes longer shows a progress bar
MAX_FAULTS_SHOWN = 10


class DelayedProgress(Progress):
    """A progress bar that appears on a terminal once the work has taken PATIENCE_S seconds."""

    def __init__(self, unit: str, total: int | None = None) -> None:
        """Prepare the bar.

        Args:
            unit: what is counted, in the plural.
            total: how many there are; None if unknown.
        """
        columns: tuple[ProgressColumn, ...] = (
            TextColumn(unit),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        if total is None:
            columns = TextColumn("{task.completed:,} " + unit), BarColumn(), TimeElapsedColumn()
        super().__init__(*columns, console=stderr, transient=True, disable=not stderr.is_terminal)
        self._start_at = time.monotonic() + PATIENCE_S
        self._bar = self.add_task(unit, total=total)

    def __enter__(self) -> DelayedProgress:
        return self  # without starting the bar

    def count(self, number: int = 1) -> None:
        """Advance the bar, and show it if the work takes long."""
        self.advance(self._bar, number)
        if time.monotonic() > self._start_at:
            self.start()


class FaultReporter:
    """Reports the first faults of a damaged recording or dataset in full, and the rest as a number."""

    def __init__(self) -> None:
        self._faults = 0

    def report(self, fault: Exception | str) -> None:
        """Report a fault, or count it if there were many before."""
        self._faults += 1
        if self._faults <= MAX_FAULTS_SHOWN:
            say(f"eventveil: {fault}")

    def finish(self) -> None:
        """Report how many faults were not shown.

        Raises:
            typer.Exit: with status 1 if there were faults.
        """
        if self._faults > MAX_FAULTS_SHOWN:
            say(f"eventveil: and {self._faults - MAX_FAULTS_SHOWN} more faults")
        if self._faults:
            raise typer.Exit(1)
