"""The recordings for benchmarks: moving discs and noise, in every format."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import faery
import h5py
import numpy as np
import numpy.typing as npt

from eventveil import EventPacket, Sensor
from eventveil.io.formats.aedat4_writer import Aedat4Writer
from eventveil.io.formats.writer import open_writer

HD, DAVIS, DVS128 = Sensor(1280, 720), Sensor(346, 260), Sensor(128, 128)
STEP_US = 1_000
PACKET_US = 10_000
PACKED = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])


def moving_discs(events: int, sensor: Sensor, *, filled: bool = False) -> EventPacket:
    """Return events of three discs, one above the other, that move right, read row by row every millisecond.

    Args:
        events: number of events.
        sensor: geometry of the camera.
        filled: a third of the discs' pixels flicker, so that rows are full; otherwise only the rims emit events, and
            one event in twenty is noise.
    """
    random = np.random.default_rng(7)
    radius = sensor.height // 8
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    distance = np.hypot(x, y)
    part = random.random(x.shape) < 0.35 if filled else distance > radius - 1.5
    part &= distance <= radius
    lanes = [(x[part], y[part] + sensor.height * lane // 6, lane) for lane in (1, 3, 5)]
    shape_x, shape_y = (np.concatenate([lane[axis] for lane in lanes]) for axis in (0, 1))
    step = np.arange(-(-events // len(shape_x)))[:, None]
    at = radius + (2 * step) % (sensor.width - 2 * radius)
    columns = np.broadcast_arrays(
        step * STEP_US + shape_y * STEP_US // sensor.height,
        at + shape_x,
        shape_y,
        step % 2 == 0 if filled else shape_x > 0,
    )
    t, x, y, p = (column.reshape(-1)[:events].copy() for column in columns)
    noise = np.zeros(events, bool) if filled else random.random(events) < 0.05
    x[noise], y[noise] = random.integers(0, sensor.width, noise.sum()), random.integers(0, sensor.height, noise.sum())
    return EventPacket.of(t, x, y, p)


def make_files(folder: Path, events: int) -> None:
    """Write the files that do not exist yet."""
    sparse, dense = moving_discs(events, HD), moving_discs(events, HD, filled=True)
    davis, dvs128 = moving_discs(events, DAVIS), moving_discs(events, DVS128)
    short = sparse[: max(events // 8, 1)]
    makers: dict[str, Callable[[Path], object]] = {
        **{
            f"davis_{name.lower()}.aedat4": lambda path, name=name: write_aedat4(path, davis, name)
            for name in ("NONE", "LZ4", "ZSTD")
        },
        "hd_sparse_evt3.raw": lambda path: write_faery(path, sparse, "evt3"),
        "hd_dense_evt3.raw": lambda path: write_faery(path, dense, "evt3"),
        "hd_sparse_evt2.raw": lambda path: write_faery(path, sparse, "evt2"),
        "hd_sparse_evt21.raw": lambda path: write_evt21(path, sparse),
        "hd_dense_evt21.raw": lambda path: write_evt21(path, dense),
        "hd_sparse.dat": lambda path: write_faery(path, sparse, "dat2"),
        "hd_aligned.npy": lambda path: write(path, sparse),
        "hd_packed.npy": lambda path: np.save(path, records(sparse)),
        "hd_sparse.es": lambda path: write_faery(path, sparse, None),
        "hd_sparse.h5": lambda path: write_hdf5(path, sparse),
        "dvs128_2.aedat": lambda path: write_aedat2(path, dvs128),
        "dvs128_31.aedat": lambda path: write_aedat3(path, dvs128),
        "hd_short.csv": lambda path: write_faery(path, short, None),
    }
    for name, make in makers.items():
        if not (folder / name).exists():
            make(folder / name)


def records(events: EventPacket) -> npt.NDArray[np.void]:
    array = np.empty(len(events), PACKED)
    array["t"], array["x"], array["y"], array["on"] = events.t, events.x, events.y, events.p
    return array


def write(path: Path, events: EventPacket) -> None:
    with open_writer(path, HD) as writer:
        writer.write(events)


def write_aedat4(path: Path, events: EventPacket, compression: str) -> None:
    edges = [*events.t.searchsorted(np.arange(0, events.t[-1], PACKET_US)).tolist(), len(events)]
    with Aedat4Writer(path, DAVIS, compression) as writer:
        for start, stop in pairwise(edges):
            writer.write(events[start:stop])


def write_faery(path: Path, events: EventPacket, version: str | None) -> None:
    array = records(events).astype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")])
    faery.events_stream_from_array(array, (HD.width, HD.height)).to_file(path, version=version)


def write_hdf5(path: Path, events: EventPacket) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["geometry"] = str(HD)
        for field in "txyp":
            file.create_dataset(f"events/{field}", data=getattr(events, field), chunks=(1 << 16,))


def write_evt21(path: Path, events: EventPacket) -> None:
    """Write one word per time, row, polarity and 32 columns: type, 6 bits of time, x, y, one bit per column."""
    t, x, y = events.t.astype(np.uint64), events.x.astype(np.uint64), events.y.astype(np.uint64)
    heads = events.p.astype(np.uint64) << 60 | (t & 63) << 54 | (x >> 5 << 5) << 43 | y << 32
    first = np.flatnonzero(np.r_[True, (heads[1:] != heads[:-1]) | (t[1:] != t[:-1])])
    words = heads[first] | np.bitwise_or.reduceat(np.uint64(1) << (x & 31), first)
    high = t[first] >> 6
    turns = np.flatnonzero(np.r_[True, high[1:] != high[:-1]])
    words = np.insert(words, turns, np.uint64(8) << 60 | high[turns] << 32)
    header = f"% evt 2.1\n% format EVT21;height={HD.height};width={HD.width}\n% end\n"
    path.write_bytes(header.encode() + words.astype("<u8").tobytes())


def write_aedat2(path: Path, events: EventPacket) -> None:
    words = np.empty((len(events), 2), ">u4")
    words[:, 0] = events.y.astype(np.uint32) << 8 | events.x.astype(np.uint32) << 1 | ~events.p & 1
    words[:, 1] = events.t
    header = "#!AER-DAT2.0\r\n# This is a raw AE data file\r\n# AEChip: net.sf.jaer.chip.retina.DVS128\r\n"
    path.write_bytes(header.encode() + words.tobytes())


def write_aedat3(path: Path, events: EventPacket) -> None:
    words = np.empty((len(events), 2), "<u4")
    words[:, 0] = events.x.astype(np.uint32) << 17 | events.y.astype(np.uint32) << 2 | events.p << 1 | 1
    words[:, 1] = events.t
    packets = [
        b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2026-01-01 00:00:00\r\n#!END-HEADER\r\n"
    ]
    for start in range(0, len(words), 4_096):
        part = words[start : start + 4_096]
        head = np.array([1 | 1 << 16, 8, 4, 0, len(part), len(part), len(part)], "<u4")
        packets += [head.tobytes(), part.tobytes()]
    path.write_bytes(b"".join(packets))
