"""`eventveil simulate`: write a dataset of simulated people."""

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
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write the dataset into.")],
    subjects: Annotated[int, typer.Option(min=2, max=999, help="Number of people; 23 of 29 are for training.")] = 29,
    sessions: Annotated[
        int, typer.Option(min=1, max=5, help="Sessions of each person, each with different lighting.")
    ] = 4,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of a trial.")] = 6.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the people and of everything they do.")] = 0,
    distance: Annotated[
        float, typer.Option(min=0.3, max=10, help="Camera distance; at 2, people appear half as large as at 1.")
    ] = 1.0,
    camera_motion: Annotated[float, typer.Option(min=0, max=5, help="Amplitude of camera sway, in pixels.")] = 0.0,
) -> None:
    """Write a dataset of simulated people who make the eleven gestures, in tonic's layout of DVS128 Gesture.

    The same options give the same events on every machine. To continue an interrupted run, or to add sessions, run the
    command again.

    `eventveil run simulate:` plays such people live, without a dataset.

    Example:  eventveil simulate people --subjects 6 --sessions 2 --seconds 2
    """
    from eventveil.replay.simulation.camera import Shot
    from eventveil.replay.simulation.dataset import (  # imported late: it compiles kernels
        check_recipe,
        plan,
        write_trials,
    )

    shot = Shot(distance=distance, camera_motion=camera_motion)
    trials = plan(out, subjects=subjects, sessions=sessions)
    check_recipe(out, seed=seed, seconds=seconds, subjects=subjects, shot=shot)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr) as progress:
        task = progress.add_task("trials", total=len(trials))
        for _ in write_trials(trials, seed=seed, seconds=seconds, shot=shot):
            progress.advance(task)
    say(f"eventveil: wrote {len(trials)} trials of {subjects} people to {out}")
