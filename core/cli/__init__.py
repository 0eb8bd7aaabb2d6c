"""The command line: parse arguments, load what a command needs, call it, print the result. Nothing else.

An error of our own becomes one line on standard error and exit status 2, and so does an output that cannot be written.
Any other exception is a defect in eventveil and keeps its traceback.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from functools import cache
from importlib import import_module
from typing import Annotated, Any

from eventveil.errors import EventVeilError
from eventveil.host.platforms import refusal

if (problem := refusal()) is not None:  # before the imports that would fail there
    sys.stderr.write(f"eventveil: {problem}\n")
    sys.exit(2)

from eventveil.host.processes import default_signals, forbid_core_dumps
from eventveil.version import __version__

with default_signals(signal.SIGINT):  # the imports take a moment
    import typer

    from eventveil.cli.help import program_of
    from eventveil.cli.options import INTERRUPTED, say, verbosity

SUMMARIES = {
    "info": "Describe a recording: format, sensor, number of events, times and rates.",
    "convert": "Convert a recording to another format; t, x, y and p stay exactly the same.",
    "anonymize": "Anonymize recordings: for each, write a file with what a pipeline would publish of it.",
    "run": "Run sources through the pipeline and publish anonymized windows and gestures.",
    "subscribe": "Receive what a pipeline publishes, until it ends.",
    "view": "Show what a pipeline publishes as a web page, until Ctrl-C.",
    "show": "Show raw events next to what a pipeline would publish, in a web page for you alone, until Ctrl-C.",
    "record": "Record what a pipeline publishes, until it ends: windows, gestures, events and states, in MCAP.",
    "replay": "Publish a recording again: the same windows, gestures and events, as subscribers received them.",
    "status": "Show the status of a running pipeline: its stages, dropped windows, latency and subscribers.",
    "calibrate": "Measure a camera's events and compare them with the training data of the anonymizer.",
    "doctor": "Check this machine for problems that would stop or slow a pipeline. Changes nothing.",
    "forget": "Delete what eventveil has stored by itself: hot pixels, files of killed pipelines, logs and "
    "raw windows.",
    "demo": "Watch the whole pipeline at work: what the camera sees and what subscribers get, side by side.",
    "results": "Print the results of a training or an audit: per cent, with 95 % intervals and chance levels.",
    "cameras": "List the attached event cameras: model, serial number, sensor, firmware, and the URI that opens each.",
    "service": "Run a pipeline as a systemd service, on Linux (docs/service.md).",
    "bridge": "Forward what a pipeline publishes to other systems.",
    "datasets": "Validate datasets.",
    "keys": "Create keys: encrypt what is published, and control who may subscribe (docs/security.md).",
    "simulate": "Write simulated datasets: gestures, visits with gestures in them, or scenes without any; or convert "
    "a video to events (docs/simulator.md).",
    "train": "Train an anonymizer and its classifiers, and attack it. The results are weights for `eventveil run`.",
    "audit": "Measure how much identity an anonymizer leaks: train attackers on anonymized data, test them on "
    "unseen people.",
    "weights": "Import and show weights files, initialise untrained ones, and round them to half precision.",
    "book": "Make, show and check books of the stand-in.",
}
"""The commands in the order of `eventveil --help`, with their summaries: the first sentences of their own help.

Repeated here so that the list of all commands, and a single command, need not import all others.
"""


COMPLETION = "_EVENTVEIL_COMPLETE"
"""Set by a shell that asks for completions."""


@cache
def program(*commands: str) -> typer.Typer:
    """Return the program with these commands only."""
    app = _empty()
    for command in commands:
        import_module(f"eventveil.cli.{command}").register(app)
    return app


def index() -> typer.Typer:
    """Return the program with all its commands by name and summary: enough for `eventveil --help`, and no more."""
    app = _empty()
    for command, summary in SUMMARIES.items():
        app.command(command, help=summary)(lambda: None)
    return app


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return program(*SUMMARIES)


def _empty() -> typer.Typer:
    app = typer.Typer(
        name="eventveil",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(about)
    return app


def _needed_program() -> typer.Typer:
    """Return the program with only those commands that the arguments need."""
    first = sys.argv[1:2]
    if COMPLETION in os.environ:  # the words to complete are not in the arguments
        return program(*SUMMARIES)
    if not first or first[0] in ("-h", "--help"):
        return index()
    return program(*(first if first[0] in SUMMARIES else SUMMARIES))


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"eventveil {__version__}")
        raise typer.Exit


def about(
    version: Annotated[  # noqa: ARG001 - printed by its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print results, warnings about privacy, and errors, and no other messages."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print the traceback of an error, too.")] = False,
) -> None:
    """Publish anonymized event-camera windows and gestures in real time.

    eventveil reads live or recorded events, cuts them into windows, anonymizes the windows, recognises the gestures,
    and publishes both: the anonymized windows and the gestures. Raw events never leave the machine.

    For example:

    eventveil demo

    eventveil info recording.aedat4

    eventveil --install-completion
    """
    verbosity.quiet, verbosity.verbose = quiet, verbose


def main() -> None:
    """Run the program; the entry point of `eventveil`."""
    forbid_core_dumps()
    try:
        with default_signals(signal.SIGINT):
            app = _needed_program()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: half-written files are removed
        program_of(app)()
    except EventVeilError as error:
        if verbosity.verbose:  # without the messages of other exceptions, which may quote values
            say("".join(traceback.format_tb(error.__traceback__)), always=True)
        say(str(error) if str(error).startswith("eventveil ") else f"eventveil: {error}", always=True)
        sys.exit(2)
    except OSError as error:
        if not _is_of_output(error):
            raise
        sys.stdout = io.StringIO()  # or Python would write once more at its end, and fail
        say(f"eventveil: the output cannot be written ({error.strerror}); free some space", always=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _is_of_output(error: OSError) -> bool:
    """Return whether an error was raised where results are printed, as on a full disk: by one of these packages."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).partition(".")[0] in ("rich", "typer", "click")
