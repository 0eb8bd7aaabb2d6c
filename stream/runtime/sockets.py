"""The private sockets between the stages. They live in memory or in a folder that only its owner may enter.

They cannot be given a network address: their endpoints are built here from a base that is `inproc://` or `ipc://` by
construction. The public socket is opened in stream/publisher/public_socket.py.
"""

from __future__ import annotations

import os
import stat
import tempfile
from multiprocessing import util
from pathlib import Path

import zmq

from eventveil.errors import BoundaryError, ConfigError
from eventveil.host.files import lock_file, private_folder

# Messages in a private queue, on either side of a socket. The smallest possible number: what waits for a slow stage
# waits in its sender's `EdgeSender`, where the oldest can still be dropped and counted.
PRIVATE_HWM = 1
UNIX_PATH_LIMIT = 100  # bytes; the kernel's own limit is 104 to 108
RECONNECT_MS = 20  # how soon a sender finds a receiver that was restarted
LOCK = "lock"  # a file in the runtime folder
REPORT_FLUSH_MS = 200  # how long an exiting stage may take to deliver its last report


def runtime_folder(chosen: Path | None) -> Path:
    """Return a folder for the private sockets that only this user may enter; create it if it does not exist.

    Raises:
        BoundaryError: the folder belongs to another user, or others may enter it.
        ConfigError: it cannot be created, or its path is too long for a socket.
    """
    try:
        if chosen is None:
            # The fork server removes this folder and all in it if the supervisor is killed.
            folder = Path(tempfile.mkdtemp(prefix="eventveil-", dir=util.get_temp_dir()))
        else:
            folder = chosen
            private_folder(folder)
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


def lock_folder(folder: Path) -> int:
    """Reserve the runtime folder for one pipeline: a second one would take over its sockets and counters.

    Returns:
        A descriptor. The folder is free again as soon as it is closed, or this process has ended, however it ended.

    Raises:
        ConfigError: another pipeline uses the folder, or something other than a file of ours has the lock's name.
    """
    try:
        return lock_file(folder / LOCK)
    except BlockingIOError:
        raise ConfigError(
            f"line.runtime_dir: another pipeline uses {folder}; stop it, or choose another folder"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"line.runtime_dir: {folder / LOCK}: cannot be locked: {error.strerror}; choose another folder"
        ) from error


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
        """Return the receiving end of an edge. It binds, so that several senders may fan in.

        Raises:
            ConfigError: the runtime folder holds something other than a socket at this path; libzmq would delete it.
        """
        path = Path(self._endpoint(name).removeprefix("ipc://"))
        if isinstance(self._base, Path) and os.path.lexists(path) and (path.is_symlink() or not path.is_socket()):
            raise ConfigError(f"line.runtime_dir: {path} is not a socket; choose a folder that only this pipeline uses")
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
