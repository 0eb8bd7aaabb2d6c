"""Compare the histogrammer with four other implementations: events per second on one core, same events, same run.

    python benchmarks/histogram.py [--windows 2]

There are two scenes. In one, discs move over the sensor and a camera reads them row by row, as in the other
benchmarks. In the other, events are spread evenly over all pixels: no camera does that, and it is the hardest case for
the caches. Windows have 5 bins and as many events as counts, so that each count is one on average for every sensor, but
at least a million events. Events are in contiguous columns or, "strided", in 16-byte records as in AEDAT4 packets.

The histogrammer gets packets of 32,768 events, regardless of where windows end, and does everything: it cuts the stream
into windows, checks it, and allocates every window. The others get each window's events already cut, with times from
the window's start, which favours them; "cuts its windows" includes the cutting, from the whole stream at once. Those
that need an index per event compute it, because it is part of the work. tonic gets its structured array ready made.
"As decoded" is the histogrammer as it runs in the pipeline: a reader has just written each packet, so it is in the
processor's cache. In all other rows the events come from main memory, and its speed is part of the measurement. Times
are processor time of this process, which other programs disturb less; the median counts. The slow ones (torch,
np.add.at, tonic) process the first window only.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before the first import that starts threads

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from machine import processor
from recordings_made import moving_discs
from rich.console import Console
from rich.table import Table
from tonic.transforms import ToFrame

from eventveil import EventPacket, Sensor
from eventveil.stream.histogram import WindowedHistogrammer

SENSORS = (Sensor(128, 128), Sensor(346, 260), Sensor(640, 480), Sensor(1280, 720))
BINS, BIN_US = 5, 10_000
WINDOW_US = BINS * BIN_US
PACKET = 32_768  # 416 KiB, which leaves room for the counts of a bin in the second-level cache
REPEATS = 5
SLOW_REPEATS = 3
RATE, RATE_SENSORS = 400, SENSORS[:3]  # the goal, in million events per second, contiguous
TIMES_BINCOUNT = 2  # the goal, at least: np.bincount gets its windows cut and checked, which is half of the work
OURS, OURS_STRIDED = "eventveil", "eventveil, strided"
DECODED, DECODED_STRIDED = "eventveil, as decoded", "eventveil, as decoded, strided"
READY_CUT, CUTTING = "np.bincount", "np.bincount, cuts its windows"


def event_count(sensor: Sensor, windows: int) -> int:
    return windows * max(1_000_000, BINS * 2 * sensor.width * sensor.height)


def disc_events(sensor: Sensor, windows: int) -> EventPacket:
    """Return moving discs whose speed makes them end with the last window."""
    events = moving_discs(event_count(sensor, windows), sensor)
    t = events.t * (windows * WINDOW_US) // (int(events.t.max()) + 1)
    return EventPacket(t, events.x, events.y, events.p)


def random_events(sensor: Sensor, windows: int) -> EventPacket:
    rng = np.random.default_rng(0)
    n = event_count(sensor, windows)
    t = np.sort(rng.integers(0, windows * WINDOW_US, n))
    return EventPacket.of(t, rng.integers(0, sensor.width, n), rng.integers(0, sensor.height, n), rng.integers(0, 2, n))


def as_records(events: EventPacket) -> EventPacket:
    """Return strided views of 16-byte records, as in an AEDAT4 packet."""
    table = np.zeros(len(events), np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")], align=True))
    for name in "txyp":
        table[name] = getattr(events, name)
    return EventPacket(*(table[name] for name in "txyp"))


def cut(events: EventPacket, size: int) -> list[EventPacket]:
    return [events[begin : begin + size] for begin in range(0, len(events), size)]


def cut_windows(events: EventPacket) -> list[EventPacket]:
    """Return one packet per window, with times from the window's start."""
    edges = np.searchsorted(events.t, np.arange(0, int(events.t[-1]) + WINDOW_US + 1, WINDOW_US))
    starts = range(0, len(edges) * WINDOW_US, WINDOW_US)
    parts = [(events[a:b], start) for a, b, start in zip(edges[:-1], edges[1:], starts, strict=False)]
    return [EventPacket(part.t - start, part.x, part.y, part.p) for part, start in parts]


def eventveil(packets: Iterable[EventPacket], sensor: Sensor, mode: str = "windows", hop: int | None = None) -> None:
    histogrammer = WindowedHistogrammer(sensor, bins=BINS, bin_us=BIN_US, start_us=0, mode=mode, hop=hop)  # type: ignore[arg-type]
    for packet in packets:
        for _window in histogrammer.push(packet):
            pass
    for _window in histogrammer.finish():
        pass


def as_decoded(packets: Iterable[EventPacket], sensor: Sensor, layout: Callable[[EventPacket], EventPacket]) -> float:
    """Return the processor time of the histogrammer alone; each packet is written to the same memory just before it."""
    histogrammer = WindowedHistogrammer(sensor, bins=BINS, bin_us=BIN_US, start_us=0)
    buffer = layout(EventPacket.of(*np.zeros((4, PACKET), np.int64)))
    seconds = 0.0
    for packet in packets:
        for name in "txyp":
            getattr(buffer, name)[: len(packet)] = getattr(packet, name)
        begin = time.process_time()
        for _window in histogrammer.push(buffer[: len(packet)]):
            pass
        seconds += time.process_time() - begin
    return seconds


def flat_index(part: EventPacket, sensor: Sensor) -> np.ndarray:
    polarity = part.t // BIN_US * 2 + part.p
    return (polarity * sensor.height + part.y) * sensor.width + part.x


def numpy_add_at(parts: Iterable[EventPacket], sensor: Sensor) -> None:
    for part in parts:
        counts = np.zeros((BINS, 2, sensor.height, sensor.width), np.uint16)
        np.add.at(counts, (part.t // BIN_US, part.p.astype(np.intp), part.y, part.x), 1)


def numpy_bincount(parts: Iterable[EventPacket], sensor: Sensor) -> None:
    shape = (BINS, 2, sensor.height, sensor.width)
    for part in parts:
        np.bincount(flat_index(part, sensor), minlength=int(np.prod(shape))).astype(np.uint16).reshape(shape)


def torch_scatter_add(parts: Iterable[EventPacket], sensor: Sensor) -> None:
    for part in parts:
        index = torch.from_numpy(flat_index(part, sensor))
        counts = torch.zeros(BINS * 2 * sensor.height * sensor.width, dtype=torch.int32)
        counts.scatter_add_(0, index, torch.ones(len(index), dtype=torch.int32))


def tonic_frames(tables: Iterable[np.ndarray], sensor: Sensor) -> None:
    transform = ToFrame(sensor_size=(sensor.width, sensor.height, 2), n_time_bins=BINS)
    for table in tables:
        transform(table)


def tonic_tables(parts: Iterable[EventPacket]) -> list[np.ndarray]:
    tables = []
    for part in parts:
        table = np.zeros(len(part), [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
        for name in "txyp":
            table[name] = getattr(part, name)
        tables.append(table)
    return tables


class Way(NamedTuple):
    """An implementation of histograms, run over all its events."""

    events: int
    repeats: int
    run: Callable[[], float]  # returns the processor time it took


def timed(run: Callable[[], None]) -> Callable[[], float]:
    """Wrap `run` so that it returns the processor time it took."""

    def measured() -> float:
        begin = time.process_time()
        run()
        return time.process_time() - begin

    return measured


def rates(ways: dict[str, Way]) -> dict[str, float]:
    """Return the median Mev/s of each way. They take turns, so that a busy moment of the machine affects all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(REPEATS + 1):
        for name, way in ways.items():
            if repeat <= way.repeats:
                seconds[name].append(way.run())
    # The first run warms up the caches and is not counted.
    return {name: ways[name].events / statistics.median(taken[1:]) / 1e6 for name, taken in seconds.items()}


def measure(events: EventPacket, sensor: Sensor) -> dict[str, float]:
    records = as_records(events)
    parts, record_parts = cut_windows(events), cut_windows(records)
    first, first_records, first_table = parts[:1], record_parts[:1], tonic_tables(parts[:1])
    columns, small, strided = cut(events, PACKET), cut(events, 5_000), cut(records, PACKET)
    decoded = {
        DECODED: lambda: as_decoded(columns, sensor, lambda events: events),
        DECODED_STRIDED: lambda: as_decoded(columns, sensor, as_records),
    }
    fast = {
        OURS: lambda: eventveil(columns, sensor),
        OURS_STRIDED: lambda: eventveil(strided, sensor),
        "packets of 5,000": lambda: eventveil(small, sensor),
        "overlap, hop 1": lambda: eventveil(columns, sensor, hop=1),
        "voxel grid": lambda: eventveil(columns, sensor, mode="voxel"),
        READY_CUT: lambda: numpy_bincount(parts, sensor),
        "np.bincount, strided": lambda: numpy_bincount(record_parts, sensor),
        CUTTING: lambda: numpy_bincount(cut_windows(events), sensor),
    }
    slow = {
        "torch scatter_add_": lambda: torch_scatter_add(first, sensor),
        "torch scatter_add_, strided": lambda: torch_scatter_add(first_records, sensor),
        "np.add.at": lambda: numpy_add_at(first, sensor),
        "np.add.at, strided": lambda: numpy_add_at(first_records, sensor),
        "tonic ToFrame": lambda: tonic_frames(first_table, sensor),
    }
    return rates(
        {name: Way(len(events), REPEATS, run) for name, run in decoded.items()}
        | {name: Way(len(events), REPEATS, timed(run)) for name, run in fast.items()}
        | {name: Way(len(parts[0]), SLOW_REPEATS, timed(run)) for name, run in slow.items()}
    )


def print_scene(console: Console, scene: str, rates_of: dict[Sensor, dict[str, float]]) -> None:
    table = Table(
        title=f"{scene}: million events/s into histograms, one core of {processor()}\n"
        "(in brackets: how much faster eventveil is, from the same memory layout)"
    )
    table.add_column("way")
    for sensor in rates_of:
        table.add_column(str(sensor), justify="right")
    for way in rates_of[SENSORS[0]]:
        ours = OURS_STRIDED if "strided" in way else OURS
        table.add_row(way, *(f"{rate[way]:.1f} ({rate[ours] / rate[way]:.1f})" for rate in rates_of.values()))
    console.print(table)
    for way in (DECODED, OURS):
        shares = {sensor: rates_of[sensor][way] / RATE for sensor in RATE_SENSORS}
        print_verdict(console, f"{RATE} Mev/s, {way}", shares)
    for other in (READY_CUT, CUTTING):
        ratios = {sensor: rate[OURS] / rate[other] / TIMES_BINCOUNT for sensor, rate in rates_of.items()}
        print_verdict(console, f"{TIMES_BINCOUNT} times {other}", ratios)


def print_verdict(console: Console, target: str, shares: dict[Sensor, float]) -> None:
    verdicts = (f"{sensor} {'yes' if share >= 1 else f'NO ({share:.0%} of it)'}" for sensor, share in shares.items())
    console.print(f"goal, contiguous: {target}: {', '.join(verdicts)}", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=2, help="windows in each run")
    windows = parser.parse_args().windows
    torch.set_num_threads(1)
    console = Console(width=120)
    for scene, make in (("moving discs", disc_events), ("events anywhere", random_events)):
        print_scene(console, scene, {sensor: measure(make(sensor, windows), sensor) for sensor in SENSORS})


if __name__ == "__main__":
    main()
