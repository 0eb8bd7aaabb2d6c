"""An HTTP server that reports the state of a pipeline: to Prometheus, to orchestrators, and to `eventveil status`.

/metrics    metrics for Prometheus
/healthz    200 while the supervisor works and nothing has failed, else 503 and the cause
/readyz     200 once every stage is ready, else 503 and the stages that are not
/status     the status as JSON

Health is that of the moment. The figures are taken every `FIGURES_S`: anyone who reads counts of windows faster learns
from their timing when nothing moves. Where other machines can connect, a token is required. Without one, only requests
for a local host name are answered, so that a web page in a browser on this machine cannot read the figures.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import TYPE_CHECKING, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from eventveil.errors import LineError
from eventveil.stream.monitoring.figures import public_figures
from eventveil.stream.monitoring.metrics import PipelineCollector
from eventveil.stream.monitoring.server import REQUEST_S, BoundedServer, ShortRequest
from eventveil.stream.monitoring.token import bears_token
from eventveil.stream.protocol.endpoints import names_this_machine

if TYPE_CHECKING:
    from eventveil.stream.pipeline.status import Status
    from eventveil.stream.publisher.contents import Provenance

SILENT_S = 5.0  # without a heartbeat for this long, the supervisor counts as hanging
FIGURES_S = 10.0  # the figures are taken this often

Response = tuple[HTTPStatus, str, bytes]  # code, content type, body


class StatusServer:
    """Serves the status of the pipeline as of its last heartbeat. A context manager.

    Args:
        bind: (host, port); port 0 takes a free one.
        provenance: the weights in use.
        members: returns the names of the stages that have been started.
        token: what a client must send as `Authorization: Bearer TOKEN`; None: nothing.
        gestures: whether to count gestures by label, see `readers_may_subscribe`.
        clock: monotonic time in seconds.

    Attributes:
        address: (host, port) that the server is bound to.

    Raises:
        LineError: the address is in use or does not belong to this machine.
    """

    def __init__(
        self,
        bind: tuple[str, int],
        provenance: Provenance,
        members: Callable[[], Iterable[str]],
        token: str | None = None,
        *,
        gestures: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collector = PipelineCollector(provenance)
        self._registry = CollectorRegistry()
        self._registry.register(self._collector)
        self._members = members
        self._gestures = gestures
        self._clock = clock
        self._status: Status | None = None
        self._taken_s: float | None = None  # when the figures were taken
        self._last_beat_s: float | None = None  # a starting pipeline waits for weights, kernels, and subscribers
        try:
            self._server = _Server(bind, _Handler, clock)
        except OSError as error:
            raise LineError(
                f"{bind[0]}:{bind[1]}: cannot serve metrics at this address: {error.strerror}; choose another with "
                "watch.metrics"
            ) from error
        self._server.respond = self._respond
        self._server.token = token
        self.address = (str(self._server.server_address[0]), int(self._server.server_address[1]))
        self._thread = threading.Thread(target=self._server.serve_forever, name="eventveil metrics", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def beat(self, status: Status) -> None:
        """Take the current status. The supervisor calls this about once a second."""
        self._last_beat_s = self._clock()
        self._status = status
        if self._taken_s is None or self._last_beat_s - self._taken_s >= FIGURES_S:
            self._taken_s = self._last_beat_s
            self._collector.figures = public_figures(status, gestures=self._gestures)

    def _respond(self, path: str) -> Response:
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry)
        if path == "/healthz":
            return _probe_response(self._health_problem())
        if path == "/readyz":
            return _probe_response(self._readiness_problem())
        if path == "/status":
            state = {"healthy": not self._health_problem(), "ready": not self._readiness_problem()}
            return HTTPStatus.OK, "application/json", json.dumps({**(self._collector.figures or {}), **state}).encode()
        return HTTPStatus.NOT_FOUND, "text/plain", b"/metrics, /healthz, /readyz or /status\n"

    def _health_problem(self) -> str:
        silent_s = 0.0 if self._last_beat_s is None else self._clock() - self._last_beat_s
        if silent_s > SILENT_S:
            return f"the supervisor has not reported for {silent_s:.0f} s"
        status = self._status
        return "" if status is None or status.failure is None else "the pipeline has failed; see its log"

    def _readiness_problem(self) -> str:
        if problem := self._health_problem():
            return problem
        if self._status is None:
            return "not ready: the pipeline is starting"
        stages = self._status.stages
        missing = [name for name in self._members() if name not in stages or stages[name].kind not in ("ready", "beat")]
        return f"not ready: {', '.join(missing)}" if missing else ""


def _probe_response(problem: str) -> Response:
    code = HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK
    return code, "text/plain", f"{problem or 'ok'}\n".encode()


class _Server(BoundedServer):
    respond: Callable[[str], Response]
    token: str | None


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S
    server: _Server
    server_version, sys_version = "eventveil", ""

    def setup(self) -> None:
        super().setup()
        self.rfile = ShortRequest(self.rfile)

    def do_GET(self) -> None:
        if self.server.token is not None:
            if not bears_token(self.headers.get("Authorization", ""), self.server.token):
                return self._reply(HTTPStatus.UNAUTHORIZED, "text/plain", b"Authorization: Bearer TOKEN is missing\n")
        elif not names_this_machine(self.headers.get("Host", "localhost")):
            return self._reply(HTTPStatus.FORBIDDEN, "text/plain", b"use a local host name, such as localhost\n")
        return self._reply(*self.server.respond(self.path.partition("?")[0]))

    def _reply(self, code: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(code)
        if code == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: a scraper sends requests forever."""
