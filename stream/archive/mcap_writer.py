"""Writes the messages of one anonymized recording as MCAP, in the times of its camera."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from eventveil.stream.archive.mcap_file import McapFile
from eventveil.stream.protocol.wire import Message, StreamHeader


class McapWriter:
    """See `MessageWriter`; `eventveil.stream.archive.recorder` writes what a subscriber receives.

    Args:
        path: the file to write.
        replace: whether an existing file may be replaced.
        opened: closes what is opened here.
    """

    def __init__(self, path: Path, replace: bool, opened: ExitStack) -> None:
        self._file = McapFile(path, replace=replace, keep_part=False)
        self._path = path
        self._time_ns: int | None = None
        self._untimed: list[Message] = []  # what came before the first window
        opened.push(self._exit)

    @property
    def windows(self) -> int:
        """How many windows were written so far."""
        return self._file.windows

    def write(self, message: Message) -> None:
        """Write a message at the end of its window; MCAP has no times before 1970.

        States have no time: they get that of the window before, and the certificate, which comes first, of the first.
        """
        if isinstance(message.header, StreamHeader):
            self._time_ns = max(0, message.header.t_end_us * 1_000)
        if self._time_ns is None:
            self._untimed.append(message)
            return
        for each in (*self._untimed, message):
            self._file.write(each, self._time_ns)
        self._untimed.clear()
        if self._file.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def finish(self) -> None:
        """Write the index."""
        self._file.close()

    def _exit(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._file.abandon(error)
