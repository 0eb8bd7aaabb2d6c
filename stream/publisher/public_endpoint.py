"""The public endpoint: binds the public socket, controls who connects, counts handshakes, and disconnects clients.

With keys, everything on the socket is encrypted and both ends are authenticated (CURVE, ZeroMQ RFC 26): a subscriber
must know the publisher's public key, and the publisher must have the subscriber's key on its list, which
stream/publisher/authenticator.py reads.

A subscriber that is removed from that list, or abuses the publisher, is disconnected; all others stay
(stream/publisher/connections.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path

import zmq

from eventveil.errors import LineError
from eventveil.host.processes import raise_descriptor_limit
from eventveil.stream.protocol.keys import AllowList, read_folder
from eventveil.stream.protocol.monitor import receive_event
from eventveil.stream.publisher.authenticator import Authenticator
from eventveil.stream.publisher.connections import Connection, Connections
from eventveil.stream.publisher.expelled import ExpelledKeys
from eventveil.stream.publisher.listener import Listener
from eventveil.stream.publisher.public_socket import public_socket
from eventveil.stream.settings.pipeline import PublishSettings

CONNECTED, SUCCEEDED, NOT_ALLOWED, WRONG_KEY, NO_CURVE, GARBLED, LEFT = (
    "connections",
    "handshakes",
    "handshakes_not_allowed",
    "handshakes_wrong_key",
    "handshakes_wrong_mechanism",
    "handshakes_garbled",
    "handshakes_left",
)
EXPELLED = "subscribers_expelled"
"""Counts in the publisher's reports: connections, handshakes that succeeded, and those that failed, by reason.

A connection without a handshake count did not speak ZeroMQ at all, has not completed its handshake, or sent a frame
that is too large for one.
"""

_DESCRIPTIONS = {
    NOT_ALLOWED: "its key is not on the list of allowed subscribers (`eventveil keys allow`)",
    WRONG_KEY: "it expects a publisher with another key (`subscribe --server-key`)",
    NO_CURVE: "only one of the two ends uses keys (`subscribe --server-key --key`, publish.keys)",
    GARBLED: "it does not follow ZeroMQ's protocol",
    LEFT: "it disconnected or stayed silent during the handshake",
}
_NOT_CONNECTED = "a subscriber could not connect: "
_REASONS: dict[int, str] = {
    zmq.Event.ACCEPTED: CONNECTED,
    zmq.Event.HANDSHAKE_SUCCEEDED: SUCCEEDED,
    zmq.Event.HANDSHAKE_FAILED_AUTH: NOT_ALLOWED,
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: LEFT,
}
_PROTOCOL: dict[int, str] = {
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: WRONG_KEY,
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: NO_CURVE,
}
MEASURE_MS = 20  # how often connections are measured: libzmq can grow by 10 MB for each client in this time
MEASURE_SHARE = 0.05  # of a core, at most: with hundreds of connections, measure less often
FULL_MS = 1  # how often to look whether waiting clients may be admitted
_LOG_EVERY_S = 1.0  # at most one message per reason in this time: clients may fail by the thousand
_EVENTS = (
    zmq.Event.ACCEPTED
    | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.DISCONNECTED
    | zmq.Event.MONITOR_STOPPED
)

log = logging.getLogger("eventveil.door")


class PublicEndpoint:
    """The public socket, with a thread that answers handshakes and counts connections.

    Args:
        listener: where connections come from; it stays open when the endpoint is closed.
        settings: queue, and the folder of keys; without keys, nothing is encrypted.
        context: this process's context.
        expelled: a file that keeps the keys of expelled subscribers for the next publisher process; None: in memory.
            Without keys it is left alone.

    Attributes:
        socket: the XPUB socket.
        connections: those of the socket.

    Raises:
        AccessError: the keys or the list of allowed subscribers are malformed or open to others, or the file of
            expelled keys is damaged.
        LineError: libzmq cannot use the listening socket.
    """

    def __init__(
        self,
        listener: Listener,
        settings: PublishSettings,
        context: zmq.Context[zmq.Socket[bytes]],
        expelled: Path | None = None,
    ) -> None:
        self._listener = listener
        raise_descriptor_limit()
        pair = None if settings.keys is None else read_folder(settings.keys)
        allowed = None if settings.keys is None else AllowList(settings.keys)
        # Without keys no one can be recognised again, so nothing is written down.
        file = None if settings.keys is None else expelled
        with ExitStack() as opened:
            expelled_keys = opened.enter_context(closing(ExpelledKeys(file)))
            self._authenticator = opened.enter_context(closing(Authenticator(allowed, expelled_keys, context)))
            self.socket = public_socket(listener, settings.queue, context, pair)
            opened.pop_all()  # all succeeded: `close` closes them
        self.connections = Connections(listener)
        self._counts: Counter[str] = Counter()
        self._failures, self._expulsions = _LimitedLog(), _LimitedLog()
        # The queue of the monitor must not fill up: libzmq's network thread would wait for it.
        monitor = self.socket.get_monitor_socket(_EVENTS)
        monitor.rcvhwm = 0
        self._thread = threading.Thread(
            target=self._run, args=(monitor,), name="eventveil public endpoint", daemon=True
        )
        self._thread.start()

    def counts(self) -> dict[str, int]:
        """Return the connections and handshakes so far, by outcome."""
        return {reason: self._counts[reason] for reason in (CONNECTED, SUCCEEDED, *_DESCRIPTIONS, EXPELLED)}

    def service(self, abusive: Iterable[Connection] = ()) -> None:
        """Disconnect subscribers that were removed from the list or are abusive. Call it from the socket's thread.

        Args:
            abusive: connections to end. With keys, all connections of their keys end, and the keys are refused until
                the pipeline ends.

        Raises:
            LineError: an expelled key cannot be written down, or the thread that answers handshakes died: connections
                cannot be checked.
        """
        if not self._thread.is_alive():
            raise LineError("the authenticator of the public socket died: connections cannot be checked")
        for each in (*abusive, *self.connections.take_endless()):
            self._expel(each)
        for connection in self.connections.take_new():  # its key may have been removed since its handshake
            if self._authenticator.refuses(connection.key):
                self.connections.end(connection)
        if revoked := self._authenticator.take_revoked():
            self._end_all(revoked)

    def close(self) -> None:
        """Close the socket and stop the thread: from now on, every handshake is refused."""
        if not self.socket.closed:
            self.socket.disable_monitor()
            self._thread.join()
            self._authenticator.close()
            self.socket.close()
            self.connections.close()

    def _expel(self, abusive: Connection) -> None:
        self._counts[EXPELLED] += 1
        who = abusive.key or "one without a key"
        self._expulsions.warn(f"{abusive.offence}: {who}", f"disconnecting a subscriber that {abusive.offence}: {who}")
        if abusive.key:
            self._authenticator.expel(abusive.key)
            self._end_all({abusive.key})
        else:
            self.connections.end(abusive)

    def _end_all(self, keys: set[str]) -> None:
        for connection in self.connections:
            if connection.key in keys:
                self.connections.end(connection)

    def _run(self, monitor: zmq.Socket[bytes]) -> None:
        requests = self._authenticator.socket
        measure_s = 0.0
        with monitor, requests:
            while True:
                may_admit = self.connections.may_admit()
                expected, wait_ms = ([monitor, requests], MEASURE_MS) if may_admit else ([monitor], FULL_MS)
                requests.get(zmq.EVENTS)  # lets libzmq free what belongs to clients that have left
                ready, _, _ = zmq.select(expected, [], [], wait_ms / 1000)
                while monitor.poll(0):  # first: a connection is known before its handshake is answered
                    event, value = receive_event(monitor)
                    if event == zmq.Event.MONITOR_STOPPED:
                        return
                    self._observe(event, value)
                if requests in ready and self._authenticator.answer():
                    self.connections.admitted()
                self._authenticator.reload_if_changed()
                now_s = time.monotonic()
                if now_s >= measure_s:
                    begun_s = time.thread_time()
                    self.connections.measure(now_s, self._authenticator.serial)
                    measure_s = now_s + max(MEASURE_MS / 1000, (time.thread_time() - begun_s) / MEASURE_SHARE)

    def _observe(self, event: int, value: int) -> None:
        if event == zmq.Event.DISCONNECTED:
            self.connections.closed(value)
            return
        if event == zmq.Event.ACCEPTED:
            self.connections.accepted(value, self._authenticator.serial)
        reason = _reason(event, value)
        self._counts[reason] += 1
        if reason == NOT_ALLOWED:
            self._failures.warn(reason, f"{_NOT_CONNECTED}{_DESCRIPTIONS[reason]}: {self._authenticator.last_refused}")
        elif reason in _DESCRIPTIONS:
            self._failures.warn(reason, f"{_NOT_CONNECTED}{_DESCRIPTIONS[reason]}")


def _reason(event: int, value: int) -> str:
    if event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
        return _PROTOCOL.get(value, GARBLED)
    return _REASONS[event]


class _LimitedLog:
    """Logs what clients do: at most one message a second for each reason, with the number of such clients."""

    def __init__(self) -> None:
        self._next_s: dict[str, float] = {}
        self._unlogged: Counter[str] = Counter()

    def warn(self, reason: str, description: str) -> None:
        now = time.monotonic()
        self._unlogged[reason] += 1
        if now < self._next_s.get(reason, now):
            return
        more = f" ({self._unlogged[reason]} since the last such message)" if self._unlogged[reason] > 1 else ""
        log.warning("publish: %s%s", description, more)
        self._next_s[reason] = now + _LOG_EVERY_S
        self._unlogged[reason] = 0
