"""Files of a training that appear whole or not at all. Reports use it, too, so it needs no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from eventveil.errors import TrainingError
from eventveil.host.files import atomic_file, private_folder


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a private file in one step, so that a killed process or a full disk leaves the previous one intact.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        private_folder(path.parent)
        with atomic_file(path) as file:
            write(file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise TrainingError(
            f"{path}: cannot be written ({reason}); the previous file is intact; free some space and continue with "
            "--resume"
        ) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file.

    Raises:
        TrainingError: the file cannot be written.
    """
    write_whole(path, lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file; return an empty dictionary if it does not exist.

    Raises:
        TrainingError: it holds something else.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise TrainingError(f"{path}: is damaged; restore or remove it")
    return content
