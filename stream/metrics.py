"""What a running line tells Prometheus: the stages' last reports, as metric families.

Only counts, delays, digests and the names that the user gave to streams: nothing of events, windows, or the truth.
https://prometheus.io/docs/instrumenting/writing_exporters/ is followed in names and units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from eventveil.stream.latency import BOUNDS_MS
from eventveil.version import __version__

if TYPE_CHECKING:
    from eventveil.stream.pipeline import Status
    from eventveil.stream.publish import Provenance
    from eventveil.stream.runner import Report

UNUSED = ("late", "outside", "saturated")  # events that are in no window, by reason
PREFIX = "eventveil_"
HANDSHAKES = "handshakes"  # how the publisher's counts of them begin (stream/door.py)


class LineCollector(Collector):
    """The metrics of a line at the time of its last beat.

    Args:
        provenance: which weights are at work.
    """

    def __init__(self, provenance: Provenance) -> None:
        self._provenance = provenance
        self.status: Status | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield all families; of a line that has not begun those of its weights alone."""
        yield from self._weights()
        if self.status is not None:
            yield from _of_sources(self.status)
            yield from _of_stages(self.status.stages)
            yield from _of_subscribers(self.status.stages.get("publish"))
            yield GaugeMetricFamily(f"{PREFIX}running_seconds", "since the sources began", self.status.seconds)

    def _weights(self) -> Iterator[Metric]:
        yield InfoMetricFamily(f"{PREFIX}version", "of eventveil", {"version": __version__})
        own = self._provenance
        info = InfoMetricFamily(
            f"{PREFIX}weights", "networks at work, by the SHA-256 of their files, and the audit's certificate",
            labels=("role",),
        )  # fmt: skip
        told = {"digest": own.anonymizer, "trained": str(own.trained).lower(), "certificate": own.certificate or ""}
        info.add_metric(("anonymizer",), told)
        if own.classifier is not None:
            info.add_metric(("target",), {"digest": own.classifier, "trained": str(own.classifier_trained).lower()})
        yield info


def _of_sources(status: Status) -> Iterator[Metric]:
    events = CounterMetricFamily(f"{PREFIX}events", "read from a source", labels=("stream",))
    unused = CounterMetricFamily(f"{PREFIX}events_unused", "that are in no window", labels=("stream", "reason"))
    for stage, report in status.stages.items():
        if stage.startswith("histogram:"):
            stream = stage.removeprefix("histogram:")
            events.add_metric((stream,), report.counts.get("received", 0))
            for reason in UNUSED:
                unused.add_metric((stream, reason), report.counts.get(reason, 0))
    yield events
    yield unused


def _of_stages(stages: Mapping[str, Report]) -> Iterator[Metric]:
    received = CounterMetricFamily(f"{PREFIX}windows_received", "that a stage took in", labels=("stage",))
    sent = CounterMetricFamily(f"{PREFIX}windows_sent", "that a stage passed on, or published", labels=("stage",))
    dropped = CounterMetricFamily(f"{PREFIX}windows_dropped", "given up", labels=("stage", "reason"))
    waiting = GaugeMetricFamily(f"{PREFIX}queue_windows", "waiting to leave a stage", labels=("stage",))
    restarts = CounterMetricFamily(f"{PREFIX}stage_restarts", "of a stage by the supervisor", labels=("stage",))
    alive = GaugeMetricFamily(f"{PREFIX}stage_up", "1 while a stage works", labels=("stage",))
    age = HistogramMetricFamily(
        f"{PREFIX}window_age_seconds", "of windows leaving a stage, counted from when their last event could come",
        labels=("stage",),
    )  # fmt: skip
    for stage, report in stages.items():
        counts = report.counts
        if not stage.startswith("histogram:"):
            received.add_metric((stage,), counts.get("received", 0))
        sent.add_metric((stage,), counts.get("windows" if stage == "publish" else "sent", 0))
        for reason, number in report.dropped.items():
            dropped.add_metric((stage, reason), number)
        if "waiting" in counts:
            waiting.add_metric((stage,), counts["waiting"])
        restarts.add_metric((stage,), report.life - 1)
        alive.add_metric((stage,), float(report.kind in ("ready", "beat")))
        if report.age is not None:
            age.add_metric((stage,), _buckets(report.age.counts), report.age.sum_ms / 1e3)
    yield from (received, sent, dropped, waiting, restarts, alive, age)


def _of_subscribers(report: Report | None) -> Iterator[Metric]:
    if report is None:
        return
    counts = report.counts
    yield CounterMetricFamily(f"{PREFIX}gestures_published", "to subscribers", counts.get("gestures", 0))
    yield GaugeMetricFamily(f"{PREFIX}subscribers", "at the moment", report.values.get("subscribers") or 0.0)
    yield CounterMetricFamily(f"{PREFIX}connections", "to the public socket", counts.get("connections", 0))
    handshakes = CounterMetricFamily(f"{PREFIX}handshakes", "on the public socket", labels=("outcome",))
    for name, number in counts.items():
        if name.startswith(HANDSHAKES):
            handshakes.add_metric((name.removeprefix(HANDSHAKES).lstrip("_") or "succeeded",), number)
    yield handshakes


def _buckets(counts: Iterable[int]) -> list[tuple[str, float]]:
    """Counts per bucket as Prometheus wants them: each with all below it."""
    total, buckets = 0, []
    for bound, number in zip((*BOUNDS_MS, None), counts, strict=True):
        total += number
        buckets.append(("+Inf" if bound is None else f"{bound / 1e3:g}", float(total)))
    return buckets
