"""The table of a paper as Markdown, CSV and LaTeX: published figures beside ours, with their intervals and chance."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from eventveil.figures.table_rows import latex_row, latex_text, markdown_row


class Metric(NamedTuple):
    """Where the results of attackers hold a figure, its title, and its factor: 100 for per cent."""

    place: tuple[str, str]
    title: str
    scale: float = 100.0


METRICS = {
    "accuracy": Metric(("target", "accuracy"), "target %"),
    "rank1": Metric(("identity", "rank1"), "rank-1 %"),
    "rank5": Metric(("identity", "rank5"), "rank-5 %"),
    "rank10": Metric(("identity", "rank10"), "rank-10 %"),
    "mAP": Metric(("identity", "mAP"), "mAP %"),
    "ssim": Metric(("picture", "ssim"), "SSIM", 1.0),
    "psnr_db": Metric(("picture", "psnr_db"), "PSNR dB", 1.0),
    "picture_rank1": Metric(("picture_retrieval", "rank1"), "retrieval rank-1 %"),
    "picture_mAP": Metric(("picture_retrieval", "mAP"), "retrieval mAP %"),
}


@dataclass(frozen=True, slots=True)
class TableCell:
    """A figure in the units of its column.

    Attributes:
        published: that of the paper; None if it is not known.
        value: ours; None if the attack has no such figure.
        interval: its 95 % interval.
        chance: the figure of guessing; None where there is none, as for SSIM.
    """

    published: float | None
    value: float | None = None
    interval: tuple[float, float] | None = None
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class FilledRow:
    """A row: its name, and a cell for each metric."""

    name: str
    cells: tuple[TableCell, ...]


def markdown(title: str, source: str, metrics: Sequence[str], lines: Sequence[FilledRow]) -> str:
    """Return the table as Markdown, with two columns for each metric."""
    head = ["", *(f"{METRICS[name].title}, {kind}" for name in metrics for kind in ("published", "ours"))]
    rows = [[line.name, *(text for cell in line.cells for text in _texts(cell, " to "))] for line in lines]
    body = "\n".join(map(markdown_row, [head, ["---"] * len(head), *rows]))
    return f"# {title}\n\n{body}\n\n{_legend(source)}\n"


def latex(title: str, source: str, metrics: Sequence[str], lines: Sequence[FilledRow]) -> str:
    """Return the table as LaTeX, for the package booktabs."""
    columns = "l" + "rr" * len(metrics)
    first = " & ".join(["", *(rf"\multicolumn{{2}}{{c}}{{{latex_text(METRICS[name].title)}}}" for name in metrics)])
    second = " & ".join(["", *(["published & ours"] * len(metrics))])
    body = "\n".join(
        latex_row([line.name, *(text for cell in line.cells for text in _texts(cell, "--"))]) for line in lines
    )
    return (
        r"\begin{table}" + "\n" + rf"\caption{{{latex_text(title)}. {latex_text(_legend(source))}}}" + "\n"
        rf"\begin{{tabular}}{{{columns}}}" + "\n\\toprule\n" + first + " \\\\\n" + second + " \\\\\n\\midrule\n"
        + body + "\n\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )  # fmt: skip


def comma_separated(_title: str, _source: str, metrics: Sequence[str], lines: Sequence[FilledRow]) -> str:
    """Return the table as CSV: a record for each figure."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "metric", "published", "ours", "low_95", "high_95", "chance"])
    for line in lines:
        for name, cell in zip(metrics, line.cells, strict=True):
            figures = [cell.published, cell.value, *(cell.interval or (None, None)), cell.chance]
            writer.writerow([line.name, name, *("" if figure is None else f"{figure:.4f}" for figure in figures)])
    return text.getvalue()


FORMATS: dict[str, Callable[[str, str, Sequence[str], Sequence[FilledRow]], str]] = {
    "md": markdown,
    "csv": comma_separated,
    "tex": latex,
}


def _texts(cell: TableCell, to: str) -> tuple[str, str]:
    """Return the published figure, and ours with its interval and chance."""
    published = "-" if cell.published is None else f"{cell.published:g}"
    if cell.value is None or cell.interval is None:
        return published, "-"
    digits = 1 if abs(cell.value) >= 2 or cell.chance is not None else 3
    low, high = (f"{end:.{digits}f}" for end in cell.interval)
    chance = "" if cell.chance is None else f"; {cell.chance:.{digits}f}"
    return published, f"{cell.value:.{digits}f} ({low}{to}{high}{chance})"


def _legend(source: str) -> str:
    return f"Ours in brackets: 95 % interval by person; chance. Published figures: {source}, which gives no intervals."
