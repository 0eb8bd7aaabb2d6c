"""Read an HDF5 file in a separate process: `python -m eventveil.io.formats.hdf5_process FILE OPTIONS`, as JSON.

On damaged files the HDF5 library (2.0) may loop forever, so that no Python signal handler runs, or write to invalid
memory. Only the kernel can stop that, and only by ending the whole process. The process writes messages to standard
output: a line of JSON, followed in a `packet` by the bytes of that many t, x, y and p, one array after the other.

    {"kind": "file", "place": "CD/events", "sensor": "640x480", "events": 1000000}    first, unless it is a fault
    {"kind": "packet", "events": 65536}
    {"kind": "fault", "found": "times of type |S8", "events": 65536}    lost events; found null: damaged bytes

Sources: the layouts of the data sets DSEC (Gehrig et al., 2021), MVSEC (Zhu et al., 2018) and M3ED (Chaney et al.,
2023), and the HDF5 event files of Prophesee's Metavision SDK.
"""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

import h5py
import numpy as np

from eventveil.errors import EventError
from eventveil.events import EventPacket, Sensor
from eventveil.host.processes import forbid_core_dumps
from eventveil.io.formats.columns import (
    FIELDS,
    STATE_COLUMNS,
    ColumnError,
    check_first_rows,
    find_fields,
    find_unit,
    to_packet,
)
from eventveil.io.formats.hdf5 import MVSEC_PLACES, PACKET_EVENTS, PLACES

MessageKind = Literal["file", "packet", "fault"]
Hdf5Message = tuple[MessageKind, dict[str, Any], EventPacket | None]

MAX_ITEM = 1_024  # bytes of an event or an attribute; a damaged size could demand gigabytes
CHUNK_CACHE = 16 << 20  # bytes per dataset; a chunk is decompressed as a whole, and twice if it does not fit in here
CPU_S = 5  # for the header, and for each packet
MAX_NUMBERS = 16  # of a resolution
MAX_OFFSET_US = 1 << 62
ECF = 0x8ECF
FILTERS = {ECF: "ECF (Prophesee)", 32001: "Blosc", 32004: "LZ4", 32008: "Bitshuffle", 32015: "Zstandard"}
# What h5py raises on damaged bytes.
DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError)


class Hdf5File:
    """The events of a file: a group with one dataset per column, a dataset of records, or a table of four columns.

    Args:
        path: the file.
        options: `unit`, `place` and `columns`, as `Hdf5Reader` takes them; each may be missing.

    Attributes:
        place: the group or dataset of the events.
        events: the number of events.
        sensor: geometry as the file states it, or None.

    Raises:
        ColumnError: the file holds no readable events.
        EventError: the geometry is impossible.
        OSError, RuntimeError, ...: what h5py raises on damaged bytes, `DAMAGED`.
    """

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        self._options = options
        self._file = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE, locking=False)
        self.place, self._node = self._find_events()
        self._datasets, self._fields = self._find_datasets()
        self.events = self._check_datasets()
        self.sensor = self._find_sensor()
        self._offset_us = self._find_offset()
        self._try_first_rows()

    def _find_events(self) -> tuple[str, Any]:
        """Return the place that the user states, or the only known one that holds events, and what lies there."""
        if "place" in self._options:
            place = self._options["place"].strip("/")
            node = _member(self._file, place) if place else self._file
            if node is None:
                raise ColumnError("nothing at the stated place; state one that the file has")
            return place or "/", node
        present = {place: node for place in PLACES if (node := _member(self._file, place)) is not None}
        if _holds_events(self._file):
            present["/"] = self._file
        holding = [place for place, node in present.items() if _holds_events(node)]
        if len(holding) > 1:
            raise ColumnError(f"several: {', '.join(holding)}; state one, as in ?place={holding[0]}")
        if not present:
            raise ColumnError(f"none of {', '.join(PLACES)}; state theirs, as in ?place=camera/events&columns=x,y,t,p")
        place = (holding or list(present))[0]
        return place, present[place]

    def _find_datasets(self) -> tuple[dict[str, Any], dict[str, tuple[str, Any]]]:
        """Return the datasets by name, and for each of t, x, y, p its dataset and the index in it."""
        node = self._node
        is_table = isinstance(node, h5py.Dataset) and len(node.shape) == 2
        if is_table:
            names, unit = self._table_columns(node)
        else:
            names, unit = list(node) if isinstance(node, h5py.Group) else list(node.dtype.names or ()), None
        places = find_fields(names)
        self._unit = find_unit(names, self._options.get("unit", unit))
        if is_table:
            return {self.place: node}, {field: (self.place, (..., column)) for field, column in places.items()}
        chosen = {field: names[column] for field, column in places.items()}
        if isinstance(node, h5py.Group):
            return {name: _member(node, name) for name in chosen.values()}, {
                field: (name, ...) for field, name in chosen.items()
            }
        return {self.place: node}, {field: (self.place, name) for field, name in chosen.items()}

    def _table_columns(self, table: Any) -> tuple[list[str], str | None]:
        """Return the names of the columns of a table and its unit of time, as stated or as the data set has them."""
        if "columns" in self._options:
            names, unit = self._options["columns"].split(","), None
        elif self.place in MVSEC_PLACES:
            names, unit = ["x", "y", "t", "p"], "s"
        else:
            raise ColumnError(f"a table of {table.shape[1]} columns without names; {STATE_COLUMNS}")
        if len(names) != table.shape[1]:
            raise ColumnError(f"a table of {table.shape[1]} columns, and {len(names)} names for them")
        return names, unit

    def _check_datasets(self) -> int:
        """Check that the datasets can be read; return the number of events."""
        for dataset in self._datasets.values():
            is_table = dataset is self._node and isinstance(dataset, h5py.Dataset) and len(dataset.shape) == 2
            if not isinstance(dataset, h5py.Dataset) or not (is_table or len(dataset.shape) == 1):
                raise ColumnError("something other than datasets of one dimension")
            if dataset.dtype.itemsize > MAX_ITEM:
                raise ColumnError(f"items of more than {MAX_ITEM} bytes")
            filters = dataset.id.get_create_plist()
            if filters.get_layout() == h5py.h5d.VIRTUAL or filters.get_external_count():
                raise ColumnError("data that lies in other files; copy it into this file")
            for code in (filters.get_filter(place)[0] for place in range(filters.get_nfilters())):
                _check_filter(code)
            if dataset.chunks is not None and math.prod(dataset.chunks) * dataset.dtype.itemsize > CHUNK_CACHE:
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
            if "sensor_resolution" in attributes:
                return _landscape(_attribute(attributes, "sensor_resolution"))
        for group, name in ((self._file, "sensor_resolution"), (self._node, "calib/resolution")):
            resolution = _member(group, name)
            if isinstance(resolution, h5py.Dataset) and 1 < resolution.size <= MAX_NUMBERS:
                return _landscape(resolution[()])
        return None

    def _find_offset(self) -> int:
        """Return what DSEC adds to all times, microseconds; 0 in other files."""
        offset = _member(self._file, "t_offset")
        if not isinstance(offset, h5py.Dataset) or offset.size != 1 or offset.dtype.kind not in "iu":
            return 0
        value = int(np.ravel(offset[()])[0])
        if abs(value) >= MAX_OFFSET_US:
            raise ColumnError("a t_offset that is not a time")
        return value

    def read(self, first: int, last: int) -> EventPacket:
        """Read the events from `first` up to, but not including, `last`.

        Raises:
            ColumnError: the data does not hold events.
            OSError, RuntimeError, ...: as above.
        """
        packet = to_packet(self._read_columns(first, last), self._unit)
        if not self._offset_us:
            return packet
        return EventPacket(packet.t + self._offset_us, packet.x, packet.y, packet.p)

    def _read_columns(self, first: int, last: int) -> dict[str, Any]:
        runs = {name: dataset[first:last] for name, dataset in self._datasets.items()}
        return {field: runs[name][index] for field, (name, index) in self._fields.items()}

    def _try_first_rows(self) -> None:
        """Refuse columns that hold no events, as a whole; damaged bytes are reported where reading gets to them."""
        try:
            columns = self._read_columns(0, min(self.events, PACKET_EVENTS))
        except DAMAGED:
            return
        check_first_rows(columns, self._unit)


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


def _holds_events(node: Any) -> bool:
    """Return whether a group has datasets of four columns, or a dataset four fields or columns."""
    if isinstance(node, h5py.Dataset):
        names = list(node.dtype.names or ()) if len(node.shape) == 1 else ["t", "x", "y", "p"] * (len(node.shape) == 2)
    else:
        names = list(node)
    try:
        return len(find_fields(names)) == len(FIELDS)
    except ColumnError:
        return False


def _check_filter(code: int) -> None:
    """Refuse a filter that neither the HDF5 library nor hdf5plugin, if it is installed, has."""
    if not h5py.h5z.filter_avail(code):
        with suppress(ImportError):
            import hdf5plugin  # noqa: F401 - registers its filters
    if not h5py.h5z.filter_avail(code):
        remedy = "build Prophesee's hdf5_ecf" if code == ECF else "install hdf5plugin (pip install hdf5plugin)"
        raise ColumnError(
            f"data compressed with the filter {FILTERS.get(code, 'unknown')}, number {code}, which is not installed; "
            f"{remedy}, or name the folder of the filter in HDF5_PLUGIN_PATH"
        )


def _landscape(numbers: Any) -> Sensor:
    """Return a geometry from two numbers in unknown order: all sensors are at least as wide as high."""
    first, second = (int(number) for number in np.ravel(numbers)[:2])
    return Sensor(max(first, second), min(first, second))


def _attribute(attributes: Any, name: str) -> Any:
    if attributes.get_id(name).get_storage_size() > MAX_ITEM:
        raise ColumnError(f"an attribute {name} of more than {MAX_ITEM} bytes")
    return attributes[name]


def messages(path: Path, options: Mapping[str, str]) -> Iterator[Hdf5Message]:
    """Yield a description of the file, then its packets."""
    try:
        file = Hdf5File(path, options)
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


def write_messages(path: Path, options: Mapping[str, str], output: BinaryIO) -> None:
    """Write all messages of a file."""
    pending = messages(path, options)
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
        write_messages(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.stdout.buffer)
    except BrokenPipeError:
        sys.stdout = None  # the reader is gone; keep Python from flushing the rest
