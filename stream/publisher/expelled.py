"""The keys of subscribers that were expelled: refused until the pipeline ends, also by the next publisher process."""

from __future__ import annotations

import os
from pathlib import Path

from eventveil.errors import AccessError, ConfigError, LineError
from eventveil.host.files import open_to_append

FILE = "expelled"  # in the runtime folder, which a pipeline has to itself
_KEY_LENGTH = 40  # characters of Z85


class ExpelledKeys:
    """The expelled keys of a pipeline, in Z85.

    Args:
        file: keeps them for the next publisher process; it need not exist. None: a publisher in a thread, which is
            never restarted.

    Raises:
        AccessError: the file is damaged, so an expelled key could be let in.
        LineError: it cannot be opened.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._keys = set() if file is None else _read(file)
        # Open from the start: a crowd of clients may take all other descriptors, and would keep keys from the file.
        self._open = None if file is None else _append_to(file)

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, key: bytes) -> None:
        """Expel a key.

        Raises:
            LineError: it cannot be written down.
        """
        if key in self._keys:
            return
        self._keys.add(key)
        if self._open is None:
            return
        try:
            written = os.write(self._open, key + b"\n")
        except OSError as error:
            raise _unwritable(self._file, error.strerror) from error
        if written <= len(key):
            raise _unwritable(self._file, "no space left")

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            os.close(self._open)
            self._open = None


def _append_to(file: Path) -> int:
    try:
        return open_to_append(file)
    except OSError as error:
        raise _unwritable(file, error.strerror) from error


def _unwritable(file: Path | None, reason: str | None) -> LineError:
    return LineError(f"{file}: an expelled key cannot be written: {reason}; set line.runtime_dir to another")


def forget_expelled(file: Path) -> None:
    """Remove the file of an earlier pipeline, if there is one.

    Raises:
        ConfigError: it cannot be removed.
    """
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"line.runtime_dir: {file}: cannot be removed: {error.strerror}; choose another folder"
        ) from error


def _read(file: Path) -> set[bytes]:
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise AccessError(f"{file}: cannot be read: {error.strerror}; start the pipeline again") from error
    keys = text.splitlines()
    if not text.endswith(b"\n" if text else b"") or any(len(key) != _KEY_LENGTH for key in keys):
        raise AccessError(f"{file}: expected one key of {_KEY_LENGTH} characters a line; start the pipeline again")
    return set(keys)
