"""`eventveil info`: describe a recording."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from eventveil.cli.options import JsonOption, SensorOption, print_json, say, say_losses, stdout
from eventveil.errors import EventFileError
from eventveil.events import Sensor
from eventveil.io.source import EventSource
from eventveil.io.summary import Summary, Tally, open_to_describe

MAX_FAULTS_TOLD = 10

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="A recording; options of its format behind a '?', as in a.npy?unit=ms.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("info")(info)


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
        say_losses(file, source)
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


def _print_summary(summary: Summary, *, json: bool) -> None:
    if json:
        print_json(asdict(summary))
        return
    table = Table(show_header=False, box=None)
    for key, value in asdict(summary).items():
        shown = "unknown" if value is None else f"{value:,.3f}" if key == "on_share" else value
        table.add_row(key, f"{shown:,.0f}" if isinstance(shown, int | float) else str(shown))
    stdout.print(table)
