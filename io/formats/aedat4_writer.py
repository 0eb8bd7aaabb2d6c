"""Write AEDAT4 files that DV, dv-processing and faery can read."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.aedat4 import MAGIC, PACKET, RECORD
from eventveil.io.formats.compression import COMPRESSIONS, compress
from eventveil.io.formats.flatbuffer import events_head, header
from eventveil.io.formats.writer import Writer

STREAM = 0
PACKET_EVENTS = 1 << 16  # at most: real-time playback reads whole packets, so a packet must not span too long a time


class Aedat4Writer(Writer):
    """Writes one event stream, one file packet for each event packet.

    The file has no data table, the index at its end for seeking: every reader must work without one, because a killed
    recorder writes none.

    Args:
        path: the target.
        sensor: geometry of the recording.
        compression: one of "NONE", "LZ4", "LZ4_HIGH", "ZSTD", "ZSTD_HIGH".
        replace: whether an existing file may be replaced.
    """

    format = "AEDAT4"

    def __init__(self, path: Path | str, sensor: Sensor, compression: str = "LZ4", *, replace: bool = True) -> None:
        super().__init__(path, sensor, replace=replace)
        self._compression = compression

    def begin(self) -> None:
        """Write the magic line and the header."""
        self.file.write(MAGIC + stream_header(self.sensor, self._compression))

    def encode(self, packet: EventPacket) -> None:
        """Write a packet, split into several if it is long."""
        for first in range(0, len(packet), PACKET_EVENTS):
            self.file.write(packet_bytes(packet[first : first + PACKET_EVENTS], self._compression))

    def finish(self) -> None:
        """Write nothing: the format needs no end."""


def stream_header(sensor: Sensor, compression: str) -> bytes:
    """Return the header of a stream of events, as it follows the magic line of a file."""
    return header(COMPRESSIONS.index(compression), ElementTree.tostring(_information(sensor, compression)))


def packet_bytes(events: EventPacket, compression: str) -> bytes:
    """Return one packet of a stream: its number and size, and all of these events."""
    records = np.zeros(len(events), RECORD)
    records["t"], records["x"], records["y"], records["p"] = events.t, events.x, events.y, events.p
    payload = compress(events_head(len(events)) + records.tobytes(), compression)
    return PACKET.pack(STREAM, len(payload)) + payload


def _information(sensor: Sensor, compression: str) -> ElementTree.Element:
    """Describe the stream as DV does: a tree of nodes with typed attributes."""
    root = ElementTree.Element("dv", version="2.0")
    streams = ElementTree.SubElement(root, "node", name="outInfo", path="/outInfo/")
    stream = ElementTree.SubElement(streams, "node", name=f"{STREAM}", path=f"/outInfo/{STREAM}/")
    _attributes(
        stream,
        compression=compression,
        originalModuleName="eventveil",
        originalOutputName="events",
        typeDescription="Array of events (polarity ON/OFF).",
        typeIdentifier="EVTS",
    )
    info = ElementTree.SubElement(stream, "node", name="info", path=f"/outInfo/{STREAM}/info/")
    _attributes(info, sizeX=sensor.width, sizeY=sensor.height, source="eventveil")
    return root


def _attributes(node: ElementTree.Element, **values: str | int) -> None:
    for key, value in values.items():
        kind = "int" if isinstance(value, int) else "string"
        ElementTree.SubElement(node, "attr", key=key, type=kind).text = str(value)
