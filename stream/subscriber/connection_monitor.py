"""Watches a subscriber's connection, to report why it cannot be established instead of waiting in silence."""

from __future__ import annotations

import errno
import logging
import time
from types import TracebackType
from typing import Self

import zmq

from eventveil.errors import AccessError, WireError
from eventveil.stream.protocol.monitor import receive_event

RETRY_S = 0.5  # if libzmq reconnects, it reports so immediately
PATIENCE_S = 1.5  # one broken connection proves nothing: the publisher may have been killed
_EVENTS = (
    zmq.Event.CONNECTED
    | zmq.Event.DISCONNECTED
    | zmq.Event.CONNECT_RETRIED
    | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
)
_NO_PUBLISHER = "the peer does not speak ZeroMQ's protocol as a publisher does; check host and port"
_NEEDS_KEYS = "the publisher accepts only subscribers with a key: give --server-key and --key (`eventveil keys new`)"

log = logging.getLogger("eventveil.subscribe")


class ConnectionMonitor:
    """Watches a subscriber's socket. A context manager.

    Args:
        socket: the SUB socket, not connected yet, so that no event is missed.
        endpoint: the endpoint that it connects to, for messages.
        keys: whether it uses keys.
    """

    def __init__(self, socket: zmq.Socket[bytes], endpoint: str, *, keys: bool) -> None:
        self._socket = socket
        self._monitor = socket.get_monitor_socket(_EVENTS)
        self._endpoint = endpoint
        self._keys = keys
        self._connecting = False  # the last event was CONNECTED
        self._established = False  # the last event was HANDSHAKE_SUCCEEDED
        self._disconnected_s: float | None = None
        self._failing_since_s: float | None = None
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._socket.disable_monitor()
        self._monitor.close()

    def check(self) -> None:
        """Process the events since the last call.

        Raises:
            AccessError: the connection cannot be established; the message names the likely cause.
            WireError: the peer's bytes made libzmq give up the connection for good.
        """
        while self._monitor.poll(0):
            self._process(*receive_event(self._monitor))
        if self._disconnected_s is not None and time.monotonic() - self._disconnected_s > RETRY_S:
            raise WireError(
                f"{self._endpoint}: sent an invalid or too large message, and the connection was closed for good"
            )

    def _process(self, event: int, value: int) -> None:
        # A connection that ends without a handshake event was not ZeroMQ, and libzmq does not reconnect.
        self._disconnected_s = time.monotonic() if event == zmq.Event.DISCONNECTED else None
        was_connecting, self._connecting = self._connecting, event == zmq.Event.CONNECTED
        was_established, self._established = self._established, event == zmq.Event.HANDSHAKE_SUCCEEDED
        if self._established:
            self._failing_since_s = None
        elif event == zmq.Event.HANDSHAKE_FAILED_AUTH:
            raise AccessError(
                f"{self._endpoint}: the publisher does not know this key and refused it; its operator can add your "
                ".pub file with `eventveil keys allow`"
            )
        elif event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
            raise AccessError(f"{self._endpoint}: {self._mismatch(value)}")
        elif event == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
            self._interrupted(value)
        elif event == zmq.Event.DISCONNECTED and was_established:
            log.warning("%s: the connection to the publisher was lost; trying again", self._endpoint)
        elif event == zmq.Event.DISCONNECTED and was_connecting:
            raise AccessError(f"{self._endpoint}: {_NO_PUBLISHER}")

    def _mismatch(self, value: int) -> str:
        if value != zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            return _NO_PUBLISHER
        if self._keys:
            return "the peer uses no keys, so it is not the publisher with the given key; check host and port"
        return _NEEDS_KEYS

    def _interrupted(self, error: int) -> None:
        """Handle a handshake that the peer broke off, or (EAGAIN) did not answer: it may only be busy."""
        now = time.monotonic()
        self._failing_since_s = None if error == errno.EAGAIN else self._failing_since_s or now
        if self._failing_since_s is not None and now - self._failing_since_s > PATIENCE_S:
            cause = (
                "the publisher has a key other than that of --server-key, or none: ask its operator"
                if self._keys
                else _NEEDS_KEYS
            )
            raise AccessError(
                f"{self._endpoint}: the peer closes every connection; most likely {cause} (or it is a proxy without a "
                "publisher)"
            )
        if not self._warned:
            log.warning("%s: the peer does not answer as a publisher does; trying again", self._endpoint)
            self._warned = True
