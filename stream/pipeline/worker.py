"""The stages with their sockets: one function each, the same for a thread and for a process.

A stage that raises reports `failed` with its reason and works no more; the supervisor ends the line. A network that
fails with its device, or with an exception of somebody else's, reports `crashed` instead: in a process of its own a
fresh one may take its place. The reason of our own errors is told as it stands, for no message of theirs holds event
data. Of any other exception only its type and where it happened are told: a library's message may quote the values it
stumbled over, and logs are outside the boundary.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import zmq

from eventveil.errors import CrashError, EventVeilError, WeightsError
from eventveil.stream.logs import log_json_lines
from eventveil.stream.plan import PipelinePlan
from eventveil.stream.publisher.public_endpoint import PublicEndpoint
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.publisher.subscriptions import SubscriptionTracker
from eventveil.stream.runtime.accounting import PipelineCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.relay import POLL_MS, Relay, Transform, receive
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.runtime.sockets import PrivateSockets
from eventveil.stream.runtime.windows import Seal
from eventveil.stream.settings import ModelSettings
from eventveil.stream.stages.camera import CameraSource
from eventveil.stream.stages.recording import RecordingSource
from eventveil.stream.stages.transform import AnonymizeTransform, ClassifyTransform

if TYPE_CHECKING:
    from eventveil.models.weights import Weights

Kept = TypeVar("Kept", bound=zmq.Socket[bytes] | PublicEndpoint)
REPORTS = "reports"
NETWORKS = ("anonymize", "classify")
STOPPED_FLUSH_MS = 300  # how long subscribers may still take what is published when the line is stopped or fails
ENDED_FLUSH_MS = 10_000  # and when it has come to its end


@dataclass(frozen=True, slots=True)
class StageAddress:
    """Where a stage stands: what it needs to find the others.

    Attributes:
        name: of the stage.
        base: of the private endpoints: a name for threads, the runtime folder for processes.
        books: of the line.
    """

    name: str
    base: str | Path
    books: PipelineCounters


class StageContext:
    """A stage's sockets, made in the thread that uses them and closed at its end."""

    def __init__(self, post: StageAddress, plan: PipelinePlan, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.context = context
        self.name = post.name
        self.plan = plan
        self.page = post.books[post.name]
        self.signals = Signals.of(post.books)
        self._sockets = PrivateSockets(post.base, context)
        self._open: list[zmq.Socket[bytes] | PublicEndpoint] = []
        self._outbox: EdgeSender | None = None
        self.report = StageReporter(self.page, self.keep(self._sockets.push(REPORTS, hwm=64)))

    def keep(self, socket: Kept) -> Kept:
        """Close this socket when the stage ends."""
        self._open.append(socket)
        return socket

    def inbox(self) -> zmq.Socket[bytes]:
        """The receiving end of the edge to this stage."""
        return self.keep(self._sockets.pull(self.name))

    def outbox(self, to: str) -> EdgeSender:
        """The sending end of the edge to another stage."""
        line = self.plan.settings.line
        socket = self.keep(self._sockets.push(to))
        self._outbox = EdgeSender(socket, line.queue, line.delivery, self.page, self._aborted)
        return self._outbox

    def wait_for_shutdown(self) -> None:
        """Stay when all is done, until the supervisor lets everybody go.

        A socket that is closed drops what the next stage has not taken yet; only when the last stage has ended is it
        sure that nothing is under way, and that nobody who is started anew asks what has ended.
        """
        while not self.signals.abort.wait(POLL_MS / 1000) and not self._aborted():
            if self._outbox is not None:
                self._outbox.resend_end_of_stream()

    def close(self) -> None:
        """Wait until the supervisor lets everybody go, and close the sockets."""
        while not self._aborted():
            self.signals.abort.wait(POLL_MS / 1000)
        for socket in self._open:
            socket.close()

    def _aborted(self) -> bool:
        self.page.pulse()
        return self.signals.aborted()


def serve(
    post: StageAddress,
    plan: PipelinePlan,
    run: Callable[..., None],
    *args: Any,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
) -> None:
    """Run a stage to its end and tell the supervisor how it ended. The whole life of a thread or process.

    Args:
        post: where it stands.
        plan: what the line does.
        run: one of the functions below.
        args: what it takes besides.
        context: the process's, where the stage is a thread of it; a process of its own makes one.
    """
    own = context is None
    if own and plan.settings.watch.log == "json":
        log_json_lines()
    bench = StageContext(post, plan, context or zmq.Context())
    try:
        run(bench, *args)
        bench.report.say("ended")
        bench.wait_for_shutdown()
    except CrashError as error:
        bench.report.say("crashed", str(error))
    except EventVeilError as error:
        bench.report.say("failed", str(error))
    except Exception as error:
        kind = "crashed" if post.name in NETWORKS else "failed"
        bench.report.say(kind, f"{type(error).__name__} at {_place(error)}")
    finally:
        bench.close()
        if own:
            bench.context.term()


def _place(error: Exception) -> str:
    """Where in our own code an exception of somebody else's came up: file and line, no values."""
    ours = [
        f"{Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").startswith("eventveil.")
    ]
    return ours[-1] if ours else "an unknown place"


def run_histogram(bench: StageContext, number: int) -> None:
    """Read one source, when everybody behind it is ready."""
    source = bench.plan.settings.sources[number]
    plan, outbox, page = bench.plan, bench.outbox("anonymize"), bench.page
    if source.where.is_camera:
        stage: RecordingSource = CameraSource(source, plan.window, outbox, page, max_age_ms=plan.max_age_ms)
    else:
        stage = RecordingSource(source, plan.window, outbox, page, judged=source.stream in plan.judged)
    bench.report.figures = stage.figures
    bench.report.say("ready")
    signals = bench.signals
    while not (signals.go.wait(POLL_MS / 1000) or signals.stop.is_set() or signals.aborted()):
        bench.report.beat()
    stage.run(signals, bench.report)


def run_anonymize(bench: StageContext, key: bytes) -> None:
    """Anonymize windows."""
    # torch is imported where networks run: the other processes of a line stay small.
    from eventveil.models.runtime import AnonymizerRuntime

    settings, provenance = bench.plan.settings.anonymize, bench.plan.provenance
    weights = _load(settings, provenance.anonymizer)
    runtime = AnonymizerRuntime(weights, device=settings.device, precision=settings.precision)
    runtime.warm_up()
    to: Literal["classify", "publish"] = "publish" if provenance.classifier is None else "classify"
    _relay(bench, AnonymizeTransform(runtime, Seal(key)), to, max_age_ms=bench.plan.max_age_ms)


def run_classify(bench: StageContext) -> None:
    """Recognise gestures."""
    from eventveil.models.runtime import ClassifierRuntime

    settings = bench.plan.settings.classify
    weights = _load(settings, bench.plan.provenance.classifier)
    runtime = ClassifierRuntime(weights, device=settings.device, precision=settings.precision)
    runtime.warm_up()
    _relay(bench, ClassifyTransform(runtime), "publish", max_age_ms=None)


def _load(settings: ModelSettings, digest: str | None) -> Weights:
    from eventveil.models.weights import load_weights

    if settings.weights is None:
        raise WeightsError("the stage has no weights")
    weights = load_weights(settings.weights)
    if weights.digest != digest:
        raise WeightsError(f"{settings.weights}: the file has changed since the line was checked; start again")
    return weights


def _relay(
    bench: StageContext, stage: Transform, to: Literal["classify", "publish"], *, max_age_ms: int | None
) -> None:
    settings = bench.plan.settings
    relay = Relay(
        stage,
        bench.inbox(),
        bench.outbox(to),
        bench.page,
        batch=settings.anonymize.batch,
        max_age_ms=max_age_ms,
    )
    bench.report.figures = relay.figures
    bench.report.say("ready")
    relay.run(bench.signals, bench.report)


def run_publish(bench: StageContext, key: bytes) -> None:
    """Publish what may be published, until every stream has ended or the line is aborted."""
    settings, signals = bench.plan.settings, bench.signals
    door = bench.keep(PublicEndpoint(settings.publish, bench.context))
    public = door.socket
    inbox = bench.inbox()
    audience = SubscriptionTracker(public)
    plan = bench.plan
    note = bench.report.note if plan.judged else None
    publisher = Publisher(
        public, Seal(key), plan.provenance, bench.page, run=plan.run, max_age_ms=plan.max_age_ms, note=note
    )

    def figures() -> dict[str, Any]:
        told = publisher.figures()
        values = publisher.values() | audience.values()
        return told | {"counts": told["counts"] | door.counts(), "values": values}

    bench.report.figures = figures
    # Who is started anew has its subscribers come back by themselves, and nobody else has to wait for them.
    wanted = settings.publish.wait_for if bench.page.life == 1 else 0
    while audience.count() < wanted and not (signals.stop.is_set() or signals.aborted()):
        public.poll(POLL_MS)
        bench.page.pulse()
        door.service(audience.abusive_client())
    bench.report.say("ready")
    try:
        while bench.page.running() and not signals.aborted():
            publisher.certify()
            if inbox.poll(POLL_MS):
                for parcel in receive(inbox, most=16):
                    publisher.take(parcel)
            audience.count()
            door.service(audience.abusive_client())
            bench.report.beat()
    finally:  # subscribers are told, whatever was refused here
        running = bench.page.running()
        publisher.announce("failed" if running else "ended")
        # Whoever stopped the line is waiting; otherwise even a slow subscriber shall have the end of the recording.
        public.linger = STOPPED_FLUSH_MS if running or signals.stop.is_set() else ENDED_FLUSH_MS
