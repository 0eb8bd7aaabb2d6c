"""Write events as one structured NumPy array, for `np.load`.

The format cannot hold the geometry: state the sensor when you read the file back.
"""

from __future__ import annotations

import numpy as np
from numpy.lib import format as npy_format

from eventveil.events import EventPacket
from eventveil.io.formats.writer import Writer

# Aligned, 16 bytes: every field can be read in place.
RECORD = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")], align=True)


class NpyWriter(Writer):
    """Writes records of t (int64, microseconds), x, y (uint16) and p (bool)."""

    format = "NPY"

    def begin(self) -> None:
        """Write the header; NumPy pads it so that any number of events fits."""
        self._write_header()

    def encode(self, packet: EventPacket) -> None:
        """Write the events as records."""
        records = np.zeros(len(packet), RECORD)  # zeros: old memory contents must not leak through the padding
        records["t"], records["x"], records["y"], records["p"] = packet.t, packet.x, packet.y, packet.p
        self.file.write(records.tobytes())

    def finish(self) -> None:
        """Rewrite the header, now that the number of events is known."""
        self.file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        header = {"descr": npy_format.dtype_to_descr(RECORD), "fortran_order": False, "shape": (self.events,)}
        npy_format.write_array_header_1_0(self.file, header)
