"""Writes published windows as HDF5 or NPZ: one array for each column, in bounded memory."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import numpy.typing as npt

from eventveil.host.files import atomic_file, nameless_file
from eventveil.stream.archive.table import FORMAT, Columns, WindowTable
from eventveil.stream.protocol.wire import Message

LEVEL = 1  # of deflate: noise hardly compresses, and words of a book do at any level


class TableWriter(ABC):
    """Writes the windows and gestures of one stream; see `MessageWriter`.

    Args:
        path: the file to write.
        replace: whether an existing file may be replaced.
        opened: closes what is opened here, in order.
    """

    def __init__(self, path: Path, replace: bool, opened: ExitStack) -> None:
        self.windows = 0
        self._table = WindowTable()
        self._opened = opened
        self._folder = path.parent
        self._file: IO[bytes] = opened.enter_context(atomic_file(path, replace=replace))

    @abstractmethod
    def append(self, columns: Columns) -> None:
        """Write rows."""

    @abstractmethod
    def complete(self, about: dict[str, Any]) -> None:
        """Write what is the same for all rows."""

    def write(self, message: Message) -> None:
        """Write a window or a gesture; other topics have no place in the table."""
        self._append(self._table.add(message))

    def finish(self) -> None:
        """Write the last rows, and what is the same for all."""
        self._append(self._table.rest())
        self.complete({"format": FORMAT} | self._table.about)

    def _append(self, columns: Columns | None) -> None:
        if columns is not None:
            self.append(columns)
            self.windows += len(columns["seq"])


class Hdf5Writer(TableWriter):
    """Writes one dataset for each column; what is the same for all rows becomes attributes of the file."""

    def __init__(self, path: Path, replace: bool, opened: ExitStack) -> None:
        super().__init__(path, replace, opened)
        self._target = _DeferredErrorFile(self._file)
        self._hdf5 = opened.enter_context(h5py.File(self._target, "w"))

    def append(self, columns: Columns) -> None:
        """Append rows to the datasets."""
        for name, values in columns.items():
            if name not in self._hdf5:
                chunk = (1 if name == "windows" else 1024, *values.shape[1:])
                self._hdf5.create_dataset(
                    name,
                    shape=(0, *values.shape[1:]),
                    maxshape=(None, *values.shape[1:]),
                    dtype=values.dtype,
                    chunks=chunk,
                    compression=LEVEL,
                    shuffle=True,
                )
            dataset = self._hdf5[name]
            rows = dataset.shape[0]
            dataset.resize(rows + len(values), axis=0)
            dataset[rows:] = values
        self._target.check()

    def complete(self, about: dict[str, Any]) -> None:
        """Write the attributes: numbers and text as they are, `null` as an empty text, the rest as JSON."""
        for key, value in about.items():
            plain = "" if value is None else value
            self._hdf5.attrs[key] = plain if isinstance(plain, str | bool | int | float) else json.dumps(plain)
        self._hdf5.close()
        self._target.check()


class _DeferredErrorFile:
    """A file for HDF5, which ends the process where a write fails on a full disk: the failure is kept for `check`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._descriptor = file.fileno()
        self._error: OSError | None = None

    def read(self, size: int) -> bytes:
        return os.read(self._descriptor, size)

    def readinto(self, buffer: Any) -> int:
        return os.readv(self._descriptor, [buffer])

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)

    def write(self, data: Any) -> int:
        left = memoryview(data)
        try:
            while left and self._error is None:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            self._error = error
        return len(data)

    def truncate(self, size: int) -> int:
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self._error = self._error or error
        return size

    def flush(self) -> None:
        """Do nothing: what is written is with the operating system."""

    def check(self) -> None:
        """Raise what failed."""
        if self._error is not None:
            raise self._error


class NpzWriter(TableWriter):
    """Writes one array for each column, and `about`, a text of JSON with what is the same for all rows.

    The length of an array precedes it in the file, and is known at the end. Until then, columns wait in files without a
    name.
    """

    def __init__(self, path: Path, replace: bool, opened: ExitStack) -> None:
        super().__init__(path, replace, opened)
        self._columns: dict[str, tuple[IO[bytes], npt.NDArray[Any]]] = {}  # with a row, for its type and shape

    def append(self, columns: Columns) -> None:
        """Append rows to the waiting columns."""
        for name, values in columns.items():
            if name not in self._columns:
                spool = self._opened.enter_context(nameless_file(self._folder))
                self._columns[name] = spool, values[0]
            self._columns[name][0].write(np.ascontiguousarray(values).data)

    def complete(self, about: dict[str, Any]) -> None:
        """Copy the columns into the file."""
        with zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
            for name, (spool, row) in self._columns.items():
                with _member(archive, name) as member:
                    header = {"descr": row.dtype.str, "fortran_order": False, "shape": (self.windows, *row.shape)}
                    np.lib.format.write_array_header_1_0(member, header)
                    spool.seek(0)
                    shutil.copyfileobj(spool, member)
            with _member(archive, "about") as member:
                np.lib.format.write_array(member, np.array(json.dumps(about)), allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open a new array of an archive; its date is always the same, so that it reveals nothing."""
    information = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
    information.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(information, "w", force_zip64=True)
