"""Windows of many trials, stored as rows in one file that all processes of a machine share in memory.

The file is a memory-mapped NumPy array: the operating system caches the used parts once for all processes, and a
resumed run finds the file again. Its name is a digest of its inputs. It holds raw windows: only its owner can read it.

Legend of axes: B windows, C channels, H rows of pixels, W columns.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from eventveil.errors import TrainingError
from eventveil.host.files import atomic_file, private_folder
from eventveil.replay.datasets.trials import Trial
from eventveil.training.data.binned_trials import MAX_COUNT, Rows, RowShape, fill
from eventveil.training.distributed.workers import in_processes

VERSION = 2  # part of the digest: raise it when rows are computed differently
CHUNK = 16  # trials per task of a process


@dataclass(frozen=True)
class Windows:
    """The rows of some trials, to cut windows from.

    Attributes:
        shape: shape of the rows.
        trials: sorted by person, then session, so that those of one session are adjacent.
        first_row: (T + 1,) first row of each trial, then the number of rows.
        rows: (R, *shape.row), uint8, uint16 or float32.
    """

    shape: RowShape
    trials: tuple[Trial, ...]
    first_row: npt.NDArray[np.int64]
    rows: Rows

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name of a mapped file instead of its rows: another process maps it, too."""
        mapped = isinstance(self.rows, np.memmap)
        rows = self.rows.filename if mapped else self.rows  # type: ignore[attr-defined]
        return _unpickled, (self.shape, self.trials, self.first_row, rows)

    def cut(self, start_B: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the windows that start at these rows: float32 (B, C, H, W), for histograms channel 2k + p."""
        shape = self.shape
        bins = 1 if shape.mode == "voxel" else shape.bins
        out = np.empty((len(start_B), bins, *shape.row), np.float32)
        for window, start in zip(out, start_B, strict=True):
            rows = self.rows[start : start + shape.per_window]
            # Sums of a few uint16 are exact in float32.
            rows.reshape(bins, shape.rows_per_bin, *shape.row).sum(1, dtype=np.float32, out=window)
        if self.rows.dtype == np.uint16:
            np.minimum(out, MAX_COUNT, out=out)
        return out.reshape(len(start_B), -1, *shape.row[1:])

    @cached_property
    def session_rows(self) -> npt.NDArray[np.int64]:
        """(T, 2): first row, and end, of all trials of the same person and session as each trial."""
        names = [(trial.subject, trial.session) for trial in self.trials]
        begins = [number for number, name in enumerate(names) if number == 0 or name != names[number - 1]]
        ends = [*begins[1:], len(names)]
        bounds = [self.first_row[[begin, end]] for begin, end in zip(begins, ends, strict=True)]
        return np.repeat(np.array(bounds), np.subtract(ends, begins), axis=0)


def _unpickled(shape: RowShape, trials: tuple[Trial, ...], first_row: npt.NDArray[np.int64], rows: Any) -> Windows:
    rows = rows if isinstance(rows, np.ndarray) else np.load(rows, mmap_mode="r")
    return Windows(shape, trials, first_row, rows)


def build(
    trials: Sequence[Trial],
    shape: RowShape,
    folder: Path,
    *,
    workers: int = 1,
    watch: Callable[[int, int], object] = lambda _done, _all: None,
) -> Windows:
    """Bin trials into rows, or open the file of an earlier call.

    Args:
        trials: in any order; without any, there are no windows.
        shape: shape of the rows.
        folder: folder of the file.
        workers: processes that read trials; 1 reads them in this process.
        watch: called with the number of finished trials, and of all.

    Raises:
        TrainingError: the file cannot be written.
        EventVeilError: a trial cannot be read.
    """
    if not trials:  # no part val, for example; no file can hold nothing
        return Windows(shape, (), np.zeros(1, np.int64), np.zeros((0, *shape.row), shape.dtype))
    trials, first_row = _in_order(trials, shape)
    path = folder / f"{_digest(trials, shape)}.npy"
    if _opened(path, shape, int(first_row[-1])) is None:
        try:
            private_folder(folder)
            with atomic_file(path) as file:
                _make(file, trials, shape, first_row, workers, watch)
        except OSError as error:
            need = int(first_row[-1]) * int(np.prod(shape.row)) * np.dtype(shape.dtype).itemsize
            raise TrainingError(
                f"{folder}: windows cannot be kept ({error.strerror or error}); they take up to {need / 1e9:.1f} GB: "
                "free some space, set data.cache to another folder, or lower window.offsets"
            ) from error
    return Windows(shape, trials, first_row, np.load(path, mmap_mode="r"))


def _opened(path: Path, shape: RowShape, rows: int) -> Rows | None:
    """Map a file of rows; None if there is none, or it is damaged and has to be made again."""
    try:
        found: Rows = np.load(path, mmap_mode="r")
    except (FileNotFoundError, EOFError, ValueError, TokenError):  # TokenError: a bracket of the header is gone
        return None
    return found if found.shape == (rows, *shape.row) and found.dtype in (shape.dtype, np.uint8) else None


def build_in_memory(trials: Sequence[Trial], shape: RowShape) -> Windows:
    """Bin trials into rows that no file holds, and no killed process leaves on a disk.

    Raises:
        EventVeilError: a trial cannot be read.
    """
    trials, first_row = _in_order(trials, shape)
    rows = np.zeros((int(first_row[-1]), *shape.row), shape.dtype)
    for number, trial in enumerate(trials):
        fill(trial, shape, rows[first_row[number] : first_row[number + 1]])
    fits_in_bytes = shape.dtype == np.uint16 and rows.max(initial=0) < 256
    return Windows(shape, trials, first_row, rows.astype(np.uint8) if fits_in_bytes else rows)


def _in_order(trials: Sequence[Trial], shape: RowShape) -> tuple[tuple[Trial, ...], npt.NDArray[np.int64]]:
    """Return the trials as `Windows` holds them, and the first row of each, then the number of rows."""
    ordered = tuple(sorted(trials, key=_place))
    return ordered, np.cumsum([0, *(shape.rows_of(trial) for trial in ordered)])


def _place(trial: Trial) -> tuple[str, str, int, int, str]:
    """Sort key: by person and session, there in order of time, and where each trial has its own file, by class."""
    return trial.subject, trial.session, trial.start_us, trial.target or 0, trial.name


def _digest(trials: tuple[Trial, ...], shape: RowShape) -> str:
    # Labels cut a file into trials, and may change while it stays the same.
    sources = [
        (trial.name, str(trial.path.resolve()), trial.path.stat().st_mtime_ns)
        + ((trial.start_us, trial.duration_us) if trial.start_us else ())
        for trial in trials
    ]
    return hashlib.sha256(json.dumps([VERSION, asdict(shape), sources]).encode()).hexdigest()[:32]


def _make(
    file: IO[bytes],
    trials: tuple[Trial, ...],
    shape: RowShape,
    first_row: npt.NDArray[np.int64],
    workers: int,
    watch: Callable[[int, int], object],
) -> None:
    """Write all rows, each process its own part of one file, and halve the file if all counts fit in a byte."""
    rows = _map(file, np.dtype(shape.dtype), (int(first_row[-1]), *shape.row))
    chunks = [range(at, min(at + CHUNK, len(trials))) for at in range(0, len(trials), CHUNK)]
    parts = [[(trials[k], int(first_row[k]), int(first_row[k + 1])) for k in chunk] for chunk in chunks]
    work = [(Path(file.name), part, shape) for part in parts]
    highest, done = 0.0, 0
    if workers == 1:
        results = (_write(*part) for part in work)
        for chunk, result in zip(chunks, results, strict=True):
            highest, done = max(highest, result), done + len(chunk)
            watch(done, len(trials))
    else:
        with closing(in_processes(_write, work, workers)) as finished:
            for number, result in finished:
                highest, done = max(highest, result), done + len(chunks[number])
                watch(done, len(trials))
    if shape.dtype == np.uint16 and highest < 256:
        _halve(file, rows)
    else:
        rows.flush()


def _map(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Write the header of an NPY file and map its array, whose disk space is allocated now.

    On a full disk, writing to a mapped file kills the process without a message.
    """
    file.seek(0)
    header = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(file, header)
    file.flush()
    start, size = file.tell(), math.prod(shape) * dtype.itemsize
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, start + size)
    return np.memmap(file, dtype, "r+", start, shape)


def _halve(file: IO[bytes], rows: np.memmap[Any, Any]) -> None:
    """Turn a file of uint16 into one of bytes, in place: writing never overtakes reading."""
    small = _map(file, np.dtype(np.uint8), rows.shape)
    assert small.offset == rows.offset, "headers of one length"
    for at in range(0, len(rows), 256):
        small[at : at + 256] = rows[at : at + 256].astype(np.uint8)
    small.flush()
    os.ftruncate(file.fileno(), small.offset + small.nbytes)


def _write(path: Path, trials: list[tuple[Trial, int, int]], shape: RowShape) -> float:
    """Write the rows of some trials and return the highest value."""
    rows: Any = np.load(path, mmap_mode="r+")
    for trial, begin, end in trials:
        fill(trial, shape, rows[begin:end])
    return float(rows[trials[0][1] : trials[-1][2]].max())
