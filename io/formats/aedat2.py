"""AEDAT 2.0, recorded by jAER: comment lines, then address and time of each event, 32 bits each, big-endian.

The meaning of an address depends on the chip, which the comments name. Both chips count y from the bottom and see the
scene mirrored, so both axes are flipped here: x to the right and y down, as in AEDAT 3.1 and AEDAT4 of the same
cameras. (jAER and libcaer flip them too; readers that return raw addresses show the picture upside down.)

Source: AEDAT 2.0, https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-2.0.html
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.chips import DVS128, davis_sensors, is_davis, sensor_of
from eventveil.io.formats.clock import CONFIRMATIONS, LEFT_OUT, Clock
from eventveil.io.formats.reader import ANY_STEP_US, NEAR_US, OUTLYING, SKIP, Reader

MAGIC = b"#!AER-DAT2.0"
WORD = np.dtype(">u4")
EVENT = 2 * WORD.itemsize
PACKET_EVENTS = 1 << 16
CLOCK_BITS = 32  # it wraps every 71.6 min
_LINE = 1 << 16  # bytes; no comment is longer
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # never in a comment, soon in an event

Words = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]


class Aedat2Reader(Reader):
    """Reads the events of a DVS128 or a DAVIS; frames, motion and external signals are skipped and counted.

    If no comment names the chip, the geometry given to `open_events` identifies it. Times are 32 bits wide and wrap
    every 72 minutes; they are carried on.
    """

    format = "AEDAT2"
    suffixes: ClassVar[tuple[str, ...]] = (".aedat",)
    single_words = True
    near_us = ANY_STEP_US

    def __init__(self, path: Path, **options: str) -> None:
        super().__init__(path, **options)
        self._file = path.open("rb")
        try:
            self._chip = self.metadata["chip"] = self._read_header()
            self.sensor = self._geometry()
        except BaseException:
            self.close()
            raise
        self._clock = Clock(CLOCK_BITS, 1, NEAR_US)
        self._checked_layout = False

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Check for the magic line."""
        return head.startswith(MAGIC)

    def read_packet(self) -> EventPacket | None:
        """Return the events among the next 65,536 words."""
        at = self._file.tell()
        size = EVENT * (PACKET_EVENTS + CONFIRMATIONS)
        data = self._file.read(size)
        if not data:
            return None
        whole = len(data) - len(data) % EVENT
        if whole == 0:
            raise self.fault(
                "the file is truncated in the middle of an event",
                f"all events before it were read; {SKIP}",
                where=f"byte {at}",
            )
        words = np.frombuffer(data, WORD, whole // WORD.itemsize).astype(np.uint32).reshape(-1, 2)
        times, decided = self._clock.follow(words[:, 1].astype(np.int64), final=len(data) < size)
        self._file.seek(at + EVENT * decided)
        return self._decode(words[:decided, 0], times)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_header(self) -> str:
        """Read the comments up to the first event; return the name of the chip, or ""."""
        if not self._file.readline(_LINE).startswith(MAGIC):
            raise self.fault(f"expected {MAGIC.decode()}", "this is not an AEDAT 2.0 file", where="byte 0")
        chip = ""
        while True:
            at = self._file.tell()
            line = self._file.readline(_LINE)
            if not line.startswith(b"#") or _CONTROL.search(line):
                self._file.seek(at)
                return chip
            key, _, value = line.decode("latin-1").strip("# \r\n").partition(":")
            if key == "AEChip":
                chip = value.strip()
            if key == "End Of ASCII Header":
                return chip

    def _geometry(self) -> Sensor | None:
        sensor = sensor_of(self._chip)
        if self._chip and sensor is None and not is_davis(self._chip):
            raise self.fault(
                f"expected a DVS128 or a DAVIS, got the chip {self._chip!r}",
                "the layout of its addresses is not known",
            )
        return sensor

    def _decode(self, address: Words, t: npt.NDArray[np.int64]) -> EventPacket:
        sensor = self.sensor
        davis = is_davis(self._chip) or sensor in davis_sensors()
        if sensor is None or not (davis or sensor == DVS128):
            self._file.seek(0, os.SEEK_END)
            raise self.fault(
                "the file does not name its chip, which determines the layout of its addresses",
                "state the geometry of a DVS128 (128x128) or of a DAVIS (240x180, 346x260, ...)",
            )
        if not self._checked_layout:
            self._check_layout(address, davis=davis)
        is_event = self._davis_events(address) if davis else self._dvs128_events(address)
        self._skip(OUTLYING, is_event & (t == LEFT_OUT))
        is_event &= t != LEFT_OUT
        address = address[is_event]
        if davis:
            x, y, p = address >> 12 & 0x3FF, address >> 22 & 0x1FF, address >> 11 & 1
        else:
            x, y, p = address >> 1 & 0x7F, address >> 8 & 0x7F, ~address & 1
        # A coordinate off the chip wraps to a huge one, which the check of every packet rejects.
        return EventPacket.of(t[is_event], sensor.width - 1 - x, sensor.height - 1 - y, p)

    def _check_layout(self, address: Words, *, davis: bool) -> None:
        """Refuse a stated geometry whose chip has other addresses: those of a DVS128 have 16 bits, of a DAVIS 32."""
        self._checked_layout = True
        small = np.count_nonzero(address < 1 << 16)
        if not self._chip and (2 * small > len(address)) == davis:
            self._file.seek(0, os.SEEK_END)
            chip, other = ("DAVIS", "DVS128 (128x128)") if davis else ("DVS128", "DAVIS (240x180, 346x260, ...)")
            raise self.fault(
                f"the file does not name its chip, and its addresses are not those of a {chip} of {self.sensor}",
                f"state the geometry of the camera that recorded it, perhaps a {other}",
            )

    def _davis_events(self, address: Words) -> Mask:
        sample = address >> 31 == 1
        motion = sample & (address >> 10 & 3 == 3)
        special = ~sample & (address >> 10 & 1 == 1)
        self._skip("APS sample", sample & ~motion)
        self._skip("IMU sample", motion)
        self._skip("special event", special)
        events: Mask = ~(sample | special)
        return events

    def _dvs128_events(self, address: Words) -> Mask:
        special = address >> 15 != 0
        self._skip("special event", special)
        events: Mask = ~special
        return events

    def _skip(self, reason: str, which: Mask) -> None:
        count = int(np.count_nonzero(which))
        if count:
            self.skipped[reason] += count
