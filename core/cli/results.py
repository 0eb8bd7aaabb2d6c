"""`eventveil results`: the results of a training or an audit, as a table in the terminal or for a document."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from eventveil.cli.options import JsonOption, print_json, stdout
from eventveil.cli.tables import Cell, Form, ResultTable, of_training
from eventveil.errors import ConfigError

if TYPE_CHECKING:
    from eventveil.audit.figures import Figure

FORMS = ("markdown", "csv", "latex")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("results")(results)


def results(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --out folder of a training or an audit.")],
    form: Annotated[
        str | None, typer.Option("--format", metavar="|".join(FORMS), help="Write a document instead of a table.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the results of a training or an audit: per cent, with 95 % intervals and chance levels.

    With --format latex, the table needs the package booktabs. With --format csv, value, interval and chance level have
    separate columns.

    For an audit, the table shows the strongest attacker's advantage over blind guessing, the lowest equal error rate of
    identity verification, and the gestures recognised by a classifier retrained on anonymized windows and by an
    unchanged one.

    For example:

    eventveil results runs/simulated_small

    eventveil results audit --format latex
    """
    if form is not None and form not in FORMS:
        raise ConfigError(f"--format: expected {', '.join(FORMS)}, got {form!r}")
    kinds: dict[Path, Callable[[Any], ResultTable]] = {
        folder / "results.json": of_training,
        folder / "report.json": _of_audit,
    }
    path = next((path for path in kinds if path.is_file()), None)
    if path is None:
        raise ConfigError(
            f"{folder}: expected results.json of `eventveil train attack` or report.json of `eventveil audit`, got none"
        )
    content = _read(path)
    if json:
        print_json(content)
        return
    try:
        table = kinds[path](content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path}: not in the format of this version ({type(error).__name__}: {error}); make it again"
        ) from None
    if form is None:
        stdout.print(table.table(), soft_wrap=False)
    else:
        typer.echo(table.text(cast(Form, form)))


def _read(path: Path) -> Any:
    try:
        return json_module.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({error}); make it again") from None


def _of_audit(content: Any) -> ResultTable:
    """Return the table of an audit: a row for each anonymizer and rule."""
    from eventveil.audit.report.report import AuditReport

    report = AuditReport.model_validate(content)
    rows = []
    for subject in report.subjects:
        advantage, utility = subject.strongest.advantage, subject.utility
        errors = [attack.equal_error_rate for attack in subject.attacks if attack.equal_error_rate is not None]
        cells = (
            Cell.of(advantage.value, advantage.low, advantage.high, 0.0),
            _cell(min(errors, key=lambda error: error.value, default=None)),
            _cell(utility.retrained if utility else None),
            _cell(utility.as_it_is if utility else None),
        )
        rows.append((subject.name, cells))
    title = "Unseen people, strongest attacker: per cent, with 95 % interval and chance level"
    return ResultTable(title, "anonymizer", ("advantage", "EER", "retrained", "unchanged"), tuple(rows))


def _cell(figure: Figure | None) -> Cell | None:
    return None if figure is None else Cell.of(figure.value, figure.low, figure.high, figure.chance)
