"""The command line: parse, load, call, print. Nothing else.

Our own errors become one line on standard error and exit status 2; any other exception is a defect of ours and keeps
its traceback.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from eventveil.cli import (
    audit,
    calibrate,
    cameras,
    convert,
    datasets,
    demo,
    doctor,
    info,
    keys,
    run,
    simulate,
    status,
    subscribe,
    train,
    weights,
)
from eventveil.cli.options import say
from eventveil.errors import EventVeilError
from eventveil.version import __version__

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
    run,
    subscribe,
    status,
    cameras,
    calibrate,
    doctor,
    keys,
    simulate,
    train,
    audit,
    weights,
    demo,
):
    commands.register(app)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"eventveil {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Let the motion of an event camera out and keep the person in.

    eventveil reads events, live or recorded, cuts them into windows, anonymizes those with a learned noise, recognises
    the gesture, and publishes anonymized windows and gestures. Raw events never leave the machine.

    Begin with:  eventveil info RECORDING   and   eventveil demo
    """


def main() -> None:
    """Run the program; the entry point of `eventveil`."""
    try:
        app()
    except EventVeilError as error:
        say(f"eventveil: {error}")
        sys.exit(2)
