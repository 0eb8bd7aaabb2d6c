"""The commands of training: `eventveil train pretrain|adversarial|attack|all`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from eventveil.cli.options import JsonOption, print_json, say, stderr, stdout

if TYPE_CHECKING:
    from eventveil.training.recipe import Recipe
    from eventveil.training.settings import TrainSettings

INTERRUPTED = 130  # exit status: 128 and the number of SIGINT, as shells have it

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file, as in configs/train/.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key: attack.epochs=20. May be repeated."),
]
Out = Annotated[Path | None, typer.Option(metavar="RUN", help="Run folder; runs/ and the name of CONFIG without this.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run folder stands.")]
Devices = Annotated[int, typer.Option(min=1, help="GPUs, or processes on a CPU, of this machine.")]
Nodes = Annotated[
    int, typer.Option(min=1, help="Machines; each runs this command, with MASTER_ADDR, MASTER_PORT and NODE_RANK set.")
]

train = typer.Typer(
    no_args_is_help=True,
    help="Train an anonymizer and its classifiers, and attack it. Weights for `eventveil run` come out.",
)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(train, name="train")


@train.command("pretrain")
def pretrain(
    config: Config, overrides: Set = None, out: Out = None, resume: Resume = False, devices: Devices = 1,
    num_nodes: Nodes = 1, json: JsonOption = False,
) -> None:  # fmt: skip
    """Stage 1: train classifiers of the gesture and of people on raw windows.

    Example:  eventveil train pretrain configs/train/simulated_small.yaml --out runs/first
    """
    _run("pretrain", config, overrides, out, devices, num_nodes, resume=resume, json=json)


@train.command("adversarial")
def adversarial(
    config: Config, overrides: Set = None, out: Out = None, resume: Resume = False, devices: Devices = 1,
    num_nodes: Nodes = 1, json: JsonOption = False,
) -> None:  # fmt: skip
    """Stage 2: train the anonymizer against them. The run folder's weights/ then holds what `eventveil run` takes.

    Example:  eventveil train adversarial configs/train/simulated_small.yaml --out runs/first
    """
    _run("adversarial", config, overrides, out, devices, num_nodes, resume=resume, json=json)


@train.command("attack")
def attack(
    config: Config, overrides: Set = None, out: Out = None, resume: Resume = False, devices: Devices = 1,
    num_nodes: Nodes = 1, json: JsonOption = False,
) -> None:  # fmt: skip
    """Stage 3: set fresh attackers on the frozen anonymizer, or on plain noise and the like, and test them.

    Each subject has a folder of its own, so attacks can be added to a run. Figures are of test people, with 95 %
    intervals by person and chance levels.

    Example:  eventveil train attack CONFIG --out RUN --set "attack.against=[raw, gaussian:1, scramble, discard:0.75]"
    """
    _run("attack", config, overrides, out, devices, num_nodes, resume=resume, json=json)


@train.command("all")
def everything(
    config: Config, overrides: Set = None, out: Out = None, resume: Resume = False, devices: Devices = 1,
    num_nodes: Nodes = 1, json: JsonOption = False,
) -> None:  # fmt: skip
    """Run all stages, one after the other, in one run folder.

    Example:  eventveil train all configs/train/simulated_small.yaml
    """
    _run("all", config, overrides, out, devices, num_nodes, resume=resume, json=json)


def _run(
    stage: str,
    config: Path,
    overrides: list[str] | None,
    out: Path | None,
    devices: int,
    num_nodes: int,
    *,
    resume: bool,
    json: bool,
) -> None:
    from eventveil.training.distributed.launch import launch

    settings = _settings(config, overrides or [])
    folder = out or Path("runs") / config.stem
    if devices * num_nodes > 1 and "RANK" not in os.environ:
        raise typer.Exit(launch(sys.argv[1:], devices, num_nodes))
    work: dict[str, Callable[[Recipe], dict[str, Any] | None]] = {
        "pretrain": lambda recipe: recipe.pretrain(),
        "adversarial": lambda recipe: recipe.train_anonymizer(),
        "attack": lambda recipe: recipe.attack(),
        "all": lambda recipe: recipe.run_all(),
    }
    _work(work[stage], settings, folder, resume=resume, json=json)


def _work(
    work: Callable[[Recipe], dict[str, Any] | None], settings: TrainSettings, folder: Path, *, resume: bool, json: bool
) -> None:
    from eventveil.training.distributed.process_group import join_group, leave_group
    from eventveil.training.engine.loop import Interrupted
    from eventveil.training.engine.progress import Bars
    from eventveil.training.recipe import Recipe

    group = join_group(settings.run.device)
    try:
        with Bars(stderr, quiet=not group.leads) as bars:
            results = work(Recipe(settings, folder, group, bars, bars.watch, resume=resume))
    except (Interrupted, KeyboardInterrupt):
        if group.leads:
            say(f"eventveil: stopped; {folder} holds all that was done. Go on with the same command and --resume")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        leave_group()
    if group.leads:
        say(f"eventveil: done; everything is in {folder}")
        if json:
            print_json({"run": str(folder), "results": results or {}})
        elif results:
            stdout.print(_table(results))


def _settings(config: Path, overrides: list[str]) -> TrainSettings:
    from eventveil.config import checked, read_yaml
    from eventveil.training.settings import TrainSettings

    values = read_yaml(config, TrainSettings)
    return checked(TrainSettings, values, overrides, name=str(config), example="attack.epochs=20")


def _table(results: dict[str, Any]) -> Table:
    """A row for each subject: figures in per cent, with their 95 % interval and chance."""
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
