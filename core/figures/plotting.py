"""The one style of all figures: sizes of text and lines, a light grid, shaded intervals, and a dashed line for chance.

matplotlib comes with an extra, so it is imported when a figure is made. Figures are made without pyplot, which keeps
global state and looks for a display.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TEXT = 8  # points
LINE = 1.0  # points
STYLE: dict[Any, Any] = {
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "legend.fontsize": TEXT - 1,
    "xtick.labelsize": TEXT - 1,
    "ytick.labelsize": TEXT - 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
}
CHANCE = {"color": "0.5", "linewidth": LINE, "linestyle": "--", "zorder": 1}
GUESSING = "blind guessing"  # what lines of chance are called in legends


def new_figure(width: float, height: float, *, count: int = 1, columns: int = 1) -> tuple[Any, list[Any]]:
    """Return a figure with `count` plots in rows of `columns`.

    Args:
        width: width of each plot, inches.
        height: height of each plot, inches.
        count: number of plots.
        columns: plots in a row.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
        return figure, [figure.add_subplot(rows, columns, number + 1) for number in range(count)]


def draw_line(
    axis: Any, x: Sequence[float], y: Sequence[float], low: Sequence[float], high: Sequence[float], label: str
) -> None:
    """Draw values, joined by a line, and their intervals as a band in the same colour."""
    (line,) = axis.plot(x, y, "o-", label=label, linewidth=LINE, markersize=4)
    axis.fill_between(x, low, high, color=line.get_color(), alpha=0.12, linewidth=0)


def draw_point(axis: Any, x: float, y: float, *, x_interval: Any, y_interval: Any, **style: Any) -> None:
    """Draw one value with its intervals as bars.

    Args:
        axis: where to draw.
        x: its first coordinate.
        y: its second coordinate.
        x_interval: its (low, high).
        y_interval: its (low, high).
        style: arguments of `Axes.errorbar`, such as fmt, color and label.
    """
    bars = [[[max(0.0, at - low)], [max(0.0, high - at)]] for at, (low, high) in ((x, x_interval), (y, y_interval))]
    axis.errorbar([x], [y], xerr=bars[0], yerr=bars[1], **{"linewidth": 0.8, "markersize": 6, **style})


def draw_legend(axis: Any) -> None:
    """Draw the legend of an axis, where it hides least; chance comes last."""
    handles, labels = axis.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda at: labels[at] == GUESSING)
    axis.legend([handles[at] for at in order], [labels[at] for at in order], fontsize=STYLE["legend.fontsize"])
