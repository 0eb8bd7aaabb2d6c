"""Small recordings for tests of readers and writers, with helpers to read and compare them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from eventveil import EventPacket, Sensor
from eventveil.errors import EventFileError
from eventveil.io.formats.reader import Reader
from eventveil.io.source import EventSource

SENSOR = Sensor(346, 260)


def make_events(n: int, *, sensor: Sensor = SENSOR, start_us: int = 0, seed: int = 0) -> EventPacket:
    """Return events all over the sensor, including its last pixel; some share a time."""
    random = np.random.default_rng(seed)
    x, y = random.integers(0, sensor.width, n), random.integers(0, sensor.height, n)
    x[-1:], y[-1:] = sensor.width - 1, sensor.height - 1
    return EventPacket.of(start_us + np.cumsum(random.integers(0, 5, n)), x, y, random.integers(0, 2, n))


def cut(events: EventPacket, *places: int) -> list[EventPacket]:
    edges = [0, *places, len(events)]
    return [events[start:stop] for start, stop in pairwise(edges)]


def join(packets: Iterable[EventPacket]) -> EventPacket:
    packets = [EventPacket.empty(), *packets]
    return EventPacket(*(np.concatenate([getattr(packet, field) for packet in packets]) for field in "txyp"))


def read_all(reader) -> EventPacket:
    packets = []
    while (packet := reader.read_packet()) is not None:
        packets.append(packet)
    reader.close()
    return join(packets)


def read_with_faults(source: Reader | EventSource) -> tuple[EventPacket, list[EventFileError]]:
    """Continue reading after recoverable faults, then close the file."""
    packets, faults = [], []
    reading = True
    while reading:
        try:
            packet = source.read_packet() if isinstance(source, Reader) else next(source, None)
        except EventFileError as fault:
            faults.append(fault)
            reading = fault.recoverable
        else:
            reading = packet is not None
            packets += [packet] if reading else []
    source.close()
    return join(packets), faults


def assert_same(got: EventPacket, expected: EventPacket) -> None:
    for field in "txyp":
        np.testing.assert_array_equal(getattr(got, field), getattr(expected, field), err_msg=field)
