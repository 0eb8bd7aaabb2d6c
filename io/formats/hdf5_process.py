"""Read an HDF5 file in a separate process: `python -m eventveil.io.formats.hdf5_process FILE UNIT`.

On damaged files the HDF5 library (2.0) may loop forever, so that no Python signal handler runs, or write to invalid
memory. Only the kernel can stop that, and only by ending the whole process. The process writes messages to standard
output: a line of JSON, followed in a `packet` by the bytes of that many t, x, y and p, one array after the other.

    {"kind": "file", "place": "CD/events", "sensor": "640x480", "events": 1000000}    first, unless it is a fault
    {"kind": "packet", "events": 65536}
    {"kind": "fault", "found": "times of type |S8", "events": 65536}    lost events; found null: damaged bytes

Sources: the layout of the DSEC data set (Gehrig et al., 2021), and the HDF5 event files of Prophesee's Metavision SDK.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import h5py
import numpy as np

from eventveil.errors import EventError
from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.columns import FIELDS, ColumnError, find_fields, find_unit, to_packet
from eventveil.io.formats.hdf5 import PACKET_EVENTS, PLACES
from eventveil.processes import forbid_core_dumps

MessageKind = Literal["file", "packet", "fault"]
Hdf5Message = tuple[MessageKind, dict[str, Any], EventPacket | None]

MAX_ITEM = 1_024  # bytes of an event or an attribute; a damaged size could demand gigabytes
CHUNK_CACHE = 16 << 20  # bytes per dataset; a chunk is decompressed as a whole, and twice if it does not fit in here
CPU_S = 5  # for the header, and for each packet
FILTERS = {0x8ECF: "ECF (Prophesee)", 32001: "Blosc", 32004: "LZ4", 32008: "Bitshuffle", 32015: "Zstandard"}
# What h5py raises on damaged bytes.
DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError)


class Hdf5File:
    """The group `events` with one dataset per column, or the records of Metavision's `CD/events`.

    Args:
        path: the file.
        unit: unit of t: us, ms, s, ns, a number of microseconds such as 100us, or empty: whole microseconds.

    Attributes:
        place: the group or dataset of the events.
        events: the number of events.
        sensor: geometry as the attributes state it, or None.

    Raises:
        ColumnError: the file holds no readable events.
        EventError: the geometry is impossible.
        OSError, RuntimeError, ...: what h5py raises on damaged bytes, `DAMAGED`.
    """

    def __init__(self, path: Path, unit: str) -> None:
        self._stated_unit = unit or None
        self._file = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE, locking=False)
        self.place, self._node = self._find_events()
        self._datasets, self._fields = self._find_datasets()
        self.events = self._check_datasets()
        self.sensor = self._find_sensor()

    def _find_events(self) -> tuple[str, Any]:
        """Return the first of the known places that the file holds, and what lies there."""
        for place in PLACES:
            node = _member(self._file, place)
            if node is not None:
                return place, node
        raise ColumnError("neither")

    def _find_datasets(self) -> tuple[dict[str, Any], dict[str, tuple[str, Any]]]:
        """Return the datasets by name, and for each of t, x, y, p its dataset and the index in it."""
        node = self._node
        names = list(node) if isinstance(node, h5py.Group) else list(node.dtype.names or ())
        chosen = {field: names[column] for field, column in find_fields(names).items()}
        self._unit = find_unit(names, self._stated_unit)
        if isinstance(node, h5py.Group):
            return {name: _member(node, name) for name in chosen.values()}, {
                field: (name, ...) for field, name in chosen.items()
            }
        return {self.place: node}, {field: (self.place, name) for field, name in chosen.items()}

    def _check_datasets(self) -> int:
        """Check that the datasets can be read; return the number of events."""
        for dataset in self._datasets.values():
            if not isinstance(dataset, h5py.Dataset) or len(dataset.shape) != 1:
                raise ColumnError("something other than datasets of one dimension")
            if dataset.dtype.itemsize > MAX_ITEM:
                raise ColumnError(f"items of more than {MAX_ITEM} bytes")
            filters = dataset.id.get_create_plist()
            if filters.get_layout() == h5py.h5d.VIRTUAL or filters.get_external_count():
                raise ColumnError("data that lies in other files; copy it into this file")
            for code in (filters.get_filter(place)[0] for place in range(filters.get_nfilters())):
                if not h5py.h5z.filter_avail(code):
                    name = FILTERS.get(code, "unknown")
                    raise ColumnError(
                        f"data compressed with the filter {name}, number {code}, which is not installed; write the "
                        "file without it, using the program that made it"
                    )
            if dataset.chunks is not None and dataset.chunks[0] * dataset.dtype.itemsize > CHUNK_CACHE:
                raise ColumnError(f"chunks of more than {CHUNK_CACHE} bytes; repack the file with smaller ones")
        if len({len(dataset) for dataset in self._datasets.values()}) > 1:
            raise ColumnError("columns of different lengths")
        return len(next(iter(self._datasets.values())))

    def _find_sensor(self) -> Sensor | None:
        """Read the geometry from the attributes of the file or of a group around the events."""
        for attributes in (self._node.attrs, self._node.parent.attrs, self._file.attrs):
            if "geometry" in attributes:
                geometry = _attribute(attributes, "geometry")
                return Sensor.parse(geometry.decode("ascii") if isinstance(geometry, bytes) else str(geometry))
            if "width" in attributes and "height" in attributes:
                return Sensor(int(_attribute(attributes, "width")), int(_attribute(attributes, "height")))
        return None

    def read(self, first: int, last: int) -> EventPacket:
        """Read the events from `first` up to, but not including, `last`.

        Raises:
            ColumnError: the data does not hold events.
            OSError, RuntimeError, ...: as above.
        """
        runs = {name: dataset[first:last] for name, dataset in self._datasets.items()}
        return to_packet({field: runs[name][index] for field, (name, index) in self._fields.items()}, self._unit)


def _member(group: Any, place: str) -> Any:
    """Return what lies at a place in a group, or None; follow no link, as it may lead into any file of this machine.

    Raises:
        ColumnError: a part of the place is a soft or an external link.
    """
    for part in place.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise ColumnError(f"{part!r} as a link, which may lead to another file; copy the data into this file")
        group = group[part]
    return group


def _attribute(attributes: Any, name: str) -> Any:
    if attributes.get_id(name).get_storage_size() > MAX_ITEM:
        raise ColumnError(f"an attribute {name} of more than {MAX_ITEM} bytes")
    return attributes[name]


def messages(path: Path, unit: str) -> Iterator[Hdf5Message]:
    """Yield a description of the file, then its packets."""
    try:
        file = Hdf5File(path, unit)
    except (ColumnError, EventError) as error:
        yield "fault", {"found": str(error), "events": 0}, None
        return
    except DAMAGED:
        yield "fault", {"found": None, "events": 0}, None
        return
    sensor = None if file.sensor is None else str(file.sensor)
    yield "file", {"place": file.place, "sensor": sensor, "events": file.events}, None
    for first in range(0, file.events, PACKET_EVENTS):
        last = min(first + PACKET_EVENTS, file.events)
        try:
            packet = file.read(first, last)
        except ColumnError as error:
            yield "fault", {"found": str(error), "events": last - first}, None
        except DAMAGED:
            yield "fault", {"found": None, "events": last - first}, None
        else:
            yield "packet", {"events": len(packet)}, packet


def write_messages(path: Path, unit: str, output: BinaryIO) -> None:
    """Write all messages of a file."""
    pending = messages(path, unit)
    while True:
        _limit_cpu_time()
        message = next(pending, None)
        if message is None:
            return
        kind, header, packet = message
        output.write(json.dumps({"kind": kind} | header).encode("ascii") + b"\n")
        if packet is not None:
            for field in FIELDS:
                output.write(np.ascontiguousarray(getattr(packet, field)).view(np.uint8).data)
        output.flush()


def _limit_cpu_time() -> None:
    """Have the kernel end this process if the next message takes more than five seconds of processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    ends = int(used.ru_utime + used.ru_stime) + CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (ends, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    forbid_core_dumps()
    try:
        write_messages(Path(sys.argv[1]), sys.argv[2], sys.stdout.buffer)
    except BrokenPipeError:
        sys.stdout = None  # the reader is gone; keep Python from flushing the rest
