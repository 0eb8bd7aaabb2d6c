"""The public socket. This is the only file that opens a socket to the network for windows and gestures.

Only `eventveil.stream.publisher` may import it; an import rule enforces that. The private sockets between the stages
are made in stream/runtime/sockets.py, which cannot bind a network address.
"""

from __future__ import annotations

import zmq

from eventveil.errors import BoundaryError, LineError
from eventveil.stream.protocol.endpoints import is_ipv6, is_local
from eventveil.stream.protocol.keepalive import enable_keepalive
from eventveil.stream.protocol.keys import KeyPair

HANDSHAKE_MS = 3000  # how long a subscriber may take to complete its handshake
ZAP_DOMAIN = "eventveil"  # the domain of libzmq's authentication requests


def public_socket(
    bind: str, queue: int, context: zmq.Context[zmq.Socket[bytes]], keys: KeyPair | None = None
) -> zmq.Socket[bytes]:
    """Open and bind the public socket. It is an XPUB socket, because XPUB reports subscriptions.

    Args:
        bind: the address.
        queue: how many messages are kept for a slow subscriber.
        context: this process's context.
        keys: with keys, everything is encrypted, and no connection is accepted while the authenticator does not answer
            (stream/publisher/authenticator.py).

    Raises:
        BoundaryError: other machines can reach the address, and there are no keys.
        LineError: the address is in use or does not belong to this machine.
    """
    socket = context.socket(zmq.XPUB)
    socket.sndhwm, socket.linger = queue, 0
    # libzmq reads all that has arrived at once and keeps it, so little may arrive at a time. A short queue alone is not
    # enough, because it fills as fast as it is emptied: the kernel's receive buffer must be small, too.
    socket.rcvhwm, socket.rcvbuf = 10, 1024
    socket.setsockopt(zmq.MAXMSGSIZE, 1024)  # of incoming messages: subscriptions and handshakes, which are short
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)  # a client that connects and stays silent holds a descriptor
    socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # report every subscriber, not only the first of a topic
    enable_keepalive(socket)
    if keys is not None:
        socket.curve_server = True
        socket.curve_secretkey = keys.secret
        socket.zap_domain = ZAP_DOMAIN.encode()
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # fail closed; see stream/publisher/authenticator.py
    try:
        bind_public(socket, bind)
    except BaseException:
        socket.close(linger=0)
        raise
    return socket


def bind_public(socket: zmq.Socket[bytes], bind: str) -> None:
    """Bind the public socket.

    Raises:
        BoundaryError: other machines can reach the address, and the socket has no keys.
        LineError: the address is in use or does not belong to this machine.
    """
    if not (is_local(bind) or socket.curve_server):  # the settings refuse this too; here is the last check
        raise BoundaryError(f"publish.bind: other machines can reach {bind}, and there are no keys: refused")
    socket.ipv6 = is_ipv6(bind)
    try:
        socket.bind(bind)
    except zmq.ZMQError as error:
        raise LineError(
            f"publish.bind: cannot bind {bind}: {error.strerror}; is another eventveil running there? Stop it, or "
            "choose another address, as in --set publish.bind=tcp://127.0.0.1:5557"
        ) from error


def endpoint_of(socket: zmq.Socket[bytes]) -> str:
    """Return the address that a socket is bound to, with the port that was chosen for `*`."""
    return bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()
