"""The command of the simulated camera: `eventveil simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eventveil.cli.options import say, stderr


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("simulate")(simulate)


def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write the set into.")],
    subjects: Annotated[int, typer.Option(min=2, max=999, help="People; 23 of 29 are for training.")] = 29,
    sessions: Annotated[int, typer.Option(min=1, max=5, help="Visits of each, each under a light of its own.")] = 4,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of a trial.")] = 6.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated people and all they do.")] = 0,
    distance: Annotated[
        float, typer.Option(min=0.3, max=10, help="Of the camera, against the usual one; 2 shows people half as large.")
    ] = 1.0,
    camera_motion: Annotated[float, typer.Option(min=0, max=5, help="How far the camera sways, pixels.")] = 0.0,
) -> None:
    """Write a set of simulated people who make the eleven gestures, laid out as tonic keeps DVS128 Gesture.

    The same options give the same events on every machine. An interrupted run goes on where it was when it is started
    again; so does one with more sessions.

    `eventveil run simulate:` lets such people come before the line, live.

    Example:  eventveil simulate people --subjects 6 --sessions 2 --seconds 2
    """
    from eventveil.replay.simulation.camera import Shot
    from eventveil.replay.simulation.dataset import (  # compiles: only who simulates waits
        check_recipe,
        plan,
        write_trials,
    )

    shot = Shot(distance=distance, camera_motion=camera_motion)
    planned = plan(out, subjects=subjects, sessions=sessions)
    check_recipe(out, seed=seed, seconds=seconds, subjects=subjects, shot=shot)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr) as progress:
        task = progress.add_task("trials", total=len(planned))
        for _ in write_trials(planned, seed=seed, seconds=seconds, shot=shot):
            progress.advance(task)
    say(f"eventveil: {len(planned)} trials of {subjects} people are in {out}")
