"""Decides who may connect to the public socket: the keys on the list, which is reloaded while the pipeline runs.

libzmq queries the authenticator at each handshake (ZAP, ZeroMQ RFC 27). Fail closed: by default, libzmq accepts every
client whose encryption works while no authenticator answers; `ZAP_ENFORCE_DOMAIN` in
stream/publisher/public_socket.py prevents that.

The list is checked for changes once a second. A key that is removed can no longer connect; closing its connection is up
to stream/publisher/public_endpoint.py.
"""

from __future__ import annotations

import logging
import threading
import time

import zmq
from zmq.auth.thread import ThreadAuthenticator

from eventveil.errors import AccessError
from eventveil.stream.protocol.keys import AllowList
from eventveil.stream.publisher.expelled import ExpelledKeys
from eventveil.stream.publisher.public_socket import ZAP_DOMAIN

RELOAD_S = 1.0  # how often the list is checked for changes

log = logging.getLogger("eventveil.door")


class CurveAuthenticator:
    """Answers libzmq, in its own thread, whether a key is on the list.

    Args:
        allowed: the list.
        expelled: keys that are refused even if they are on the list.
        context: this process's context.

    Raises:
        AccessError: the list is malformed, or others can change it.
    """

    def __init__(self, allowed: AllowList, expelled: ExpelledKeys, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._list = allowed
        self._state = allowed.state()
        self._allowed = allowed.read()
        self._admitted: set[bytes] = set()  # keys that may be connected now
        self._expelled = expelled
        self._lock = threading.Lock()
        self._revoked = threading.Event()
        self._next_check = time.monotonic() + RELOAD_S
        self.last_refused = ""
        self._authenticator = _Authenticator(context)
        self._authenticator.configure_curve_callback(ZAP_DOMAIN, self)
        self._authenticator.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread that answers libzmq runs."""
        return self._authenticator.is_alive()

    def callback(self, _: str, key: bytes) -> bool:
        """Return whether a key (Z85) may connect. The authenticator's thread calls this for each handshake."""
        with self._lock:
            if key not in self._allowed or key in self._expelled:
                self.last_refused = f"{key.decode()} from {self._authenticator.address}"
                return False
            self._admitted.add(key)
            return True

    def expel(self, key: bytes) -> None:
        """Refuse a key until the pipeline ends, even if it is on the list.

        Raises:
            LineError: it cannot be written down.
        """
        with self._lock:
            self._expelled.add(key)

    def reload_if_changed(self) -> None:
        """Reload the list if it has changed, at most once a second. While it cannot be trusted, refuse every key."""
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + RELOAD_S
        state = self._list.state()
        if state != self._state:
            self._state = state
            self._reload()

    def _reload(self) -> None:
        try:
            allowed = self._list.read()
        except (AccessError, OSError) as error:
            log.warning("publish: no new subscriber is accepted until this is fixed: %s", error)
            with self._lock:
                self._allowed = {}
            return
        with self._lock:
            self._allowed = allowed
            removed = self._admitted - allowed.keys()
        log.info("publish: reloaded the list of allowed subscribers: %d keys", len(allowed))
        if removed:
            log.warning(
                "publish: %d subscribers were removed from the list: closing all connections; the others reconnect",
                len(removed),
            )
            self._revoked.set()

    def take_revoked(self) -> bool:
        """Return whether a key that may be connected was removed from the list since the last call."""
        if not self._revoked.is_set():
            return False
        self._revoked.clear()
        with self._lock:
            self._admitted.intersection_update(self._allowed)
        return True

    def close(self) -> None:
        """Stop answering: from now on, every handshake is refused."""
        self._authenticator.stop()


class _Authenticator(ThreadAuthenticator):
    """pyzmq's authenticator, extended to remember the address of the request that it is answering."""

    address = ""

    async def handle_zap_message(self, msg: list[bytes]) -> None:
        self.address = msg[3].decode("ascii", "replace") if len(msg) > 3 else ""
        await super().handle_zap_message(msg)
