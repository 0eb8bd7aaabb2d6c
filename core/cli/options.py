"""What all commands share: results go to standard output, everything said about them to standard error."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from eventveil.events import Sensor
from eventveil.io.source import EventSource

stdout = Console(soft_wrap=True, highlight=False)
stderr = Console(stderr=True, soft_wrap=True, highlight=False)

SensorOption = Annotated[
    Sensor | None,
    typer.Option(
        "--sensor", parser=Sensor.parse, metavar="WxH", help="Geometry of the camera, where the file holds none."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


_log = logging.getLogger("eventveil.cli")


def say(text: str) -> None:
    """Tell the user something beside the result; as a line of JSON where logs are (`run --log json`)."""
    if _log.isEnabledFor(logging.INFO):
        _log.info(text.removeprefix("eventveil: ").strip())
    else:
        with contextlib.suppress(OSError):  # a full disk ends the log, and nothing else
            stderr.print(text, markup=False)


def say_losses(file: str, source: EventSource) -> None:
    """Tell how many events were put right or left out of a recording."""
    if source.disorders:
        say(f"{file}: time went back for {source.disorders} events; they were put right")
    for reason, count in source.skipped.items():
        say(f"{file}: left out: {reason}: {count}")


def print_json(result: Any) -> None:
    """Print a result for machines: one line of JSON."""
    typer.echo(json.dumps(result, allow_nan=False))


def on_signals(stop: Callable[[], None]) -> None:
    """Let Ctrl-C and SIGTERM stop the line; a second one stops it at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())
