"""`eventveil service`: install a pipeline as a systemd service, and remove it."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Annotated

import typer

from eventveil.cli.durations import parse_duration
from eventveil.cli.options import JsonOption, print_json, say, stdout

KEEP_LOGS = "14d"

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print files and commands; change nothing.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    service = typer.Typer(no_args_is_help=True, help="Run a pipeline as a systemd service, on Linux (docs/service.md).")
    service.command("install")(install)
    service.command("uninstall")(uninstall)
    app.add_typer(service, name="service")


def install(
    config: Annotated[
        Path,
        typer.Option(
            metavar="CONFIG",
            help="Configuration of the pipeline, or a preset: desk, edge, room or kiosk. It is copied to "
            "/etc/eventveil.",
        ),
    ],
    keep_logs: Annotated[
        str, typer.Option("--keep-logs", metavar="TIME", help="Delete log messages after this time.")
    ] = KEEP_LOGS,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="Install only; you start the service with systemctl.")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Install a pipeline as a service that starts at boot and is named after its configuration.

    Creates the user `eventveil`; a udev rule that lets this user open USB cameras; the systemd unit, which sandboxes
    the pipeline; a separate log; and, if the configuration sets publish.keys, the publisher's keys. Paths in the
    configuration are relative to /etc/eventveil. It must name the weights: `anonymize: {weights: shipped}`. The folder
    for sockets exists only while the service runs.

    Run the command again to change the configuration. It never replaces a file that it has not written.

    For example:

    eventveil service install --config desk --dry-run

    sudo /opt/eventveil/bin/eventveil service install --config line.yaml
    """
    from eventveil.config import find_config
    from eventveil.service.install import System
    from eventveil.service.install import install as install_service
    from eventveil.service.paths import USER
    from eventveil.service.plan import plan

    executable = Path(sysconfig.get_path("scripts")) / "eventveil"
    keep_logs_s = parse_duration("--keep-logs", keep_logs) or 0.0
    installation = plan(
        find_config(config, "presets"), executable=executable, keep_logs_s=keep_logs_s, start=not no_start
    )
    commands = [*installation.before, *installation.after]
    if not dry_run:
        install_service(installation, System())
    if json:
        texts = {str(path): text for path, text in installation.files.items()}
        print_json({"installed": not dry_run, "files": texts, "commands": commands, "problems": installation.problems})
        return
    if dry_run:
        for path, text in installation.files.items():
            stdout.print(f"--- {path}\n{text}", markup=False)
        if installation.keys is not None:
            stdout.print(f"--- {installation.keys}: keys of the publisher, unless they exist", markup=False)
        for command in commands:
            stdout.print(f"run: {command}", markup=False)
        for problem in installation.problems:
            say(f"eventveil: the installation would fail: {problem}")
        return
    say(f"eventveil: installed {installation.paths.unit_name}; see systemctl status {installation.paths.unit_name}")
    if installation.keys is not None:
        say(f"eventveil: allow subscribers: sudo -u {USER} eventveil keys allow CLIENT.pub --keys {installation.keys}")


def uninstall(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the service: `line` for line.yaml.")],
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Stop a service and remove its unit. Removing the last service also removes the udev rule.

    Configuration, keys, log and state stay; `eventveil forget /etc/eventveil/NAME.yaml` deletes log and hot pixels.

    Example:  sudo /opt/eventveil/bin/eventveil service uninstall line
    """
    from eventveil.service.install import System, removal
    from eventveil.service.install import uninstall as remove
    from eventveil.service.paths import ServicePaths

    paths = ServicePaths(name)
    removed, commands = removal(paths, System())
    if not dry_run:
        remove(paths, System())
    if json:
        print_json({"uninstalled": not dry_run, "files": [str(path) for path in removed], "commands": commands})
        return
    for path in removed:
        stdout.print(f"{'would remove' if dry_run else 'removed'}: {path}", markup=False)
    if dry_run:
        for command in commands:
            stdout.print(f"run: {command}", markup=False)
    say(
        f"eventveil: {paths.config}, its keys and its log stay; `eventveil forget {paths.config}` deletes the log and "
        "the hot pixels"
    )
