"""Who may connect to the public socket: those on the list, which is read anew while the line runs.

libzmq asks for each handshake (ZAP, ZeroMQ RFC 27). Fail closed: it lets everybody in whose encryption works while
nobody answers, unless it is told not to (`ZAP_ENFORCE_DOMAIN` in stream/runtime/sockets.py).

The list is looked at once a second. Whoever is taken off it can no longer connect; that who is connected has to leave
is the business of stream/publisher/public_endpoint.py.
"""

from __future__ import annotations

import logging
import threading
import time

import zmq
from zmq.auth.thread import ThreadAuthenticator

from eventveil.errors import AccessError
from eventveil.stream.protocol.keys import AllowList
from eventveil.stream.publisher.public_socket import ZAP_DOMAIN

LOOK_S = 1.0  # how often the list is looked at

log = logging.getLogger("eventveil.door")


class CurveAuthenticator:
    """Answers libzmq whether a key is on the list, in a thread of its own.

    Args:
        allowed: the list.
        context: the process's.

    Raises:
        AccessError: the list is not as it must be.
    """

    def __init__(self, allowed: AllowList, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._list = allowed
        self._state = allowed.state()
        self._known = allowed.read()
        self._admitted: set[bytes] = set()  # who may be connected now
        self._shut_out: set[bytes] = set()
        self._lock = threading.Lock()
        self._revoked = threading.Event()
        self._next_look = time.monotonic() + LOOK_S
        self.last_refused = ""
        self._authenticator = _Authenticator(context)
        self._authenticator.configure_curve_callback(ZAP_DOMAIN, self)
        self._authenticator.start()

    @property
    def answers(self) -> bool:
        """Whether somebody answers libzmq."""
        return self._authenticator.is_alive()

    def callback(self, _: str, key: bytes) -> bool:
        """Whether this key (Z85) may connect; called by the authenticator's thread for each handshake."""
        with self._lock:
            if key not in self._known or key in self._shut_out:
                self.last_refused = f"{key.decode()} from {self._authenticator.address}"
                return False
            self._admitted.add(key)
            return True

    def shut_out(self, key: bytes) -> None:
        """Let a key in no longer, whatever the list says."""
        with self._lock:
            self._shut_out.add(key)

    def reload_if_changed(self) -> None:
        """Read the list where it has changed, at most once a second. One that cannot be trusted lets nobody new in."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_S
        state = self._list.state()
        if state != self._state:
            self._state = state
            self._read()

    def _read(self) -> None:
        try:
            known = self._list.read()
        except (AccessError, OSError) as error:
            log.warning("publish: nobody new may subscribe until this is mended: %s", error)
            with self._lock:
                self._known = {}
            return
        with self._lock:
            self._known = known
            gone = self._admitted - known.keys()
        log.info("publish: the list of those who may subscribe was read anew: %d on it", len(known))
        if gone:
            log.warning("publish: %d were taken off the list: all connections are made anew, but for theirs", len(gone))
            self._revoked.set()

    def take_revoked(self) -> bool:
        """Whether somebody was taken off the list who may be connected; asked once, it is taken as done."""
        if not self._revoked.is_set():
            return False
        self._revoked.clear()
        with self._lock:
            self._admitted.intersection_update(self._known)
        return True

    def close(self) -> None:
        """Stop answering: from now on nobody can connect."""
        self._authenticator.stop()


class _Authenticator(ThreadAuthenticator):
    """pyzmq's, which remembers where the request that it is answering came from."""

    address = ""

    async def handle_zap_message(self, msg: list[bytes]) -> None:
        self.address = msg[3].decode("ascii", "replace") if len(msg) > 3 else ""
        await super().handle_zap_message(msg)
