"""Slow, obvious twins of the fast code in io/, and recordings built byte by byte from the specifications."""

from __future__ import annotations

import struct

from eventveil.events import EventPacket, Sensor

Rows = list[tuple[int, int, int, int]]  # (t, x, y, p)


def rows(packet: EventPacket) -> Rows:
    return [(int(t), int(x), int(y), int(p)) for t, x, y, p in zip(packet.t, packet.x, packet.y, packet.p, strict=True)]


def packet(events: Rows) -> EventPacket:
    return EventPacket.of(*([event[field] for event in events] for field in range(4)))


def first_fault(events: Rows, sensor: Sensor, floor_us: int) -> tuple[int, str] | None:
    for number, (t, x, y, p) in enumerate(events):
        if x >= sensor.width or y >= sensor.height:
            return number, "sensor"
        if p not in (0, 1):
            return number, "polarity"
        if t < floor_us:
            return number, "time"
        floor_us = t
    return None


def clipped(events: Rows) -> tuple[Rows, int]:
    """Return the events with late times raised, and how many were late."""
    out: Rows = []
    for t, x, y, p in events:
        out.append((max(t, out[-1][0]) if out else t, x, y, p))
    return out, sum(new[0] != old[0] for new, old in zip(out, events, strict=True))


# AEDAT 2.0 ---------------------------------------------------------------------------------------------------------


def aedat2(chip: str, words: list[tuple[int, int]], tail: bytes = b"") -> bytes:
    """Build a jAER file from (address, time) pairs."""
    lines = ["#!AER-DAT2.0", "# This is a raw AE data file - do not edit", "# Timestamps tick is 1 us"]
    lines += [f"# AEChip: {chip}"] if chip else []
    head = "".join(f"{line}\r\n" for line in lines).encode()
    return head + b"".join(struct.pack(">2I", address, time % (1 << 32)) for address, time in words) + tail


def dvs128_address(x: int, y: int, p: int) -> int:
    """Return the address of an event at x, y counted from the upper left."""
    return (127 - y) << 8 | (127 - x) << 1 | (1 - p)


def davis_address(sensor: Sensor, x: int, y: int, p: int) -> int:
    return (sensor.height - 1 - y) << 22 | (sensor.width - 1 - x) << 12 | p << 11


# AEDAT 3.1 ---------------------------------------------------------------------------------------------------------


def aedat3_head(sources: tuple[str, ...] = ("#Source 1: DVS128",), layout: str = "RAW") -> bytes:
    lines = [
        "#!AER-DAT3.1",
        f"#Format: {layout}",
        *sources,
        "#Start-Time: 2016-04-08 12:00:00 (TZ+0200)",
        "#!END-HEADER",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def aedat3_packet(body: list[bytes], *, type: int = 1, source: int = 1, overflow: int = 0) -> bytes:  # noqa: A002
    size = len(body[0]) if body else 8
    return struct.pack("<2h6i", type, source, size, 4, overflow, len(body), len(body), len(body)) + b"".join(body)


def polarity(t: int, x: int, y: int, p: int, valid: int = 1) -> bytes:
    return struct.pack("<Ii", x << 17 | y << 2 | p << 1 | valid, t)
