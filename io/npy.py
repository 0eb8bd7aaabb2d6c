"""NumPy's .npy: one array of events."""

from __future__ import annotations

from eventveil.io.arrays import ArraysReader
from eventveil.io.npy_stream import ArrayStream


class NpyReader(ArraysReader):
    """One array: structured, with t, x, y and p in any usual naming, or a table with `columns` and `unit` stated."""

    format = "NPY"
    suffixes = (".npy",)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Tell by NumPy's magic bytes."""
        return head.startswith(b"\x93NUMPY")

    def _open_arrays(self) -> None:
        self._arrays["array"] = ArrayStream(lambda: self.path.open("rb"))
