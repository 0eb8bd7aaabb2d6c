"""Output of `eventveil run`: a status line every second and a summary, as text or as JSON.

Event counts and recognised gestures are printed only on a terminal and with --json. A service manager keeps other
output in its log, which other users may read, and the number of events per second shows when people move.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from eventveil.cli.options import print_json, say, stderr, stdout

if TYPE_CHECKING:
    from eventveil.stream.pipeline.status import Status
    from eventveil.stream.runtime.accuracy import LiveAccuracy

PRIVATE = ("events", "omissions", "late", "outside", "saturated", "camera", "gestures")
INDENT = 10


def summary_of(status: Status) -> dict[str, Any]:
    """Return the figures of a pipeline, so far or at its end, as plain values."""
    return {
        "seconds": round(status.seconds, 3),
        "events": status.total("histogram", "received"),
        "omissions": status.omissions(),
        "late": status.total("histogram", "late"),
        "outside": status.total("histogram", "outside"),
        "saturated": status.total("histogram", "saturated"),
        "windows": status.total("histogram", "windows"),
        "published_windows": status.total("publish", "windows"),
        "published_gestures": status.total("publish", "gestures"),
        "gestures": status.gestures(),
        "dropped": status.dropped(),
        "restarts": status.restarts,
        "latency_p50_ms": status.value("publish", "all_p50_ms"),
        "latency_p99_ms": status.value("publish", "all_p99_ms"),
        "subscribers": status.value("publish", "subscribers"),
        "stopped": status.stopped,
        "failure": status.failure,
        "camera": _camera(status),
        "far_from_training": status.far_from_training(),
        "truth": None if status.score is None else status.score.figures(),
    }


def _camera(status: Status) -> dict[str, int] | None:
    """Return the event counts of all live cameras together; None without one."""
    counts: Counter[str] = Counter()
    for report in status.stages.values():
        counts.update({name: count for name, count in report.counts.items() if name.startswith("camera_")})
    return dict(counts) or None


def details_of(status: Status) -> dict[str, Any]:
    """Return the fate of every window, the restarted stages, and the last report of each stage."""
    from eventveil.stream.runtime.balance import balance

    incidents = [asdict(incident) for incident in status.incidents]
    stages = {name: report.model_dump() for name, report in status.stages.items()}
    return {"books": balance(status.counters), "incidents": incidents, "stages": stages}


def print_status_json(status: Status) -> None:
    """Print the status as a line of JSON."""
    last = {} if status.score is None else {"last": {name: asdict(one) for name, one in status.score.last.items()}}
    print_json(summary_of(status) | last | details_of(status))


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


class Output:
    """Writes to standard output until that fails: a full disk ends the output, not the pipeline.

    Attributes:
        error: why writing stopped; None while it works.
    """

    def __init__(self) -> None:
        self.error: OSError | None = None

    def write(self, print_value: Callable[[Any], None], value: Any) -> None:
        """Print a value, unless writing has failed before."""
        if self.error is not None:
            return
        try:
            print_value(value)
        except OSError as error:
            self.error = error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # also discards what its buffer still holds


class Ticker:
    """Prints the status once a second, with rates and gestures since the time before.

    On a terminal, it is one line, or more where one is too narrow; in a log, always one.
    """

    def __init__(self) -> None:
        self._seconds, self._events, self._windows = 0.0, 0, 0
        self._restarts = 0
        self._gestures: dict[str, dict[str, int]] = {}
        self._reported_streams: set[str] = set()
        self._runs_on: dict[str, str] = {}

    def __call__(self, status: Status) -> None:
        """Print the status line, and report restarts and unfamiliar scenes."""
        events, windows = status.total("histogram", "received"), status.total("publish", "windows")
        seconds = max(status.seconds - self._seconds, 1e-9)
        restarts = status.restarts - self._restarts
        for incident in list(status.incidents)[-restarts:] if restarts else ():
            say(f"eventveil: {incident.stage}: {incident.reason}; restarted")
        self._restarts = status.restarts
        mismatches = status.far_from_training()
        for stream in mismatches.keys() - self._reported_streams:
            say(f"eventveil: stream {stream}: {mismatches[stream]}")
        self._reported_streams |= mismatches.keys()
        self._say_precisions(status)
        parts = [f"{status.seconds:6.0f} s"]
        if stderr.is_terminal:
            parts.append(f"{(events - self._events) / seconds / 1e6:7.3f} Mev/s")
        parts += [f"{(windows - self._windows) / seconds:6.1f} windows/s", _latency(status), _subscribers(status)]
        parts += [f"dropped {number} {reason}" for reason, number in status.dropped().items()]
        parts += ["CAMERA AWAY"] if status.total("histogram", "camera_away") else []
        parts += _accuracy(status.score)
        if stderr.is_terminal:
            parts += self._recognised(status)
        say(packed(parts, stderr.width if stderr.is_terminal else None))
        self._seconds, self._events, self._windows = status.seconds, events, windows

    def _say_precisions(self, status: Status) -> None:
        """Report, once, each network that does not run in fp32."""
        runs_on = {name: report.runs_on for name, report in status.stages.items() if report.runs_on is not None}
        for name in runs_on.keys() - self._runs_on.keys():
            if not runs_on[name].endswith("fp32"):
                say(f"eventveil: {name} runs on {runs_on[name]}")
        self._runs_on |= runs_on

    def _recognised(self, status: Status) -> list[str]:
        """Return the gestures since the last call, each with its number if there are several."""
        before, self._gestures = self._gestures, status.gestures()
        parts = []
        for stream, labels in self._gestures.items():
            earlier = Counter(before.get(stream, {}))
            if earlier.total() > sum(labels.values()):  # the publisher was restarted
                earlier = Counter()
            name = f"{stream}: " if len(self._gestures) > 1 else ""
            parts += [f"{name}{label}{f' ×{n}' if n > 1 else ''}" for label, n in (Counter(labels) - earlier).items()]
        return parts


def packed(parts: Iterable[str], width: int | None) -> str:
    """Join parts to lines of at most `width` columns, the later ones indented; None makes one line."""
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]}  {part}" if lines[-1].strip() else f"{lines[-1]}{part}"
        if width is None or len(longer) <= width or not lines[-1].strip():
            lines[-1] = longer
        else:
            lines.append(" " * INDENT + part)
    return "\n".join(lines)


def _latency(status: Status) -> str:
    p50, p99 = (status.value("publish", f"latency_{which}_ms") for which in ("p50", "p99"))
    return "latency -" if p50 is None or p99 is None else f"p50 {p50:.0f}, p99 {p99:.0f} ms"


def _subscribers(status: Status) -> str:
    number = round(status.value("publish", "subscribers") or 0)
    return f"{number} subscriber{'' if number == 1 else 's'}"


def _accuracy(score: LiveAccuracy | None) -> list[str]:
    """Return the accuracy in words; nothing where the ground truth is not known."""
    figures = {} if score is None else score.figures()
    if not figures.get("judged"):
        return []
    first = figures["first_right_s"]
    parts = [f"accuracy {figures['accuracy']:.0%} (chance {figures['chance']:.0%})"]
    return parts if first is None else [*parts, f"first correct after {first:.1f} s"]


def print_summary(figures: dict[str, Any]) -> None:
    """Print the summary as a table."""
    table = Table(show_header=False, box=None)
    if not stdout.is_terminal:
        omitted = {"omissions": bool(figures["omissions"])}
        figures = {key: value for key, value in figures.items() if key not in PRIVATE} | omitted
    truth, camera = figures.pop("truth") or {}, figures.pop("camera", None) or {}
    for key, value in {**figures, **camera, **truth}.items():
        table.add_row(key.removesuffix("_ms"), escape(_text(key, value)))
    stdout.print(table)


def _text(key: str, value: Any) -> str:
    if key.endswith("_ms"):
        return _milliseconds(value)
    if value is None or value == {}:
        return "none"
    if key == "omissions" and isinstance(value, dict):
        return ", ".join(f"{reason} {number:,}" for reason, number in value.items())
    if key == "gestures":
        total = sum(map(Counter, value.values()), Counter[str]())
        return ", ".join(f"{label} {number:,}" for label, number in total.most_common())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in ("accuracy", "chance"):
        return f"{value:.0%}"
    if isinstance(value, int) or key == "subscribers":
        return f"{value:,.0f}"
    return str(value)
