"""Picture sheets: raw and published windows, and the pictures that FireNet makes of both.

OUT/work/pictures/SUBJECT.png     shows people: private
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eventveil.errors import AuditError
from eventveil.host.extras import require
from eventveil.training.whole_file import write_whole

SHEETS = "pictures"
WIDE_CM, CELL_CM = 30.0, 6.0  # of a sheet, and the maximum of one picture

GridRow = tuple[str, Sequence[npt.NDArray[np.float32]]]
"""The label of a row, and its pictures (H, W)."""


def draw_sheet(path: Path, rows: Sequence[GridRow], titles: Sequence[str]) -> None:
    """Draw windows and pictures, each on its own scale.

    Args:
        path: path of the PNG.
        rows: each with one picture for each title.
        titles: titles of the columns.

    Raises:
        AuditError: matplotlib is not installed.
        TrainingError: the file cannot be written.
    """
    with require("matplotlib", extra="audit", error=AuditError):
        # The figure alone, without pyplot, which keeps state and looks for a display.
        from matplotlib.figure import Figure
    cell = min(CELL_CM, WIDE_CM / len(titles)) / 2.54
    figure = Figure(figsize=(cell * len(titles), (cell + 0.1) * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for number, (name, pictures) in enumerate(rows):
        for axis, picture in zip(axes[number], pictures, strict=True):
            low, high = np.percentile(picture, (1, 99.5))
            axis.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        axes[number][0].set_ylabel(name, fontsize=8)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7)
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=110))
