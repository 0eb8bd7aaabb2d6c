"""The only maker of sockets. Private ones live in memory or in a folder that only its owner may enter.

There is one function for each side of the privacy boundary and no way to ask the private one for a network address:
its endpoints are built here from a base that is `inproc://` or `ipc://` by construction.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import zmq

from eventveil.errors import BoundaryError, ConfigError, LineError

# A private queue holds this many parcels on either side of a socket. The smallest there is: what waits for a slow
# stage waits in its sender's `Outbox`, where the oldest can still be dropped and counted.
PRIVATE_HWM = 1
UNIX_PATH_LIMIT = 100  # bytes; the kernel's own limit is 104 to 108
REPORT_FLUSH_MS = 200  # how long a stage that leaves may still deliver its last report


def runtime_folder(chosen: Path | None) -> Path:
    """Return a folder for the line's private sockets that only this user may enter; made where there is none.

    Raises:
        BoundaryError: the folder belongs to another user, or others may enter it.
        ConfigError: it cannot be made, or its path is too long for a socket.
    """
    try:
        if chosen is None:
            folder = Path(tempfile.mkdtemp(prefix="eventveil-", dir=os.environ.get("XDG_RUNTIME_DIR")))
        else:
            folder = chosen
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"line.runtime_dir: {error.filename} cannot be made: {error.strerror}; choose a folder that can"
        ) from error
    state = folder.stat()
    if hasattr(os, "getuid") and (state.st_uid != os.getuid() or stat.S_IMODE(state.st_mode) & 0o077):
        raise BoundaryError(f"{folder}: raw windows may only pass a folder of yours with mode 0700; chmod 700 it")
    if len(os.fsencode(folder)) + len("/anonymize.sock") > UNIX_PATH_LIMIT:
        raise ConfigError(f"line.runtime_dir: {folder} is too long for a socket; choose a path under 80 bytes")
    return folder


class PrivateSockets:
    """Sockets between the stages of one line.

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
        """The receiving end of an edge: binds, so that several senders may fan in."""
        socket = self._context.socket(zmq.PULL)
        socket.rcvhwm, socket.linger = hwm, 0
        socket.bind(self._endpoint(name))
        return socket

    def push(self, name: str, hwm: int = PRIVATE_HWM) -> zmq.Socket[bytes]:
        """The sending end of an edge. It must stay open until all has arrived: closing drops what is under way."""
        socket = self._context.socket(zmq.PUSH)
        socket.sndhwm, socket.linger = hwm, REPORT_FLUSH_MS
        socket.connect(self._endpoint(name))
        return socket


def public_socket(bind: str, queue: int, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """The one socket that leaves the machine. XPUB, because it tells when somebody subscribes.

    Raises:
        LineError: the address is in use, or not this machine's.
    """
    socket = context.socket(zmq.XPUB)
    socket.sndhwm, socket.linger = queue, 0
    socket.setsockopt(zmq.MAXMSGSIZE, 1024)  # of what comes in: subscriptions, which are short
    socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # each subscriber counts, not only the first of a topic
    try:
        socket.bind(bind)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise LineError(f"publish.bind: cannot bind {bind}: {error}; is another eventveil running there?") from error
    return socket


def subscriber_socket(endpoint: str, topics: tuple[str, ...], queue: int, context: Any) -> zmq.Socket[bytes]:
    """A subscriber's socket; it waits for a publisher that is not there yet, and comes back when it returns.

    Raises:
        ConfigError: the endpoint is not one.
    """
    if not endpoint.startswith(("tcp://", "ipc://")):  # inproc:// would wait for ever
        raise ConfigError(f"cannot connect to {endpoint!r}: expected tcp://HOST:PORT or ipc://PATH")
    socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
    socket.rcvhwm, socket.linger = queue, 0
    socket.setsockopt(zmq.MAXMSGSIZE, 300 << 20)  # a stranger's frame may not eat the machine
    for topic in topics:
        socket.subscribe(topic)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise ConfigError(f"cannot connect to {endpoint!r}: {error}; expected tcp://HOST:PORT or ipc://PATH") from error
    return socket
