"""NumPy's .npz: an archive of arrays of events."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

from eventveil.io.arrays import ArraysReader
from eventveil.io.columns import FIELDS, NAMES
from eventveil.io.npy_stream import ArrayError, ArrayStream


class NpzReader(ArraysReader):
    """An archive of one array as in .npy, or of one array for each of t, x, y and p; others in there are left out."""

    format = "NPZ"
    suffixes = (".npz",)

    def __init__(self, path: Path, **options: str) -> None:
        self._archive: zipfile.ZipFile | None = None
        super().__init__(path, **options)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Tell by the magic bytes of a zip archive."""
        return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))

    def _open_arrays(self) -> None:
        self._archive = archive = zipfile.ZipFile(self.path)
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        columns = [name for name in names if name.strip().lower() in NAMES]
        if len(names) != 1 and len(columns) != len(FIELDS):
            raise ArrayError(f"an archive of {len(names)} arrays without one for each of {', '.join(FIELDS)}")
        for name in names if len(names) == 1 else columns:
            self._arrays[name] = ArrayStream(partial(archive.open, f"{name}.npy"))

    def close(self) -> None:
        """Close the arrays and the archive. May be called twice."""
        super().close()
        if self._archive is not None:
            self._archive.close()
