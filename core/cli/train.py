"""`eventveil train pretrain|adversarial|attack|all`: train an anonymizer and attack it."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from eventveil.cli.options import (
    INTERRUPTED,
    JsonOption,
    OutFolderOption,
    ResumeOption,
    print_json,
    say,
    set_option,
    stderr,
    stdout,
)

if TYPE_CHECKING:
    from eventveil.training.recipe import Recipe
    from eventveil.training.settings import TrainSettings

ConfigArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG", help="YAML file, or the name of a configuration in configs/train/, such as simulated_small."
    ),
]
SetOption = Annotated[list[str] | None, set_option("attack.epochs=20")]
DevicesOption = Annotated[int, typer.Option(min=1, help="GPUs of this machine, or processes on a CPU.")]
NodesOption = Annotated[
    int,
    typer.Option(min=1, help="Machines. Each runs this command, with MASTER_ADDR, MASTER_PORT and NODE_RANK set."),
]

train = typer.Typer(
    no_args_is_help=True,
    help="Train an anonymizer and its classifiers, and attack it. The results are weights for `eventveil run`.",
)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for stage, text in STAGES.items():
        train.command(stage, help=inspect.cleandoc(text))(_command(stage))
    app.add_typer(train, name="train")


STAGES = {
    "pretrain": """
    Stage 1: train classifiers of gestures and of people on raw windows.

    Without --out, results go to runs/CONFIG.

    Example:  eventveil train pretrain simulated_small --out runs/first
    """,
    "adversarial": """
    Stage 2: train the anonymizer against the classifiers of stage 1. Weights for `eventveil run` go to DIR/weights.

    Without --out, results go to runs/CONFIG.

    Example:  eventveil train adversarial simulated_small --out runs/first
    """,
    "attack": """
    Stage 3: train fresh attackers on the frozen anonymizer, or on baselines such as plain noise, and test them.

    Each attacked anonymizer or baseline has its own folder, so attacks can be added to a run. The figures are of test
    people, with 95 % intervals by person and chance levels. Without --out, results go to runs/CONFIG.

    Example:  eventveil train attack simulated_small --out runs/first --set "attack.against=[anonymizer, gaussian:1]"
    """,
    "all": """
    Run all three stages in one run folder.

    Without --out, results go to runs/CONFIG.

    Example:  eventveil train all simulated_small
    """,
}
"""The help text of each command. They all take the same options."""


def _command(stage: str) -> Callable[..., None]:
    def run(
        config: ConfigArgument,
        overrides: SetOption = None,
        out: OutFolderOption = None,
        resume: ResumeOption = False,
        devices: DevicesOption = 1,
        num_nodes: NodesOption = 1,
        json: JsonOption = False,
    ) -> None:
        from eventveil.training.distributed.launch import launch

        settings = _settings(config, overrides or [])
        folder = out or Path("runs") / config.stem
        if devices * num_nodes > 1 and "RANK" not in os.environ:
            raise typer.Exit(launch(sys.argv[1:], devices, num_nodes))
        stages: dict[str, Callable[[Recipe], dict[str, Any] | None]] = {
            "pretrain": lambda recipe: recipe.pretrain(),
            "adversarial": lambda recipe: recipe.train_anonymizer(),
            "attack": lambda recipe: recipe.attack(),
            "all": lambda recipe: recipe.run_all(),
        }
        _run_stage(stages[stage], settings, folder, resume=resume, json=json)

    return run


def _run_stage(
    run_stage: Callable[[Recipe], dict[str, Any] | None],
    settings: TrainSettings,
    folder: Path,
    *,
    resume: bool,
    json: bool,
) -> None:
    from eventveil.training.distributed.process_group import join_group, leave_group
    from eventveil.training.engine.loop import Interrupted
    from eventveil.training.engine.progress import Bars
    from eventveil.training.recipe import Recipe

    group = join_group(settings.run.device)
    try:
        with Bars(stderr, quiet=not group.leads) as bars:
            results = run_stage(Recipe(settings, folder, group, bars, bars.watch, resume=resume))
    except (Interrupted, KeyboardInterrupt):
        if group.leads:
            say(f"eventveil: stopped; {folder} holds all results so far. To continue, repeat the command with --resume")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        leave_group()
    if group.leads:
        say(f"eventveil: done; the results are in {folder}")
        if json:
            print_json({"run": str(folder), "results": results or {}})
        elif results:
            stdout.print(_table(results))


def _settings(config: Path, overrides: list[str]) -> TrainSettings:
    from eventveil.config import checked, find_config, read_yaml
    from eventveil.training.settings import TrainSettings

    path = find_config(config, "train")
    values = read_yaml(path, TrainSettings)
    return checked(TrainSettings, values, overrides, name=str(path), example="attack.epochs=20")


def _table(results: dict[str, Any]) -> Table:
    """Return a table of percentages with 95 % intervals and chance levels, a row for each attacked anonymizer."""
    columns = {"gesture": ("target", "accuracy"), **{name: ("identity", name) for name in ("rank1", "rank5", "mAP")}}
    if any("picture_retrieval" in result for result in results.values()):
        columns["rank1 by pictures"] = ("picture_retrieval", "rank1")
    table = Table("attack on", *columns, title="Test people, fresh attackers: per cent (95 % interval; chance)")
    for subject, result in results.items():
        row = [_cell(result.get(label, {}).get(name)) for label, name in columns.values()]
        table.add_row(subject, *row)
    return table


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "-"
    low, high = figure["interval_95"]
    return f"{100 * figure['value']:.1f} ({100 * low:.0f} to {100 * high:.0f}; {100 * figure['chance']:.1f})"
