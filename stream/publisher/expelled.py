"""The keys of subscribers that were expelled: refused until the pipeline ends, also by the next publisher process."""

from __future__ import annotations

from pathlib import Path

from eventveil.errors import AccessError, ConfigError, LineError
from eventveil.files import write_atomic

FILE = "expelled"  # in the runtime folder, which a pipeline has to itself
_KEY_LENGTH = 40  # characters of Z85


class ExpelledKeys:
    """The expelled keys of a pipeline, in Z85.

    Args:
        file: keeps them for the next publisher process; it need not exist. None: a publisher in a thread, which is
            never restarted.

    Raises:
        AccessError: the file is damaged, so an expelled key could be let in.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._keys = set() if file is None else _read(file)

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, key: bytes) -> None:
        """Expel a key.

        Raises:
            LineError: it cannot be written down.
        """
        self._keys.add(key)
        if self._file is None:
            return
        try:
            write_atomic(self._file, b"".join(key + b"\n" for key in sorted(self._keys)))
        except OSError as error:
            raise LineError(
                f"{self._file}: an expelled key cannot be written: {error.strerror}; set line.runtime_dir to another"
            ) from error


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
    if not text.endswith(b"\n") or any(len(key) != _KEY_LENGTH for key in keys):
        raise AccessError(f"{file}: expected one key of {_KEY_LENGTH} characters a line; start the pipeline again")
    return set(keys)
