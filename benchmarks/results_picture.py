"""Draw the frontier of docs/results.md: gestures recognised against people identified, each with its 95 % interval.

    python benchmarks/results_picture.py docs/frontier.svg

It reads the figures from the table of that page, so picture and table cannot differ. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NamedTuple

from eventveil.figures.plotting import CHANCE, GUESSING, draw_legend, draw_point, new_figure

PAGE = Path(__file__).resolve().parents[1] / "docs/results.md"
HEADING = "### The frontier"
FIGURE = re.compile(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)")


class Interval(NamedTuple):
    """A figure and its 95 % interval, per cent."""

    value: float
    low: float
    high: float


def read_table(page: str) -> tuple[dict[str, tuple[Interval, Interval]], tuple[float, float]]:
    """Return (gesture, rank-1) by what is published, and the chance levels of both.

    Raises:
        ValueError: the page has no such table.
    """
    rows = {}
    chance = None
    for line in page.partition(HEADING)[2].partition("\n##")[0].splitlines():
        name, *cells = (cell.strip(" *") for cell in line.strip("| ").split("|"))
        if name == "chance":
            chance = float(cells[0]), float(cells[1])
        figures = [Interval(*map(float, found)) for cell in cells[:2] for found in FIGURE.findall(cell)]
        if len(figures) == 2:
            rows[name] = (figures[0], figures[1])
    if not rows or chance is None:
        raise ValueError(f"{PAGE}: expected a table of figures with a row of chance below {HEADING!r}")
    return rows, chance


def draw(path: Path, rows: dict[str, tuple[Interval, Interval]], chance: tuple[float, float]) -> None:
    """Draw every row; circles are comparisons, the square is what ships."""
    figure, (axis,) = new_figure(6.2, 3.8)
    for number, (name, (gesture, rank_1)) in enumerate(rows.items()):
        draw_point(
            axis, rank_1.value, gesture.value, x_interval=rank_1[1:], y_interval=gesture[1:],
            fmt="s" if "ships" in name else "o", label=name, color=f"C{number}",
        )  # fmt: skip
    axis.axhline(chance[0], **CHANCE, label=GUESSING)
    axis.axvline(chance[1], **CHANCE)
    axis.set_xlim(left=-2)
    axis.set_ylim(0, 102)
    axis.set_xlabel("people identified (rank-1), %")
    axis.set_ylabel("gestures recognised, %")
    draw_legend(axis)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="an SVG file")
    draw(parser.parse_args().out, *read_table(PAGE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
