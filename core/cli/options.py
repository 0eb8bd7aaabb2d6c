"""Options and output shared by all commands: results go to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from eventveil.errors import ConfigError
from eventveil.host.files import check_target
from eventveil.models.shipped import book_of, key_of

if TYPE_CHECKING:
    from eventveil.events import Sensor
    from eventveil.io.source import EventSource

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 plus the number of SIGINT, as in shells."""

stdout = Console(soft_wrap=True, highlight=False, emoji=False)  # file names may hold `:smile:`
stderr = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)


def set_option(example: str) -> Any:
    """Declare `--set`; the example shows a key of the command's configuration."""
    return typer.Option(
        "--set", metavar="KEY=VALUE", help=f"Set a configuration key, for example {example}. Repeatable."
    )


def disorder_option() -> Any:
    """Declare `--on-disorder`."""
    return typer.Option(
        "--on-disorder",
        metavar="raise|sort|clip",
        help="If timestamps go back: stop, sort the events, or raise late timestamps to the latest one before.",
    )


def damage_option() -> Any:
    """Declare `--on-damage`."""
    return typer.Option(
        "--on-damage",
        metavar="stop|skip",
        help="If a recording is damaged: stop, or leave out the damaged events and go on.",
    )


def _sensor(text: str) -> Sensor:
    from eventveil.events import Sensor  # which needs NumPy, and `eventveil --help` does not

    return Sensor.parse(text)


SensorOption = Annotated[
    Any,  # a Sensor, or None
    typer.Option("--sensor", parser=_sensor, metavar="WxH", help="Sensor size, if the file does not contain it."),
]
WeightsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--weights",
        metavar="FILE|NAME",
        help="Weights file. Repeatable; each file states its role. Four names stand for weights that come with "
        "eventveil, trained on simulated people only: 'shipped', 'noisy-channel', and, to compare them with, the "
        "published methods 'anonynoise' and 'event-reid', in which attackers recognise people.",
    ),
]
AnonymizerOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE|NAME",
        help="Weights file of the anonymizer, or the name of one that comes with eventveil: 'shipped', "
        "'noisy-channel', 'anonynoise' or 'event-reid'.",
    ),
]
BookOption = Annotated[
    Path | None,
    typer.Option("--book", metavar="FILE", help="Book of a stand-in [book.safetensors in the folder of its weights]."),
]
EndpointArgument = Annotated[
    str, typer.Argument(metavar="ENDPOINT", help="Address of the publisher: tcp://HOST:PORT or ipc://PATH.")
]
ServerKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--server-key",
        metavar="FILE.pub",
        help="Public key of the publisher: encrypt, and accept no other publisher.",
    ),
]
SubscriberKeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="Your secret key: DIR/secret.key from `eventveil keys new DIR`."),
]
RequireCertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--require-certificate",
        parser=key_of,
        metavar="KEY.pem|shipped",
        help="Public key of an auditor you trust: refuse data unless that auditor certified its weights. 'shipped' "
        "selects the key of the project, which certifies the weights that come with eventveil.",
    ),
]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Exit after this long without a message.")
]
ExpectedBookOption = Annotated[
    Path | None,
    typer.Option(
        "--book",
        parser=book_of,
        metavar="FILE|shipped",
        help="Book of the publisher's stand-in: refuse what is not exactly what the book says.",
    ),
]
OutFolderOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder for the results, created if missing.")
]
OutFileOption = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="File to write.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the output file if it exists.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Resume the interrupted run whose results are in the --out folder.")
]
LogOption = Annotated[
    str | None, typer.Option("--log", metavar="text|json", help="Format of messages on standard error [text].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON.")]

_log = logging.getLogger("eventveil.cli")


@dataclass
class Verbosity:
    """How much is printed on standard error.

    Attributes:
        quiet: leave out all messages but warnings about privacy, and errors.
        verbose: show where errors come from.
    """

    quiet: bool = False
    verbose: bool = False


verbosity = Verbosity()
"""Set by `eventveil --quiet` and `eventveil -v`."""


def say(text: str, *, always: bool = False) -> None:
    """Print a message for the user on standard error, or log it as a line of JSON under `run --log json`.

    Args:
        text: the message.
        always: print it under `--quiet`, too.
    """
    if verbosity.quiet and not always:
        return
    if _log.isEnabledFor(logging.INFO):
        _log.info(text.removeprefix("eventveil: ").strip())
    else:
        with contextlib.suppress(OSError):  # a full disk ends the messages, not the command
            stderr.print(text, markup=False)


def check_out(path: Path, *, force: bool) -> None:
    """Refuse to overwrite what a path holds, before any work is done.

    Args:
        path: the output file of a command.
        force: whether a regular file may be replaced.

    Raises:
        ConfigError: there is something that may not be replaced.
    """
    try:
        check_target(path, replace=force)
    except FileExistsError as error:
        remedy = "" if force else ", or replace a file with --force"
        raise ConfigError(f"{path}: {error.strerror}; choose another name{remedy}") from None


def say_losses(file: str, source: EventSource) -> None:
    """Report how many events of a recording were repaired or skipped."""
    if source.disorders:
        say(f"{file}: {source.disorders} events were out of order and were repaired")
    for reason, count in source.skipped.items():
        say(f"{file}: skipped: {reason}: {count}")


def print_json(result: Any) -> None:
    """Print a machine-readable result: one line of JSON."""
    typer.echo(json.dumps(result, allow_nan=False))


def say_json(text: str) -> None:
    """Print a message of a command that runs until Ctrl-C as a line of JSON on standard output."""
    print_json({"message": text})


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGINT (Ctrl-C) and on SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())
