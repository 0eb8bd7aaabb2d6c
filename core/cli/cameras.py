"""`eventveil cameras`: what is attached, what opens it, and what is in the way."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from eventveil.cli.options import JsonOption, print_json, say, stderr, stdout

if TYPE_CHECKING:
    from eventveil.io.camera.device import CameraInfo

NONE = 3
"""Exit status where no camera is attached."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("cameras")(cameras)


def cameras(
    json: JsonOption = False,
    udev_rules: Annotated[
        bool,
        typer.Option("--udev-rules", help="Print the udev rules that let you, and nobody else, open event cameras."),
    ] = False,
) -> None:
    """List the event cameras that are attached: model, serial, sensor, firmware, and the URI that opens each.

    Every driver that is installed is asked (dv-processing, neuromorphic-drivers, the Metavision SDK), and so is the
    USB itself: a camera that is there and cannot be opened is listed with what is in the way (no udev rule, another
    program, no driver) and the command that mends it.

    The exit status is 0 where a camera can be opened, 2 where none of those that are there can, 3 where there is none.

    For example:

    eventveil cameras && eventveil run dv:// --weights shipped
    """
    from eventveil.io.camera.errors import udev_rules as rules
    from eventveil.io.camera.listing import list_cameras

    if udev_rules:
        typer.echo(rules(getpass.getuser()))
        return
    with stderr.status("asking the drivers"):
        found, drivers = list_cameras()
    if json:
        print_json({"cameras": [camera.to_dict() for camera in found], "drivers": drivers})
    elif found:
        for camera in found:
            stdout.print(camera.uri, markup=False)
            stdout.print(_table(camera))
    else:
        asked = ", ".join(f"{driver}: {state}" for driver, state in drivers.items())
        say(
            f"eventveil: no event camera is attached ({asked}); plug one in, or take events from the network "
            "(dv+tcp://HOST:PORT) or from people before a simulated camera (simulate:)"
        )
    if not found:
        raise typer.Exit(NONE)
    if all(camera.problem is not None for camera in found):
        raise typer.Exit(2)


def _table(camera: CameraInfo) -> Table:
    told = {
        "model": camera.model,
        "serial": camera.serial,
        "sensor": camera.sensor,
        "firmware": camera.firmware,
        "driver": camera.driver or "none",
        "attached": camera.connection,
        "problem": camera.problem,
        "remedy": camera.remedy,
    }
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in told.items():
        if value is not None:
            table.add_row(name, Text(str(value), overflow="fold"))
    return table
