"""Metrics for Prometheus: the stages' latest reports, as metric families.

They contain only counts, delays, digests and the stream names that the user chose: nothing of events, windows, or
ground truth. Names and units follow https://prometheus.io/docs/instrumenting/writing_exporters/.
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

UNUSED = ("late", "outside", "saturated")  # reasons why no window counts an event
PREFIX, CAMERA = "eventveil_", "camera_"
HANDSHAKES = "handshakes"  # prefix of the publisher's handshake counts (stream/publisher/public_endpoint.py)


class PipelineCollector(Collector):
    """Collects the metrics of a pipeline as of its last heartbeat.

    Args:
        provenance: the weights in use.

    Attributes:
        status: the last status; None before the first heartbeat.
    """

    def __init__(self, provenance: Provenance) -> None:
        self._provenance = provenance
        self.status: Status | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield all families; before the first heartbeat, only those of version and weights."""
        yield from self._weights()
        if self.status is not None:
            yield from _sources(self.status)
            yield from _windows(self.status.counters)
            yield from _stages(self.status.stages)
            yield from _subscribers(self.status.stages.get("publish"))
            yield GaugeMetricFamily(
                f"{PREFIX}running_seconds", "Seconds since the sources started.", self.status.seconds
            )

    def _weights(self) -> Iterator[Metric]:
        yield InfoMetricFamily(f"{PREFIX}version", "Version of eventveil.", {"version": __version__})
        provenance = self._provenance
        info = InfoMetricFamily(
            f"{PREFIX}weights", "Networks in use, by the SHA-256 of their tensors, with the audit certificate.",
            labels=("role",),
        )  # fmt: skip
        anonymizer = {
            "digest": provenance.anonymizer,
            "trained": str(provenance.trained).lower(),
            "certificate": provenance.certificate or "",
        }
        info.add_metric(("anonymizer",), anonymizer)
        if provenance.classifier is not None:
            trained = str(provenance.classifier_trained).lower()
            info.add_metric(("target",), {"digest": provenance.classifier, "trained": trained})
        yield info


def _sources(status: Status) -> Iterator[Metric]:
    events = CounterMetricFamily(f"{PREFIX}events", "Events read from a source.", labels=("stream",))
    unused = CounterMetricFamily(
        f"{PREFIX}events_unused", "Events that no window counts, by reason.", labels=("stream", "reason")
    )
    camera = CounterMetricFamily(f"{PREFIX}camera", "Counters of a live camera.", labels=("stream", "what"))
    away = GaugeMetricFamily(f"{PREFIX}camera_away", "1 while a live camera is disconnected.", labels=("stream",))
    for stage, report in status.stages.items():
        if not stage.startswith(SOURCE):
            continue
        stream = stage.removeprefix(SOURCE)
        events.add_metric((stream,), report.counts.get("received", 0))
        for reason in UNUSED:
            unused.add_metric((stream, reason), report.counts.get(reason, 0))
        counters = {name.removeprefix(CAMERA): n for name, n in report.counts.items() if name.startswith(CAMERA)}
        if counters:
            away.add_metric((stream,), counters.pop("away"))
        for what, number in counters.items():
            camera.add_metric((stream, what), number)
    yield from (events, unused, camera, away)


def _windows(counters: PipelineCounters) -> Iterator[Metric]:
    """Yield where every window is, read from the shared counters at this moment, not from a report."""
    windows = balance(counters)
    received = CounterMetricFamily(
        f"{PREFIX}windows_received", "Windows that a stage received, or made.", labels=("stage",)
    )
    sent = CounterMetricFamily(
        f"{PREFIX}windows_sent", "Windows that a stage passed on, or published.", labels=("stage",)
    )
    dropped = CounterMetricFamily(
        f"{PREFIX}windows_dropped", "Windows lost in a stage, or on an edge between two.", labels=("place", "reason")
    )
    in_flight = GaugeMetricFamily(
        f"{PREFIX}windows_in_flight", "Windows in a stage, or on an edge between two.", labels=("place",)
    )
    for stage, figures in windows["stages"].items():
        received.add_metric((stage,), figures["received"])
        sent.add_metric((stage,), figures["sent"])
    for place, figures in (windows["stages"] | windows["edges"]).items():
        in_flight.add_metric((place,), figures["in_flight"])
        for reason, number in figures["dropped"].items():
            dropped.add_metric((place, reason), number)
    balanced = GaugeMetricFamily(
        f"{PREFIX}books_balanced", "1 while no stage or edge has sent more windows than it received."
    )
    balanced.add_metric((), float(windows["balanced"]))
    yield from (received, sent, dropped, in_flight, balanced)


def _stages(stages: Mapping[str, StageReport]) -> Iterator[Metric]:
    restarts = CounterMetricFamily(
        f"{PREFIX}stage_restarts", "Restarts of a stage by the supervisor.", labels=("stage",)
    )
    alive = GaugeMetricFamily(f"{PREFIX}stage_up", "1 while a stage is running.", labels=("stage",))
    age = HistogramMetricFamily(
        f"{PREFIX}window_age_seconds", "Age of windows leaving a stage, since their last event could arrive.",
        labels=("stage",),
    )  # fmt: skip
    for stage, report in stages.items():
        restarts.add_metric((stage,), report.life - 1)
        alive.add_metric((stage,), float(report.kind in ("ready", "beat")))
        if report.age is not None:
            age.add_metric((stage,), _buckets(report.age.counts), report.age.sum_ms / 1e3)
    yield from (restarts, alive, age)


def _subscribers(report: StageReport | None) -> Iterator[Metric]:
    if report is None:
        return
    counts = report.counts
    yield CounterMetricFamily(f"{PREFIX}gestures_published", "Gestures published.", counts.get("gestures", 0))
    yield GaugeMetricFamily(
        f"{PREFIX}subscribers", "Subscribers connected now.", report.values.get("subscribers") or 0.0
    )
    yield CounterMetricFamily(f"{PREFIX}connections", "Connections to the public socket.", counts.get("connections", 0))
    handshakes = CounterMetricFamily(
        f"{PREFIX}handshakes", "Handshakes on the public socket, by outcome.", labels=("outcome",)
    )
    for name, number in counts.items():
        if name.startswith(HANDSHAKES):
            handshakes.add_metric((name.removeprefix(HANDSHAKES).lstrip("_") or "succeeded",), number)
    yield handshakes


def _buckets(counts: Iterable[int]) -> list[tuple[str, float]]:
    """Return cumulative counts per bucket, as Prometheus expects them."""
    total, buckets = 0, []
    for bound, number in zip((*BOUNDS_MS, None), counts, strict=True):
        total += number
        buckets.append(("+Inf" if bound is None else f"{bound / 1e3:g}", float(total)))
    return buckets
