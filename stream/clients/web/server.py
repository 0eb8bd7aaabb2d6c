"""Serves a page in a thread of its own, with uvicorn."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from eventveil.errors import ConfigError, LineError
from eventveil.stream.clients.web.app import HEADERS

REQUEST_S = 10.0  # from the connection to the end of its last response
HALTED_MS = 30_000  # after which a browser that reads nothing is disconnected
MAX_CONNECTIONS = 256
START_S = 10.0


class PageServer:
    """Serves a page. A context manager.

    Args:
        bind: (host, port); port 0 takes a free one.
        app: the page, with its guard.

    Attributes:
        address: (host, port) that the server is bound to.

    Raises:
        ConfigError: the address is in use or does not belong to this machine.
    """

    def __init__(self, bind: tuple[str, int], app: ASGIApp) -> None:
        host, port = bind
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise ConfigError(
                f"{host}:{port}: cannot serve the page at this address: {reason}; choose another HOST:PORT"
            ) from error
        if sys.platform == "linux":  # connections inherit it
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, HALTED_MS)
        self.address = (host, int(self._socket.getsockname()[1]))
        config = uvicorn.Config(
            app, http=_PromptHttp, ws="websockets-sansio", lifespan="off", log_config=None,
            log_level="critical", access_log=False, proxy_headers=False, server_header=False, headers=HEADERS,
            limit_concurrency=MAX_CONNECTIONS, timeout_graceful_shutdown=1, ws_max_size=1024,
            ws_per_message_deflate=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="eventveil page", daemon=True
        )

    @property
    def url(self) -> str:
        """The page's address for a browser on this machine."""
        host, port = self.address
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise LineError(f"{self.url}: the web server did not start")
            time.sleep(0.005)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


class _PromptHttp(H11Protocol):
    """Ends a connection after `REQUEST_S` unless it is a WebSocket by then; uvicorn would wait for a slow client."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(REQUEST_S, self._end)

    def _end(self) -> None:
        if self.transport.get_protocol() is self:
            self.transport.close()
