"""NumPy's .npy and .npz: events in a structured array, a table of columns, or one array per column.

Packets are views of the fields of freshly read records. Neither file holds the geometry of a sensor.
"""

from __future__ import annotations

import zipfile
import zlib
from abc import abstractmethod
from functools import partial
from pathlib import Path
from typing import Any

from eventveil.errors import EventFileError
from eventveil.events import EventPacket
from eventveil.io.formats.columns import (
    FIELDS,
    NAMES,
    Column,
    ColumnError,
    check_first_rows,
    find_fields,
    find_unit,
    split_name,
    split_remedy,
    to_packet,
)
from eventveil.io.formats.npy_stream import ArrayError, ArrayStream
from eventveil.io.formats.reader import Reader

PACKET_EVENTS = 32_768  # as records of 16 bytes: two packets fit into the second-level cache
# What file reads and the zip and deflate decoders raise on damaged bytes.
DAMAGED = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
REMEDY = (
    "state the order of a table's columns after the name, as in 'trial.npy?columns=x,y,p,t&unit=ms', or name the "
    "fields or arrays t, x, y, p"
)


class ArraysReader(Reader):
    """Opens arrays of equal length, finds the column that each one holds, and reads them side by side.

    Options: `columns`, the order of the columns of a table, as in `columns=x,y,p,t`; `unit`, the unit of t: us (if none
    is stated and times are whole numbers), ms, s, ns or a number of microseconds such as 100us.
    """

    options = frozenset({"columns", "unit"})

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        self._arrays: dict[str, ArrayStream] = {}
        self._read = 0
        self._fault: EventFileError | None = None
        try:
            self._open_arrays()
            self._fields, names = self._find_fields(options.get("columns"))
            self._unit = find_unit(names, options.get("unit"))
            self._rows = min(array.rows for array in self._arrays.values())
            self._try_first_rows()
        except DAMAGED as error:
            self.close()
            content = str(error) if isinstance(error, ArrayError | ColumnError) else "damaged or truncated bytes"
            found, remedy = split_remedy(content, otherwise=REMEDY)
            raise self.fault(f"expected arrays of events, found {found}", remedy) from error
        self.metadata["dtype"] = {key: str(array.dtype) for key, array in self._arrays.items()}

    @abstractmethod
    def _open_arrays(self) -> None:
        """Fill `self._arrays`: one array under any name, or one for each of t, x, y and p."""

    def _find_fields(self, stated: str | None) -> tuple[dict[str, tuple[str, Any]], list[str]]:
        """Return for each of t, x, y and p the array that holds it and its index in that array; and all names."""
        if len(self._arrays) > 1:
            if len({array.rows for array in self._arrays.values()}) > 1:
                raise ArrayError("arrays of different lengths")
            names = list(self._arrays)
            return {field: (names[place], ...) for field, place in find_fields(names).items()}, names
        ((key, array),) = self._arrays.items()
        if array.columns is None:
            names = list(array.dtype.names or ())
            return {field: (key, names[place]) for field, place in find_fields(names).items()}, names
        if stated is None:
            raise ColumnError("a table without a stated order of columns")
        if stated.count(",") + 1 != array.columns:
            raise ColumnError(f"a table of {array.columns} columns, but ?columns={stated} was stated")
        names = stated.split(",")
        return {field: (key, (..., place)) for field, place in find_fields(names).items()}, names

    def _try_first_rows(self) -> None:
        """Refuse arrays that hold no events, as a whole; damaged bytes are reported where reading gets to them."""
        try:
            columns = self._read_columns(min(PACKET_EVENTS, self._rows))
        except DAMAGED:
            pass
        else:
            check_first_rows(columns, self._unit)
        for array in self._arrays.values():
            array.close()
        self._open_arrays()

    def _read_columns(self, rows: int) -> dict[str, Column]:
        arrays = {key: array.read(rows) for key, array in self._arrays.items()}
        whole = min(len(array) for array in arrays.values())
        return {field: arrays[key][:whole][index] for field, (key, index) in self._fields.items()}

    def read_packet(self) -> EventPacket | None:
        """Return the next 32,768 events."""
        if self._fault is not None:
            raise self._end(self._fault)
        rows = min(PACKET_EVENTS, self._rows - self._read)
        if rows == 0:
            return None
        try:
            columns = self._read_columns(rows)
        except DAMAGED as error:
            raise self._end(self._damage("damaged bytes")) from error
        return self._packet(columns, rows)

    def _packet(self, columns: dict[str, Column], rows: int) -> EventPacket:
        whole, first = len(columns["t"]), self._read
        self._read += whole
        if whole < rows:
            self._fault = self._damage("the end of the file: it is truncated")
        try:
            packet = to_packet(columns, self._unit)
        except ColumnError as error:
            self.skipped["events of a damaged packet"] += whole
            found, remedy = split_remedy(str(error), otherwise="check how the file was made")
            raise self.fault(
                f"expected t, x, y and p of events, found {found}",
                remedy,
                where=f"events {first} to {self._read - 1}",
                recoverable=True,
            ) from error
        if whole == 0 and self._fault is not None:
            raise self._end(self._fault)
        return packet

    def _damage(self, content: str) -> EventFileError:
        return self.fault(
            f"expected another event, found {content}", "copy the file again", where=f"event {self._read}"
        )

    def _end(self, fault: EventFileError) -> EventFileError:
        self._fault, self._rows = None, self._read
        return fault

    def close(self) -> None:
        """Close the arrays. May be called twice."""
        for array in self._arrays.values():
            array.close()


class NpyReader(ArraysReader):
    """One array: structured, with t, x, y and p in any usual naming, or a table with `columns` and `unit` stated."""

    format = "NPY"
    suffixes = (".npy",)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Check for NumPy's magic bytes."""
        return head.startswith(b"\x93NUMPY")

    def _open_arrays(self) -> None:
        self._arrays["array"] = ArrayStream(lambda: self.path.open("rb"))


class NpzReader(ArraysReader):
    """An archive of one array as in .npy, or of one array for each of t, x, y and p; it ignores other arrays."""

    format = "NPZ"
    suffixes = (".npz",)

    def __init__(self, path: Path, **options: str) -> None:
        self._archive: zipfile.ZipFile | None = None
        super().__init__(path, **options)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Check for the magic bytes of a zip archive."""
        return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))

    def _open_arrays(self) -> None:
        self._archive = archive = zipfile.ZipFile(self.path)
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        columns = [name for name in names if split_name(name)[0] in NAMES]
        if len(names) != 1 and len(columns) != len(FIELDS):
            raise ArrayError(f"an archive of {len(names)} arrays without one for each of {', '.join(FIELDS)}")
        for name in names if len(names) == 1 else columns:
            self._arrays[name] = ArrayStream(partial(archive.open, f"{name}.npy"))

    def close(self) -> None:
        """Close the arrays and the archive. May be called twice."""
        super().close()
        if self._archive is not None:
            self._archive.close()
