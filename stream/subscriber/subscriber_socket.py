"""The subscriber's socket: opened, then connected to a publisher."""

from __future__ import annotations

import zmq

from eventveil.errors import ConfigError
from eventveil.host.addresses import MAX_PORT, parse_port, split_host_port
from eventveil.stream.protocol.endpoints import is_ipv6
from eventveil.stream.protocol.keepalive import enable_keepalive
from eventveil.stream.protocol.keys import KeyPair

HANDSHAKE_MS = 2500  # how long a publisher may take to complete its handshake
CONNECT_MS = 5000  # how long a connection attempt may take before the next; the kernel alone waits minutes
MAX_MESSAGE = 300 << 20  # bytes; a frame of an unknown peer must not exhaust the memory


def subscriber_socket(
    topics: tuple[str, ...],
    queue: int,
    context: zmq.Context[zmq.Socket[bytes]],
    identity: tuple[bytes, KeyPair] | None = None,
) -> zmq.Socket[bytes]:
    """Open a subscriber's socket, without connecting it.

    Args:
        topics: to subscribe to.
        queue: how many messages are kept for a slow caller.
        context: this process's context.
        identity: the publisher's public key and the subscriber's own keys; with them, only that publisher is accepted.
    """
    socket = context.socket(zmq.SUB)
    socket.rcvhwm, socket.linger = queue, 0
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
    enable_keepalive(socket)
    if identity is not None:
        socket.curve_serverkey, pair = identity
        socket.curve_publickey, socket.curve_secretkey = pair.public, pair.secret
    for topic in topics:
        socket.subscribe(topic)
    return socket


def connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Connect to a publisher. libzmq waits for one that is not there yet, and reconnects to one that returns.

    Raises:
        ConfigError: the endpoint is not valid.
    """
    refusal = f"cannot connect to {endpoint!r}: "
    expected = "expected tcp://HOST:PORT or ipc://PATH"
    if not endpoint.startswith(("tcp://", "ipc://")):  # inproc:// would wait forever
        raise ConfigError(refusal + expected)
    if endpoint.startswith("tcp://") and not parse_port(split_host_port(endpoint)[1]):  # libzmq would wait forever
        raise ConfigError(f"{refusal}{expected}, and a port from 1 to {MAX_PORT}")
    socket.ipv6 = is_ipv6(endpoint)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise ConfigError(f"{refusal}{error}; {expected}") from error
