"""`eventveil train table`: run the table of a paper."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventveil.cli.options import JsonOption, OutFolderOption, ResumeOption, set_option, stdout
from eventveil.cli.train_run import RunFolder, run_training
from eventveil.errors import ConfigError
from eventveil.host.extras import require_line

if TYPE_CHECKING:
    from eventveil.training.distributed.process_group import ProcessGroup
    from eventveil.training.engine.progress import Bars
    from eventveil.training.recipe import Recipe
    from eventveil.training.settings import TrainSettings
    from eventveil.training.table import TableRow, TableSettings


def table(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE", help="YAML file, or the name of a table in configs/tables/, such as anonynoise_1."
        ),
    ],
    overrides: Annotated[list[str] | None, set_option("pretrain.epochs=20")] = None,
    out: OutFolderOption = None,
    resume: ResumeOption = False,
    json: JsonOption = False,
) -> None:
    """Run all rows of a paper's table, and write the table as Markdown, CSV and LaTeX.

    The table shows published figures next to ours, with our intervals and chance levels. --set changes keys in all
    rows. Without --out, results go to runs/TABLE.

    Example:  eventveil train table anonynoise_1 --out runs/anonynoise_1
    """
    require_line("eventveil train")
    from eventveil.config import checked, find_config, read_yaml
    from eventveil.training.table import TableSettings, run_table

    path = find_config(file, "tables")
    chosen = checked(TableSettings, read_yaml(path, TableSettings), (), name=str(path))
    folder = out or Path("runs") / path.stem
    # All rows first: mistakes show before hours of training.
    settings = [settings_of(chosen, row, overrides or []) for row in chosen.rows]

    def train_rows(group: ProcessGroup, bars: Bars) -> dict[str, Any]:
        from eventveil.training.recipe import Recipe

        def recipe(of_row: TrainSettings, run: Path) -> Recipe:
            return Recipe(of_row, run, group, bars, bars.watch, resume=True)

        lines = run_table(chosen, settings, folder, recipe, resume=resume)
        return {line.name: dict(zip(chosen.metrics, map(asdict, line.cells), strict=True)) for line in lines}

    runs = [
        RunFolder(folder / row.run, of_row.run, of_row.data) for row, of_row in zip(chosen.rows, settings, strict=True)
    ]
    run_training(train_rows, _device(settings), runs, folder, json=json)
    if not json:
        stdout.print((folder / "table.md").read_text(encoding="utf-8"), markup=False)


def _device(settings: Sequence[TrainSettings]) -> str:
    """Return the device of all rows: one group of processes trains them."""
    devices = {of_row.run.device for of_row in settings}
    if len(devices) > 1:
        raise ConfigError(
            f"run.device: expected one device for all rows, got {', '.join(sorted(devices))}; set it for all with "
            "--set run.device=auto"
        )
    return devices.pop()


def settings_of(chosen: TableSettings, row: TableRow, overrides: Sequence[str]) -> TrainSettings:
    """Return the settings of a row: its configuration, the changes of the table, of the row, and of the user.

    Raises:
        ConfigError: a key is unknown, or a value is invalid.
    """
    from eventveil.config import checked, find_config, read_yaml
    from eventveil.training.settings import TrainSettings

    path = find_config(Path(row.config or chosen.config), "train")
    changes = chosen.changes | row.changes | {"attack.against": [row.subject]}
    texts = [f"{key}={json_text.dumps(value)}" for key, value in changes.items()]
    name = f"{path}, row {row.name}"
    return checked(TrainSettings, read_yaml(path, TrainSettings), [*texts, *overrides], name=name)
