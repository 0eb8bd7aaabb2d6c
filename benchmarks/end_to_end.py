"""Measure end to end: from a file to windows beside four libraries, and from cameras to publication.

    python benchmarks/end_to_end.py files [--events 4000000] [--repeats 5] [--folder DIR]
    python benchmarks/end_to_end.py cameras [--cameras 1 8 32] [--rate 1000000] [--seconds 30]
    python benchmarks/end_to_end.py idle [--seconds 30]

files    Million events per second on one core (pin it with taskset), from a file in the page cache to histograms of 5
         bins of 10 ms, of the sensor's size and of 128x128, every library as its manual says: faery and np.bincount,
         dv-processing's slicer and accumulator (one picture per window: less work), tonic's reader and ToFrame (needs
         the package aedat), evlib's stacked histograms (a table of the pixels that are not zero). Each runs in its own
         process, in turn. aedat and evlib are not dependencies: without them, their rows are missing. The goal is 150
         Mev/s for EVT3.
cameras  Recordings of moving discs at this rate each, as cameras, into one pipeline with the shipped stand-in, in
         processes, `line.release_ms=1`: from the end of a window to its publication, all computing included, after ten
         seconds of warming up. The median of the seconds' medians and of their 99th percentiles; the largest of the
         latter, which is one of the slowest windows of all; and the share of all windows that took more than 50 ms,
         which is below 1 % if the 99th percentile of all is below 50 ms, the goal for 32 cameras.
idle     The same pipeline with one camera that sees next to nothing: processor time and memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import readers
from decision import processor_s
from machine import processor
from readers import BIN_US, BINS
from rich.console import Console
from rich.table import Table
from start import family, pss_mb

from eventveil import EventPacket, Sensor
from eventveil.host.processes import module_command
from eventveil.stream.runtime.latency import BOUNDS_MS

WINDOW_US = BINS * BIN_US
WARM_UP_S = 10.0  # a first window closes after a second, and what has waited by then has to be worked off
FILES = {
    "AEDAT4 LZ4": ("davis_lz4.aedat4", ("dv", "faery", "tonic", "evlib")),
    "EVT3 sparse": ("hd_sparse_evt3.raw", ("faery", "evlib")),
    "EVT3 dense": ("hd_dense_evt3.raw", ("faery", "evlib")),
    "EVT2": ("hd_sparse_evt2.raw", ("faery", "evlib")),
}
SMALL = "128x128"  # windows as networks take them; the others have the size of the sensor
GOAL = 150.0  # Mev/s, for EVT3
LATE_MS = 50


def ours(path: Path, sensor: Sensor, size: tuple[int, int] | None = None) -> int:
    return int(readers.histogrammed(path, sensor, size).binned)


def bincount(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, sensor: Sensor) -> np.ndarray:
    """Return the histogram of the events of one window."""
    shape = (BINS, 2, sensor.height, sensor.width)
    channel = (t % WINDOW_US) // BIN_US * 2 + p
    index = (channel.astype(np.int64) * sensor.height + y) * sensor.width + x
    return np.bincount(index, minlength=int(np.prod(shape))).astype(np.uint16).reshape(shape)


def with_faery(path: Path, sensor: Sensor, size: tuple[int, int] | None = None) -> int:
    import faery

    target = Sensor(*size) if size else sensor
    waiting: list[np.ndarray] = []  # events of the window that is not complete yet
    counted = 0

    def close() -> None:
        nonlocal counted
        whole = np.concatenate(waiting)
        x, y = whole["x"], whole["y"]
        if size:
            x, y = (
                (place.astype(np.uint32) * after // before)
                for place, after, before in ((x, size[0], sensor.width), (y, size[1], sensor.height))
            )
        counted += int(bincount(whole["t"].astype(np.int64), x, y, whole["on"], target).sum())
        waiting.clear()

    for packet in faery.events_stream_from_file(path):
        windows = packet["t"] // WINDOW_US
        for part in np.split(packet, np.flatnonzero(np.diff(windows)) + 1) if len(packet) else ():
            if waiting and waiting[-1]["t"][0] // WINDOW_US != part["t"][0] // WINDOW_US:
                close()
            waiting.append(part)
    close()
    return counted


def with_dv(path: Path, sensor: Sensor) -> int:
    from datetime import timedelta

    import dv_processing as dv

    recording, accumulator = dv.io.MonoCameraRecording(str(path)), dv.Accumulator((sensor.width, sensor.height))
    slicer, events = dv.EventStreamSlicer(), 0

    def picture(batch: Any) -> None:
        accumulator.accept(batch)
        accumulator.generateFrame()

    slicer.doEveryTimeInterval(timedelta(microseconds=WINDOW_US), picture)
    while recording.isRunning("events"):
        batch = recording.getNextEventBatch()
        if batch is not None:
            events += batch.size()
            slicer.accept(batch)
    return events


def with_tonic(path: Path, sensor: Sensor) -> int:
    import tonic

    events = tonic.io.read_aedat4(str(path))
    events.dtype.names = tuple("p" if name == "on" else name for name in events.dtype.names)  # as ToFrame expects
    frames = tonic.transforms.ToFrame((sensor.width, sensor.height, 2), time_window=BIN_US)(events)
    return int(frames.sum())


def with_evlib(path: Path, sensor: Sensor) -> int:
    import evlib
    import evlib.representations as representations

    events = evlib.load_events(str(path))
    table = representations.create_stacked_histogram(events, sensor.height, sensor.width, BINS, WINDOW_US / 1e3)
    return int(table["count"].sum())


readers.READ |= {
    f"eventveil {SMALL}": partial(ours, size=(128, 128)),
    f"faery {SMALL}": partial(with_faery, size=(128, 128)),
}
readers.READ |= {"eventveil": ours, "faery": with_faery, "dv": with_dv, "tonic": with_tonic, "evlib": with_evlib}


def files(options: argparse.Namespace) -> None:
    """Print rates of all libraries on the same files."""
    from recordings_made import make_files  # its libraries must not be in the measured processes

    table = Table("file", "library", "Mev/s", "MB", "eventveil is", title=f"{readers.machine()}, {load()}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make_files(folder, options.events)
        for name, (file, others) in FILES.items():
            measured = {
                library: readers.measure(library, folder / file, options.repeats, program=__file__)
                for library in (f"eventveil {SMALL}", f"faery {SMALL}", "eventveil", *others)
            }
            for library, result in measured.items():
                own = measured[f"eventveil {SMALL}" if SMALL in library else "eventveil"]
                if own is None or result is None:
                    table.add_row(name, library, "failed, or not installed")
                    continue
                times = own["rate"] / result["rate"]
                ratio = f"{times:.1f} times as fast"
                if result is own:
                    reached = "reached" if own["rate"] >= GOAL else f"NOT reached: {GOAL:.0f}"
                    ratio = f"goal {reached}" if name.startswith("EVT3") else ""
                table.add_row(name, library, f"{result['rate']:.1f}", f"{result['memory']:.0f}", ratio)
    Console(width=120).print(table)


def recording(path: Path, events: int, seconds: float) -> None:
    """Write a recording of moving discs with this many events in this time."""
    from recordings_made import DVS128, moving_discs, write

    discs = moving_discs(events, DVS128)
    stretched = (discs.t * (seconds * 1e6 / float(discs.t[-1] + 1))).astype(np.int64)
    write(path, EventPacket(stretched, discs.x, discs.y, discs.p))


def pipeline(cameras: int, rate: float, seconds: float) -> dict[str, float]:
    """Run a pipeline of this many cameras; return its figures after it has warmed up."""
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for k in range(cameras):  # each with another number of events, for the same events in two streams are refused
            recording(Path(folder, f"{k}.npy"), round(rate * 2) + k, 2.0)
            source = {"uri": f"{folder}/{k}.npy", "stream": str(k), "sensor": "128x128", "loop": True, "gap_s": 0.0}
            sources.append(source)
        config = {
            "sources": sources,
            "anonymize": {"weights": "shipped", "batch": max(8, cameras)},
            "publish": {"bind": f"ipc://{folder}/public"},
            "line": {"run_as": "processes", "release_ms": 1},
        }
        path = Path(folder, "line.yaml")
        path.write_text(json.dumps(config))  # JSON is valid YAML
        command = module_command("eventveil.cli", "run", str(path), "--json")
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        assert process.stdout is not None
        marks: list[tuple[dict[str, Any], float, float]] = []
        memory_mb = 0
        delays: dict[str, list[float]] = {"p50": [], "p99": []}  # of each second
        for text in process.stdout:
            beat = json.loads(text)
            if len(marks) == 1:
                for share, values in delays.items():
                    values.append(beat["stages"]["publish"]["values"][f"latency_{share}_ms"] or 0.0)
            if len(marks) < 2 and beat["seconds"] >= (WARM_UP_S, WARM_UP_S + seconds)[len(marks)]:
                marks.append((beat, time.monotonic(), processor_s(process.pid)))
                if len(marks) == 2:
                    memory_mb = sum(pss_mb(pid) for pid in family(process.pid))
                    process.terminate()
    (first, first_s, first_cpu), (last, last_s, last_cpu) = marks
    before, after = (beat["stages"]["publish"]["age"]["counts"] for beat in (first, last))
    ages = [new - old for old, new in zip(before, after, strict=True)]
    return {
        "rate": (last["events"] - first["events"]) / (last_s - first_s) / 1e6,
        "windows": (last["published_windows"] - first["published_windows"]) / (last_s - first_s),
        "dropped": sum(last["dropped"].values()) - sum(first["dropped"].values()),
        "p50": statistics.median(delays["p50"]),
        "p99": statistics.median(delays["p99"]),
        "worst p99": max(delays["p99"]),
        "late": sum(ages[BOUNDS_MS.index(LATE_MS) + 1 :]) / sum(ages),
        "cores": (last_cpu - first_cpu) / (last_s - first_s),
        "memory": memory_mb,
    }


def cameras(options: argparse.Namespace) -> None:
    """Print the figures of pipelines with several cameras."""
    show([(number, options.rate) for number in options.cameras], options.seconds)


def idle(options: argparse.Namespace) -> None:
    """Print the figures of a pipeline that sees 100 events a second."""
    show([(1, 100.0)], options.seconds)


def show(pipelines: list[tuple[int, float]], seconds: float) -> None:
    columns = (
        "cameras", "Mev/s", "of", "windows/s", "dropped", "p50", "p99", "worst p99", f"over {LATE_MS} ms", "cores",
        "PSS, MB",
    )  # fmt: skip
    table = Table(*columns, title=f"{processor()}, {len(os.sched_getaffinity(0))} cores, {load()}; {seconds:g} s each")
    for number, rate in pipelines:
        figures = pipeline(number, rate, seconds)
        table.add_row(
            str(number), f"{figures['rate']:.2f}", f"{number * rate / 1e6:.2f}", f"{figures['windows']:.0f}",
            f"{figures['dropped']:.0f}", f"{figures['p50']:.1f} ms", f"{figures['p99']:.1f} ms",
            f"{figures['worst p99']:.1f} ms", f"{figures['late']:.1%}", f"{figures['cores']:.2f}",
            f"{figures['memory']:.0f}",
        )  # fmt: skip
    Console(width=120).print(table)


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {"files": files, "cameras": cameras, "idle": idle}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS, nargs="?")
    parser.add_argument("--events", type=int, default=4_000_000, help="events per file")
    parser.add_argument("--repeats", type=int, default=5, help="measured readings, after one that warms up")
    parser.add_argument("--folder", type=Path, help="where the files are, or will be created and kept")
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 8, 32], help="how many cameras")
    parser.add_argument("--rate", type=float, default=1e6, help="events per second of a camera")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each pipeline is measured")
    parser.add_argument("--measure", nargs=2, metavar=("READER", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        readers.measure_here(options.measure[0], Path(options.measure[1]), options.repeats)
    elif options.part is None:
        parser.error("expected files, cameras or idle")
    else:
        PARTS[options.part](options)


if __name__ == "__main__":
    main()
