"""How an audit goes, shown to a person on a terminal as bars, and to a log file as lines."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

TELL_EVERY_S = 30.0
ENOUGH = 0.05  # of a job done, before anybody says how long the rest takes


class Eta:
    """How long the rest takes, from how fast jobs went so far; all jobs count alike.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._jobs = self._done = 0
        self._first: dict[str, float] = {}
        self._share: dict[str, float] = {}

    def plan(self, jobs: int, done: int) -> None:
        """So many jobs there are, and so many were done earlier."""
        self._jobs, self._done = jobs, done

    def moved(self, name: str, share: float) -> None:
        """So much of a job is done; the first that is told of it was done earlier."""
        if self._began is None:
            self._began = self._clock()
        self._first.setdefault(name, min(share, 1.0))
        self._share[name] = max(share, self._share.get(name, 0.0))

    @property
    def left_s(self) -> float | None:
        """Seconds until all are done; None where that cannot be told yet."""
        gained = sum(share - self._first[name] for name, share in self._share.items())
        if self._began is None or gained < ENOUGH:
            return None
        rest = self._jobs - self._done - sum(self._share.values())
        return max(0.0, rest) * (self._clock() - self._began) / gained


class AuditProgress:
    """Progress of a whole audit: a bar for each job under way, and how long all of them will take.

    Args:
        console: for messages; not a terminal: a line now and then, and no bars.
        say: tells a line; above the bars of the console without it.
    """

    def __init__(self, console: Console, say: Callable[[str], object] | None = None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), TaskProgressColumn())
        self._shown = console.is_terminal and say is None
        self._bars = Progress(*columns, console=console, disable=not self._shown, transient=True)
        self._say = say or (lambda text: console.print(text, markup=False, highlight=False))
        self._bar: dict[str, TaskID] = {}
        self._titles: dict[str, str] = {}
        self._pace = Eta()
        self._jobs = self._begun = self._ended = 0
        self._told_s = time.monotonic()

    def __enter__(self) -> AuditProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def watch(self, what: str, done: int, of: int) -> None:
        """Show how much of something is done that is no job: people being simulated, windows being made."""
        self._move(what, what, done / of)
        if done == of:
            self._remove(what)
        if not self._shown and (done == of or self._time_to_tell()):
            self.say(f"{what}: {done} of {of}")

    def plan(self, jobs: int, done: int) -> None:
        """Say how many jobs there are, and how many were done earlier."""
        self._jobs, self._begun, self._ended = jobs, done, done
        self._pace.plan(jobs, done)
        if done:
            self.say(f"{done} of {jobs} jobs were done earlier")

    def begin(self, name: str, title: str) -> None:
        """Tell that a job begins."""
        again = name in self._titles
        self._begun += not again
        self._titles[name] = title
        number = "again" if again else f"{self._begun} of {self._jobs}"
        self.say(f"job {number}: {title}{self._left}")
        self._move(name, title, 0.0)

    def moved(self, name: str, share: float) -> None:
        """Show that so much of a job is done, from 0 to 1."""
        self._pace.moved(name, share)
        self._move(name, self._titles[name], share)
        if not self._shown and self._time_to_tell():
            self.say(f"{self._ended} of {self._jobs} jobs done; {self._titles[name]}: {share:.0%}{self._left}")

    def end(self, name: str) -> None:
        """Tell that a job is done."""
        self._ended += 1
        self._pace.moved(name, 1.0)
        self._remove(name)

    def lost(self, name: str, why: str) -> None:
        """Tell that who did a job is gone."""
        self._remove(name)
        self.say(f"lost: {self._titles[name]} ({why})")

    def say(self, text: str) -> None:
        """Tell something, above the bars."""
        self._told_s = time.monotonic()
        self._say(text)

    @property
    def _left(self) -> str:
        seconds = self._pace.left_s
        return "" if seconds is None else f"; about {max(1, round(seconds / 60))} min left"

    def _time_to_tell(self) -> bool:
        return time.monotonic() - self._told_s > TELL_EVERY_S

    def _move(self, name: str, words: str, share: float) -> None:
        if name not in self._bar:
            self._bar[name] = self._bars.add_task(words, total=1.0)
        self._bars.update(self._bar[name], completed=share)

    def _remove(self, name: str) -> None:
        bar = self._bar.pop(name, None)
        if bar is not None:
            self._bars.remove_task(bar)
