"""`eventveil demo`: the whole line on this machine, with simulated people before a simulated camera."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections import deque
from typing import IO, TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.columns import Columns
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from eventveil.cli.options import say, stdout
from eventveil.errors import LineError
from eventveil.processes import module_command

if TYPE_CHECKING:
    from eventveil.stream.protocol.wire import Message

NOTICE = (
    "The people are simulated, and so were all that these weights learned from: this is no evidence about real ones."
)
LINES = 15  # shown of each end
LEAVE_S = 30


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("demo")(demo)


def demo(seconds: Annotated[int, typer.Option("--seconds", min=1, help="How long it runs.")] = 30) -> None:
    """See the whole line at work: a publisher and a subscriber, side by side.

    People drawn from numbers make gestures before a simulated camera; the weights are those that come with eventveil,
    which were trained on others of their kind. A publisher in a process of its own takes the events through the line;
    what it publishes is received here. What the people really do, "shown" beside what was "seen", is known to the
    publisher alone.
    """
    say(f"eventveil: {NOTICE}")
    endpoint = f"tcp://127.0.0.1:{_free_port()}"
    command = module_command("eventveil.cli", "run", "simulate:", "--stop", str(seconds), "--json", "--wait-for", "1")
    command += ["--weights", "shipped", "--set", "line.delivery=live", "--set", f"publish.bind={endpoint}"]
    publisher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        _watch(publisher, endpoint)
        status = publisher.wait(LEAVE_S)  # it has said its last word, and ends by itself
    finally:
        publisher.terminate()
        publisher.wait(LEAVE_S)
    if status != 0:
        raise LineError(f"the publisher ended with exit status {status}; its message stands above")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _watch(publisher: subprocess.Popen[str], endpoint: str) -> None:
    """Show both ends until the publisher has ended."""
    from eventveil.stream import subscribe

    kept = LINES if stdout.is_terminal else None  # a screen has so many lines, a log has them all
    left: deque[str] = deque(maxlen=kept)
    right: deque[str] = deque(maxlen=kept)
    reader = threading.Thread(target=_read_status, args=(publisher.stdout, left), daemon=True)
    reader.start()
    picture = Text()
    with Live(console=stdout, auto_refresh=False) as live:
        for message in subscribe(endpoint, stop=lambda: publisher.poll() is not None and not reader.is_alive()):
            right.append(_received(message))
            if message.topic == "window":
                picture = _draw(message.array)
            if stdout.is_terminal:
                live.update(_side_by_side(left, right, picture), refresh=True)
            else:
                stdout.print(f"subscriber  {right[-1]}", markup=False)
    reader.join(10)
    if not stdout.is_terminal:
        for line in left:
            stdout.print(f"publisher   {line}", markup=False)


def _read_status(lines: IO[str] | None, into: deque[str]) -> None:
    for line in lines or ():
        into.extend(_published(json.loads(line)))


def _published(status: dict[str, Any]) -> list[str]:
    """What the publisher says: how it goes, and what is shown and seen; at the end, how often that was the same."""
    latency = status["latency_p50_ms"]
    delay = "-" if latency is None else f"{latency:.0f} ms"
    told = [f"{status['seconds']:4.0f} s {status['published_windows']:4} windows {delay:>7} {_lost(status):3} lost"]
    if "0" in status.get("last", {}):
        last = status["last"]["0"]
        told += [f"  shown  {last['label']}", f"  seen   {last['recognised']}"]
    elif (truth := status["truth"]) and truth["judged"]:
        told += [f"  right {truth['accuracy']:.0%} of {truth['judged']}, by chance {truth['chance']:.0%}"]
    return told


def _lost(status: dict[str, Any]) -> int:
    return sum(status["dropped"].values())


def _received(message: Message) -> str:
    header = message.header
    if message.topic == "state":
        return f"{header.stream or 'the line'}: {header.state}"
    seen = f"{message.topic:7} {header.seq:4}"
    return f"{seen} {header.label:.16} {header.probability:4.0%}" if message.topic == "gesture" else seen


def _draw(values: npt.NDArray[np.float32]) -> Text:
    """An anonymized window (C, 32, 32) as half blocks: all events together, the brighter the more."""
    events = values.sum(axis=0)
    grey = np.clip(255 * events / max(float(events.max()), 1e-6), 0, 255).astype(int)
    text = Text()
    for upper, lower in zip(grey[0::2], grey[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", style=f"rgb({above},{above},{above}) on rgb({below},{below},{below})")
        text.append("\n")
    return text


def _side_by_side(left: deque[str], right: deque[str], picture: Text) -> Group:
    """Both ends fit into 80 columns; the picture comes along where there is room."""
    height = LINES + 4
    panels = [
        Panel(Text("\n".join(left), no_wrap=True), title="publisher", width=40, height=height),
        Panel(Text("\n".join(right), no_wrap=True), title="subscriber", width=39, height=height),
    ]
    if stdout.width >= 117:
        panels.append(Panel(picture, title="what subscribers see", width=36, height=height))
    return Group(Text(NOTICE, style="bold"), Columns(panels, padding=(0, 0)))
