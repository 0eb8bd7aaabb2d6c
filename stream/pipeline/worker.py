"""Runs the stages with their sockets: one function for each kind, the same for a thread and for a process.

A stage that raises reports `failed` with its reason and stops; the supervisor ends the pipeline. A network that fails
with its device, or with an exception of another library, reports `crashed` instead: a new process may help.
The text of our own errors is reported unchanged, because none of them contains event data. For any other exception
only the type and the place are reported: a library's message may quote values, and logs are outside the boundary.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import zmq

from eventveil.errors import CrashError, EventVeilError
from eventveil.host.processes import die_with_parent, forbid_core_dumps, return_free_memory, wake_with_parent
from eventveil.stream.planning.books import read_planned
from eventveil.stream.planning.plan import PipelinePlan
from eventveil.stream.publisher.expelled import FILE as EXPELLED
from eventveil.stream.publisher.gesture_filter import GestureFilter
from eventveil.stream.publisher.listener import Listener
from eventveil.stream.publisher.loop import PublishLoop
from eventveil.stream.publisher.public_endpoint import PublicEndpoint
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.runtime.accounting import PipelineCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.logs import log_json_lines
from eventveil.stream.runtime.relay import POLL_MS
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.runtime.sockets import PrivateSockets
from eventveil.stream.runtime.stage import Source
from eventveil.stream.runtime.windows import Seal

Closable = TypeVar("Closable", bound=zmq.Socket[bytes] | PublicEndpoint)
REPORTS = "reports"
NETWORKS = ("anonymize", "classify")


@dataclass(frozen=True, slots=True)
class StageAddress:
    """What a stage needs to find the others.

    Attributes:
        name: name of the stage.
        base: of the private endpoints: a name for threads, the runtime folder for processes.
        counters: counters of the pipeline.
    """

    name: str
    base: str | Path
    counters: PipelineCounters


class StageContext:
    """A stage's plan, counters, signals and sockets; the sockets are made in the thread that uses them.

    Args:
        address: address of the stage.
        plan: plan of the pipeline.
        zmq_context: of this process.

    Attributes:
        folder: the runtime folder; None for a thread.
    """

    def __init__(self, address: StageAddress, plan: PipelinePlan, zmq_context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.zmq_context = zmq_context
        self.name = address.name
        self.folder = address.base if isinstance(address.base, Path) else None
        self.plan = plan
        self.counters = address.counters[address.name]
        self.signals = Signals.of(address.counters)
        self._sockets = PrivateSockets(address.base, zmq_context)
        self._open: list[zmq.Socket[bytes] | PublicEndpoint] = []
        self._sender: EdgeSender | None = None
        self.report = StageReporter(self.counters, self.keep(self._sockets.push(REPORTS, hwm=64)))

    def keep(self, socket: Closable) -> Closable:
        """Close this socket when the stage ends."""
        self._open.append(socket)
        return socket

    def receiver(self) -> zmq.Socket[bytes]:
        """Return the receiving end of the edge to this stage."""
        return self.keep(self._sockets.pull(self.name))

    def sender(self, to: str) -> EdgeSender:
        """Return the sending end of the edge to another stage."""
        line = self.plan.settings.line
        socket = self.keep(self._sockets.push(to))
        self._sender = EdgeSender(socket, line.queue, line.delivery, self.counters, self._aborted)
        return self._sender

    def wait_for_shutdown(self) -> None:
        """Wait after the end of the stage until the supervisor aborts all stages.

        A closed socket drops what the next stage has not received yet. Only when the last stage has ended is nothing in
        flight, and no restarted stage still needs the ends of the streams.
        """
        while not self.signals.abort.wait(POLL_MS / 1000) and not self._aborted():
            if self._sender is not None:
                self._sender.resend_end_of_stream()

    def close(self) -> None:
        """Wait until the supervisor aborts all stages, then close the sockets."""
        while not self._aborted():
            self.signals.abort.wait(POLL_MS / 1000)
        for socket in self._open:
            socket.close()

    def _aborted(self) -> bool:
        self.counters.pulse()
        return self.signals.aborted()


def serve(
    address: StageAddress,
    plan: PipelinePlan,
    run: Callable[..., None],
    *args: Any,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
    parent: int | None = None,
) -> None:
    """Run a stage to its end and report how it ended. This is the whole life of a thread or process.

    Args:
        address: address of the stage.
        plan: plan of the pipeline.
        run: one of the functions below.
        args: its further arguments.
        context: of the process, if the stage is a thread of it; a stage that is a process creates one.
        parent: the fork server, if the stage is a process.
    """
    if parent is not None:
        _end_with(parent, address.name)
        forbid_core_dumps()
        if plan.settings.watch.log == "json":
            log_json_lines()
    stage = StageContext(address, plan, context or zmq.Context())
    try:
        run(stage, *args)
        stage.report.send("aborted" if stage.signals.aborted() else "ended")
        stage.wait_for_shutdown()
    except CrashError as error:
        stage.report.send("crashed", str(error))
    except EventVeilError as error:
        stage.report.send("failed", str(error))
    except Exception as error:
        kind = "crashed" if address.name in NETWORKS else "failed"
        stage.report.send(kind, f"{type(error).__name__} at {_place(error)}")
    finally:
        stage.close()
        if parent is not None:
            stage.zmq_context.term()


def _end_with(fork_server: int, stage: str) -> None:
    """Let no stage survive the fork server, halted or not.

    The publisher has to tell subscribers that the pipeline failed. It is woken, and leaves as soon as the supervisor
    aborts the pipeline or has ended, too.
    """
    if stage == "publish":
        wake_with_parent(fork_server, lambda: None)
    else:
        die_with_parent(fork_server)


def _place(error: Exception) -> str:
    """Return where in our own code the exception of another library surfaced: file and line, no values."""
    places = [
        f"{Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").startswith("eventveil.")
    ]
    return places[-1] if places else "an unknown place"


def run_histogram(stage: StageContext, number: int) -> None:
    """Read one source, as soon as all later stages are ready."""
    plan, signals = stage.plan, stage.signals
    settings = plan.settings.sources[number]
    sender, counters, release_ms = stage.sender("anonymize"), stage.counters, plan.settings.line.release_ms
    source: Source
    if settings.where.is_camera:
        from eventveil.stream.stages.camera import CameraSource

        source = CameraSource(
            settings, plan.window, sender, counters, release_ms=release_ms, max_age_ms=plan.max_age_ms
        )
    else:
        from eventveil.stream.stages.recording import RecordingSource

        source = RecordingSource(
            settings, plan.window, sender, counters, release_ms=release_ms, judged=settings.stream in plan.judged
        )
    stage.report.figures = source.figures
    stage.report.send("ready")
    while not (signals.go.wait(POLL_MS / 1000) or signals.stop.is_set() or signals.aborted()):
        stage.report.beat()
    source.run(signals, stage.report)


def run_publish(stage: StageContext, key: bytes, listener: Listener) -> None:
    """Publish what may be published, to those who connect to the listening socket."""
    plan, counters = stage.plan, stage.counters
    expelled = None if stage.folder is None else stage.folder / EXPELLED
    endpoint = stage.keep(PublicEndpoint(listener, plan.settings.publish, stage.zmq_context, expelled))
    note = stage.report.note if plan.judged else None
    classify = plan.settings.classify
    publisher = Publisher(
        endpoint.socket,
        Seal(key),
        plan.provenance,
        counters,
        run=plan.run,
        max_age_ms=plan.max_age_ms,
        note=note,
        gestures=GestureFilter(classify.min_probability, classify.hold),
        book=None if plan.book is None else read_planned(plan.book),
        events=plan.settings.publish.events,
    )
    return_free_memory()  # of reading the book
    loop = PublishLoop(publisher, endpoint, stage.receiver(), counters)
    stage.report.figures = loop.figures
    # After a restart subscribers reconnect by themselves, and the other stages need not wait for them.
    loop.wait_for_subscribers(plan.settings.publish.wait_for if counters.life == 1 else 0, stage.signals)
    stage.report.send("ready")
    loop.run(stage.signals, stage.report)
