"""The figures of a paper's table as SVG: two of its metrics against each other, and rank curves.

It holds only figures and names of rows: no windows and no pictures of people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from eventveil.errors import TrainingError
from eventveil.figures.plotting import CHANCE, GUESSING, LINE, draw_legend, draw_point, new_figure
from eventveil.host.extras import require
from eventveil.training.table_text import METRICS, FilledRow

with require("matplotlib", extra="train", error=TrainingError):
    import matplotlib


def draw(title: str, metrics: Sequence[str], lines: Sequence[FilledRow], across: str, up: str) -> bytes:
    """Draw the rows: ours filled, with their 95 % intervals and chance; published figures hollow, in the same colour.

    Args:
        title: title of the figure.
        metrics: those of each line's cells, in order.
        lines: the rows. One that lacks a figure of either metric, published or ours, is drawn without that point.
        across: the metric of the horizontal axis.
        up: that of the vertical axis.

    Returns:
        The file, the same for the same figures.
    """
    figure, (axis,) = new_figure(6.5, 4.5)
    for number, line in enumerate(lines):
        x, y = (line.cells[metrics.index(name)] for name in (across, up))
        colour = f"C{number % 10}"
        if x.published is not None and y.published is not None:
            axis.plot([x.published], [y.published], "o", color=colour, mfc="white", label=f"{line.name}, published")
        if x.value is not None and y.value is not None:
            draw_point(
                axis, x.value, y.value, x_interval=x.interval or (x.value, x.value),
                y_interval=y.interval or (y.value, y.value), fmt="o", color=colour, label=f"{line.name}, ours",
            )  # fmt: skip
    for mark, name in ((axis.axvline, across), (axis.axhline, up)):
        for chance in {line.cells[metrics.index(name)].chance for line in lines} - {None}:
            mark(chance, **CHANCE)
    axis.plot([], [], **CHANCE, label=GUESSING)
    axis.set_xlabel(METRICS[across].title)
    axis.set_ylabel(METRICS[up].title)
    axis.set_title(f"{title} (bars: 95 % intervals of ours)")
    draw_legend(axis)
    return _svg(figure)


def draw_curves(title: str, curves: Mapping[str, Sequence[float]]) -> bytes:
    """Draw how often the right person is among the first places: ours alone, without intervals.

    Args:
        title: title of the figure.
        curves: shares for rank-1, rank-2, ..., by name of the row.
    """
    figure, (axis,) = new_figure(6.5, 4.5)
    for name, curve in curves.items():
        axis.plot(range(1, len(curve) + 1), [100 * share for share in curve], ".-", label=name, linewidth=LINE)
    axis.set_xlabel("places")
    axis.set_ylabel("right person among them, %")
    axis.set_ylim(0, 102)
    axis.set_title(title)
    if curves:
        draw_legend(axis)
    return _svg(figure)


def _svg(figure: Any) -> bytes:
    file = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "eventveil", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
