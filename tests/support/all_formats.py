"""Every readable format, each with a way to make a small file, valid or damaged."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import reference_evt
import reference_io
from recordings import make_events

from eventveil import EventPacket, Sensor
from eventveil.io.formats.npy_writer import RECORD
from eventveil.io.formats.writer import open_writer

SENSOR = Sensor(128, 128)  # that of the DVS128, which AEDAT 2.0 and 3.1 imply
EVENTS = make_events(600, sensor=SENSOR, start_us=100)


class Format(NamedTuple):
    """How to make a file of a format.

    Attributes:
        suffix: of the file.
        write: writes events to a path, with the given geometry if the format holds one.
        may_end: (bytes left, number of bytes lost, number of events): whether the rest is still a complete file.
        signed: whether its content identifies the format.
    """

    suffix: str
    write: Callable[[Path, EventPacket, Sensor], object]
    may_end: Callable[[bytes, int, int], bool]
    signed: bool = True


def never(left: bytes, lost: int, events: int) -> bool:
    return False


def between_words(size: int) -> Callable[[bytes, int, int], bool]:
    return lambda left, lost, events: lost % size == 0


def between_packets(left: bytes, lost: int, events: int) -> bool:
    return events % 100 == 0


def behind_a_line(left: bytes, lost: int, events: int) -> bool:
    return re.fullmatch(rb"(\d+,\d+,\d+,\d)?", left.rpartition(b"\n")[2]) is not None


def with_writer(path: Path, events: EventPacket, sensor: Sensor) -> None:
    """Write several packets, so that some precede a fault; unchecked, so that they may hold one."""
    with open_writer(path, sensor) as writer:
        for start in range(0, len(events), 100):
            part = events[start : start + 100]
            writer.encode(part)
            writer.events += len(part)


def with_bytes(encode: Callable[[EventPacket, Sensor], bytes]) -> Callable[[Path, EventPacket, Sensor], object]:
    return lambda path, events, sensor: path.write_bytes(encode(events, sensor))


def records(events: EventPacket) -> np.ndarray:
    array = np.zeros(len(events), RECORD)
    for field in "txyp":
        array[field] = getattr(events, field)
    return array


def write_hdf5(path: Path, events: EventPacket, sensor: Sensor) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = np.bytes_(str(sensor))  # of a fixed length: others take a process each time
        for field in "txyp":
            file.create_dataset(
                f"events/{field}", data=getattr(events, field), chunks=(200,), maxshape=(None,), fletcher32=True
            )


def evt2(events: EventPacket, sensor: Sensor) -> bytes:
    return f"% evt 2.0\n% geometry {sensor}\n% end\n".encode() + reference_evt.encode_evt2(reference_evt.tuples(events))


def evt21(events: EventPacket, sensor: Sensor) -> bytes:
    head = f"% format EVT21;width={sensor.width};height={sensor.height}\n% end\n"
    return head.encode() + reference_evt.encode_evt21(reference_evt.tuples(events), legacy=False)


def dat(events: EventPacket, sensor: Sensor) -> bytes:
    head = f"% Data file containing CD events.\n% Version 2\n% Width {sensor.width}\n% Height {sensor.height}\n% end\n"
    return head.encode() + b"\x0c\x08" + reference_evt.encode_dat(reference_evt.tuples(events))


def es(events: EventPacket, sensor: Sensor) -> bytes:
    size = sensor.width.to_bytes(2, "little") + sensor.height.to_bytes(2, "little")
    words = reference_evt.encode_es(reference_evt.tuples(events), sensor.height)
    return b"Event Stream\x02\x00\x00\x01" + size + words


def ncaltech(events: EventPacket, _: Sensor) -> bytes:
    return reference_evt.encode_ncaltech(reference_evt.tuples(events))


def aedat2(events: EventPacket, _: Sensor) -> bytes:
    words = [(reference_io.dvs128_address(x, y, int(p)), t) for t, x, y, p in reference_evt.tuples(events)]
    return reference_io.aedat2("DVS128", words)


def aedat3(events: EventPacket, _: Sensor) -> bytes:
    body = [reference_io.polarity(t, x, y, int(p)) for t, x, y, p in reference_evt.tuples(events)]
    parts = [reference_io.aedat3_packet(body[start : start + 100]) for start in range(0, len(body), 100)]
    return reference_io.aedat3_head() + b"".join(parts)


FORMATS = {
    "AEDAT4": Format(".aedat4", with_writer, between_packets),
    "AEDAT3.1": Format(".aedat", with_bytes(aedat3), between_packets),
    "AEDAT2": Format(".aedat", with_bytes(aedat2), between_words(8)),
    "EVT3": Format(".raw", with_writer, between_words(2)),
    "EVT2": Format(".raw", with_bytes(evt2), between_words(4)),
    "EVT2.1": Format(".raw", with_bytes(evt21), between_words(8)),
    "DAT": Format(".dat", with_bytes(dat), between_words(8)),
    "ES": Format(".es", with_bytes(es), between_words(5)),
    "N-Caltech101": Format(".bin", with_bytes(ncaltech), between_words(5), signed=False),
    "NPY": Format(".npy", with_writer, never),
    "NPZ": Format(".npz", lambda path, events, _: np.savez_compressed(path, records(events)), never),
    "HDF5": Format(".h5", write_hdf5, never),
    "CSV": Format(".csv", with_writer, behind_a_line),
}
