"""Events per second into histograms, on one core, beside four other ways, on the same events in the same run.

    python benchmarks/histogram.py [--windows 2]

The events are spread evenly over all pixels: no camera does that, and it is the hardest case for the caches. They
come in packets of 65,536 and fill windows of 5 bins with as many events as the window has counts, so that each count
is one on average, whatever the sensor; but not with fewer than a million. Ours includes cutting the stream into
windows, the checks and the making of every window; the other ways get each window's events ready cut and whole, and
those that need an index per event make it, as it is part of the work. Times are processor time of this process,
which other programs on the machine disturb less.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before the first import that starts threads

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tonic.transforms import ToFrame

from eventveil import EventPacket, Sensor
from eventveil.stream.histogram import WindowedHistogrammer

SENSORS = (Sensor(128, 128), Sensor(346, 260), Sensor(640, 480), Sensor(1280, 720))
BINS, BIN_US = 5, 10_000
WINDOW_US = BINS * BIN_US
REPEATS = 7
SLOW_REPEATS = 3


def random_events(sensor: Sensor, windows: int) -> EventPacket:
    rng = np.random.default_rng(0)
    n = windows * max(1_000_000, BINS * 2 * sensor.width * sensor.height)
    t = np.sort(rng.integers(0, windows * WINDOW_US, n))
    return EventPacket.of(t, rng.integers(0, sensor.width, n), rng.integers(0, sensor.height, n), rng.integers(0, 2, n))


def as_records(events: EventPacket) -> EventPacket:
    """Strided views of 16-byte records, as they lie in an AEDAT4 packet."""
    table = np.zeros(len(events), np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")], align=True))
    for name in "txyp":
        table[name] = getattr(events, name)
    return EventPacket(*(table[name] for name in "txyp"))


def cut(events: EventPacket, size: int) -> list[EventPacket]:
    return [events[begin : begin + size] for begin in range(0, len(events), size)]


def cut_windows(events: EventPacket) -> list[EventPacket]:
    """One packet a window, its times from the window's start."""
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


def rates(events: int, ways: dict[str, tuple[int, Callable[[], None]]]) -> dict[str, float]:
    """Median Mev/s of each way. The ways take turns, so that a busy moment of the machine falls on all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(REPEATS + 1):
        for name, (repeats, run) in ways.items():
            if repeat <= repeats:
                begin = time.process_time()
                run()
                seconds[name].append(time.process_time() - begin)
    # The first run warms the caches up, and is left out.
    return {name: events / statistics.median(taken[1:]) / 1e6 for name, taken in seconds.items()}


def measure(sensor: Sensor, windows: int) -> dict[str, float]:
    events = random_events(sensor, windows)
    parts = cut_windows(events)
    tables = tonic_tables(parts)
    columns, small = cut(events, 65_536), cut(events, 5_000)
    strided = cut(as_records(events), 65_536)
    return rates(
        len(events),
        {
            "contiguous": (REPEATS, lambda: eventveil(columns, sensor)),
            "packets of 5,000": (REPEATS, lambda: eventveil(small, sensor)),
            "strided, 16 bytes": (REPEATS, lambda: eventveil(strided, sensor)),
            "overlap, hop 1": (REPEATS, lambda: eventveil(columns, sensor, hop=1)),
            "voxel grid": (REPEATS, lambda: eventveil(columns, sensor, mode="voxel")),
            "np.bincount": (REPEATS, lambda: numpy_bincount(parts, sensor)),
            "np.add.at": (SLOW_REPEATS, lambda: numpy_add_at(parts, sensor)),
            "torch scatter_add_": (SLOW_REPEATS, lambda: torch_scatter_add(parts, sensor)),
            "tonic ToFrame": (SLOW_REPEATS, lambda: tonic_frames(tables, sensor)),
        },
    )


def processor() -> str:
    """Name of the processor, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=2, help="windows in each run")
    windows = parser.parse_args().windows
    torch.set_num_threads(1)
    table = Table(
        title=f"million events/s into histograms, one core of {processor()}\n(in brackets: how much faster ours is)"
    )
    table.add_column("way")
    columns = [measure(sensor, windows) for sensor in SENSORS]
    for sensor in SENSORS:
        table.add_column(str(sensor), justify="right")
    for way in columns[0]:
        cells = [f"{rate[way]:.1f} ({rate['contiguous'] / rate[way]:.1f})" for rate in columns]
        table.add_row(way, *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
