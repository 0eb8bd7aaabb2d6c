"""Files that appear whole or not at all. Every file and folder that eventveil creates is created here.

Only their owner may read them: files have mode 0600, folders 0700, whatever the umask. To share one, such as a report,
its owner changes the mode. No symbolic link, device, pipe or socket is ever written through or replaced.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
PART = ".part"


@contextmanager
def atomic_file(path: Path, *, replace: bool = True, keep_part: bool = False) -> Iterator[IO[bytes]]:
    """Open a private binary file for writing that becomes `path` when the block ends without an exception.

    The data is written to a hidden file in the same folder, whose path is the `name` of the yielded file, synced to the
    disk, and renamed to `path`. A reader never sees half a file; an exception, a full disk or a killed process leaves
    the previous file as it was.

    Args:
        path: the file to write.
        replace: whether an existing file may be replaced. If not, a file that appears meanwhile is kept, too.
        keep_part: leave the hidden file if the block ends with an exception: its contents are useful all the same.

    Raises:
        FileExistsError: there is something that may not be replaced, see `check_target`.
        OSError: the file cannot be written.
    """
    check_target(path, replace=replace)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        with open(part, "x+b", opener=_open_private) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        check_target(path, replace=replace)
        if replace:
            part.replace(path)
        else:
            _rename_to_new(part, path)
    except BaseException:
        if not keep_part:
            part.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write a whole private file in one step, as `atomic_file` does.

    Raises:
        FileExistsError: there is something that may not be replaced.
        OSError: the file cannot be written.
    """
    with atomic_file(path, replace=replace) as file:
        file.write(data)


def nameless_file(folder: Path) -> IO[bytes]:
    """Open a file without a name on the disk of a folder: it vanishes when it is closed, however the process ends.

    Raises:
        OSError: it cannot be created.
    """
    return tempfile.TemporaryFile(dir=folder)


def append_private(path: Path, data: bytes) -> None:
    """Append to a private file, or create it. The file must be a regular one of this user.

    Raises:
        OSError: the file cannot be written, and is as it was: half a line would damage a log for good.
    """
    check_target(path, replace=True)
    with open(path, "ab", buffering=0, opener=_open_private) as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "expected a regular file of yours", str(path))
        os.fchmod(file.fileno(), PRIVATE_FILE)
        fcntl.flock(file, fcntl.LOCK_EX)  # against other processes that append to it
        size, left = os.fstat(file.fileno()).st_size, memoryview(data)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise


def private_folder(path: Path) -> None:
    """Create a folder that only its owner may enter, and missing folders above it likewise.

    A folder that exists keeps its mode: it may be shared on purpose, and the files in it are private anyway.

    Raises:
        OSError: it cannot be created.
    """
    for folder in (*reversed(path.parents), path):
        folder.mkdir(PRIVATE_FOLDER, exist_ok=True)


def check_target(path: Path, *, replace: bool) -> None:
    """Check that a file may be written: nothing is there, or a regular file that may be replaced.

    Raises:
        FileExistsError: it may not; `strerror` says what is there.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:  # nothing is there; or the folder cannot be read, and the write reports why
        return
    if stat.S_ISREG(mode):
        problem = None if replace else "it exists already"
    elif stat.S_ISLNK(mode):
        problem = "it is a symbolic link, which is never followed or replaced"
    else:
        problem = "it is a folder" if stat.S_ISDIR(mode) else "it is a device, a pipe or a socket"
    if problem is not None:
        raise FileExistsError(errno.EEXIST, problem, str(path))


def lock_file(path: Path) -> int:
    """Create a private file, or open it, and lock it.

    Returns:
        A descriptor. The lock ends when it is closed, or when this process has ended, however it ended.

    Raises:
        BlockingIOError: another process holds the lock, or this one already does.
        OSError: the file cannot be created.
    """
    handle = _open_private(str(path), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(handle)
        raise
    return handle


def open_to_append(path: Path) -> int:
    """Open a private file to append to, and return its descriptor; it is created if missing.

    Raises:
        OSError: it cannot be opened, or is a symbolic link.
    """
    return _open_private(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder in the block, and wait for it: for files that several processes read and write again.

    Raises:
        OSError: there is no such folder, or its file system has no locks.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def remove_parts(path: Path) -> None:
    """Remove the temporary files of killed processes that were writing this file."""
    for part in path.parent.glob(f".{path.name}.*{PART}"):
        part.unlink(missing_ok=True)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, PRIVATE_FILE)


def _rename_to_new(part: Path, path: Path) -> None:
    """Rename a file unless the new name exists: `rename` would replace what another process has put there."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links, as on a USB stick: claim the name first
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
        part.replace(path)
    else:
        part.unlink()
