"""`eventveil doctor`: check that this machine has everything a pipeline needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from eventveil.cli.options import JsonOption, print_json, say, set_option, stderr, stdout

if TYPE_CHECKING:
    from eventveil.stream.settings.pipeline import PipelineSettings

STYLES = {"green": "green", "amber": "yellow", "red": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("doctor")(doctor)


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG",
            help="Check for this configuration: a YAML file, or an included one: live, replay, desk, edge, room, "
            "kiosk [`eventveil run simulate: --weights shipped`].",
        ),
    ] = None,
    overrides: Annotated[list[str] | None, set_option("publish.bind=tcp://127.0.0.1:7000")] = None,
    json: JsonOption = False,
) -> None:
    """Check this machine for problems that would stop or slow a pipeline. Changes nothing.

    Checks Python and packages, processor and GPU, camera drivers, cameras and udev rules, network addresses, the folder
    for private sockets, weights and certificate, clock and disk. Green: fine. Amber: the pipeline runs, with something
    missing. Red: it does not run as configured. Amber and red results come with a remedy.

    Exit status 0, or 1 if anything is red.

    For example:

    eventveil doctor

    eventveil doctor live.yaml --set publish.bind=tcp://127.0.0.1:7000
    """
    from eventveil.doctor import examine

    settings = _settings(config, overrides or [])
    findings = []
    with stderr.status("checking") as status:
        for finding in examine(settings):
            status.update(f"checked: {finding.about}")
            findings.append(finding)
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            text = f" {finding.about}: {finding.found}"
            stdout.print(Text.assemble((f"{finding.colour:6}", STYLES[finding.colour]), text))
            if finding.remedy is not None:
                stdout.print(Text(f"       -> {finding.remedy}"))
    counts = Counter(finding.colour for finding in findings)
    say(f"eventveil: {counts['green']} green, {counts['amber']} amber, {counts['red']} red")
    if counts["red"]:
        raise typer.Exit(1)


def _settings(config: Path | None, overrides: list[str]) -> PipelineSettings:
    from eventveil.config import find_config, read_yaml, run_settings
    from eventveil.models import shipped

    if config is not None:
        path = find_config(config, "", "presets")
        return run_settings(read_yaml(path), overrides, name=str(path))
    values: dict[str, Any] = {"sources": [{"uri": "simulate:"}]}
    for group, file in zip(("anonymize", "classify"), shipped.SETS["shipped"], strict=False):
        values[group] = {"weights": str(file)}
    return run_settings(values, overrides, name="eventveil doctor")
