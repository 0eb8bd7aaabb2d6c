"""`eventveil replay`: publish a recording of published messages again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eventveil.cli.options import JsonOption, on_signals, print_json, say
from eventveil.errors import ConfigError

LONGEST_S = 1e9  # thirty years; in nanoseconds, infinity would be no whole number


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("replay")(replay)


def replay(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Files of `eventveil record`, played one after the other.")
    ],
    bind: Annotated[
        str, typer.Option(metavar="tcp://HOST:PORT", help="Where to publish; other machines need --keys.")
    ] = "tcp://127.0.0.1:5556",
    keys: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The publisher's keys, from `eventveil keys new DIR`.")
    ] = None,
    speed: Annotated[
        str, typer.Option(metavar="0.1..100|max", help="Speed; 1.0 is that of the recording, max is unlimited.")
    ] = "1.0",
    start: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, max=LONGEST_S, help="Begin here, counted from the first message.")
    ] = 0.0,
    stop: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, max=LONGEST_S, help="End here, counted from the first message."),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Repeat forever.")] = False,
    wait_for: Annotated[int, typer.Option(metavar="N", min=0, help="Start when N subscribers are connected.")] = 0,
    json: JsonOption = False,
) -> None:
    """Publish a recording again: the same windows, gestures and events, as subscribers received them.

    The topic `state` tells subscribers that it is a replay. Weights, certificate, book and word in the headers are
    those of the recording, so they can be checked as before. A file that eventveil did not record is refused, and so is
    a message that breaks the wire format. The messages can be trusted no more than the file; for a stand-in,
    `eventveil subscribe --book` checks every message.

    For example:

    eventveil replay line.mcap

    eventveil replay line.mcap --speed 4 --start 60 --loop
    """
    from eventveil.config import checked
    from eventveil.stream.archive.mcap_reader import McapRecording
    from eventveil.stream.publisher.republisher import Playback, Republisher
    from eventveil.stream.settings.pipeline import PublishSettings

    publish = checked(
        PublishSettings,
        {"bind": bind, "keys": keys and str(keys), "wait_for": wait_for},
        name="eventveil replay",
    )
    excerpt = Playback(speed=_speed(speed), start_s=start, stop_s=stop, loop=loop)
    if stop is not None and stop <= start:
        raise ConfigError(f"--stop: expected a time after --start, got {stop:g} and {start:g}")
    recordings = [McapRecording(path) for path in files]
    for recording in recordings:
        if not recording.complete:
            say(f"{recording.path}: has no index, because its recorder was killed; its contents are replayed")
    stopped: list[bool] = []
    on_signals(lambda: stopped.append(True))
    republisher = Republisher(recordings, publish, excerpt, lambda: bool(stopped))
    republisher.run(lambda endpoint: say(f"eventveil: replaying on {endpoint}; Ctrl-C stops"))
    if json:
        print_json({"messages": republisher.sent})
    say(f"eventveil: {republisher.sent:,} messages replayed")


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.1 <= speed <= 100:
        raise ConfigError(f"--speed: expected a factor from 0.1 to 100, or max, got {text!r}")
    return speed
