"""Windows of many trials, stored as rows in one file that all processes of a machine share in memory.

The file is a memory-mapped NumPy array: the operating system caches the used parts once for all processes, and a
resumed run finds the file again. Its name is a digest of its inputs.

Legend of axes: B windows, C channels, H rows of pixels, W columns.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.errors import TrainingError
from eventveil.replay.datasets.trials import Trial
from eventveil.training.data.binned_trials import MAX_COUNT, Rows, RowShape, fill
from eventveil.training.distributed.workers import in_processes

VERSION = 1  # part of the digest: raise it when rows are computed differently
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
        trials: in any order.
        shape: shape of the rows.
        folder: folder of the file.
        workers: processes that read trials; 1 reads them in this process.
        watch: called with the number of finished trials, and of all.

    Raises:
        TrainingError: the file cannot be written.
        EventVeilError: a trial cannot be read.
    """
    trials = tuple(sorted(trials, key=_place))
    first_row = np.cumsum([0, *(shape.rows_of(trial) for trial in trials)])
    path = folder / f"{_digest(trials, shape)}.npy"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _make(part, trials, shape, first_row, workers, watch)
            part.replace(path)
        except OSError as error:
            need = int(first_row[-1]) * int(np.prod(shape.row)) * np.dtype(shape.dtype).itemsize
            raise TrainingError(
                f"{folder}: windows cannot be kept ({error.strerror or error}); they take up to {need / 1e9:.1f} GB: "
                "make space, name another folder as data.cache, or lower window.offsets"
            ) from error
        finally:
            for left in folder.glob(f"{path.stem}.{os.getpid()}.*"):
                left.unlink()
    return Windows(shape, trials, first_row, np.load(path, mmap_mode="r"))


def _place(trial: Trial) -> tuple[str, str, int, int, str]:
    """Sort key: by person and session, there in order of time, and where each trial has its own file, by class."""
    return trial.subject, trial.session, trial.start_us, trial.target or 0, trial.name


def _digest(trials: tuple[Trial, ...], shape: RowShape) -> str:
    sources = [(trial.name, str(trial.path.resolve()), trial.path.stat().st_mtime_ns) for trial in trials]
    return hashlib.sha256(json.dumps([VERSION, asdict(shape), sources]).encode()).hexdigest()[:32]


def _make(
    path: Path,
    trials: tuple[Trial, ...],
    shape: RowShape,
    first_row: npt.NDArray[np.int64],
    workers: int,
    watch: Callable[[int, int], object],
) -> None:
    """Write all rows, each process its own part of one file, and halve the file if all counts fit in a byte."""
    rows: Any = np.lib.format.open_memmap(path, "w+", shape.dtype, (int(first_row[-1]), *shape.row))
    _reserve(path)
    chunks = [range(at, min(at + CHUNK, len(trials))) for at in range(0, len(trials), CHUNK)]
    work = [(path, [(trials[k], int(first_row[k]), int(first_row[k + 1])) for k in chunk], shape) for chunk in chunks]
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
    rows.flush()
    if shape.dtype == np.uint16 and highest < 256:
        narrow = path.with_suffix(".narrow")
        small: Any = np.lib.format.open_memmap(narrow, "w+", np.uint8, rows.shape)
        _reserve(narrow)
        for at in range(0, len(rows), 256):
            small[at : at + 256] = rows[at : at + 256]
        small.flush()
        narrow.replace(path)


def _reserve(path: Path) -> None:
    """Allocate the disk space now: on a full disk, writing to a mapped file kills the process without a message."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _write(path: Path, trials: list[tuple[Trial, int, int]], shape: RowShape) -> float:
    """Write the rows of some trials and return the highest value."""
    rows: Any = np.load(path, mmap_mode="r+")
    for trial, begin, end in trials:
        fill(trial, shape, rows[begin:end])
    return float(rows[trials[0][1] : trials[-1][2]].max())
