"""HDF5: the group `events` with one dataset per column, or the records of Metavision's `CD/events`.

h5py is imported only when such a file is opened. Prophesee compresses with ECF, a filter that is not part of HDF5.

Sources: the layout of the DSEC data set (Gehrig et al., 2021), and the HDF5 event files of Prophesee's Metavision SDK.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eventveil.errors import EventError
from eventveil.events import EventPacket, Sensor
from eventveil.io.columns import Column, ColumnError, find_fields, parse_unit, to_packet
from eventveil.io.hdf5_string import read_string
from eventveil.io.reader import Reader

MAGIC = b"\x89HDF\r\n\x1a\n"
PLACES = ("CD/events", "events")
PACKET_EVENTS = 65_536
MAX_ITEM = 1_024  # bytes of an event or an attribute; damaged ones could ask for gigabytes
CHUNK_CACHE = 16 << 20  # bytes a dataset; a chunk is decompressed as a whole, and twice if it does not stay in here
FILTERS = {0x8ECF: "ECF (Prophesee)", 32001: "Blosc", 32004: "LZ4", 32008: "Bitshuffle", 32015: "Zstandard"}
# What h5py raises on damaged bytes.
DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError)


class Hdf5Reader(Reader):
    """Reads runs of events from each dataset.

    Option: `unit`, the unit of t: us (where none is stated), ms, s, ns or a number of microseconds such as 100us.
    """

    format = "HDF5"
    suffixes = (".h5", ".hdf5")
    options = frozenset({"unit"})

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        import h5py

        self._file: Any = None
        self._read = 0
        try:
            self._unit = parse_unit(options["unit"]) if "unit" in options else None
            self._file = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE, locking=False)
            self._datasets, self._fields = self._find_datasets()
            self._events = self._check_datasets()
            self.sensor = self._find_sensor()
        except (ColumnError, EventError) as error:
            self.close()
            raise self.fault(
                f"expected events in {' or '.join(PLACES)}, found {error}", "check how the file was made"
            ) from error
        except DAMAGED as error:
            self.close()
            raise self.fault("expected an HDF5 file, found damaged bytes", "copy the file again") from error

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Tell by the magic bytes, which may stand behind a block of the user's own."""
        return any(head.startswith(MAGIC, place) for place in (0, 512, 1024, 2048, 4096))

    def _find_datasets(self) -> tuple[dict[str, Any], dict[str, tuple[str, Any]]]:
        """Return the datasets by name, and for each of t, x, y, p its dataset and the index in there."""
        import h5py

        place = next((place for place in PLACES if place in self._file), None)
        if place is None:
            raise ColumnError("neither")
        node = self._file[place]
        self.metadata["place"] = place
        names = list(node) if isinstance(node, h5py.Group) else list(node.dtype.names or ())
        found = {field: names[column] for field, column in find_fields(names).items()}
        if isinstance(node, h5py.Group):
            return {name: node[name] for name in found.values()}, {field: (name, ...) for field, name in found.items()}
        return {place: node}, {field: (place, name) for field, name in found.items()}

    def _check_datasets(self) -> int:
        """Return how many events there are."""
        import h5py

        for dataset in self._datasets.values():
            if not isinstance(dataset, h5py.Dataset) or len(dataset.shape) != 1:
                raise ColumnError("something other than datasets of one dimension")
            if dataset.dtype.hasobject:
                raise ColumnError("items of variable length")
            if dataset.dtype.itemsize > MAX_ITEM:
                raise ColumnError(f"items of more than {MAX_ITEM} bytes")
            filters = dataset.id.get_create_plist()
            for code in (filters.get_filter(place)[0] for place in range(filters.get_nfilters())):
                if not h5py.h5z.filter_avail(code):
                    name = FILTERS.get(code, "unknown")
                    raise ColumnError(
                        f"data compressed with the filter {name}, number {code}, which is not installed; write the "
                        "file without it, with the program that made it"
                    )
            if dataset.chunks is not None and dataset.chunks[0] * dataset.dtype.itemsize > CHUNK_CACHE:
                raise ColumnError(f"chunks of more than {CHUNK_CACHE} bytes; repack the file with smaller ones")
        if len({len(dataset) for dataset in self._datasets.values()}) > 1:
            raise ColumnError("columns of different lengths")
        return len(next(iter(self._datasets.values())))

    def _find_sensor(self) -> Sensor | None:
        """Read the geometry from the attributes of the file or of a group around the events."""
        place = self._file[self.metadata["place"]]
        for node in (place, place.parent, self._file):
            if "geometry" in node.attrs:
                geometry = self._attribute(node, "geometry")
                return Sensor.parse(geometry.decode("ascii") if isinstance(geometry, bytes) else str(geometry))
            if "width" in node.attrs and "height" in node.attrs:
                return Sensor(int(self._attribute(node, "width")), int(self._attribute(node, "height")))
        return None

    def _attribute(self, node: Any, name: str) -> Any:
        import h5py

        kept = node.attrs.get_id(name)
        if kept.get_storage_size() > MAX_ITEM:
            raise ColumnError(f"an attribute {name} of more than {MAX_ITEM} bytes")
        if not kept.dtype.hasobject:
            return node.attrs[name]
        if h5py.check_string_dtype(kept.dtype) is None:
            raise ColumnError(f"an attribute {name} that is neither a number nor a string")
        return read_string(self.path, node.name, name, MAX_ITEM)

    def read_packet(self) -> EventPacket | None:
        """Return the next 65,536 events."""
        first, last = self._read, min(self._read + PACKET_EVENTS, self._events)
        if first == last:
            return None
        self._read = last
        where = f"events {first} to {last - 1}"
        try:
            columns = self._columns(first, last)
            return to_packet(columns, self._unit)
        except ColumnError as error:
            self.skipped["events of a damaged packet"] += last - first
            raise self.fault(
                f"expected t, x, y and p of events, found {error}",
                "check how the file was made",
                where=where,
                recoverable=True,
            ) from error
        except DAMAGED as error:
            self.skipped["events of a damaged packet"] += last - first
            raise self.fault(
                "expected events, found damaged bytes", "copy the file again", where=where, recoverable=True
            ) from error

    def _columns(self, first: int, last: int) -> dict[str, Column]:
        runs = {name: dataset[first:last] for name, dataset in self._datasets.items()}
        return {field: runs[name][index] for field, (name, index) in self._fields.items()}

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._file is not None:
            self._file.close()
