"""Write events as text, one per line, for spreadsheets and scripts; `io/formats/text.py` reads the geometry back."""

from __future__ import annotations

import numpy as np

from eventveil.errors import EventFileError
from eventveil.events import EventPacket
from eventveil.io.formats.writer import Writer

EXACT = 2**53  # most readers of text take times as float64, in which the integers up to here are exact


class CsvWriter(Writer):
    """Writes a comment with the geometry, a line of column names, then t (microseconds), x, y, p (0 or 1)."""

    format = "CSV"

    def begin(self) -> None:
        """Write the geometry and the column names."""
        self.file.write(f"# geometry {self.sensor}\nt,x,y,p\n".encode("ascii"))

    def encode(self, packet: EventPacket) -> None:
        """Write a line for each event.

        Raises:
            EventFileError: times too large for most readers of text to represent exactly.
        """
        if max(-int(packet.t[0]), int(packet.t[-1])) > EXACT:
            raise EventFileError(
                self.path,
                format=self.format,
                expected=f"expected times within {EXACT} us of zero, got a larger one",
                remedy="write AEDAT4 or NPY, which hold any recording",
            )
        columns = packet.t, packet.x, packet.y, packet.p.astype(np.uint8)
        events = zip(*(column.tolist() for column in columns), strict=True)
        self.file.write("".join(map("%d,%d,%d,%d\n".__mod__, events)).encode("ascii"))

    def finish(self) -> None:
        """Write nothing: text needs no end."""
