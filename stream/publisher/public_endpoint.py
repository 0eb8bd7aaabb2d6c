"""The public socket and its doorman: who may connect, who tried and could not, and who has to leave.

With keys, everything on the socket is encrypted and both ends are known to each other (CURVE, ZeroMQ RFC 26): a
subscriber must know the publisher's public key, and the publisher must have the subscriber's on its list, which
stream/publisher/authenticator.py asks.

Whoever is taken off that list has to leave: ZeroMQ cannot close one connection of many, so the address is given up and
taken anew at once. All subscribers come back by themselves within a fraction of a second, but for the one who may not.
What was published meanwhile they count as lost by the network.
"""

from __future__ import annotations

import logging
import resource
import threading
import time
from collections import Counter
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from eventveil.errors import LineError
from eventveil.stream.protocol.keys import AllowList, read_folder
from eventveil.stream.publisher.authenticator import LOOK_S, CurveAuthenticator
from eventveil.stream.publisher.public_socket import bind_public, endpoint_of, public_socket
from eventveil.stream.settings import PublishSettings

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
"""Counts of the publisher's reports: who connected at all, handshakes that succeeded, those that failed, by reason.

Connections of which nothing more is counted spoke no ZeroMQ at all, have not ended their handshake, or sent a frame
that is too large for one.
"""

_WORDS = {
    NOT_ALLOWED: "the key is not on the list of those who may subscribe (`eventveil keys allow`)",
    WRONG_KEY: "the subscriber takes this publisher for one with another key (`subscribe --server-key`)",
    NO_CURVE: "only one of the two ends uses keys (`subscribe --server-key --key`, publish.keys)",
    GARBLED: "what came is not ZeroMQ's protocol",
    LEFT: "the other end left, or said nothing, before it was over",
}
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
_LOG_EVERY_S = 1.0  # a line for each reason at most so often: strangers may come by thousands
_REBIND_S = 2.0
_DESCRIPTORS = 1 << 16
_EVENTS = (
    zmq.Event.ACCEPTED
    | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.CLOSED
    | zmq.Event.MONITOR_STOPPED
)

log = logging.getLogger("eventveil.door")


class PublicEndpoint:
    """The socket that leaves the machine, bound, with a doorman in threads of its own.

    Args:
        settings: address, queue, and the folder of keys; without one, no encryption, and local addresses only.
        context: the process's.

    Raises:
        AccessError: the keys or the list of those who may subscribe are not as they must be.
        BoundaryError: a public address without keys.
        LineError: the address is in use, or not this machine's.
    """

    def __init__(self, settings: PublishSettings, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        _make_room()
        pair = None if settings.keys is None else read_folder(settings.keys)
        self._list = None if settings.keys is None else CurveAuthenticator(AllowList(settings.keys), context)
        try:
            self.socket = public_socket(settings.bind, settings.queue, context, pair)
        except BaseException:
            if self._list is not None:
                self._list.close()
            raise
        self._counts: Counter[str] = Counter()
        self._released = threading.Event()
        self._notices = _Notices()
        # Nothing may wait in libzmq until it is read: its network thread would wait, too.
        monitor = self.socket.get_monitor_socket(_EVENTS)
        monitor.rcvhwm = 0
        self._watcher = threading.Thread(target=self._watch, args=(monitor,), name="eventveil door", daemon=True)
        self._watcher.start()

    def counts(self) -> dict[str, int]:
        """Connections and handshakes so far."""
        return {reason: self._counts[reason] for reason in (CONNECTED, SUCCEEDED, *_WORDS, EXPELLED)}

    def service(self, abusive_client: str | None = None) -> None:
        """Make those leave who were taken off the list, or make trouble. For the thread that uses the socket.

        Args:
            abusive_client: the key of a subscriber to be shut out until the line is started anew; "" for one without
            keys, who
                can only be thrown out with everybody else.

        Raises:
            LineError: the address was lost, or the doorman died: nobody would be told apart any more.
        """
        if not self._watcher.is_alive() or (self._list is not None and not self._list.answers):
            raise LineError("the doorman of the public socket died: who may connect is not known any more")
        if abusive_client is not None:
            self._counts[EXPELLED] += 1
            log.warning(
                "publish: a subscriber asked for what is not there, again and again, and is thrown out: %s",
                abusive_client or "one without a key",
            )
            if self._list is not None:
                self._list.shut_out(abusive_client.encode())
        if abusive_client is not None or (self._list is not None and self._list.take_revoked()):
            self._ask_everybody_in_anew()

    def close(self) -> None:
        """Close the socket and let the doorman go."""
        if not self.socket.closed:
            self.socket.disable_monitor()
            self._watcher.join()
            self.socket.close()
        if self._list is not None:
            self._list.close()

    def _ask_everybody_in_anew(self) -> None:
        where = endpoint_of(self.socket)
        self._released.clear()
        self.socket.unbind(where)
        self._released.wait(_REBIND_S)
        deadline = time.monotonic() + _REBIND_S
        while True:
            try:
                bind_public(self.socket, where)
            except LineError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _watch(self, monitor: zmq.Socket[bytes]) -> None:
        with monitor:
            while True:
                if monitor.poll(int(LOOK_S * 1000)):
                    event = parse_monitor_message(monitor.recv_multipart())
                    if event["event"] == zmq.Event.MONITOR_STOPPED:
                        return
                    self._note(event)
                if self._list is not None:
                    self._list.reload_if_changed()

    def _note(self, event: Any) -> None:
        if event["event"] == zmq.Event.CLOSED:
            self._released.set()
            return
        reason = _reason(event["event"], event["value"])
        self._counts[reason] += 1
        if reason == NOT_ALLOWED and self._list is not None:
            self._notices.warn(reason, f"{_WORDS[reason]}: {self._list.last_refused}")
        elif reason in _WORDS:
            self._notices.warn(reason, _WORDS[reason])


def _make_room() -> None:
    """Let this process have more descriptors than strangers can take.

    Whoever connects and says nothing holds one for `HANDSHAKE_MS`; of the 1,024 that are usual none would be left soon
    for recordings and sockets.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _reason(event: int, value: int) -> str:
    if event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
        return _PROTOCOL.get(value, GARBLED)
    return _REASONS[event]


class _Notices:
    """Log lines about failed handshakes: at most one a second for each reason, with how many there were."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def warn(self, reason: str, words: str) -> None:
        now = time.monotonic()
        self._untold[reason] += 1
        if now < self._next.get(reason, now):
            return
        more = f" ({self._untold[reason]} since the last such line)" if self._untold[reason] > 1 else ""
        log.warning("publish: a subscriber could not connect: %s%s", words, more)
        self._next[reason] = now + _LOG_EVERY_S
        self._untold[reason] = 0
