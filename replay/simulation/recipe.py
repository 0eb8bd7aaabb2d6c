"""The file that marks a dataset as simulated. The simulator itself compiles kernels when it is imported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eventveil.errors import EventFileError

RECIPE = "simulated.json"  # the options of a set, so that a run which resumes it uses the same
_PERSON = re.compile(r"user(\d+)")


def is_simulated(folder: Path) -> bool:
    """Return whether the people of a dataset are simulated."""
    return (folder / RECIPE).is_file()


def read_recipe(folder: Path) -> dict[str, Any]:
    """Return the options that are written in the folder of a simulated set.

    Raises:
        EventFileError: they cannot be read.
    """
    path = folder / RECIPE
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EventFileError(
            path, format=None, expected="the options of a simulated set cannot be read", remedy="remove this file"
        ) from error
    return written if isinstance(written, dict) else {}


def people_of_series(folder: Path, people: Iterable[str]) -> tuple[str, ...]:
    """Return those of the people of a dataset who make a series of gestures and come for no visit.

    Raises:
        EventFileError: the options of a simulated set cannot be read.
    """
    series = read_recipe(folder).get("series") if is_simulated(folder) else None
    if not isinstance(series, dict):
        return ()
    after = int(series.get("after", 0))
    return tuple(name for name in people if (number := _PERSON.fullmatch(name)) and int(number[1]) > after)
