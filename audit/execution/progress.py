"""Shows the progress of an audit: bars on a terminal, lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

LINE_EVERY_S = 30.0
ENOUGH = 0.05  # of a job done, before the remaining time is estimated


class Eta:
    """Estimates the remaining time from the speed so far; all jobs have equal weight.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start_s: float | None = None
        self._jobs = self._done = 0
        self._first: dict[str, float] = {}
        self._share: dict[str, float] = {}

    def plan(self, jobs: int, done: int) -> None:
        """Set the number of jobs, and how many of them were done earlier."""
        self._jobs, self._done = jobs, done

    def moved(self, name: str, share: float) -> None:
        """Set how much of a job is done; the first share of a job was done earlier."""
        if self._start_s is None:
            self._start_s = self._clock()
        self._first.setdefault(name, min(share, 1.0))
        self._share[name] = max(share, self._share.get(name, 0.0))

    @property
    def left_s(self) -> float | None:
        """Seconds until all jobs are done; None while too little is done to estimate them."""
        gained = sum(share - self._first[name] for name, share in self._share.items())
        if self._start_s is None or gained < ENOUGH:
            return None
        rest = self._jobs - self._done - sum(self._share.values())
        return max(0.0, rest) * (self._clock() - self._start_s) / gained


class AuditProgress:
    """Progress of a whole audit: a bar for each job under way, and the remaining time.

    Args:
        console: for bars and lines; without a terminal there are only lines, now and then.
        say: prints a line; without it, lines are printed above the bars of the console.
    """

    def __init__(self, console: Console, say: Callable[[str], object] | None = None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), TaskProgressColumn())
        self._has_bars = console.is_terminal and say is None
        self._bars = Progress(*columns, console=console, disable=not self._has_bars, transient=True)
        self._say = say or (lambda text: console.print(text, markup=False, highlight=False))
        self._bar: dict[str, TaskID] = {}
        self._titles: dict[str, str] = {}
        self._eta = Eta()
        self._jobs = self._begun = self._ended = 0
        self._last_line_s = time.monotonic()

    def __enter__(self) -> AuditProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def watch(self, what: str, done: int, of: int) -> None:
        """Show the progress of preparations: simulating people, preparing windows."""
        self._move(what, what, done / of)
        if done == of:
            self._remove(what)
        if not self._has_bars and (done == of or self._line_is_due()):
            self.say(f"{what}: {done} of {of}")

    def plan(self, jobs: int, done: int) -> None:
        """Set the number of jobs, and print how many of them were done earlier."""
        self._jobs, self._begun, self._ended = jobs, done, done
        self._eta.plan(jobs, done)
        if done:
            self.say(f"{done} of {jobs} jobs were done earlier")

    def begin(self, name: str, title: str) -> None:
        """Print that a job begins."""
        again = name in self._titles
        self._begun += not again
        self._titles[name] = title
        number = "again" if again else f"{self._begun} of {self._jobs}"
        self.say(f"job {number}: {title}{self._left}")
        self._move(name, title, 0.0)

    def moved(self, name: str, share: float) -> None:
        """Show how much of a job is done, from 0 to 1."""
        self._eta.moved(name, share)
        self._move(name, self._titles[name], share)
        if not self._has_bars and self._line_is_due():
            self.say(f"{self._ended} of {self._jobs} jobs done; {self._titles[name]}: {share:.0%}{self._left}")

    def end(self, name: str) -> None:
        """Show that a job is done."""
        self._ended += 1
        self._eta.moved(name, 1.0)
        self._remove(name)

    def lost(self, name: str, why: str) -> None:
        """Print that a job's worker is gone."""
        self._remove(name)
        self.say(f"lost: {self._titles[name]} ({why})")

    def say(self, text: str) -> None:
        """Print a line, above the bars."""
        self._last_line_s = time.monotonic()
        self._say(text)

    @property
    def _left(self) -> str:
        seconds = self._eta.left_s
        return "" if seconds is None else f"; about {max(1, round(seconds / 60))} min left"

    def _line_is_due(self) -> bool:
        return time.monotonic() - self._last_line_s > LINE_EVERY_S

    def _move(self, name: str, title: str, share: float) -> None:
        if name not in self._bar:
            self._bar[name] = self._bars.add_task(title, total=1.0)
        self._bars.update(self._bar[name], completed=share)

    def _remove(self, name: str) -> None:
        bar = self._bar.pop(name, None)
        if bar is not None:
            self._bars.remove_task(bar)
