"""An HTTP server that reports the state of a pipeline: to Prometheus, to orchestrators, and to `eventveil status`.

/metrics    metrics for Prometheus
/healthz    200 while the supervisor works and nothing has failed, else 503 and the cause
/readyz     200 once every stage is ready, else 503 and the stages that are not
/status     the full status as JSON

Every client that can connect can read counts and delays, so the server binds to loopback by default. On loopback it
answers only requests for a local host name, so that a web page in a browser on this machine cannot read it.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from eventveil.errors import LineError
from eventveil.stream.monitoring.metrics import PipelineCollector
from eventveil.stream.protocol.endpoints import is_loopback

if TYPE_CHECKING:
    from eventveil.stream.pipeline.status import Status
    from eventveil.stream.publisher.publisher import Provenance

log = logging.getLogger("eventveil.metrics")
SILENT_S = 5.0  # without a heartbeat for this long, the supervisor counts as hanging
PATIENCE_S = 5.0  # how long a client may take to send its request

Response = tuple[HTTPStatus, str, bytes]  # code, content type, body


class StatusServer:
    """Serves the status of the pipeline as of its last heartbeat. A context manager.

    Args:
        bind: (host, port); port 0 takes a free one.
        provenance: the weights in use.
        members: returns the names of the stages that have been started.
        figures: returns a status as plain values.
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
        figures: Callable[[Status], Mapping[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collector = PipelineCollector(provenance)
        self._registry = CollectorRegistry()
        self._registry.register(self._collector)
        self._members = members
        self._figures = figures
        self._clock = clock
        self._last_beat_s: float | None = None  # a starting pipeline waits for weights, kernels, and subscribers
        try:
            self._server = _Server(bind)
        except OSError as error:
            raise LineError(
                f"{bind[0]}:{bind[1]}: cannot serve metrics at this address: {error.strerror}; choose another with "
                "watch.metrics"
            ) from error
        self._server.respond = self._respond
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
        """Store the current status. The supervisor calls this about once a second."""
        self._last_beat_s = self._clock()
        self._collector.status = status

    def _respond(self, path: str, accepts: str) -> Response:
        if path == "/metrics":
            encode, content_type = choose_encoder(accepts)
            return HTTPStatus.OK, content_type, encode(self._registry)
        if path == "/healthz":
            return _probe_response(self._health_problem())
        if path == "/readyz":
            return _probe_response(self._readiness_problem())
        if path == "/status":
            status = self._collector.status
            figures = {} if status is None else dict(self._figures(status))
            state = {"healthy": not self._health_problem(), "ready": not self._readiness_problem()}
            return HTTPStatus.OK, "application/json", json.dumps(figures | state).encode()
        return HTTPStatus.NOT_FOUND, "text/plain", b"/metrics, /healthz, /readyz or /status\n"

    def _health_problem(self) -> str:
        silent_s = 0.0 if self._last_beat_s is None else self._clock() - self._last_beat_s
        if silent_s > SILENT_S:
            return f"the supervisor has not reported for {silent_s:.0f} s"
        status = self._collector.status
        return "" if status is None or status.failure is None else "the line has failed; see its log"

    def _readiness_problem(self) -> str:
        if problem := self._health_problem():
            return problem
        if self._collector.status is None:
            return "not ready: the line is starting"
        stages = self._collector.status.stages
        missing = [name for name in self._members() if name not in stages or stages[name].kind not in ("ready", "beat")]
        return f"not ready: {', '.join(missing)}" if missing else ""


def _probe_response(problem: str) -> Response:
    code = HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK
    return code, "text/plain", f"{problem or 'ok'}\n".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    respond: Callable[[str, str], Response]

    def __init__(self, bind: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ip_address(bind[0]).version == 6 else socket.AF_INET
        super().__init__(bind, _Handler)

    def handle_error(self, *_: object) -> None:
        """Log the type of the error alone: clients often disconnect early, and a traceback may quote values."""
        log.warning("a request was not answered: %s", type(sys.exception()).__name__)


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_S
    server: _Server

    def do_GET(self) -> None:
        if self._names_another_host():
            return self._reply(HTTPStatus.FORBIDDEN, "text/plain", b"use a local host name, such as localhost\n")
        return self._reply(*self.server.respond(self.path.partition("?")[0], self.headers.get("Accept", "")))

    def _names_another_host(self) -> bool:
        """Return whether a request to a loopback address names another host, as DNS rebinding does."""
        if not is_loopback(ip_address(str(self.server.server_address[0]))):
            return False
        header = self.headers.get("Host", "localhost")
        host = header.rpartition("]")[0].removeprefix("[") or header.partition(":")[0]
        try:
            return host != "localhost" and not is_loopback(ip_address(host))
        except ValueError:
            return True

    def _reply(self, code: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: a scraper sends requests forever."""
