"""A small web page for machines: how the line does, for Prometheus, for orchestrators, and for `eventveil status`.

/metrics    for Prometheus
/healthz    200 while the supervisor works and nothing has failed, else 503 and why
/readyz     200 once every stage is ready, else 503 and which are not
/status     all of it as JSON

Whoever can reach it can read counts and delays: it is bound to loopback unless said otherwise. On loopback it answers
only those who call it by a local name, so that a web page in somebody's browser cannot ask in their place.
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
from eventveil.stream.monitoring.metrics import LineCollector
from eventveil.stream.protocol.endpoints import is_loopback

if TYPE_CHECKING:
    from eventveil.stream.pipeline.status import Status
    from eventveil.stream.publisher.publisher import Provenance

log = logging.getLogger("eventveil.metrics")
SILENT_S = 5.0  # a supervisor that has beaten, and not for so long, hangs
PATIENCE_S = 5.0  # for a caller to say what he wants

HttpAnswer = tuple[HTTPStatus, str, bytes]


class StatusServer:
    """Serves what the line was told to be like at its last beat. A context manager.

    Args:
        bind: (host, port); port 0 takes a free one.
        provenance: which weights are at work.
        members: names of the stages that have been started.
        figures: a status as plain values.
        clock: seconds, monotonic.

    Raises:
        LineError: the address is in use, or not this machine's.
    """

    def __init__(
        self,
        bind: tuple[str, int],
        provenance: Provenance,
        members: Callable[[], Iterable[str]],
        figures: Callable[[Status], Mapping[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collector = LineCollector(provenance)
        self._registry = CollectorRegistry()
        self._registry.register(self._collector)
        self._members = members
        self._figures = figures
        self._clock = clock
        self._beaten_s: float | None = None  # a line that begins waits for weights, kernels, and subscribers
        try:
            self._server = _Server(bind)
        except OSError as error:
            raise LineError(
                f"{bind[0]}:{bind[1]}: the metrics' address cannot be taken: {error.strerror}; choose another with "
                "watch.metrics"
            ) from error
        self._server.answer = self._answer
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
        """Take note of how the line does. The supervisor calls it about once a second."""
        self._beaten_s = self._clock()
        self._collector.status = status

    def _answer(self, path: str, accepts: str) -> HttpAnswer:
        if path == "/metrics":
            encode, kind = choose_encoder(accepts)
            return HTTPStatus.OK, kind, encode(self._registry)
        if path == "/healthz":
            return _verdict(self._unwell())
        if path == "/readyz":
            return _verdict(self._unwell() or self._unready())
        if path == "/status":
            status = self._collector.status
            told = {} if status is None else dict(self._figures(status))
            state = {"healthy": not self._unwell(), "ready": not (self._unwell() or self._unready())}
            return HTTPStatus.OK, "application/json", json.dumps(told | state).encode()
        return HTTPStatus.NOT_FOUND, "text/plain", b"/metrics, /healthz, /readyz or /status\n"

    def _unwell(self) -> str:
        silent_s = 0.0 if self._beaten_s is None else self._clock() - self._beaten_s
        if silent_s > SILENT_S:
            return f"the supervisor has said nothing for {silent_s:.0f} s"
        status = self._collector.status
        return "" if status is None or status.failure is None else "the line has failed; its log says why"

    def _unready(self) -> str:
        if self._collector.status is None:
            return "not ready: the line is starting"
        known = self._collector.status.stages
        missing = [name for name in self._members() if name not in known or known[name].kind not in ("ready", "beat")]
        return f"not ready: {', '.join(missing)}" if missing else ""


def _verdict(trouble: str) -> HttpAnswer:
    code = HTTPStatus.SERVICE_UNAVAILABLE if trouble else HTTPStatus.OK
    return code, "text/plain", f"{trouble or 'ok'}\n".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    answer: Callable[[str, str], HttpAnswer]

    def __init__(self, bind: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ip_address(bind[0]).version == 6 else socket.AF_INET
        super().__init__(bind, _Handler)

    def handle_error(self, *_: object) -> None:
        """A caller who leaves early is no news, and a traceback may quote values: the type will do."""
        log.warning("a caller was not answered: %s", type(sys.exception()).__name__)


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_S
    server: _Server

    def do_GET(self) -> None:
        if self._from_elsewhere():
            return self._reply(HTTPStatus.FORBIDDEN, "text/plain", b"call it by a local name\n")
        return self._reply(*self.server.answer(self.path.partition("?")[0], self.headers.get("Accept", "")))

    def _from_elsewhere(self) -> bool:
        """Whether a caller of a loopback address names another host: a browser that was lured here does."""
        if not is_loopback(ip_address(str(self.server.server_address[0]))):
            return False
        host = (
            self.headers.get("Host", "localhost").rpartition("]")[0].removeprefix("[")
            or (self.headers.get("Host", "localhost").partition(":")[0])
        )
        try:
            return host != "localhost" and not is_loopback(ip_address(host))
        except ValueError:
            return True

    def _reply(self, code: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: whoever scrapes does so for ever."""
