"""Plots for the run folder: curves, confusion matrices, and raw windows next to anonymized ones.

They must stay in the run folder: raw windows, and which people are recognised, are private.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.figures.plotting import LINE, new_figure
from eventveil.training.whole_file import write_whole

WINDOWS_SHOWN = 6


def curves(path: Path, history: Sequence[dict[str, float]], best_epoch: int) -> None:
    """Plot every figure of a stage over its epochs, with a line at the best epoch."""
    names = [name for name in dict.fromkeys(name for row in history for name in row) if name != "epoch"]
    figure, axes = new_figure(3.0, 2.2, count=len(names), columns=min(4, len(names)))
    for axis, name in zip(axes, names, strict=False):
        rows = [row for row in history if name in row]
        axis.plot([row["epoch"] for row in rows], [row[name] for row in rows], linewidth=LINE)
        axis.axvline(best_epoch, color="0.7", linewidth=LINE)
        axis.set_xlabel("epoch")
        axis.set_title(name.replace("_", " "))
    _save(figure, path)


def confusion(
    path: Path, predicted: npt.NDArray[np.int64], target: npt.NDArray[np.int64], labels: Sequence[str]
) -> None:
    """Plot the confusion matrix, as shares of each row."""
    counts = np.zeros((len(labels), len(labels)))
    np.add.at(counts, (target, predicted), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, (axis,) = new_figure(6.0, 5.5)
    axis.grid(False)
    axis.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = shares[row, column] > 0.5
        text = f"{100 * shares[row, column]:.0f}"
        axis.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axis.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title("percent of each row")
    _save(figure, path)


def side_by_side(
    path: Path, raw_BCHW: npt.NDArray[np.float32], anonymized_BCHW: npt.NDArray[np.float32], titles: Sequence[str]
) -> None:
    """Plot windows, raw above and anonymized below, each summed over its bins and scaled individually."""
    shown = min(len(raw_BCHW), WINDOWS_SHOWN)
    figure, axes = new_figure(1.8, 1.9, count=2 * shown, columns=shown)
    for axis, picture in zip(axes, [*_pictures(raw_BCHW[:shown]), *_pictures(anonymized_BCHW[:shown])], strict=False):
        low, high = np.percentile(picture, (1, 99.5))
        axis.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
        axis.set_axis_off()
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(title)
    _save(figure, path)


def _pictures(x_BCHW: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    return list(x_BCHW.sum(1))


def _save(figure: Any, path: Path) -> None:
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=110))
