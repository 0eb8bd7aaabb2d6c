"""`eventveil convert`: write a recording in another format."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from eventveil.cli.options import SensorOption, say, say_losses, stderr
from eventveil.events import EventPacket
from eventveil.io.convert import convert
from eventveil.io.source import Disorder, open_events

PATIENCE_S = 2.0  # what takes longer shows a progress bar

OutArgument = Annotated[
    Path, typer.Argument(metavar="OUT", help="Where to write; .aedat4, .raw (EVT3), .npy or .csv tells the format.")
]
DisorderOption = Annotated[
    str,
    typer.Option(
        "--on-disorder",
        metavar="raise|sort|clip",
        help="What to do where time goes back: refuse, sort the events, or raise late times to the latest before.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace OUT if it is there already.")]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("convert")(convert_file)


def convert_file(
    source: Annotated[str, typer.Argument(metavar="IN", help="A recording of any format that can be read.")],
    out: OutArgument,
    sensor: SensorOption = None,
    on_disorder: DisorderOption = "raise",
    force: ForceOption = False,
) -> None:
    """Write a recording in another format; t, x, y and p stay exactly the same.

    OUT appears when it is complete: Ctrl-C or a fault on the way leaves nothing behind. NumPy arrays do not hold the
    geometry of the camera; whoever reads one back states it with --sensor.

    Example:  eventveil convert trial.raw trial.aedat4
    """
    with open_events(source, sensor=sensor, on_disorder=cast(Disorder, on_disorder)) as events, _Progress() as progress:
        try:
            written = convert(events, out, replace=force, watch=progress.watch)
        except KeyboardInterrupt:
            say(f"eventveil: interrupted; the part of {out} that was written has been removed")
            raise typer.Exit(130) from None
        say_losses(source, events)
    say(f"{out}: {written:,} events")


class _Progress(Progress):
    """A bar without an end (nobody knows how many events a file holds), shown to those who have waited a while."""

    def __init__(self) -> None:
        columns = TextColumn("{task.completed:,} events"), BarColumn(), TimeElapsedColumn()
        super().__init__(*columns, console=stderr, transient=True, disable=not stderr.is_terminal)
        self._patience_ends = time.monotonic() + PATIENCE_S
        self._bar = self.add_task("events", total=None)

    def __enter__(self) -> _Progress:
        return self  # and do not start yet

    def watch(self, packet: EventPacket) -> None:
        """Count a packet."""
        self.advance(self._bar, len(packet))
        if time.monotonic() > self._patience_ends:
            self.start()
