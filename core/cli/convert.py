"""`eventveil convert`: write a recording in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eventveil.cli.options import (
    INTERRUPTED,
    ForceOption,
    JsonOption,
    SensorOption,
    damage_option,
    disorder_option,
    print_json,
    say,
    say_losses,
)

OutArgument = Annotated[
    Path,
    typer.Argument(
        metavar="OUT", help="File to write; its extension selects the format: .aedat4, .raw (EVT3), .npy or .csv."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("convert")(convert_file)


def convert_file(
    source: Annotated[str, typer.Argument(metavar="IN", help="A recording in any readable format.")],
    out: OutArgument,
    sensor: SensorOption = None,
    on_disorder: Annotated[str, disorder_option()] = "raise",
    on_damage: Annotated[str, damage_option()] = "stop",
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Convert a recording to another format; t, x, y and p stay exactly the same.

    OUT appears only when complete: Ctrl-C or an error leaves no partial file. Only you can read it. NumPy files do not
    contain the sensor size; give it with --sensor when you read one.

    Example:  eventveil convert trial.raw trial.aedat4
    """
    from eventveil.cli.progress import DelayedProgress
    from eventveil.io.convert import convert
    from eventveil.io.source import open_events

    handling: dict[str, Any] = {"on_disorder": on_disorder, "on_damage": on_damage}  # open_events checks the words
    with (
        open_events(source, sensor=sensor, **handling) as events,
        DelayedProgress("events") as progress,
    ):
        try:
            written = convert(events, out, replace=force, watch=lambda packet: progress.count(len(packet)))
        except KeyboardInterrupt:
            say(f"eventveil: interrupted; the partial {out} was removed")
            raise typer.Exit(INTERRUPTED) from None
        say_losses(source, events)
    if json:
        print_json({"out": str(out), "events": written})
    else:
        say(f"{out}: {written:,} events")
