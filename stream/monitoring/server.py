"""An HTTP server for clients of whom some are hostile: few connections, short requests, and a deadline for each.

A client may send slowly, read slowly, or open connections and say nothing. Each connection is served by one thread and
ends with its first request. A newcomer that finds no free place takes that of the oldest connection: an honest request
is over within milliseconds.
"""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

log = logging.getLogger("eventveil.metrics")
MAX_CLIENTS = 32  # served at the same time, each with a thread and a descriptor
REQUEST_S = 5.0  # from the connection to the end of the response
MAX_REQUEST = 16_384  # bytes of request line and headers
QUIET_S = 60.0  # failed requests are logged once in this time
NO_DESCRIPTOR_S = 0.1


class BoundedServer(ThreadingHTTPServer):
    """Serves at most `MAX_CLIENTS` connections, each for at most `REQUEST_S`.

    Args:
        bind: (host, port); port 0 takes a free one.
        handler: handles a request.
        clock: monotonic time in seconds.

    Raises:
        OSError: the address is in use or does not belong to this machine.
    """

    daemon_threads = True
    request_queue_size = 128  # a crowd that fills a short queue delays everyone else by a second

    def __init__(
        self, bind: tuple[str, int], handler: type[BaseHTTPRequestHandler], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.address_family = socket.AF_INET6 if ip_address(bind[0]).version == 6 else socket.AF_INET
        self._clock = clock
        self._free = threading.BoundedSemaphore(MAX_CLIENTS)
        self._lock = threading.Lock()
        self._since: dict[Any, float] = {}  # the connections with the time of each, oldest first
        self._failed, self._logged_s = 0, -QUIET_S
        super().__init__(bind, handler)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; without a free descriptor, try again after a pause instead of at once."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(NO_DESCRIPTOR_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, after the oldest one was closed if all places are taken."""
        if not self._free.acquire(blocking=False):
            self._close_older_than(0.0, most=1)
            if not self._free.acquire(timeout=1.0):
                self.shutdown_request(request)
                return
        with self._lock:
            self._since[request] = self._clock()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and free its place."""
        with self._lock:
            served = self._since.pop(request, None) is not None
        super().shutdown_request(request)
        if served:
            self._free.release()

    def service_actions(self) -> None:
        """Close the connections whose time is up. Called after each new connection, and twice a second."""
        self._close_older_than(REQUEST_S)

    def _close_older_than(self, seconds: float, most: int = MAX_CLIENTS) -> None:
        with self._lock:
            late = [request for request, since in self._since.items() if self._clock() - since >= seconds][:most]
        for request in late:
            with contextlib.suppress(OSError):  # its thread may have closed it already
                request.shutdown(socket.SHUT_RDWR)  # wakes the thread, which ends

    def handle_error(self, *_: object) -> None:
        """Log the type of the error alone: clients often disconnect early, and a traceback may quote values."""
        self._failed += 1
        if self._clock() - self._logged_s >= QUIET_S:
            self._logged_s = self._clock()
            log.warning("requests not answered so far: %d; the last: %s", self._failed, type(sys.exception()).__name__)


class ShortRequest(io.BufferedIOBase):
    """Reads the lines of a request, up to `MAX_REQUEST` bytes.

    Args:
        file: the connection.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._left = MAX_REQUEST

    def readline(self, _: int | None = -1, /) -> bytes:
        """Return the next line, whatever size is requested.

        Raises:
            HTTPException: the request is too long.
        """
        line = self._file.readline(self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise HTTPException(f"a request of more than {MAX_REQUEST} bytes")
        return line

    def close(self) -> None:
        """Close the connection's file."""
        self._file.close()
        super().close()
