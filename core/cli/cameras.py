"""`eventveil cameras`: list the attached cameras, how to open them, and what prevents it."""

from __future__ import annotations

import getpass
import grp
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from eventveil.cli.options import JsonOption, print_json, say, stderr, stdout
from eventveil.errors import ConfigError

if TYPE_CHECKING:
    from eventveil.io.camera.device import CameraInfo

NO_CAMERA = 3
"""Exit status if no camera is attached."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("cameras")(cameras)


def cameras(
    json: JsonOption = False,
    udev_rules: Annotated[
        bool,
        typer.Option(
            "--udev-rules", help="Print udev rules that allow your user, and no other, to open event cameras."
        ),
    ] = False,
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --udev-rules: allow the members of this group, such as a service's."),
    ] = None,
) -> None:
    """List the attached event cameras: model, serial number, sensor, firmware, and the URI that opens each.

    The command queries every installed driver (dv-processing, neuromorphic-drivers, the Metavision SDK) and the USB
    bus. A camera that cannot be opened is listed with the cause (no udev rule, in use by another program, no driver)
    and the command that fixes it.

    Exit status 0: a camera can be opened. 2: cameras are attached, and none can be opened. 3: no camera is attached.

    For example:

    eventveil cameras && eventveil run dv:// --weights shipped

    eventveil cameras --udev-rules | sudo tee /etc/udev/rules.d/65-eventveil.rules

    eventveil cameras --udev-rules --group video
    """
    from eventveil.io.camera.errors import udev_rules as rules
    from eventveil.io.camera.listing import list_cameras

    if group is not None:
        _check_group(group, udev_rules=udev_rules)
    if udev_rules:
        typer.echo(rules(getpass.getuser(), group))
        return
    with stderr.status("querying the drivers"):
        attached, drivers = list_cameras()
    if json:
        print_json({"cameras": [camera.to_dict() for camera in attached], "drivers": drivers})
    elif attached:
        for camera in attached:
            stdout.print(camera.uri, markup=False)
            stdout.print(_table(camera))
    else:
        states = ", ".join(f"{driver}: {state}" for driver, state in drivers.items())
        say(
            f"eventveil: no event camera is attached ({states}); plug one in, or use a network stream "
            "(dv+tcp://HOST:PORT) or simulated people (simulate:)"
        )
    if not attached:
        raise typer.Exit(NO_CAMERA)
    if all(camera.problem is not None for camera in attached):
        raise typer.Exit(2)


def _check_group(group: str, *, udev_rules: bool) -> None:
    """Check that a group exists: udev would ignore an unknown one, and then no one could open a camera.

    Raises:
        ConfigError: it does not, or no rules were asked for.
    """
    if not udev_rules:
        raise ConfigError("--group says who the udev rules allow; add --udev-rules")
    try:
        grp.getgrnam(group)
    except KeyError:
        raise ConfigError(
            f"--group {group}: this machine has no such group; create the service's user first, with useradd --system, "
            "or give another group"
        ) from None


def _table(camera: CameraInfo) -> Table:
    facts = {
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
    for name, value in facts.items():
        if value is not None:
            table.add_row(name, Text(str(value), overflow="fold"))
    return table
