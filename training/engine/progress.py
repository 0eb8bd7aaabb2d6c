"""Shows training progress: bars on a terminal, lines in a log file."""

from __future__ import annotations

import time
from collections import deque

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SHOWN = ("loss", "objective", "kept_loss", "adversary_loss", "accuracy", "kept_accuracy", "adversary_accuracy")
SMOOTHING = 0.95
RECENT = 50  # steps over which the speed is averaged
PRINT_EVERY_S = 10.0


class Bars:
    """The progress of a whole run: one bar at a time, on the console that also prints messages.

    Args:
        console: where to print; if it is not a terminal, a line per epoch replaces the bars.
        quiet: print nothing, for processes that do not lead.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"), TimeRemainingColumn(),
        )  # fmt: skip
        self._console = console
        self._quiet = quiet
        self._shown = not quiet and console.is_terminal
        self._bars = Progress(*columns, console=console, disable=not self._shown, transient=True)
        self._bar: TaskID | None = None
        self._title = ""
        self._smooth: dict[str, float] = {}
        self._times: deque[tuple[float, int]] = deque(maxlen=RECENT)
        self._printed_s = time.monotonic()

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def watch(self, task: str, done: int, total: int) -> None:
        """Show the progress of a task other than training."""
        self._switch(task, total, done)
        if not self._shown and (done == total or time.monotonic() - self._printed_s > PRINT_EVERY_S):
            self._print(f"{task}: {done} of {total}")

    def begin(self, stage: str, steps: int, done: int) -> None:
        """Show the bar of a stage."""
        self._smooth.clear()
        self._times.clear()
        self._switch(stage, steps, done)

    def step(self, values: dict[str, float], windows: int) -> None:
        """Advance the bar by a step."""
        for name in SHOWN:
            if name in values:
                before = self._smooth.get(name, values[name])
                self._smooth[name] = SMOOTHING * before + (1 - SMOOTHING) * values[name]
        self._times.append((time.monotonic(), windows))
        seconds = self._times[-1][0] - self._times[0][0]
        speed = sum(count for _, count in list(self._times)[1:]) / seconds if seconds else 0.0
        figures = "  ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in self._smooth.items())
        if self._bar is not None:
            self._bars.update(self._bar, advance=1, figures=f"{figures}  {speed:.0f} samples/s")

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """Print a line about a finished epoch."""
        figures = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        self._print(f"{self._title}  epoch {row['epoch'] + 1:.0f}/{epochs}  {figures}")

    def _print(self, text: str) -> None:
        """Print a line above the bars."""
        self._printed_s = time.monotonic()
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False)

    def _switch(self, title: str, total: int, done: int) -> None:
        """Show the bar of this title, in place of another one."""
        if self._bar is None or title != self._title:
            if self._bar is not None:
                self._bars.remove_task(self._bar)
            self._title = title
            self._bar = self._bars.add_task(title, total=total, completed=done, figures="")
        else:
            self._bars.update(self._bar, completed=done)
