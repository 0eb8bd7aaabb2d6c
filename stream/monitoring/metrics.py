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

from eventveil.stream.runtime.accounting import SOURCE, PipelineCounters
from eventveil.stream.runtime.balance import balance
from eventveil.stream.runtime.latency import BOUNDS_MS
from eventveil.version import __version__

if TYPE_CHECKING:
    from eventveil.stream.pipeline.status import Status
    from eventveil.stream.publisher.publisher import Provenance
    from eventveil.stream.runtime.reporting import StageReport

UNUSED = ("late", "outside", "saturated")  # events that are in no window, by reason
PREFIX, CAMERA = "eventveil_", "camera_"
HANDSHAKES = "handshakes"  # how the publisher's counts of them begin (stream/publisher/public_endpoint.py)


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
            yield from _of_books(self.status.counters)
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
    camera = CounterMetricFamily(f"{PREFIX}camera", "its events, by what became", labels=("stream", "what"))
    away = GaugeMetricFamily(f"{PREFIX}camera_away", "1 while a live camera is not there", labels=("stream",))
    for stage, report in status.stages.items():
        if not stage.startswith(SOURCE):
            continue
        stream = stage.removeprefix(SOURCE)
        events.add_metric((stream,), report.counts.get("received", 0))
        for reason in UNUSED:
            unused.add_metric((stream, reason), report.counts.get(reason, 0))
        told = {name.removeprefix(CAMERA): n for name, n in report.counts.items() if name.startswith(CAMERA)}
        if told:
            away.add_metric((stream,), told.pop("away"))
        for what, number in told.items():
            camera.add_metric((stream, what), number)
    yield from (events, unused, camera, away)


def _of_books(books: PipelineCounters) -> Iterator[Metric]:
    """What became of every window: read from the books at this moment, not from a report."""
    told = balance(books)
    received = CounterMetricFamily(f"{PREFIX}windows_received", "that a stage took in, or made", labels=("stage",))
    sent = CounterMetricFamily(f"{PREFIX}windows_sent", "that a stage passed on, or published", labels=("stage",))
    dropped = CounterMetricFamily(
        f"{PREFIX}windows_dropped", "lost in a stage, or on an edge between two", labels=("place", "reason")
    )
    in_flight = GaugeMetricFamily(f"{PREFIX}windows_in_flight", "in a stage, or on an edge", labels=("place",))
    for stage, figures in told["stages"].items():
        received.add_metric((stage,), figures["received"])
        sent.add_metric((stage,), figures["sent"])
    for place, figures in (told["stages"] | told["edges"]).items():
        in_flight.add_metric((place,), figures["in_flight"])
        for reason, number in figures["dropped"].items():
            dropped.add_metric((place, reason), number)
    balanced = GaugeMetricFamily(f"{PREFIX}books_balanced", "1: nothing left more often than it came")
    balanced.add_metric((), float(told["balanced"]))
    yield from (received, sent, dropped, in_flight, balanced)


def _of_stages(stages: Mapping[str, StageReport]) -> Iterator[Metric]:
    restarts = CounterMetricFamily(f"{PREFIX}stage_restarts", "of a stage by the supervisor", labels=("stage",))
    alive = GaugeMetricFamily(f"{PREFIX}stage_up", "1 while a stage works", labels=("stage",))
    age = HistogramMetricFamily(
        f"{PREFIX}window_age_seconds", "of windows leaving a stage, counted from when their last event could come",
        labels=("stage",),
    )  # fmt: skip
    for stage, report in stages.items():
        restarts.add_metric((stage,), report.life - 1)
        alive.add_metric((stage,), float(report.kind in ("ready", "beat")))
        if report.age is not None:
            age.add_metric((stage,), _buckets(report.age.counts), report.age.sum_ms / 1e3)
    yield from (restarts, alive, age)


def _of_subscribers(report: StageReport | None) -> Iterator[Metric]:
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
