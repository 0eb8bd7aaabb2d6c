"""The pipeline's source stage with a stand-in for the histogrammer, to measure what comes before it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from eventveil import EventPacket
from eventveil.stream.histogram import HistogramStats
from eventveil.stream.runtime.accounting import PipelineCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.settings.pipeline import SourceSettings
from eventveil.stream.stages.recording import RecordingSource


class Sink:
    """Replaces the plan and the histogrammer; records only when packets arrive and when they are due."""

    stats = HistogramStats()
    size, field, hop_us, density = (128, 128), None, None, None

    def __init__(self) -> None:
        self.arrived_s: list[float] = []
        self.due_us: list[int] = []

    def histogrammer(self, sensor: object, start_us: int | None) -> Sink:  # noqa: ARG002, D102 - the signature of the class that it replaces
        return self

    def push(self, packet: EventPacket) -> tuple[()]:  # noqa: D102
        self.arrived_s.append(time.monotonic())
        self.due_us.append(int(packet.t[-1]) if packet.until_us is None else packet.until_us)
        return ()

    def finish(self) -> tuple[()]:  # noqa: D102
        return ()


@contextmanager
def stage(sink: Sink, **source: object) -> Iterator[tuple[RecordingSource, Signals, StageReporter]]:
    """Yield the source stage, connected to a socket that nothing reads, with its signals and its reporter."""
    pipeline = PipelineCounters(("histogram:0",), ("0",))
    signals, counters = Signals.of(pipeline), pipeline["histogram:0"]
    with zmq.Context() as context, context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        pull.bind("inproc://end")
        push.connect("inproc://end")
        sender = EdgeSender(push, 4, "lossless", counters, signals.aborted)
        yield (
            RecordingSource(SourceSettings.model_validate(source), sink, sender, counters, release_ms=250),
            signals,
            StageReporter(counters, push),
        )


def play(sink: Sink, **source: object) -> float:
    """Play a source into a sink; return the processor time taken, in seconds."""
    with stage(sink, **source) as (player, signals, report):
        began = time.thread_time()
        player.run(signals, report)
        return time.thread_time() - began
