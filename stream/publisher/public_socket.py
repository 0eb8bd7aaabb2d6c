"""The public socket. This is the only file that opens a socket to the network for windows and gestures.

Its listening socket is bound in stream/publisher/listener.py. Only `eventveil.stream.publisher` may import it; an
import rule enforces that. The private sockets between the stages are made in stream/runtime/sockets.py, which cannot
bind a network address.
"""

from __future__ import annotations

import zmq

from eventveil.errors import LineError
from eventveil.stream.protocol.keepalive import enable_keepalive
from eventveil.stream.protocol.keys import KeyPair
from eventveil.stream.publisher.listener import RECEIVE_BUFFER, Listener

HANDSHAKE_MS = 3000  # how long a subscriber may take to complete its handshake
ZAP_DOMAIN = "eventveil"  # the domain of libzmq's authentication requests


def public_socket(
    listener: Listener, queue: int, context: zmq.Context[zmq.Socket[bytes]], keys: KeyPair | None = None
) -> zmq.Socket[bytes]:
    """Open the public socket on a listening one. It is an XPUB socket, because XPUB reports subscriptions.

    Args:
        listener: where connections come from; it stays open when the public socket is closed.
        queue: how many messages are kept for a slow subscriber.
        context: this process's context.
        keys: with keys, everything is encrypted. With or without, no connection is accepted while the authenticator
            does not answer (stream/publisher/authenticator.py).

    Raises:
        LineError: libzmq cannot use the listening socket.
    """
    socket = context.socket(zmq.XPUB)
    socket.sndhwm, socket.linger = queue, 0
    # libzmq reads all that has arrived at once and keeps it, so little may arrive at a time. A short queue alone is not
    # enough, because it fills as fast as it is emptied: the kernel's receive buffer must be small, too.
    socket.rcvhwm, socket.rcvbuf = 10, RECEIVE_BUFFER
    socket.setsockopt(zmq.MAXMSGSIZE, 1024)  # of incoming messages: subscriptions and handshakes, which are short
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)  # a client that connects and stays silent holds a descriptor
    socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # report every subscriber, not only the first of a topic
    enable_keepalive(socket)
    socket.zap_domain = ZAP_DOMAIN.encode()
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # fail closed; see stream/publisher/authenticator.py
    if keys is not None:
        socket.curve_server = True
        socket.curve_secretkey = keys.secret
    socket.setsockopt(zmq.USE_FD, listener.copy_descriptor())
    try:
        socket.bind(listener.endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise LineError(
            f"publish.bind: cannot listen on {listener.endpoint}: {error.strerror}; start the pipeline again"
        ) from error
    return socket
