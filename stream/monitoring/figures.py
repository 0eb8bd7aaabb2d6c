"""What a running pipeline reports over HTTP: a list of what may leave, not of what may not.

Nothing here is computed from events: no count of events, no density, no counter of a camera's events, no text of an
error. The number of events a second shows when people move, and its total tells people apart. The user of the
pipeline sees these figures on the terminal, and with `eventveil run --json`.

The one exception is counts of published gestures, where everyone who can read them may receive the gestures themselves.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from eventveil.stream.protocol.endpoints import is_loopback
from eventveil.stream.runtime.accounting import SOURCE
from eventveil.stream.runtime.balance import balance

if TYPE_CHECKING:
    from eventveil.stream.pipeline.status import Status
    from eventveil.stream.runtime.latency import Delays
    from eventveil.stream.runtime.reporting import StageReport
    from eventveil.stream.settings.pipeline import PipelineSettings

HANDSHAKES = "handshakes"  # prefix of the publisher's handshake counts (stream/publisher/public_endpoint.py)
PUBLISH = "publish"
STATES = {"ready": "ready", "beat": "running", "ended": "ended", "aborted": "stopped", "failed": "failed",
          "crashed": "crashed"}  # fmt: skip
"""The kinds of a stage's reports, and the state that /status gives for each."""


def readers_may_subscribe(settings: PipelineSettings) -> bool:
    """Return whether everyone who can read the pages may subscribe, too: any user of this machine, on loopback.

    Not with keys: a reader of the pages, with a token or without, need not be on the list. Not at an `ipc://` path:
    the folder decides who may connect.
    """
    publish, metrics = settings.publish, settings.watch.metrics
    local = metrics is not None and is_loopback(ip_address(metrics[0]))
    return local and publish.keys is None and publish.bind.startswith("tcp://")


def public_figures(status: Status, *, gestures: bool = False) -> dict[str, Any]:
    """Return the figures as plain values: those that /status serves, and that the metrics are made of.

    Args:
        status: status of the pipeline.
        gestures: whether to count gestures by label, see `readers_may_subscribe`.
    """
    books = balance(status.counters)
    reports = status.stages
    published = reports.get(PUBLISH)
    return {
        "seconds": round(status.seconds, 3),
        "published_windows": status.total(PUBLISH, "windows"),
        "published_gestures": status.total(PUBLISH, "gestures"),
        **({"gestures": status.gestures()} if gestures else {}),
        "dropped": status.dropped(),
        "restarts": status.restarts,
        "latency_p50_ms": _whole(status.value(PUBLISH, "all_p50_ms")),
        "latency_p99_ms": _whole(status.value(PUBLISH, "all_p99_ms")),
        "age": None if published is None or published.age is None else _age(published.age),
        "subscribers": None if published is None else _subscribers(published),
        "cameras": {name.removeprefix(SOURCE): _camera(report) for name, report in reports.items() if _live(report)},
        "stages": {name: _stage(reports[name]) for name in status.counters.stages if name in reports},
        "incidents": [
            {"stage": incident.stage, "at_s": round(incident.at_s, 3), "back_s": incident.back_s}
            for incident in status.incidents
        ],
        "books": books,
        "stopped": status.stopped,
    }


def _stage(report: StageReport) -> dict[str, Any]:
    runs_on = {} if report.runs_on is None else {"runs_on": report.runs_on}  # device and precision
    return {"state": STATES[report.kind], "restarts": report.life - 1} | runs_on


def _live(report: StageReport) -> bool:
    return "camera_away" in report.counts


def _camera(report: StageReport) -> dict[str, int]:
    return {what: report.counts.get(f"camera_{what}", 0) for what in ("away", "losses")}


def _subscribers(report: StageReport) -> dict[str, Any]:
    outcomes = {
        name.removeprefix(HANDSHAKES).lstrip("_") or "succeeded": number
        for name, number in report.counts.items()
        if name.startswith(HANDSHAKES)
    }
    connected = round(report.values.get("subscribers") or 0)
    return {"connected": connected, "connections": report.counts.get("connections", 0), HANDSHAKES: outcomes}


def _age(delays: Delays) -> dict[str, Any]:
    return {"counts": delays.counts, "sum_ms": _whole(delays.sum_ms)}


def _whole(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds)
