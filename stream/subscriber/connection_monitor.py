"""What a subscriber hears of its connection: why the publisher and it do not come together, instead of silence."""

from __future__ import annotations

import errno
import logging
import time
from types import TracebackType
from typing import Self

import zmq
from zmq.utils.monitor import parse_monitor_message

from eventveil.errors import AccessError, WireError

RETRY_S = 0.5  # libzmq says at once that it will try again, where it will
PATIENCE_S = 1.5  # a connection that broke off is no proof: publishers are killed, too
_EVENTS = (
    zmq.Event.CONNECTED
    | zmq.Event.DISCONNECTED
    | zmq.Event.CONNECT_RETRIED
    | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
)
_NO_PUBLISHER = "what answers there does not speak ZeroMQ's protocol as a publisher does; check host and port"

log = logging.getLogger("eventveil.subscribe")


class ConnectionMonitor:
    """Watches a subscriber's socket.

    Args:
        socket: the SUB socket. Watched from its first moment on: before it is connected.
        endpoint: where it connects to, for messages.
        keys: whether it uses keys.
    """

    def __init__(self, socket: zmq.Socket[bytes], endpoint: str, *, keys: bool) -> None:
        self._socket = socket
        self._monitor = socket.get_monitor_socket(_EVENTS)
        self._endpoint = endpoint
        self._keys = keys
        self._undecided = False
        self._together = False
        self._lost_at: float | None = None
        self._failing_since: float | None = None
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._socket.disable_monitor()
        self._monitor.close()

    def check(self) -> None:
        """Look at what has happened since the last call.

        Raises:
            AccessError: the two ends do not come together, with the likely cause.
            WireError: what was sent was so wrong that libzmq gave the connection up for good.
        """
        while self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart())
            self._note(event["event"], event["value"])
        if self._lost_at is not None and time.monotonic() - self._lost_at > RETRY_S:
            raise WireError(
                f"{self._endpoint}: sent what is no message, or one too large, and is not listened to any more"
            )

    def _note(self, event: int, value: int) -> None:
        # What ends without a word about the handshake was no ZeroMQ, and libzmq does not try again.
        self._lost_at = time.monotonic() if event == zmq.Event.DISCONNECTED else None
        was_undecided, self._undecided = self._undecided, event == zmq.Event.CONNECTED
        was_together, self._together = self._together, event == zmq.Event.HANDSHAKE_SUCCEEDED
        if self._together:
            self._failing_since = None
        elif event == zmq.Event.HANDSHAKE_FAILED_AUTH:
            raise AccessError(
                f"{self._endpoint}: the publisher does not know this key, and refused it; its operator can let you "
                "in with `eventveil keys allow` and your .pub file"
            )
        elif event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
            raise AccessError(f"{self._endpoint}: {self._mismatch(value)}")
        elif event == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
            self._broke_off(value)
        elif event == zmq.Event.DISCONNECTED and was_together:
            log.warning("%s: the connection to the publisher was lost; trying again", self._endpoint)
        elif event == zmq.Event.DISCONNECTED and was_undecided:
            raise AccessError(f"{self._endpoint}: {_NO_PUBLISHER}")

    def _mismatch(self, value: int) -> str:
        if value != zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            return _NO_PUBLISHER
        if self._keys:
            return "what answers there uses no keys, so it is not the publisher that was asked for; check host and port"
        return "the publisher lets in only those with a key: give --server-key and --key (`eventveil keys new`)"

    def _broke_off(self, error: int) -> None:
        """The other end closed the connection, or (EAGAIN) said nothing: a publisher that hangs may yet answer."""
        now = time.monotonic()
        self._failing_since = None if error == errno.EAGAIN else self._failing_since or now
        if self._failing_since is not None and now - self._failing_since > PATIENCE_S:
            cause = (
                "the publisher has another key than the one of --server-key, or none: ask its operator"
                if self._keys
                else "the publisher lets in only those with a key: give --server-key and --key (`eventveil keys new`)"
            )
            raise AccessError(
                f"{self._endpoint}: every connection is broken off; most likely {cause} (or a proxy stands there, with "
                "no publisher behind it)"
            )
        if not self._warned:
            log.warning("%s: somebody is there and does not answer as a publisher does; trying again", self._endpoint)
            self._warned = True
