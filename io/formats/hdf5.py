"""HDF5: groups with one dataset per column, records as in Metavision's `CD/events`, or tables as in MVSEC.

A separate process opens the file (`io/formats/hdf5_process.py`), because a damaged file can crash or hang the process
that reads it. It decodes the next packet while this one is in use. Prophesee compresses with ECF, a filter that is not
part of HDF5.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import weakref
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np

from eventveil.events import EventPacket, Sensor
from eventveil.host.processes import module_command
from eventveil.io.formats.columns import split_remedy
from eventveil.io.formats.reader import Reader

MAGIC = b"\x89HDF\r\n\x1a\n"
MVSEC_PLACES = ("davis/left/events", "davis/right/events")  # tables of x, y, t in seconds, p
PLACES = ("CD/events", "events", "raw_events", *MVSEC_PLACES, "prophesee/left", "prophesee/right")
PACKET_EVENTS = 65_536
PIPE_BYTES = 1 << 20  # a packet fits
LINE_BYTES = 1 << 16
REMEDY = "check how the file was made"


class Hdf5Reader(Reader):
    """Reads 65,536 events at a time from each dataset.

    Options: `unit`, the unit of t: us (if none is stated), ms, s, ns or a number of microseconds such as 100us;
    `place`, where the events lie, if that is not one of PLACES or the root, or if several of these hold events;
    `columns`, the order of the columns of a table, as in `columns=x,y,t,p`.
    """

    format = "HDF5"
    suffixes = (".h5", ".hdf5")
    options = frozenset({"unit", "place", "columns"})

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        # Its own process group: Ctrl-C in the terminal does not reach it.
        command = module_command("eventveil.io.formats.hdf5_process", str(path), json.dumps(options))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        self._stdout = cast("BufferedReader", self._process.stdout)
        self._end = weakref.finalize(self, _end, self._process)
        with suppress(AttributeError, OSError):  # Linux alone has it, and gives a user few pipes of this size
            fcntl.fcntl(self._stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._first = self._events = 0
        message = self._read_message()
        if message["kind"] != "file":
            self._refuse(message.get("found"))
        self.metadata["place"] = message["place"]
        self.sensor = None if message["sensor"] is None else Sensor.parse(message["sensor"])
        self._events = message["events"]

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Check for the magic bytes, which may follow a user block."""
        return any(head.startswith(MAGIC, place) for place in (0, 512, 1024, 2048, 4096))

    def _refuse(self, content: str | None) -> NoReturn:
        self.close()
        if content is None:
            raise self.fault("expected an HDF5 file, found damaged bytes", "copy the file again")
        found, remedy = split_remedy(content, otherwise=REMEDY)
        raise self.fault(f"expected events, found {found}", remedy)

    def _read_message(self) -> dict[str, Any]:
        """Return the next message; one of kind `gone` if the process has ended."""
        line = self._stdout.readline(LINE_BYTES)
        message: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {"kind": "gone"}
        return message

    def read_packet(self) -> EventPacket | None:
        """Return the next 65,536 events."""
        if self._first == self._events:
            return None
        message = self._read_message()
        packet = self._read_arrays(message["events"]) if message["kind"] == "packet" else None
        lost = message["events"] if message["kind"] == "fault" else self._events - self._first
        count = lost if packet is None else len(packet)
        where = f"events {self._first} to {self._first + count - 1}"
        self._first += count
        if packet is not None:
            return packet
        self.skipped["events of a damaged packet"] += lost
        if message.get("found") is not None:
            found, remedy = split_remedy(message["found"], otherwise=REMEDY)
            raise self.fault(
                f"expected t, x, y and p of events, found {found}",
                remedy,
                where=where,
                recoverable=True,
            )
        raise self.fault(
            "expected events, found damaged bytes",
            "copy the file again",
            where=where,
            recoverable=message["kind"] == "fault",
        )

    def _read_arrays(self, events: int) -> EventPacket | None:
        """Return the arrays after a message; None if the process ended in between or announces too many events."""
        if not 0 < events <= min(PACKET_EVENTS, self._events - self._first):
            return None
        t, x, y = np.empty(events, np.int64), np.empty(events, np.uint16), np.empty(events, np.uint16)
        p = np.empty(events, np.bool_)
        whole = all(self._stdout.readinto(array.data) == array.nbytes for array in (t, x, y, p))
        return EventPacket(t, x, y, p) if whole else None

    def close(self) -> None:
        """End the process. May be called twice."""
        self._end()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
