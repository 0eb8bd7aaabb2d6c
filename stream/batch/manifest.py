"""The private record of a batch: which recording became which file, with the digests of what it was made of.

It stays beside the folder of the anonymized files, not in it: names of recordings name people, and the digest of a
recording is a fingerprint of raw data, by which anyone who has the recording recognises it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from eventveil.errors import ConfigError
from eventveil.host.files import lock_file, private_folder, write_atomic
from eventveil.settings import first_finding
from eventveil.version import __version__

MANIFEST, LOCK, FILES = "manifest.json", ".lock", "anonymized"
SAVE_S = 1.0  # a killed process leaves at most the files of this time without their figures
PRIVATE = "names people and holds fingerprints of raw recordings: do not share this file with the anonymized ones"


class Entry(BaseModel):
    """A recording and its anonymized file.

    Attributes:
        recording: its name.
        file: name of the anonymized file; it is random, and says nothing.
        sha256: of the recording's file; of a folder of frames, of their names and digests. None until it is done.
        windows: how many it became; None until it is done. Both stay None if the process was killed just then.
        error: why there is no file.
        omissions: how much of the recording was left out or corrected, by reason.
    """

    model_config = ConfigDict(extra="forbid")

    recording: str
    file: str
    sha256: str | None = None
    windows: int | None = None
    error: str | None = None
    omissions: dict[str, int] = {}


class Manifest(BaseModel):
    """What `manifest.json` holds.

    Attributes:
        private: a warning to people.
        eventveil: the version that made it.
        made: when.
        made_of: digests of weights, certificate and book, and the settings; the same for all files.
        entries: one for each recording.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal["eventveil.anonymize/1"] = "eventveil.anonymize/1"
    private: str = PRIVATE
    eventveil: str = __version__
    made: str
    made_of: dict[str, Any]
    entries: list[Entry]


class ManifestFile:
    """The manifest of an output folder, locked against other processes; a context manager that saves it.

    Args:
        folder: the output folder, created if missing.
        made_of: see `Manifest`.
        files: the names of the recordings, each with that of its file.
        resume: go on with the manifest that is there.

    Attributes:
        entries: by the recording's name.

    Raises:
        ConfigError: the folder cannot be used, or holds another batch.
    """

    def __init__(
        self, folder: Path, made_of: dict[str, Any], files: Sequence[tuple[str, str]], *, resume: bool
    ) -> None:
        self._path = folder / MANIFEST
        try:
            private_folder(folder / FILES)
            self._lock = lock_file(folder / LOCK)
        except BlockingIOError:
            raise ConfigError(f"--out {folder}: another process is writing there; wait for it") from None
        except OSError as error:
            raise ConfigError(f"--out {folder}: cannot be written: {error.strerror}; choose another folder") from error
        try:
            self._manifest = self._read(folder, resume=resume) or _new(made_of, files)
            self.entries = {entry.recording: entry for entry in self._manifest.entries}
            self._check(made_of, {recording for recording, _ in files})
        except ConfigError:
            os.close(self._lock)
            raise
        self._saved_s = 0.0

    def __enter__(self) -> ManifestFile:
        self.save()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.save()
        finally:
            os.close(self._lock)

    def note(self, entry: Entry) -> None:
        """Keep what became of a recording."""
        self.entries[entry.recording] = entry
        if time.monotonic() - self._saved_s > SAVE_S:
            self.save()

    def save(self) -> None:
        """Write the manifest.

        Raises:
            ConfigError: it cannot be written.
        """
        self._manifest.entries = list(self.entries.values())
        try:
            write_atomic(self._path, self._manifest.model_dump_json(indent=1).encode() + b"\n")
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be written: {error.strerror}; free some space") from error
        self._saved_s = time.monotonic()

    def _check(self, made_of: dict[str, Any], recordings: set[str]) -> None:
        if self._manifest.made_of != made_of:
            raise ConfigError(
                f"--resume: {self._path} was made with other weights, another book, format or settings; give the same, "
                "or choose another --out folder"
            )
        if self.entries.keys() != recordings:
            raise ConfigError(f"--resume: {self._path} is of other recordings; give the same, or another --out folder")

    def _read(self, folder: Path, *, resume: bool) -> Manifest | None:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read: {error.strerror}; check its permissions") from error
        if not resume:
            raise ConfigError(
                f"--out {folder}: holds an earlier batch; go on with it (--resume), or choose another one"
            )
        try:
            return Manifest.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError(f"{self._path}: {first_finding(error)}; choose another --out folder") from error


def _new(made_of: dict[str, Any], files: Sequence[tuple[str, str]]) -> Manifest:
    entries = [Entry(recording=recording, file=file) for recording, file in files]
    return Manifest(made=datetime.now(UTC).isoformat(timespec="seconds"), made_of=made_of, entries=entries)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and digests of a folder of frames.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = (f"{digest_of(part)}  {part.relative_to(path)}\n" for part in sorted(path.rglob("*")) if part.is_file())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
