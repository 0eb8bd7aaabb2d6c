"""The only module that creates sockets. Private ones live in memory or in a folder that only its owner may enter.

There is one function for each side of the privacy boundary. The private side cannot open a network address: its
endpoints are built here from a base that is `inproc://` or `ipc://` by construction.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import zmq

from eventveil.errors import BoundaryError, ConfigError, LineError
from eventveil.stream.protocol.endpoints import is_ipv6, is_local
from eventveil.stream.protocol.keys import KeyPair

# Messages in a private queue, on either side of a socket. The smallest possible number: what waits for a slow stage
# waits in its sender's `EdgeSender`, where the oldest can still be dropped and counted.
PRIVATE_HWM = 1
UNIX_PATH_LIMIT = 100  # bytes; the kernel's own limit is 104 to 108
RECONNECT_MS = 20  # how soon a sender finds a receiver that was restarted
REPORT_FLUSH_MS = 200  # how long a leaving stage may take to deliver its last report
HANDSHAKE_MS = 3000  # how long a subscriber may take to identify itself
ANSWER_MS = 2500  # how long a publisher may take to answer
CONNECT_MS = 5000  # how long to wait for an address before trying again: the kernel alone waits for minutes
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 5, 1, 5  # when to probe a silent peer, and how often
ZAP_DOMAIN = "eventveil"  # the domain under which libzmq asks whether a key may connect


def runtime_folder(chosen: Path | None) -> Path:
    """Return a folder for the private sockets that only this user may enter; create it if it does not exist.

    Raises:
        BoundaryError: the folder belongs to another user, or others may enter it.
        ConfigError: it cannot be created, or its path is too long for a socket.
    """
    try:
        if chosen is None:
            folder = Path(tempfile.mkdtemp(prefix="eventveil-", dir=os.environ.get("XDG_RUNTIME_DIR")))
        else:
            folder = chosen
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"line.runtime_dir: cannot create {error.filename}: {error.strerror}; choose another folder"
        ) from error
    state = folder.stat()
    if hasattr(os, "getuid") and (state.st_uid != os.getuid() or stat.S_IMODE(state.st_mode) & 0o077):
        raise BoundaryError(
            f"{folder}: raw windows may only pass through a folder that you own, with mode 0700; chmod 700 it"
        )
    if len(os.fsencode(folder)) + len("/anonymize.sock") > UNIX_PATH_LIMIT:
        raise ConfigError(f"line.runtime_dir: {folder} is too long for a socket; choose a path under 80 bytes")
    return folder


class PrivateSockets:
    """Sockets between the stages of one pipeline.

    Args:
        base: an `inproc://` name or the runtime folder.
        context: of this process.
    """

    def __init__(self, base: str | Path, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._base = base
        self._context = context

    def _endpoint(self, name: str) -> str:
        if isinstance(self._base, Path):
            return f"ipc://{self._base / name}.sock"
        return f"inproc://{self._base}-{name}"

    def pull(self, name: str, hwm: int = PRIVATE_HWM) -> zmq.Socket[bytes]:
        """Return the receiving end of an edge. It binds, so that several senders may fan in."""
        socket = self._context.socket(zmq.PULL)
        socket.rcvhwm, socket.linger = hwm, 0
        socket.bind(self._endpoint(name))
        return socket

    def push(self, name: str, hwm: int = PRIVATE_HWM) -> zmq.Socket[bytes]:
        """Return the sending end of an edge. Keep it open until all has arrived: closing drops what is in flight."""
        socket = self._context.socket(zmq.PUSH)
        socket.sndhwm, socket.linger = hwm, REPORT_FLUSH_MS
        socket.reconnect_ivl = RECONNECT_MS
        socket.connect(self._endpoint(name))
        return socket


def public_socket(
    bind: str, queue: int, context: zmq.Context[zmq.Socket[bytes]], keys: KeyPair | None = None
) -> zmq.Socket[bytes]:
    """Return the one socket that leaves the machine. XPUB, because it reports subscriptions.

    Args:
        bind: the address.
        queue: messages kept for a slow subscriber.
        context: of this process.
        keys: with them everything is encrypted, and all connections are refused until an authenticator answers
            (stream/publisher/authenticator.py).

    Raises:
        BoundaryError: other machines could reach the address, and there are no keys.
        LineError: the address is in use, or not this machine's.
    """
    socket = context.socket(zmq.XPUB)
    socket.sndhwm, socket.linger = queue, 0
    # libzmq reads all that has arrived at once, and keeps it in memory, so little may arrive at a time. A short queue
    # alone is not enough: it refills as fast as it is emptied, unless the kernel's buffer is small, too.
    socket.rcvhwm, socket.rcvbuf = 10, 1024
    socket.setsockopt(zmq.MAXMSGSIZE, 1024)  # of incoming messages: subscriptions and handshakes, which are short
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)  # a silent connection holds a descriptor
    socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # reports each subscriber, not only the first of a topic
    _enable_keepalive(socket)
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


def _enable_keepalive(socket: zmq.Socket[bytes]) -> None:
    """Let the kernel detect peers that vanished silently: a cut cable, a machine without power.

    A subscriber sends nothing, so without keepalive it would wait on a dead connection for ever.
    """
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle = KEEPALIVE_IDLE_S
    socket.tcp_keepalive_intvl = KEEPALIVE_INTERVAL_S
    socket.tcp_keepalive_cnt = KEEPALIVE_PROBES


def bind_public(socket: zmq.Socket[bytes], bind: str) -> None:
    """Bind the public socket.

    Raises:
        BoundaryError: other machines could reach the address, and the socket has no keys.
        LineError: the address is in use, or not this machine's.
    """
    if not (is_local(bind) or socket.curve_server):  # the settings refuse it, too; this is the last check
        raise BoundaryError(f"publish.bind: other machines can reach {bind}, and there are no keys: refused")
    socket.ipv6 = is_ipv6(bind)
    try:
        socket.bind(bind)
    except zmq.ZMQError as error:
        raise LineError(f"publish.bind: cannot bind {bind}: {error}; is another eventveil running there?") from error


def endpoint_of(socket: zmq.Socket[bytes]) -> str:
    """Return the address that a socket is bound to, with its port if any free one was requested."""
    return bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()


def subscriber_socket(
    topics: tuple[str, ...],
    queue: int,
    context: zmq.Context[zmq.Socket[bytes]],
    identity: tuple[bytes, KeyPair] | None = None,
) -> zmq.Socket[bytes]:
    """Return a subscriber's socket, not connected yet.

    Args:
        topics: to subscribe to.
        queue: messages kept for a slow caller.
        context: of this process.
        identity: the publisher's public key and the subscriber's own keys; with them only that publisher is accepted.
    """
    socket = context.socket(zmq.SUB)
    socket.rcvhwm, socket.linger = queue, 0
    socket.setsockopt(zmq.MAXMSGSIZE, 300 << 20)  # a stranger's frame must not exhaust the memory
    socket.setsockopt(zmq.HANDSHAKE_IVL, ANSWER_MS)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
    _enable_keepalive(socket)
    if identity is not None:
        socket.curve_serverkey, pair = identity
        socket.curve_publickey, socket.curve_secretkey = pair.public, pair.secret
    for topic in topics:
        socket.subscribe(topic)
    return socket


def connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Connect to a publisher, which need not be there yet; ZeroMQ reconnects to one that returns.

    Raises:
        ConfigError: the endpoint is invalid.
    """
    problem = f"cannot connect to {endpoint!r}: "
    expected = "expected tcp://HOST:PORT or ipc://PATH"
    if not endpoint.startswith(("tcp://", "ipc://")):  # inproc:// would wait for ever
        raise ConfigError(problem + expected)
    socket.ipv6 = is_ipv6(endpoint)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise ConfigError(f"{problem}{error}; {expected}") from error
