"""The subset of FlatBuffers that AEDAT4 needs: one table, read field by field, and two tables written by hand.

A size-prefixed buffer is `u32 size, u32 offset of the root table, 4 letters naming its type, ...`. A table begins with
the distance back to its vtable, which lists the offset of each field in the table, or 0 if the field is absent.

Source: FlatBuffers internals, https://flatbuffers.dev/internals; the tables are those of the AEDAT 4.0 specification.
"""

from __future__ import annotations

import struct

PREFIX = 4  # bytes of the size prefix

I32, I64 = struct.Struct("<i"), struct.Struct("<q")
_U16, _U32 = struct.Struct("<H"), struct.Struct("<I")
_EVENTS_HEAD = struct.Struct("<2I4s3H2xi2I")  # up to the first 16-byte event, which is aligned to 8 bytes
_HEADER_HEAD = struct.Struct("<2I4s5H2x2iqI")  # up to the text
HEADER_TABLE_AT = 32  # offset of the data table's position in the result of `header`


class Table:
    """The root table of a size-prefixed buffer.

    Raises:
        ValueError: the buffer holds no table.
    """

    def __init__(self, buffer: bytes) -> None:
        self._buffer = buffer
        self._start = PREFIX + self._number(_U32, PREFIX)
        self._fields = self._start - self._number(I32, self._start)
        self._fields_size = self._number(_U16, self._fields)

    def number(self, field: int, kind: struct.Struct, default: int) -> int:
        """Return an integer (`I32`, `I64`), or the default if the field is absent."""
        at = self._place(field)
        return default if at is None else self._number(kind, at)

    def vector(self, field: int, item_size: int) -> tuple[int, int]:
        """Return where a vector's items begin and how many there are; (0, 0) if the field is absent."""
        at = self._place(field)
        if at is None:
            return 0, 0
        start = at + self._number(_U32, at)
        count = self._number(_U32, start)
        if start + 4 + count * item_size > len(self._buffer):
            raise ValueError("a vector runs past the end of its buffer")
        return start + 4, count

    def text(self, field: int) -> str:
        """Return a UTF-8 string, "" if the field is absent."""
        start, length = self.vector(field, 1)
        return self._buffer[start : start + length].decode()

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        offset = self._number(_U16, self._fields + slot) if slot < self._fields_size else 0
        return self._start + offset if offset else None

    def _number(self, kind: struct.Struct, at: int) -> int:
        if not 0 <= at <= len(self._buffer) - kind.size:  # a negative offset would count from the end
            raise ValueError("a field lies outside its buffer")
        number: int = kind.unpack_from(self._buffer, at)[0]
        return number


def header(compression: int, text: bytes) -> bytes:
    """Build an AEDAT4 file header ("IOHE"): compression, no data table, information as XML."""
    tail = text + bytes(4 - len(text) % 4)  # the text is terminated by at least one zero
    size = _HEADER_HEAD.size + 4 + len(tail) - PREFIX
    fields = 10, 20, 4, 8, 16  # sizes of vtable and table, then the offsets of compression, position and text
    head = _HEADER_HEAD.pack(size, 20, b"IOHE", *fields, 12, compression, -1, 4)
    return head + struct.pack("<I", len(text)) + tail


def events_head(count: int) -> bytes:
    """Build what precedes `count` 16-byte events in an AEDAT4 packet ("EVTS")."""
    return _EVENTS_HEAD.pack(_EVENTS_HEAD.size - PREFIX + 16 * count, 16, b"EVTS", 6, 8, 4, 8, 4, count)
