"""Metrics for Prometheus: the public figures of a pipeline, as metric families.

Names and units follow https://prometheus.io/docs/instrumenting/writing_exporters/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from eventveil.stream.monitoring.figures import HANDSHAKES, PUBLISH
from eventveil.stream.runtime.latency import BOUNDS_MS
from eventveil.version import __version__

if TYPE_CHECKING:
    from eventveil.stream.publisher.contents import Provenance

PREFIX = "eventveil_"
Figures = Mapping[str, Any]


class PipelineCollector(Collector):
    """Collects the metrics of a pipeline.

    Args:
        provenance: the weights in use.

    Attributes:
        figures: the latest of `eventveil.stream.monitoring.figures`; None before the first.
    """

    def __init__(self, provenance: Provenance) -> None:
        self._provenance = provenance
        self.figures: Figures | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield all families; before the first figures, only those of version and weights."""
        yield from self._weights()
        figures = self.figures
        if figures is not None:
            yield from _cameras(figures["cameras"])
            yield from _windows(figures["books"])
            yield from _stages(figures["stages"])
            yield from _publisher(figures)
            if "gestures" in figures:
                yield self._gestures(figures["gestures"])
            yield GaugeMetricFamily(
                f"{PREFIX}running_seconds", "Seconds since the sources started.", figures["seconds"]
            )

    def _weights(self) -> Iterator[Metric]:
        yield InfoMetricFamily(f"{PREFIX}version", "Version of eventveil.", {"version": __version__})
        provenance = self._provenance
        info = InfoMetricFamily(
            f"{PREFIX}weights", "Networks in use, by the digest of their weights, with the audit certificate.",
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
        if provenance.book is not None:
            yield InfoMetricFamily(f"{PREFIX}book", "Book of the stand-in, by SHA-256.", {"digest": provenance.book})
            yield GaugeMetricFamily(
                f"{PREFIX}word_bits_per_second", "Most bits that the words of any second carry.",
                provenance.bits_per_second,
            )  # fmt: skip

    def _gestures(self, gestures: Figures) -> Metric:
        family = CounterMetricFamily(
            f"{PREFIX}gestures_recognised", "Gestures published, by label; those without a label are not counted.",
            labels=("stream", "label"),
        )  # fmt: skip
        for stream, counts in gestures.items():
            for label in self._provenance.labels:
                family.add_metric((stream, label), counts.get(label, 0))
        return family


def _cameras(cameras: Figures) -> Iterator[Metric]:
    away = GaugeMetricFamily(f"{PREFIX}camera_away", "1 while a live camera is disconnected.", labels=("stream",))
    losses = CounterMetricFamily(
        f"{PREFIX}camera_losses", "How often a live camera was disconnected.", labels=("stream",)
    )
    for stream, camera in cameras.items():
        away.add_metric((stream,), camera["away"])
        losses.add_metric((stream,), camera["losses"])
    yield from (away, losses)


def _windows(books: Figures) -> Iterator[Metric]:
    """Yield where every window is."""
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
    for stage, figures in books["stages"].items():
        received.add_metric((stage,), figures["received"])
        sent.add_metric((stage,), figures["sent"])
    for place, figures in (books["stages"] | books["edges"]).items():
        in_flight.add_metric((place,), figures["in_flight"])
        for reason, number in figures["dropped"].items():
            dropped.add_metric((place, reason), number)
    balanced = GaugeMetricFamily(
        f"{PREFIX}books_balanced", "1 while no stage or edge has sent more windows than it received."
    )
    balanced.add_metric((), float(books["balanced"]))
    yield from (received, sent, dropped, in_flight, balanced)


def _stages(stages: Figures) -> Iterator[Metric]:
    restarts = CounterMetricFamily(
        f"{PREFIX}stage_restarts", "Restarts of a stage by the supervisor.", labels=("stage",)
    )
    alive = GaugeMetricFamily(f"{PREFIX}stage_up", "1 while a stage is running.", labels=("stage",))
    for name, stage in stages.items():
        restarts.add_metric((name,), stage["restarts"])
        alive.add_metric((name,), float(stage["state"] in ("ready", "running")))
    yield from (restarts, alive)


def _publisher(figures: Figures) -> Iterator[Metric]:
    yield CounterMetricFamily(f"{PREFIX}gestures_published", "Gestures published.", figures["published_gestures"])
    if figures["age"] is not None:
        age = HistogramMetricFamily(
            f"{PREFIX}window_age_seconds", "Age of windows when they are published, counted from their end.",
            labels=("stage",),
        )  # fmt: skip
        age.add_metric((PUBLISH,), _buckets(figures["age"]["counts"]), figures["age"]["sum_ms"] / 1e3)
        yield age
    subscribers = figures["subscribers"]
    if subscribers is None:
        return
    yield GaugeMetricFamily(f"{PREFIX}subscribers", "Subscribers connected now.", subscribers["connected"])
    yield CounterMetricFamily(f"{PREFIX}connections", "Connections to the public socket.", subscribers["connections"])
    handshakes = CounterMetricFamily(
        f"{PREFIX}handshakes", "Handshakes on the public socket, by outcome.", labels=("outcome",)
    )
    for outcome, number in subscribers[HANDSHAKES].items():
        handshakes.add_metric((outcome,), number)
    yield handshakes


def _buckets(counts: Iterable[int]) -> list[tuple[str, float]]:
    """Return cumulative counts per bucket, as Prometheus expects them."""
    total, buckets = 0, []
    for bound, number in zip((*BOUNDS_MS, None), counts, strict=True):
        total += number
        buckets.append(("+Inf" if bound is None else f"{bound / 1e3:g}", float(total)))
    return buckets
