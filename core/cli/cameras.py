"""`eventveil cameras`: list the attached cameras, how to open them, and what prevents it; test one."""

from __future__ import annotations

import getpass
import grp
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from eventveil.cli.options import ForceOption, JsonOption, check_out, print_json, say, stderr, stdout
from eventveil.errors import ConfigError
from eventveil.host.files import write_atomic

if TYPE_CHECKING:
    from eventveil.io.camera.device import CameraInfo

NO_CAMERA = 3
"""Exit status if no camera is attached."""


cameras = typer.Typer(invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(cameras, name="cameras")


@cameras.callback(invoke_without_command=True)
def list_attached(
    context: typer.Context,
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

    eventveil cameras test dv://
    """
    if context.invoked_subcommand is not None:
        return
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


@cameras.command("test")
def run_test(
    camera: Annotated[
        str, typer.Argument(metavar="CAMERA", help="URI of the camera, as `eventveil cameras` lists it.")
    ],
    minutes: Annotated[float, typer.Option(min=0.01, max=1440, help="How long to read the camera.")] = 10.0,
    max_age_ms: Annotated[
        int, typer.Option(min=1, help="Discard and count events that have waited longer, as a live pipeline does.")
    ] = 1000,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File for the report.")] = Path(
        "camera-report.json"
    ),
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Read a camera for ten minutes and write a report to send to the project: counts, rates, losses, and versions.

    Move something in front of the camera now and then, and unplug it once. The report holds no events, no picture and
    no serial number. It gives the number of events in total, and in the quietest, the median and the busiest second. It
    is short: read it before you send it. Ctrl-C ends the test early.

    Exit status 0: all events arrived. 1: events were lost, or the camera was disconnected; the report gives details.

    For example:

    eventveil cameras test dv://

    eventveil cameras test prophesee:// --minutes 2 --out evk4.json
    """
    from eventveil.cli.camera_report import losses_of, measure

    check_out(out, force=force)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[events]:,} events"))
    with Progress(*columns, console=stderr) as progress:
        task = progress.add_task("reading", total=60 * minutes, events=0)
        report = measure(
            camera,
            60 * minutes,
            max_age_ms=max_age_ms,
            watch=lambda seconds, events: progress.update(task, completed=seconds, events=events),
        )
    losses = losses_of(report)
    try:
        write_atomic(out, (dumps(report, indent=2) + "\n").encode(), replace=force)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    if json:
        print_json({"out": str(out), "losses": losses, "report": report})
    else:
        counts, rates = report["counts"], report["events_per_second"]
        stdout.print(f"{report['camera']['model']}, {report['seconds']:g} s: {counts['read']:,} events read, of which")
        stdout.print(f"{counts['delivered']:,} were delivered; {rates['lowest']:,} to {rates['highest']:,} a second")
        for loss in losses:
            stdout.print(f"- {loss}", markup=False)
        say(f"eventveil: wrote the report {out}; it holds no events")
    if losses:
        raise typer.Exit(1)


def _check_group(group: str, *, udev_rules: bool) -> None:
    """Check that a group exists: udev would ignore an unknown one, and then no one could open a camera.

    Raises:
        ConfigError: it does not, or --udev-rules was not given.
    """
    if not udev_rules:
        raise ConfigError("--group names who may open cameras by the udev rules; add --udev-rules")
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
