"""Records published messages in MCAP files: one, or a new one whenever the last has become too large or too old."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from eventveil.errors import ConfigError
from eventveil.host.files import PART, private_folder
from eventveil.stream.archive.mcap_file import McapFile
from eventveil.stream.protocol.wire import CERTIFICATE_STATE, STATE, Message

REMOVE_S = 60.0  # how often files that have become too old are looked for
ROOM = 4 << 20  # bytes: a file is closed while the process may still add that many to it


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file ends and the next begins, and how long files are kept.

    Attributes:
        size: bytes of a file; None: no limit.
        seconds: length of a file; None: no limit.
        keep_s: files that ended longer ago are removed, also the hidden ones of killed recorders; None: none are.
    """

    size: int | None = None
    seconds: float | None = None
    keep_s: float | None = None

    @property
    def many(self) -> bool:
        """Whether there may be several files."""
        return self.size is not None or self.seconds is not None


class Recorder:
    """Writes messages to files.

    A single file has the given name. Each of several has the time of its beginning in UTC and a number:
    `line-20261129T141300Z-0001.mcap` for `line.mcap`.

    Args:
        path: the file to write, `*.mcap`.
        rotation: when a file ends and the next begins.

    Attributes:
        paths: paths of the files that are complete; files that were removed are no longer among them.
        windows: written so far.
        messages: written so far, with markers.

    Raises:
        ConfigError: the file exists or cannot be written.
    """

    def __init__(self, path: Path, rotation: Rotation) -> None:
        if path.suffix != ".mcap":
            raise ConfigError(f"--out {path}: expected a name that ends in .mcap")
        if rotation.keep_s is not None and not rotation.many:
            raise ConfigError(
                "--keep removes old files, but there is only one; give --rotate-size or --rotate-every, too"
            )
        self.paths: list[Path] = []
        self._path = path
        self._rotation = rotation
        self._number = 0
        self._certificate: Message | None = None
        self._written = [0, 0]
        self._last_ns = 0
        try:
            private_folder(path.parent)
        except OSError as error:
            raise self._failure(path.parent, error) from error
        self._file: McapFile | None = None
        self._removed_s = 0.0
        self._begin()

    @property
    def windows(self) -> int:
        """How many windows were written so far."""
        return self._written[0] + (self._file.windows if self._file else 0)

    @property
    def messages(self) -> int:
        """How many messages were written so far, with markers."""
        return self._written[1] + (self._file.messages if self._file else 0)

    def write(self, message: Message) -> None:
        """Write a message that was just received.

        Raises:
            ConfigError: the disk is full, or the file cannot be written; what was written before is complete.
        """
        if message.topic == STATE and message.header.state == CERTIFICATE_STATE:
            self._certificate = message
        with self._writing() as file:
            file.write(message, self._now_ns())
            file.tick()

    def mark(self, text: str) -> None:
        """Write a marker; errors as for `write`."""
        with self._writing() as file:
            file.mark(text, self._now_ns())

    def tick(self) -> None:
        """Write out what waits, and begin a new file if it is time; errors as for `write`."""
        with self._writing() as file:
            file.tick()
        if time.monotonic() - self._removed_s >= REMOVE_S:  # also while nothing comes, and no new file begins
            self._remove_old()

    def close(self) -> None:
        """Complete the file that is being written; errors as for `write`."""
        file, self._file = self._file, None
        if file is None:
            return
        self._written = [self._written[0] + file.windows, self._written[1] + file.messages]
        try:
            file.close()
        except OSError as error:
            raise self._failure(self._current, error) from error
        self.paths.append(self._current)

    @contextmanager
    def _writing(self) -> Iterator[McapFile]:
        """Yield the file to write to, and close it if the disk is full."""
        file = self._open()
        try:
            yield file
        except OSError as error:  # perhaps in the middle of a chunk: what comes before it can be read
            self._file = None
            file.abandon(error)
            raise self._failure(self._current, error) from error
        if file.full or file.room < ROOM:
            self.close()
            full = "the disk is full", "free some space"
            limited = "it has reached the limit of file sizes", "raise the limit (ulimit -f) or give --rotate-size"
            why, remedy = full if file.full else limited
            raise ConfigError(f"{self._current}: {why}; what was recorded is complete. To continue, {remedy}")

    def _open(self) -> McapFile:
        """Return the file to write to, a new one if the last has become too large or too old."""
        assert self._file is not None
        rotation = self._rotation
        old = rotation.seconds is not None and time.monotonic() - self._begun_s >= rotation.seconds
        large = rotation.size is not None and self._file.size >= rotation.size
        if (old or large) and self._file.messages > self._carried:
            self.close()
            return self._begin()
        return self._file

    def _begin(self) -> McapFile:
        self._remove_old()
        self._number += 1
        self._begun_s = time.monotonic()
        begun = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{self._number:04d}"
        path = self._path
        self._current = path.with_name(f"{path.stem}-{begun}{path.suffix}") if self._rotation.many else path
        try:
            self._file = McapFile(self._current)
            if self._certificate is not None:  # each file can be verified alone
                self._file.write(self._certificate, self._now_ns())
            self._carried = self._file.messages  # nothing that was received for this file
        except OSError as error:
            raise self._failure(self._current, error) from error
        return self._file

    def _remove_old(self) -> None:
        self._removed_s = time.monotonic()
        if self._rotation.keep_s is None:
            return
        name = rf"{re.escape(self._path.stem)}-\d{{8}}T\d{{6}}Z-\d{{4,}}\.mcap"
        ours = re.compile(rf"{name}|\.{name}\.[0-9a-f]{{8}}{re.escape(PART)}")
        oldest_s = time.time() - self._rotation.keep_s
        for path in self._path.parent.iterdir():
            if ours.fullmatch(path.name) and (self._file is None or path.name != self._file.part.name):
                with suppress(OSError):  # gone, or another's: the recording goes on
                    state = path.lstat()
                    if state.st_mtime < oldest_s and not path.is_symlink():
                        path.unlink()
                        self.paths = [kept for kept in self.paths if kept != path]

    def _now_ns(self) -> int:
        """Return the time, which never goes back within a recording, whatever the clock does."""
        self._last_ns = max(self._last_ns, time.time_ns())
        return self._last_ns

    def _failure(self, path: Path, error: OSError) -> ConfigError:
        return ConfigError(
            f"{path}: cannot be written: {error.strerror or error}; free some space or choose another name"
        )
