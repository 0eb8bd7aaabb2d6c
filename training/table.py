"""Runs the table of a paper: trains and attacks every row, and writes our figures next to the published ones.

A file in configs/tables/ lists the rows. Rows with the same `run` share a run folder, so that what they have in common
is trained once; a row adds one attack to it. Everything can be resumed at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from eventveil.errors import TrainingError
from eventveil.settings import Settings
from eventveil.training.engine.run_folder import digest_of_all
from eventveil.training.networks.subjects import ANONYMIZER
from eventveil.training.settings import TrainSettings
from eventveil.training.table_text import FORMATS, METRICS, FilledRow, TableCell
from eventveil.training.whole_file import read_json, write_json, write_whole

RESULTS, DIGESTS = "table.json", "settings.json"


class TableRow(Settings):
    """A row.

    Attributes:
        name: as printed.
        run: name of its run folder; rows that share one share its stages 1 and 2.
        subject: what is attacked, as in `attack.against`.
        config: a configuration of configs/train/; None: that of the table.
        changes: `set` in files: changes of keys, applied after those of the table.
        published: the figures of the paper, in its units, by metric; unknown ones are left out.
    """

    name: str
    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    subject: str
    config: str | None = None
    changes: dict[str, Any] = Field(default_factory=dict, alias="set")
    published: dict[str, float] = Field(default_factory=dict)


class FigureSettings(Settings):
    """The figure of a table: the metrics of its two axes."""

    across: str
    up: str


class TableSettings(Settings):
    """A table.

    Attributes:
        title: title of the table.
        source: where the published figures come from.
        config: a configuration of configs/train/ for rows that name none.
        metrics: the columns.
        figure: also draw the rows, two metrics against each other; None: no figure.
        curves: also draw the rank curves of these results of the rows; None: no curves.
        changes: `set` in files: changes of keys in all rows.
        rows: in order.
    """

    title: str
    source: str
    config: str
    metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    figure: FigureSettings | None = None
    curves: Literal["identity", "picture_retrieval"] | None = None
    changes: dict[str, Any] = Field(default_factory=dict, alias="set")
    rows: Annotated[tuple[TableRow, ...], Field(min_length=1)]

    @field_validator("metrics")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(value) - set(METRICS)):
            raise ValueError(f"expected metrics from {', '.join(METRICS)}; got {', '.join(unknown)}")
        return value

    @model_validator(mode="after")
    def _figure_shows_columns(self) -> TableSettings:
        if self.figure is not None and not {self.figure.across, self.figure.up} <= set(self.metrics):
            raise ValueError(f"figure: expected two of the metrics {', '.join(self.metrics)}")
        return self

    @model_validator(mode="after")
    def _rows_have_names_and_columns(self) -> TableSettings:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError("two rows have the same name")
        for row in self.rows:
            if unknown := sorted(set(row.published) - set(self.metrics)):
                raise ValueError(f"{row.name}: published figures of {', '.join(unknown)}; add them to metrics")
        return self


def run_table(
    table: TableSettings,
    settings: Sequence[TrainSettings],
    folder: Path,
    recipe: Callable[[TrainSettings, Path], Any],
    *,
    resume: bool,
) -> list[FilledRow]:
    """Run all rows; after each, write the table so far as Markdown, CSV and LaTeX, and its figure, into the folder.

    Args:
        table: the table.
        settings: those of each row.
        folder: folder of the results and runs.
        recipe: makes the `Recipe` of a run folder, which resumes the run in that folder.
        resume: continue a table without running finished rows again.

    Raises:
        TrainingError: the folder holds a table and `resume` is false, or rows of other settings, or training cannot
            continue.
        EventVeilError: a dataset or a file cannot be read, or matplotlib is missing, which draws the figure.
    """
    if (folder / RESULTS).exists() and not resume:
        raise TrainingError(
            f"{folder}: already holds a table; continue it with --resume, or choose another folder with --out"
        )
    figures = _figures(table)  # first: a package may be missing
    results, digests = read_json(folder / RESULTS), read_json(folder / DIGESTS)
    for row, of_row in zip(table.rows, settings, strict=True):
        if row.name in results and digests.get(row.name, digest_of_all(of_row)) != digest_of_all(of_row):
            raise TrainingError(
                f"{folder}: the row {row.name!r} has figures of other settings; continue with those, or choose another "
                "folder with --out"
            )
    lines: list[FilledRow] = []
    for row, of_row in zip(table.rows, settings, strict=True):
        if row.name not in results:
            results[row.name] = _run_row(recipe(of_row, folder / row.run), row, of_row)
            digests[row.name] = digest_of_all(of_row)
            write_json(folder / DIGESTS, digests)  # first: figures without it would be taken for those of any settings
            write_json(folder / RESULTS, results)
        lines.append(FilledRow(row.name, tuple(_cell(results[row.name], row, name) for name in table.metrics)))
        _write(folder, table, lines)
        for name, draw in figures.items():
            _write_bytes(folder / name, draw(lines, results))
    return lines


def _figures(table: TableSettings) -> dict[str, Callable[[Sequence[FilledRow], dict[str, Any]], bytes]]:
    """Return what draws the figures of a table from its lines and the results of its rows, by name of their file."""
    figures: dict[str, Callable[[Sequence[FilledRow], dict[str, Any]], bytes]] = {}
    if table.figure is None and table.curves is None:
        return figures
    from eventveil.training.table_figure import draw, draw_curves

    if (axes := table.figure) is not None:
        figures["figure.svg"] = lambda lines, _: draw(table.title, table.metrics, lines, axes.across, axes.up)
    if (kind := table.curves) is not None:
        figures["curves.svg"] = lambda _, results: draw_curves(
            table.title, {name: result[kind]["curve"] for name, result in results.items() if kind in result}
        )
    return figures


def _run_row(recipe: Any, row: TableRow, settings: TrainSettings) -> dict[str, Any]:
    trains_anonymizer = row.subject == ANONYMIZER and settings.attack.weights is None
    if settings.attack.begin_from == "pretrained" or (trains_anonymizer and settings.adversarial.from_pretrained):
        recipe.pretrain()
    if trains_anonymizer:
        recipe.train_anonymizer()
    (result,) = recipe.attack().values()
    return dict(result)


def _cell(result: dict[str, Any], row: TableRow, metric: str) -> TableCell:
    group, name = METRICS[metric].place
    figure = result.get(group, {}).get(name)
    if figure is None:
        return TableCell(row.published.get(metric))
    low, high = figure["interval_95"]
    scale = METRICS[metric].scale
    chance = figure.get("chance")
    return TableCell(
        row.published.get(metric),
        scale * figure["value"],
        (scale * low, scale * high),
        None if chance is None else scale * chance,
    )


def _write(folder: Path, table: TableSettings, lines: list[FilledRow]) -> None:
    for suffix, text_of in FORMATS.items():
        text = text_of(table.title, table.source, table.metrics, lines)
        _write_bytes(folder / f"table.{suffix}", text.encode())


def _write_bytes(path: Path, content: bytes) -> None:
    write_whole(path, lambda file: file.write(content))
