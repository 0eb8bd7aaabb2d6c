"""`eventveil forget`: delete what a pipeline, a training or an audit has stored of what it saw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eventveil.cli.options import JsonOption, print_json, say, stdout

if TYPE_CHECKING:
    from eventveil.cli.retention import Trace
    from eventveil.service.paths import ServicePaths


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("forget")(forget)


def forget(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="CONFIG|SOURCE|DIR...",
            help="A pipeline, given as its configuration, the name of a preset, or its source, such as dv://; or the "
            "folder of a training, of an audit, or of cached windows.",
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be deleted; delete nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete what eventveil has stored by itself: hot pixels, files of killed pipelines, logs and raw windows.

    For a pipeline: the hot pixels of its cameras, and what a killed pipeline has left in its runtime folder. For an
    installed service, whose configuration is in /etc/eventveil: its log, too. For a training or cached windows: raw
    windows, and pictures of them. For an audit: its folder work/, with raw windows, identities and attackers; the audit
    can then no longer be resumed.

    Recordings, weights, reports and results stay: delete them like other files. docs/privacy.md lists everything that
    is stored. Deleted files can be recovered from an unencrypted disk.

    For example:

    eventveil forget dv:// --dry-run

    eventveil forget /etc/eventveil/line.yaml

    eventveil forget runs/simulated_small
    """
    from eventveil.service.logs import delete_logs

    found = [_traces(target) for target in targets]  # check all of them before deleting anything
    traces = list(dict.fromkeys(trace for one, _ in found for trace in one))
    logs = [service for _, service in found if service is not None]
    entries = [{"what": trace.what, "path": str(trace.path), "bytes": trace.bytes} for trace in traces]
    entries += [{"what": "log of the service", "path": service.unit_name, "bytes": None} for service in logs]
    if not dry_run:
        for trace in traces:
            trace.delete()
        for service in logs:
            delete_logs(service)
    if json:
        print_json({"deleted": not dry_run, "traces": entries})
        return
    for entry in entries:
        size = "" if entry["bytes"] is None else f" ({entry['bytes']:,} bytes)"
        stdout.print(
            f"{'would delete' if dry_run else 'deleted'}: {entry['what']}: {entry['path']}{size}", markup=False
        )
    if not entries:
        say("eventveil: nothing to delete")


def _traces(target: str) -> tuple[list[Trace], ServicePaths | None]:
    """Return what is kept of a target, and the service if it is the configuration of one."""
    from eventveil.cli.retention import of_folder, of_pipeline
    from eventveil.config import find_config, packaged_configs, read_yaml, run_settings
    from eventveil.replay.player.sources import look_for
    from eventveil.service.paths import ServicePaths

    path = Path(target)
    if path.is_dir():
        return of_folder(path), None
    if target in packaged_configs("presets"):
        path = find_config(path, "presets")
    elif not target.endswith((".yaml", ".yml")):
        settings = run_settings({"sources": [{"uri": target}]}, name=target)
        look_for(settings.sources[0].where)  # a mistyped folder would pass for a recording of which nothing is kept
        return of_pipeline(settings), None
    settings = run_settings(read_yaml(path), name=target)
    service = ServicePaths.of_installed(path)
    return of_pipeline(settings, None if service is None else service.state / "eventveil"), service
