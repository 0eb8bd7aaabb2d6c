"""How training goes, shown to a person on a terminal as bars, and to a log file as lines."""

from __future__ import annotations

import time
from collections import deque

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SHOWN = ("loss", "objective", "kept_loss", "adversary_loss", "accuracy", "kept_accuracy", "adversary_accuracy")
SMOOTHING = 0.95
RECENT = 50  # steps that the speed is taken over
TELL_EVERY_S = 10.0


class Bars:
    """Progress of a whole run: one bar at a time, on the console of messages.

    Args:
        console: for messages; not a terminal: a line per epoch and no bars.
        quiet: say nothing, for processes that do not lead.
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
        self._what = ""
        self._smooth: dict[str, float] = {}
        self._times: deque[tuple[float, int]] = deque(maxlen=RECENT)
        self._told_s = time.monotonic()

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def watch(self, what: str, done: int, of: int) -> None:
        """Show how much of something is done that is not training."""
        self._switch(what, of, done)
        if not self._shown and (done == of or time.monotonic() - self._told_s > TELL_EVERY_S):
            self.say(f"{what}: {done} of {of}")

    def begin(self, stage: str, steps: int, done: int) -> None:
        """Show the bar of a stage."""
        self._smooth.clear()
        self._times.clear()
        self._switch(stage, steps, done)

    def step(self, values: dict[str, float], windows: int) -> None:
        """Move the bar on by a step."""
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
        """Tell of a finished epoch, in a line."""
        figures = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        self.say(f"{self._what}  epoch {row['epoch'] + 1:.0f}/{epochs}  {figures}")

    def say(self, text: str) -> None:
        """Tell something, above the bars."""
        self._told_s = time.monotonic()
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False)

    def _switch(self, what: str, total: int, done: int) -> None:
        if self._bar is None or what != self._what:
            if self._bar is not None:
                self._bars.remove_task(self._bar)
            self._what = what
            self._bar = self._bars.add_task(what, total=total, completed=done, figures="")
        else:
            self._bars.update(self._bar, completed=done)
