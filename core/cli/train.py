"""`eventveil train pretrain|adversarial|attack|all|stand-in|table`: train an anonymizer, and attack it."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from eventveil.cli.options import (
    JsonOption,
    OutFolderOption,
    ResumeOption,
    set_option,
    stdout,
)
from eventveil.cli.tables import of_training
from eventveil.cli.train_run import RunFolder, run_training
from eventveil.cli.train_table import table
from eventveil.host.extras import require_line

if TYPE_CHECKING:
    from eventveil.settings import Settings
    from eventveil.training.distributed.process_group import ProcessGroup
    from eventveil.training.engine.progress import Bars
    from eventveil.training.recipe import Recipe

AnySettings = TypeVar("AnySettings", bound="Settings")

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
    train.command("stand-in")(stand_in)
    train.command("table")(table)
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
        require_line("eventveil train")
        from eventveil.training.distributed.launch import launch
        from eventveil.training.settings import TrainSettings

        settings = _settings(config, overrides or [], TrainSettings, "attack.epochs=20")
        folder = out or Path("runs") / config.stem
        if devices * num_nodes > 1 and "RANK" not in os.environ:
            raise typer.Exit(launch(sys.argv[1:], devices, num_nodes))
        stages: dict[str, Callable[[Recipe], dict[str, Any] | None]] = {
            "pretrain": lambda recipe: recipe.pretrain(),
            "adversarial": lambda recipe: recipe.train_anonymizer(),
            "attack": lambda recipe: recipe.attack(),
            "all": lambda recipe: recipe.run_all(),
        }

        def train_stages(group: ProcessGroup, bars: Bars) -> dict[str, Any] | None:
            from eventveil.training.recipe import Recipe

            return stages[stage](Recipe(settings, folder, group, bars, bars.watch, resume=resume))

        run = RunFolder(folder, settings.run, settings.data)
        results = run_training(train_stages, settings.run.device, [run], folder, json=json)
        if results and not json:
            stdout.print(of_training(results).table(), soft_wrap=False)

    return run


def stand_in(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG", help="YAML file, or the name of a configuration in configs/train/, such as stand_in."
        ),
    ],
    overrides: Annotated[list[str] | None, set_option("schedule.epochs=20")] = None,
    out: OutFolderOption = None,
    resume: ResumeOption = False,
    json: JsonOption = False,
) -> None:
    """Train the stand-in, which selects a word of a public book, on simulated people and scenes.

    The weights go to DIR/weights/stand_in.safetensors. Without --out, results go to runs/CONFIG.

    Example:  eventveil train stand-in stand_in --out runs/stand-in --set book=book.safetensors
    """
    require_line("eventveil train")
    from eventveil.training.stand_in.settings import StandInSettings

    settings = _settings(config, overrides or [], StandInSettings, "schedule.epochs=20")
    folder = out or Path("runs") / config.stem

    def train_stage(group: ProcessGroup, bars: Bars) -> dict[str, Any]:
        from eventveil.training.stand_in.run import train_stand_in

        return train_stand_in(settings, folder, group, bars, bars.watch, resume=resume)

    run = RunFolder(folder, settings.run, settings.data)
    run_training(train_stage, settings.run.device, [run], folder, json=json)


def _settings(config: Path, overrides: list[str], kind: type[AnySettings], example: str) -> AnySettings:
    from eventveil.config import checked, find_config, read_yaml

    path = find_config(config, "train")
    return checked(kind, read_yaml(path, kind), overrides, name=str(path), example=example)
