"""`eventveil doctor`: is everything there that a line needs?"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from eventveil.cli.options import JsonOption, print_json, say, stderr, stdout

if TYPE_CHECKING:
    from eventveil.stream.settings import PipelineSettings

STYLES = {"green": "green", "amber": "yellow", "red": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("doctor")(doctor)


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG.yaml]", help="Look with these settings; without, as `run ... --weights shipped`."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of the configuration.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Look at this machine, and say what is in the way of a line.

    Python and packages, processor and GPU, camera drivers, cameras and udev rules, the addresses that are taken, the
    folder for private sockets, weights and certificate, clock and disk. Green: as it should be. Amber: a line runs,
    with something missing. Red: it does not run as asked. Each comes with its remedy. Nothing is changed.

    The exit status is 1 where anything is red, else 0.

    For example:  eventveil doctor   or   eventveil doctor live.yaml --set publish.bind=tcp://127.0.0.1:7000
    """
    from eventveil.doctor import examine

    settings = _settings(config, overrides or [])
    findings = []
    with stderr.status("looking") as status:
        for finding in examine(settings):
            status.update(f"looking: {finding.about}")
            findings.append(finding)
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        for one in findings:
            stdout.print(Text.assemble((f"{one.colour:6}", STYLES[one.colour]), f" {one.about}: {one.found}"))
            if one.remedy is not None:
                stdout.print(Text(f"       -> {one.remedy}"))
    counts = Counter(finding.colour for finding in findings)
    say(f"eventveil: {counts['green']} green, {counts['amber']} amber, {counts['red']} red")
    if counts["red"]:
        raise typer.Exit(1)


def _settings(config: Path | None, overrides: list[str]) -> PipelineSettings:
    from eventveil.config import read_yaml, run_settings
    from eventveil.models import shipped

    if config is not None:
        return run_settings(read_yaml(config), overrides, name=str(config))
    values: dict[str, Any] = {
        "sources": [{"uri": "simulate:"}],
        "anonymize": {"weights": str(shipped.ANONYMIZER)},
        "classify": {"weights": str(shipped.GESTURES)},
    }
    return run_settings(values, overrides, name="eventveil doctor")
