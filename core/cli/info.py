"""`eventveil info`: describe a recording, of events or of what a pipeline published."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from eventveil.cli.options import JsonOption, SensorOption, print_json, say_losses, stdout
from eventveil.errors import EventFileError

if TYPE_CHECKING:
    from eventveil.cli.progress import FaultReporter
    from eventveil.events import Sensor
    from eventveil.io.source import EventSource
    from eventveil.io.summary import Summary

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="A recording; format options follow a '?', as in 'a.npy?unit=ms'.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("info")(info)


def info(file: FileArgument, json: JsonOption = False, sensor: SensorOption = None) -> None:
    """Describe a recording: format, sensor, number of events, times and rates.

    Rates are in events per second; the peak rate is that of the busiest 10 ms. Unknown and undefined values are null.
    Late timestamps are raised to the latest one before them, and counted. A damaged file is described as far as it
    can be read, with exit status 1.

    For a file that `eventveil record` wrote, the result is its length, its messages by channel, and the weights and
    book that their headers name; `complete` is false if its recorder was killed.

    Example:  eventveil info trial.aedat4 --json
    """
    from eventveil.cli.progress import FaultReporter
    from eventveil.io.detect import is_mcap, locate
    from eventveil.io.summary import open_to_describe

    path = locate(file)[0]
    if path.is_file() and is_mcap(path):
        _print_recorded(path, json=json)
        return
    source, known_sensor = open_to_describe(file, sensor)
    faults = FaultReporter()
    with source:
        summary = _read_through(source, known_sensor, faults)
        _print_summary(summary, json=json)
        say_losses(file, source)
    faults.finish()


def _print_recorded(path: Path, *, json: bool) -> None:
    from eventveil.stream.archive.mcap_reader import McapRecording, summarise

    summary = summarise(McapRecording(path))
    if json:
        print_json(summary)
        return
    table = Table(show_header=False, box=None)
    for key, value in summary.items():
        rows = (
            value.items()
            if isinstance(value, dict)
            else [(key, ", ".join(value) if isinstance(value, list) else value)]
        )
        for name, text in rows:
            table.add_row(name, f"{text:,.3f}" if isinstance(text, float) else str(text))
    stdout.print(table)


def _read_through(source: EventSource, sensor: Sensor | None, faults: FaultReporter) -> Summary:
    """Return the summary of the readable part, and report the faults."""
    from eventveil.io.summary import Tally

    tally = Tally()
    readable = True
    while readable:
        try:
            for packet in source:
                tally.add(packet)
            break
        except EventFileError as fault:
            readable = fault.recoverable
            faults.report(fault)
    return tally.summary(source.format, sensor)


def _print_summary(summary: Summary, *, json: bool) -> None:
    if json:
        print_json(asdict(summary))
        return
    table = Table(show_header=False, box=None)
    for key, value in asdict(summary).items():
        text = "unknown" if value is None else f"{value:,.3f}" if key == "on_share" else value
        table.add_row(key, f"{text:,.0f}" if isinstance(text, int | float) else str(text))
    stdout.print(table)
