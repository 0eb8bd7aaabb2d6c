"""Decides who may connect to the public socket: the keys on the list, which is reloaded while the pipeline runs.

libzmq queries the authenticator at each handshake (ZAP, ZeroMQ RFC 27). Fail closed: by default, libzmq accepts every
client whose encryption works while no authenticator answers; `ZAP_ENFORCE_DOMAIN` in
stream/publisher/public_socket.py prevents that. Without keys everyone may connect; then it only numbers the handshakes.

The list is checked for changes once a second. A key that is removed can no longer connect; ending its connections is up
to stream/publisher/public_endpoint.py.
"""

from __future__ import annotations

import logging
import threading
import time

import zmq
from zmq.utils import z85

from eventveil.errors import AccessError
from eventveil.stream.protocol.keys import AllowList
from eventveil.stream.publisher.expelled import ExpelledKeys
from eventveil.stream.publisher.public_socket import ZAP_DOMAIN

RELOAD_S = 1.0  # how often the list is checked for changes
_ZAP = "inproc://zeromq.zap.01"  # libzmq's address for it

log = logging.getLogger("eventveil.door")


class Authenticator:
    """Answers libzmq whether a client may connect, and numbers the handshakes that succeed.

    pyzmq's authenticator does not choose the `User-Id`, which is how a message tells of the connection it came from.

    Args:
        allowed: the list; None: no keys, and everyone may connect.
        expelled: keys that are refused even if they are on the list.
        context: this process's context.

    Attributes:
        socket: where libzmq's requests arrive. Only the thread that answers them may use it.
        serial: number of the last client that was accepted.
        last_refused: key and address of the last client that was refused.

    Raises:
        AccessError: the list is malformed, or others can change it.
    """

    def __init__(
        self, allowed: AllowList | None, expelled: ExpelledKeys, context: zmq.Context[zmq.Socket[bytes]]
    ) -> None:
        self._list = allowed
        self._state: tuple[object, ...] | None = () if allowed is None else allowed.state()
        self._problem = ""  # why the list could not be read
        self._allowed = {} if allowed is None else allowed.read()
        self._admitted: set[bytes] = set()  # keys that may be connected now
        self._expelled = expelled
        self._revoked: set[bytes] = set()
        self._lock = threading.Lock()
        self._next_check = time.monotonic() + RELOAD_S
        self.serial = 0
        self.last_refused = ""
        self.socket = context.socket(zmq.ROUTER)  # unlike REP, it says who has left
        self.socket.router_mandatory, self.socket.linger = True, 0
        self.socket.bind(_ZAP)

    def close(self) -> None:
        """Close the socket and the file of expelled keys: from now on, libzmq refuses everyone."""
        self.socket.close()
        self._expelled.close()

    def answer(self) -> bool:
        """Answer one request: version, number, domain, address, identity, mechanism and credentials.

        Returns:
            Whether a client was admitted, and has not left.
        """
        asking, empty, version, number, domain, address, _, mechanism, *credentials = self.socket.recv_multipart()
        key = z85.encode(credentials[0]) if mechanism == b"CURVE" else b""
        expected = b"NULL" if self._list is None else b"CURVE"
        admitted = domain == ZAP_DOMAIN.encode() and mechanism == expected and self._admit(key)
        if admitted:
            self.serial += 1
            status, text, user = b"200", b"OK", b"%d %s" % (self.serial, key)
        else:
            self.last_refused = f"{key.decode()} from {address.decode('ascii', 'replace')}"
            status, text, user = b"400", b"this key may not connect", b""
        try:
            self.socket.send_multipart([asking, empty, version, number, status, text, user, b""])
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return admitted

    def _admit(self, key: bytes) -> bool:
        with self._lock:
            if self._refuses(key):
                return False
            self._admitted.add(key)
            return True

    def refuses(self, key: str) -> bool:
        """Return whether a key (Z85) may not connect now."""
        with self._lock:
            return self._refuses(key.encode())

    def _refuses(self, key: bytes) -> bool:
        return self._list is not None and (key not in self._allowed or key in self._expelled)

    def expel(self, key: str) -> None:
        """Refuse a key until the pipeline ends, even if it is on the list.

        Raises:
            LineError: it cannot be written down.
        """
        with self._lock:
            self._expelled.add(key.encode())

    def reload_if_changed(self) -> None:
        """Reload the list if it has changed, at most once a second. While it cannot be trusted, refuse every key."""
        now = time.monotonic()
        if self._list is None or now < self._next_check:
            return
        self._next_check = now + RELOAD_S
        state = self._list.state()
        if state != self._state:
            self._state = state
            self._reload(self._list)

    def _reload(self, keys: AllowList) -> None:
        try:
            allowed = keys.read()
        except (AccessError, OSError) as error:
            if str(error) != self._problem:
                log.warning("publish: no new subscriber is accepted until this is fixed: %s", error)
            self._problem = str(error)
            self._state = None  # try again: the cause may lie elsewhere, as without a free descriptor
            with self._lock:
                self._allowed = {}
            return
        self._problem = ""
        with self._lock:
            self._allowed = allowed
            removed = self._admitted - allowed.keys()
            self._admitted -= removed
            self._revoked |= removed
        log.info("publish: reloaded the list of allowed subscribers: %d keys", len(allowed))
        if removed:
            log.warning("publish: %d subscribers were removed from the list: ending their connections", len(removed))

    def take_revoked(self) -> set[str]:
        """Return the keys that were removed from the list since the last call, and that may be connected."""
        with self._lock:
            revoked, self._revoked = self._revoked, set()
        return {key.decode() for key in revoked}
