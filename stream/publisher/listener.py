"""The listening socket of the public endpoint, which the pipeline opens itself and keeps for its whole life.

Every publisher process accepts connections from a copy of this socket. So the address is never free, whatever happens
to a publisher, and no other program can take it. libzmq would also delete whatever lies at the path of an `ipc://`
address; here only a dead socket is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eventveil.errors import BoundaryError, LineError
from eventveil.host.addresses import parse_port, split_host_port
from eventveil.stream.protocol.endpoints import is_ipv6, is_local

RECEIVE_BUFFER = 1024  # bytes; the connections inherit it. See stream/publisher/public_socket.py
BACKLOG = 128  # connections that wait to be accepted
LOCK_S = 2.0
_SIOCGIFADDR = 0x8915  # linux/sockios.h


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. A copy of it can be sent to another process of `multiprocessing`.

    Attributes:
        endpoint: its address, with the number of the port that was chosen for `*`.
        bound: the socket; it does not block.
    """

    endpoint: str
    bound: socket.socket

    def copy_descriptor(self) -> int:
        """Return a new descriptor of the same socket, for an owner that closes it."""
        return os.dup(self.bound.fileno())

    def accepted(self, connection: socket.socket) -> bool:
        """Return whether a connection was accepted here: it has our port, or our path."""
        ours, its = self.bound.getsockname(), connection.getsockname()
        same = its[1] == ours[1] if isinstance(ours, tuple) else its == ours
        return connection.family == self.bound.family and bool(same)


@contextmanager
def listening(bind: str, *, keyed: bool) -> Iterator[Listener]:
    """Listen on an address until the block ends.

    Args:
        bind: `tcp://HOST:PORT` or `ipc://PATH`. The host may be the name of a network interface, or `*` for all; names
            and `*` mean IPv4. The port `*` chooses a free one.
        keyed: whether the endpoint has keys, and may be reached by other machines.

    Raises:
        BoundaryError: other machines can reach the address, and there are no keys.
        LineError: the address is in use or not one of this machine, or something other than a dead socket is there.
    """
    _check_reach(bind, keyed=keyed)
    with contextlib.ExitStack() as opened:
        try:
            if bind.startswith("ipc://"):
                bound = opened.enter_context(_at_path(bind.removeprefix("ipc://")))
                endpoint = bind
            else:
                bound = opened.enter_context(_bound_to_port(bind))
                endpoint = _tcp_endpoint(bound)
                _check_reach(endpoint, keyed=keyed)  # what a name stands for is known only now
                bound.listen(BACKLOG)
        except OSError as error:
            raise LineError(f"publish.bind: cannot bind {bind}: {error.strerror or error}; {_remedy(error)}") from error
        bound.setblocking(False)  # another process may accept a connection first
        yield Listener(endpoint, bound)


def _remedy(error: OSError) -> str:
    """Say what to do about an address that cannot be bound."""
    example = "as in --set publish.bind=tcp://127.0.0.1:5557"
    if error.errno == errno.EADDRINUSE:
        return f"is another eventveil running there? Stop it, or choose another address, {example}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this user may not use it: choose a port from 1024 on or a folder of yours, {example}"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"it is not an address of this machine: choose one that is, {example}"
    return f"choose another address, {example}"


def _check_reach(address: str, *, keyed: bool) -> None:
    if not (keyed or is_local(address)):  # the settings refuse this too; here is the last check
        raise BoundaryError(f"publish.bind: other machines can reach {address}, and there are no keys: refused")


@contextmanager
def _bound_to_port(bind: str) -> Iterator[socket.socket]:
    host, port_text = split_host_port(bind.removeprefix("tcp://"))
    port = 0 if port_text == "*" else parse_port(port_text)
    if not bind.startswith("tcp://") or not host or port is None:
        raise LineError(f"publish.bind: cannot bind {bind}: expected tcp://HOST:PORT or ipc://PATH")
    family = socket.AF_INET6 if is_ipv6(bind) else socket.AF_INET
    name = None if host == "*" else _interface_address(host) or host
    address = socket.getaddrinfo(name, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4]
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        # Connections of an earlier run may linger. On Linux, an address with a listening socket stays taken.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(address)
        yield bound


def _interface_address(name: str) -> str | None:
    """Return the IPv4 address of a network interface, as of `eth0`; None if there is none of that name."""
    if sys.platform != "linux" or len(os.fsencode(name)) > 15:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", os.fsencode(name)))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])


def _tcp_endpoint(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"tcp://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"tcp://{host}:{port}"


@contextmanager
def _at_path(path: str) -> Iterator[socket.socket]:
    """Listen at a path where nothing or a dead socket is, and remove the socket at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        if path.startswith("@"):  # an abstract name, which is no file
            bound.bind("\0" + path[1:])
            bound.listen(BACKLOG)
            yield bound
            return
        with _locked(Path(path).parent):  # until it listens, another pipeline would take it for a dead one
            _remove_dead_socket(path)
            bound.bind(path)  # fails if anything is there
            bound.listen(BACKLOG)
            created = os.lstat(path)
        try:
            yield bound
        finally:
            _remove(Path(path), created)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other pipelines from binding in a folder meanwhile.

    Raises:
        BlockingIOError: a program held the folder for `LOCK_S`.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(handle)


def _remove_dead_socket(path: str) -> None:
    """Remove a dead socket: one on which no process listens. Refuse anything else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a symbolic link" if stat.S_ISLNK(mode) else "a file"
        raise LineError(
            f"publish.bind: {path} is {kind}, which is not overwritten: expected a path where nothing exists; "
            "choose another one"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except OSError as error:  # a program may be listening: this error does not rule it out
            raise LineError(f"publish.bind: cannot bind ipc://{path}: {error.strerror}; {_IN_USE}") from error
        else:
            raise LineError(f"publish.bind: cannot bind ipc://{path}: Address already in use; {_IN_USE}")


_IN_USE = "a program may be using that socket; stop it, or choose another path"


def _remove(path: Path, created: os.stat_result) -> None:
    """Remove our own socket. Left behind, it would be a dead one, which the next pipeline replaces."""
    with contextlib.suppress(OSError), _locked(path.parent):
        present = path.lstat()
        if (present.st_dev, present.st_ino) == (created.st_dev, created.st_ino):
            path.unlink()
