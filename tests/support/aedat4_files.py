"""AEDAT4 files for tests: written as a whole or packet by packet, and read with all their faults."""

from __future__ import annotations

import numpy as np
import reference_io as reference

from eventveil.errors import EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io import open_events
from eventveil.io.formats import flatbuffer
from eventveil.io.formats.aedat4 import MAGIC, PACKET
from eventveil.io.formats.aedat4_writer import Aedat4Writer
from eventveil.io.formats.compression import compress

SENSOR = Sensor(20, 10)
EPOCH_US = 1_700_000_000_000_000
INFORMATION = """<dv version="2.0"><node name="outInfo" path="/a/outInfo/">
<node name="0"><attr key="typeIdentifier" type="string">FRME</attr></node>
<node name="2"><attr key="typeIdentifier" type="string">EVTS</attr>
<node name="info"><attr key="sizeX" type="int">20</attr><attr key="sizeY" type="int">10</attr>
<attr key="source" type="string">DAVIS_1</attr></node></node>
<node name="3"><attr key="typeIdentifier" type="string">EVTS</attr></node>
<node name="4"><attr key="typeIdentifier" type="string">TRIG</attr></node></node></dv>"""


def some_events(n, *, start=EPOCH_US, seed=0):
    rng = np.random.default_rng(seed)
    t = start + np.sort(rng.integers(0, 50 * n, n))
    return EventPacket.of(t, rng.integers(0, 20, n), rng.integers(0, 10, n), rng.integers(0, 2, n))


def write(path, packets, compression="LZ4"):
    with Aedat4Writer(path, SENSOR, compression) as writer:
        for packet in packets:
            writer.write(packet)
    return path


def read(path):
    """Return all readable packets, all faults and the source."""
    packets, faults = [], []
    with open_events(path) as source:
        while True:
            try:
                packets.append(next(source))
            except StopIteration:
                return packets, faults, source
            except EventFileError as fault:
                faults.append(fault)


def rows(packets):
    return [row for packet in packets for row in reference.rows(packet)]


def places(data):
    """Return where each packet of an AEDAT4 file begins."""
    at = len(MAGIC) + 4 + int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little")
    starts = []
    while at < len(data):
        starts.append(at)
        at += PACKET.size + PACKET.unpack_from(data, at)[1]
    return starts


def event_payload(events, compression="NONE"):
    records = b"".join(
        t.to_bytes(8, "little", signed=True) + x.to_bytes(2, "little") + y.to_bytes(2, "little") + bytes([p, 0, 0, 0])
        for t, x, y, p in events
    )
    return compress(flatbuffer.events_head(len(events)) + records, compression)


def build(*packets, compression=0, information=INFORMATION, table_at=-1):
    """Build a file of (stream, payload) packets."""
    head = MAGIC + flatbuffer.header(compression, information.encode())
    at = len(MAGIC) + flatbuffer.HEADER_TABLE_AT
    head = head[:at] + table_at.to_bytes(8, "little", signed=True) + head[at + 8 :]
    return head + b"".join(PACKET.pack(stream, len(payload)) + payload for stream, payload in packets)
