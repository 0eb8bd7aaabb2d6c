"""HDF5: the group `events` with one dataset per column, or the records of Metavision's `CD/events`.

The file is opened by a process of its own (`io/formats/hdf5_process.py`), for a damaged one can end or hold up the
process that reads it. It decodes the next packet while this one is used. Prophesee compresses with ECF, a filter that
is not part of HDF5.
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
from eventveil.io.formats.reader import Reader
from eventveil.processes import module_command

MAGIC = b"\x89HDF\r\n\x1a\n"
PLACES = ("CD/events", "events")
PACKET_EVENTS = 65_536
PIPE_BYTES = 1 << 20  # a packet fits
LINE_BYTES = 1 << 16


class Hdf5Reader(Reader):
    """Reads runs of 65,536 events from each dataset.

    Option: `unit`, the unit of t: us (where none is stated), ms, s, ns or a number of microseconds such as 100us.
    """

    format = "HDF5"
    suffixes = (".h5", ".hdf5")
    options = frozenset({"unit"})

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        # A process group of its own: Ctrl-C in the terminal does not reach it.
        command = module_command("eventveil.io.formats.hdf5_process", str(path), options.get("unit", ""))
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
        told = self._told()
        if told["kind"] != "file":
            self._refuse(told.get("found"))
        self.metadata["place"] = told["place"]
        self.sensor = None if told["sensor"] is None else Sensor.parse(told["sensor"])
        self._events = told["events"]

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Tell by the magic bytes, which may stand behind a block of the user's own."""
        return any(head.startswith(MAGIC, place) for place in (0, 512, 1024, 2048, 4096))

    def _refuse(self, found: str | None) -> NoReturn:
        self.close()
        if found is None:
            raise self.fault("expected an HDF5 file, found damaged bytes", "copy the file again")
        raise self.fault(f"expected events in {' or '.join(PLACES)}, found {found}", "check how the file was made")

    def _told(self) -> dict[str, Any]:
        """The next message; of a process that is gone, one of kind `gone`."""
        line = self._stdout.readline(LINE_BYTES)
        told: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {"kind": "gone"}
        return told

    def read_packet(self) -> EventPacket | None:
        """Return the next 65,536 events."""
        if self._first == self._events:
            return None
        told = self._told()
        packet = self._packet(told["events"]) if told["kind"] == "packet" else None
        lost = told["events"] if told["kind"] == "fault" else self._events - self._first
        taken = lost if packet is None else len(packet)
        where = f"events {self._first} to {self._first + taken - 1}"
        self._first += taken
        if packet is not None:
            return packet
        self.skipped["events of a damaged packet"] += lost
        if told.get("found") is not None:
            raise self.fault(
                f"expected t, x, y and p of events, found {told['found']}",
                "check how the file was made",
                where=where,
                recoverable=True,
            )
        raise self.fault(
            "expected events, found damaged bytes",
            "copy the file again",
            where=where,
            recoverable=told["kind"] == "fault",
        )

    def _packet(self, events: int) -> EventPacket | None:
        """The arrays behind a message; None where the process ended amid them, or tells of more than there can be."""
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
