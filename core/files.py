"""Files that appear whole or not at all, and files that only their owner may read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PRIVATE = 0o600
PART = ".part"


@contextmanager
def atomic_file(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Open a binary file for writing that replaces `path` when the block ends without an exception.

    The data is written to a hidden file in the same folder, synced to the disk, and renamed over `path`. A reader never
    sees half a file; an exception, a full disk or a killed process leaves the previous file as it was.

    Args:
        path: the file to write or replace.
        private: only the owner may read it (0600), from the first byte on.

    Raises:
        OSError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE if private else 0o666)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a whole file in one step, as `atomic_file` does.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_file(path, private=private) as file:
        file.write(data)


def create_private(path: Path, data: bytes) -> None:
    """Write a new file that only its owner may read (0600), and never replace one that exists.

    Raises:
        FileExistsError: there is a file already.
        OSError: the file cannot be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)  # half a key would be in the way of the next one
        raise


def remove_parts(path: Path) -> None:
    """Remove the temporary files of killed processes that were writing this file."""
    for part in path.parent.glob(f".{path.name}.*{PART}"):
        part.unlink(missing_ok=True)
