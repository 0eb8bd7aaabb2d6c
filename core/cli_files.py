"""The commands on files: `eventveil info` and `eventveil convert`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from eventveil.cli_common import JsonOption, SensorOption, print_json, say, stderr, stdout
from eventveil.errors import EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io.convert import convert
from eventveil.io.source import Disorder, EventSource, open_events
from eventveil.io.summary import Summary, Tally, open_to_describe

PATIENCE_S = 2.0  # what takes longer shows a progress bar
MAX_FAULTS_TOLD = 10

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="A recording; options of its format behind a '?', as in a.npy?unit=ms.")
]
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
    """Add the commands to the program."""
    app.command("info")(info)
    app.command("convert")(convert_file)


def info(file: FileArgument, json: JsonOption = False, sensor: SensorOption = None) -> None:
    """Describe a recording: format, sensor, events, times and rates.

    Rates are in events per second; the peak is that of the busiest 10 ms. What is unknown or undefined is null.
    Late times are raised to the latest before them, and counted. A damaged file is described as far as it can be
    read, and the exit status is 1.

    Example:  eventveil info trial.aedat4 --json
    """
    source, known = open_to_describe(file, sensor)
    with source:
        summary, faults = _read_through(source, known)
        _print_summary(summary, json=json)
        _say_losses(file, source)
    if faults > MAX_FAULTS_TOLD:
        say(f"eventveil: and {faults - MAX_FAULTS_TOLD} more faults")
    if faults:
        raise typer.Exit(1)


def _read_through(source: EventSource, sensor: Sensor | None) -> tuple[Summary, int]:
    """Return the summary of what can be read, and how many faults there were; the first of them are told."""
    tally = Tally()
    faults, going_on = 0, True
    while going_on:
        try:
            for packet in source:
                tally.add(packet)
            break
        except EventFileError as fault:
            faults += 1
            going_on = fault.recoverable
            if faults <= MAX_FAULTS_TOLD:
                say(f"eventveil: {fault}")
    return tally.summary(source.format, sensor), faults


def _say_losses(file: str, source: EventSource) -> None:
    if source.disorders:
        say(f"{file}: time went back for {source.disorders} events; they were put right")
    for reason, count in source.skipped.items():
        say(f"{file}: left out: {reason}: {count}")


def _print_summary(summary: Summary, *, json: bool) -> None:
    if json:
        print_json(asdict(summary))
        return
    table = Table(show_header=False, box=None)
    for key, value in asdict(summary).items():
        shown = "unknown" if value is None else f"{value:,.3f}" if key == "on_share" else value
        table.add_row(key, f"{shown:,.0f}" if isinstance(shown, int | float) else str(shown))
    stdout.print(table)


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
        _say_losses(source, events)
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
