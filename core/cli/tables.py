"""Results with their intervals and chance levels: as a table of at most 80 columns, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any, Literal

from rich.box import SIMPLE
from rich.table import Column, Table

from eventveil.figures.table_rows import latex_row, markdown_row

Form = Literal["markdown", "csv", "latex"]


@dataclass(frozen=True)
class Cell:
    """One figure in per cent, with its 95 % interval and, where there is one, its chance level."""

    value: float
    low: float
    high: float
    chance: float | None = None

    @classmethod
    def of(cls, value: float, low: float, high: float, chance: float | None = None) -> Cell:
        """Return a cell of shares between 0 and 1."""
        return cls(100 * value, 100 * low, 100 * high, None if chance is None else 100 * chance)

    @property
    def lines(self) -> tuple[str, ...]:
        """The figure, its interval and its chance level, each as text that must not be broken."""
        chance = () if self.chance is None else (f"chance {self.chance:.1f}",)
        return (f"{self.value:.1f}", f"{self.low:.0f} to {self.high:.0f}", *chance)


@dataclass(frozen=True)
class ResultTable:
    """A table of figures.

    Attributes:
        title: what the figures show.
        first: heading of the first column.
        columns: headings of the others.
        rows: name of each row, and its cells; None where there is no figure.
    """

    title: str
    first: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]

    def table(self) -> Table:
        """Return a table for a terminal: no figure is broken across lines; a long name is."""
        columns = [Column(name, justify="right", no_wrap=True) for name in self.columns]
        table = Table(Column(self.first, overflow="fold"), *columns, box=SIMPLE, title=self.title)
        for name, cells in self.rows:
            table.add_row(name, *("-" if cell is None else "\n".join(cell.lines) for cell in cells))
        return table

    def text(self, form: Form) -> str:
        """Return the table as a document."""
        return {"markdown": self._markdown, "csv": self._csv, "latex": self._latex}[form]()

    def _texts(self) -> list[list[str]]:
        def flat(cell: Cell | None) -> str:
            return "-" if cell is None else f"{cell.lines[0]} ({'; '.join(cell.lines[1:])})"

        return [[name, *map(flat, cells)] for name, cells in self.rows]

    def _markdown(self) -> str:
        heads = [self.first, *self.columns]
        return "\n".join([self.title, "", *map(markdown_row, [heads, ["---"] * len(heads), *self._texts()])])

    def _csv(self) -> str:
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        parts = ("", " low", " high", " chance")
        writer.writerow([self.first, *(f"{column}{part}" for column in self.columns for part in parts)])
        for name, cells in self.rows:
            values = [
                None if cell is None else getattr(cell, part)
                for cell in cells
                for part in ("value", "low", "high", "chance")
            ]
            writer.writerow([name, *("" if value is None else f"{value:.4g}" for value in values)])
        return file.getvalue().rstrip("\n")

    def _latex(self) -> str:
        lines = [f"% {self.title}", rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}", r"\toprule"]
        lines += [latex_row([self.first, *self.columns]), r"\midrule"]
        lines += [*map(latex_row, self._texts()), r"\bottomrule"]
        return "\n".join([*lines, r"\end{tabular}"])


def of_training(results: dict[str, Any]) -> ResultTable:
    """Return the table of the results of `eventveil train`: a row for each attacked anonymizer."""
    columns = {"gesture": ("target", "accuracy"), **{name: ("identity", name) for name in ("rank1", "rank5", "mAP")}}
    if any("picture_retrieval" in result for result in results.values()):
        columns["rank1 by pictures"] = ("picture_retrieval", "rank1")
    rows = [
        (subject, tuple(_cell(result.get(label, {}).get(name)) for label, name in columns.values()))
        for subject, result in results.items()
    ]
    title = "Test people, fresh attackers: per cent, with 95 % interval and chance level"
    return ResultTable(title, "attack on", tuple(columns), tuple(rows))


def _cell(figure: dict[str, Any] | None) -> Cell | None:
    if figure is None:
        return None
    low, high = figure["interval_95"]
    return Cell.of(figure["value"], low, high, figure["chance"])
