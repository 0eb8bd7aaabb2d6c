"""Compare reading speed with dv-processing, faery and NumPy, on the same files, in turn, in one run.

    python benchmarks/readers.py [--events 4000000] [--repeats 7] [--folder DIR]

Moving discs and noise are written once in every format (with `--folder`, kept for the next run). Each reader runs in
its own process, which reads the file once to warm up and then several times; the median counts. A process that takes
too long is killed, because a reader may hang. Reading means all events of all packets, checked where the reader checks.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import processor

from eventveil import Sensor
from eventveil.io import open_events

BINS, BIN_US = 5, 10_000  # of windows
TIMEOUT_S = 60


class Row(NamedTuple):
    """A line of the table: a file, the reader to compare with, and the goal."""

    name: str
    file: str
    other: str | None = None
    ratio: float | None = None  # the goal, relative to the other's rate
    rate: float | None = None  # the goal, in million events per second
    reader: str = "eventveil"


ROWS = [
    Row("AEDAT4 NONE", "davis_none.aedat4", "dv", ratio=1.0),
    Row("AEDAT4 NONE", "davis_none.aedat4", "faery"),
    Row("AEDAT4 LZ4", "davis_lz4.aedat4", "dv", ratio=1.0),
    Row("AEDAT4 LZ4", "davis_lz4.aedat4", "faery"),
    Row("AEDAT4 ZSTD", "davis_zstd.aedat4", "dv", ratio=1.0),
    Row("AEDAT4 ZSTD", "davis_zstd.aedat4", "faery"),
    Row("EVT3 sparse", "hd_sparse_evt3.raw", "faery", ratio=1.3),
    Row("EVT3 dense", "hd_dense_evt3.raw", "faery", ratio=1.3),
    Row("EVT2", "hd_sparse_evt2.raw", "faery", ratio=1.3),
    Row("EVT2.1 sparse", "hd_sparse_evt21.raw", rate=200),
    Row("EVT2.1 dense", "hd_dense_evt21.raw", rate=200),
    Row("DAT", "hd_sparse.dat", "faery", rate=200),
    Row("NPY 16 bytes", "hd_aligned.npy", "numpy", rate=400),
    Row("NPY 13 bytes", "hd_packed.npy", "numpy", rate=400),
    Row("ES", "hd_sparse.es", "faery"),
    Row("HDF5", "hd_sparse.h5"),
    Row("AEDAT 2.0", "dvs128_2.aedat"),
    Row("AEDAT 3.1", "dvs128_31.aedat"),
    Row("CSV", "hd_short.csv", "faery", ratio=1.0),
    Row("AEDAT4 LZ4 to histogram", "davis_lz4.aedat4", reader="histogram"),
    Row("EVT3 sparse to histogram", "hd_sparse_evt3.raw", reader="histogram"),
    Row("NPY 16 bytes to histogram", "hd_aligned.npy", reader="histogram"),
]


def read_eventveil(path: Path, sensor: Sensor) -> int:
    with open_events(path, sensor=sensor) as source:
        return sum(len(packet) for packet in source)


def histogrammed(path: Path, sensor: Sensor, size: tuple[int, int] | None = None) -> Any:
    """Bin a whole recording into windows, and return the statistics of the histogrammer."""
    from eventveil.stream.histogram import WindowedHistogrammer

    histogrammer = WindowedHistogrammer(sensor, size=size, bins=BINS, bin_us=BIN_US)
    with open_events(path, sensor=sensor) as source:
        for packet in source:
            for _ in histogrammer.push(packet):
                pass
    for _ in histogrammer.finish():
        pass
    return histogrammer.stats


def read_histogram(path: Path, sensor: Sensor) -> int:
    return int(histogrammed(path, sensor).received)


def read_dv(path: Path, _: Sensor) -> int:
    import dv_processing as dv

    recording = dv.io.MonoCameraRecording(str(path))
    events = 0
    while recording.isRunning("events"):
        batch = recording.getNextEventBatch()
        if batch is not None:
            events += len(batch.numpy())
    return events


def read_faery(path: Path, _: Sensor) -> int:
    import faery

    return sum(len(packet) for packet in faery.events_stream_from_file(path))


def read_numpy(path: Path, _: Sensor) -> int:
    return len(np.load(path))


READ: dict[str, Callable[[Path, Sensor], int]] = {
    "eventveil": read_eventveil,
    "histogram": read_histogram,
    "dv": read_dv,
    "faery": read_faery,
    "numpy": read_numpy,
}


def measure_here(reader: str, path: Path, repeats: int) -> None:
    """Read a file several times and print the median rate (Mev/s) and the peak memory (MB) as JSON."""
    seconds = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        events = READ[reader](path, sensor_of(path))
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"rate": events / statistics.median(seconds[1:]) / 1e6, "memory": peak_memory()}))


def sensor_of(path: Path) -> Sensor:
    """Return the geometry of a file; some formats do not store it."""
    return {"hd": Sensor(1280, 720), "davis": Sensor(346, 260), "dvs128": Sensor(128, 128)}[path.name.split("_")[0]]


def peak_memory() -> float:
    """Return the peak memory of this process in MB; on Linux `ru_maxrss` would include that of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(reader: str, path: Path, repeats: int, program: str = __file__) -> dict[str, float] | None:
    """Measure in a separate process; return None if it fails or takes too long."""
    command = [sys.executable, program, "--measure", reader, str(path), "--repeats", str(repeats)]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        result: dict[str, float] = json.loads(completed.stdout)
    except (subprocess.SubprocessError, ValueError):
        return None
    return result


def print_table(folder: Path, repeats: int) -> None:
    print(f"{'file':27}{'eventveil':>10}{'MB':>6}   {'other':10}{'Mev/s':>8}{'MB':>6}{'ratio':>7}   goal")
    for row in ROWS:
        ours = measure(row.reader, folder / row.file, repeats)
        theirs = measure(row.other, folder / row.file, repeats) if row.other else None
        line = f"{row.name:27}" + (f"{ours['rate']:10.0f}{ours['memory']:6.0f}" if ours else f"{'failed':>16}")
        line += f"   {row.other or '':10}"
        if theirs:
            line += f"{theirs['rate']:8.0f}{theirs['memory']:6.0f}"
            line += f"{ours['rate'] / theirs['rate']:7.2f}" if ours else ""
        elif row.other:
            line += f"{'failed':>14}"
        print(f"{line:77}   {verdict(row, ours, theirs)}", flush=True)


def verdict(row: Row, ours: dict[str, float] | None, theirs: dict[str, float] | None) -> str:
    if row.ratio is not None:
        reached = ours is not None and (theirs is None or ours["rate"] >= row.ratio * theirs["rate"])
        return f"{row.ratio} times: {'yes' if reached else 'NO'}"
    if row.rate is not None:
        return f"{row.rate:.0f} Mev/s: {'yes' if ours and ours['rate'] >= row.rate else 'NO'}"
    return ""


def machine() -> str:
    return f"{processor()}, Python {platform.python_version()}, NumPy {np.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4_000_000, help="events per file")
    parser.add_argument("--repeats", type=int, default=7, help="measured readings, after one that warms up")
    parser.add_argument("--folder", type=Path, help="where the files are, or will be created and kept")
    parser.add_argument("--measure", nargs=2, metavar=("READER", "FILE"), help="measure only this, in this process")
    options = parser.parse_args()
    if options.measure:
        measure_here(options.measure[0], Path(options.measure[1]), options.repeats)
        return
    from recordings_made import make_files  # its libraries must not be in the measured processes

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make_files(folder, options.events)
        print(f"{machine()}; {options.events:,} events per file, median of {options.repeats} readings, Mev/s")
        print_table(folder, options.repeats)


if __name__ == "__main__":
    main()
