"""Events as text, one a line, for spreadsheets and scripts; `io/formats/text.py` reads it back with its geometry."""

from __future__ import annotations

import numpy as np

from eventveil.errors import EventFileError
from eventveil.events import EventPacket
from eventveil.io.formats.columns import EXACT
from eventveil.io.formats.writer import Writer


class CsvWriter(Writer):
    """Writes t (microseconds), x, y, p (0 or 1) behind a comment with the geometry and a line of column names."""

    format = "CSV"

    def begin(self) -> None:
        """Write geometry and names."""
        self.file.write(f"# geometry {self.sensor}\nt,x,y,p\n".encode("ascii"))

    def encode(self, packet: EventPacket) -> None:
        """Write a line for each event.

        Raises:
            EventFileError: times beyond what readers of text, ours among them, can tell apart.
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
        """Text needs no end."""
