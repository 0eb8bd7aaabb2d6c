"""The command line: parse arguments, load what a command needs, call it, print the result. Nothing else.

An error of our own becomes one line on standard error and exit status 2. Any other exception is a defect in eventveil
and keeps its traceback.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

from eventveil.errors import EventVeilError
from eventveil.processes import default_signals, forbid_core_dumps
from eventveil.version import __version__

with default_signals(signal.SIGINT):  # the imports take a second or more
    import typer

    from eventveil.cli import (
        anonymize,
        audit,
        book,
        calibrate,
        cameras,
        convert,
        datasets,
        demo,
        doctor,
        forget,
        info,
        keys,
        record,
        replay,
        run,
        simulate,
        status,
        subscribe,
        train,
        view,
        weights,
    )
    from eventveil.cli.options import INTERRUPTED, say

app = typer.Typer(
    name="eventveil",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    info,
    convert,
    datasets,
    anonymize,
    run,
    subscribe,
    view,
    record,
    replay,
    status,
    cameras,
    calibrate,
    doctor,
    forget,
    keys,
    simulate,
    train,
    audit,
    weights,
    book,
    demo,
):
    commands.register(app)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"eventveil {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Publish anonymized event-camera windows and gestures in real time.

    eventveil reads live or recorded events, cuts them into windows, anonymizes the windows with learned noise,
    recognises gestures, and publishes the anonymized windows and the gestures. Raw events never leave the machine.

    For example:

    eventveil demo

    eventveil info recording.aedat4
    """


def main() -> None:
    """Run the program; the entry point of `eventveil`."""
    forbid_core_dumps()
    try:
        app()
    except EventVeilError as error:
        say(str(error) if str(error).startswith("eventveil ") else f"eventveil: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
