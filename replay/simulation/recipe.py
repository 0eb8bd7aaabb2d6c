"""The file that marks a dataset as simulated. The simulator itself compiles kernels when it is imported."""

from __future__ import annotations

from pathlib import Path

RECIPE = "simulated.json"  # the options of a set, so that a run which resumes it uses the same


def is_simulated(folder: Path) -> bool:
    """Return whether the people of a dataset are simulated."""
    return (folder / RECIPE).is_file()
