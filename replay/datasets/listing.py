"""Lists the folders and files of a dataset, and reports what was looked for where it is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from eventveil.errors import DatasetError


def folders_in(folder: Path, expected: str) -> list[Path]:
    """Return the folders in a folder, in the order of their names.

    Args:
        folder: the folder.
        expected: what it should hold, for the error message; likewise below.

    Raises:
        DatasetError: there is none.
    """
    return _some([entry for entry in _entries(folder, expected) if entry.is_dir()], folder, expected)


def files_in(folder: Path, suffix: str, expected: str) -> list[Path]:
    """Return the files of an extension in a folder, in the order of their names.

    Raises:
        DatasetError: there is none.
    """
    files = [entry for entry in _entries(folder, expected) if entry.suffix == suffix and entry.is_file()]
    return _some(files, folder, expected)


def lines_of(path: Path, expected: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the stripped text of each line of a list that is not empty.

    Raises:
        DatasetError: there is no such list, or it is not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(
            f"{path.parent}: looked for {path.name}, {expected}, but it is not there; fetch it"
        ) from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: expected text, {expected}, found other bytes") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def by_number(name: str) -> list[tuple[int, str]]:
    """Sort key: 2.npy before 10.npy."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _entries(folder: Path, expected: str) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"{folder.parent}: looked for the folder {folder.name} with {expected}; it is not there")
    visible = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(visible, key=lambda entry: by_number(entry.name))


def _some(entries: list[Path], folder: Path, expected: str) -> list[Path]:
    if not entries:
        raise DatasetError(f"{folder}: looked for {expected}, found none; fetch the dataset again")
    return entries
