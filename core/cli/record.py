"""`eventveil record`: write what a pipeline publishes to MCAP files."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from eventveil.cli.durations import parse_duration, parse_size
from eventveil.cli.options import (
    EndpointArgument,
    ExpectedBookOption,
    JsonOption,
    OutFileOption,
    RequireCertificateOption,
    ServerKeyOption,
    SubscriberKeyOption,
    TimeoutOption,
    on_signals,
    print_json,
    say,
)
from eventveil.errors import ConfigError

if TYPE_CHECKING:
    from eventveil.stream.archive.recorder import Recorder


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("record")(record)


def record(
    endpoint: EndpointArgument,
    out: OutFileOption = None,
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", metavar="window|gesture|events", help="Topic to record [all]."),
    ] = None,
    server_key: ServerKeyOption = None,
    key: SubscriberKeyOption = None,
    require_certificate: RequireCertificateOption = None,
    book: ExpectedBookOption = None,
    rotate_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Begin a new file when one reaches this size, as in 1GB.")
    ] = None,
    rotate_every: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begin a new file after this time, as in 10m or 1h.")
    ] = None,
    keep: Annotated[
        str | None, typer.Option(metavar="TIME", help="Remove files that ended longer ago than this, as in 30d.")
    ] = None,
    timeout: TimeoutOption = None,
    json: JsonOption = False,
) -> None:
    """Record what a pipeline publishes, until it ends: windows, gestures, events and states, in MCAP.

    The file can be replayed (`eventveil replay`), described (`eventveil info`), and opened in Foxglove or Lichtblick.
    It appears when it is complete. With --rotate-size or --rotate-every there are several files, named after FILE and
    the time. A key pressed while recording adds a marker with the key's name.

    Only what a subscriber may see is recorded. If the publisher has keys, only its subscribers can record. With --book
    or --require-certificate, only what the book says or the auditor certified is recorded; anything else ends the
    command.

    Exit status 1: the pipeline failed, or nothing came within --timeout. 2: the file cannot be written; what was
    recorded before is complete.

    For example:

    eventveil record tcp://127.0.0.1:5556 --out line.mcap

    eventveil record tcp://127.0.0.1:5556 --out line.mcap --rotate-every 1h --keep 30d
    """
    if out is None:
        raise ConfigError("expected --out FILE.mcap, the file to write")
    from eventveil.stream.archive.recorder import Recorder, Rotation
    from eventveil.stream.protocol.wire import EVENTS, GESTURE, STATE, WINDOW
    from eventveil.stream.subscriber.client import subscribe

    rotation = Rotation(
        parse_size("--rotate-size", rotate_size),
        parse_duration("--rotate-every", rotate_every),
        parse_duration("--keep", keep),
    )
    stopped: list[bool] = []
    on_signals(lambda: stopped.append(True))
    recorder, failed, connected = Recorder(out, rotation), False, False
    try:
        with _marker_keys(recorder) as set_markers:

            def stop() -> bool:
                set_markers()
                recorder.tick()
                return bool(stopped)

            for message in subscribe(
                endpoint,
                topic or (WINDOW, GESTURE, EVENTS),
                server_key=server_key,
                key=key,
                require_certificate=require_certificate,
                book=book,
                timeout_s=timeout,
                stop=stop,
            ):
                recorder.write(message)
                connected = True
                failed = failed or (message.topic == STATE and message.header.state == "failed")
    finally:
        recorder.close()
        _report(recorder, json=json)
    if failed or (not connected and timeout is not None and not stopped):
        raise typer.Exit(1)


def _report(recorder: Recorder, *, json: bool) -> None:
    names = [str(path) for path in recorder.paths]
    if json:
        print_json({"files": names, "windows": recorder.windows, "messages": recorder.messages})
    say(f"eventveil: {recorder.windows:,} windows recorded in {', '.join(names) or 'no file'}")


@contextmanager
def _marker_keys(recorder: Recorder) -> Iterator[Callable[[], None]]:
    """Yield a function that sets a marker for each key that was pressed; without a terminal, it does nothing."""
    if not sys.stdin.isatty():
        yield lambda: None
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def set_markers() -> None:
        while select.select([terminal], [], [], 0)[0]:
            pressed = os.read(terminal, 32).decode(errors="replace")
            if not pressed:
                return
            for name in filter(str.isprintable, pressed):
                recorder.mark(name)
                say(f"eventveil: marker {name}")

    try:
        tty.setcbreak(terminal)
        yield set_markers
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
