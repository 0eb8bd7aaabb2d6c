"""`eventveil demo`: the whole pipeline on this machine, with simulated people in front of a simulated camera."""

from __future__ import annotations

import json as json_module
import subprocess
import threading
from collections import Counter, deque
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from rich.columns import Columns
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from eventveil.cli.options import JsonOption, print_json, say, stdout
from eventveil.errors import LineError
from eventveil.host.addresses import free_port
from eventveil.host.extras import require_line
from eventveil.host.processes import module_command

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from eventveil.events import Window
    from eventveil.stream.protocol.wire import Message, StreamHeader

NOTICE = "The people are simulated, as were all people in the training data: this is no evidence about real people."
SOURCE = "simulate:?look=dvs-gesture"
LINES = 3  # shown of publisher and subscriber
PIXELS = 32  # width and height of a picture
BIN_US = 100_000
MAX_BINS = 20  # more than a published window is long
EXIT_TIMEOUT_S = 30
SHADES = " ░▒▓█"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("demo")(demo)


def demo(
    seconds: Annotated[int, typer.Option("--seconds", min=1, help="Duration of the demo.")] = 30,
    json: JsonOption = False,
) -> None:
    """Watch the whole pipeline at work: what the camera sees and what subscribers get, side by side.

    Simulated people make gestures in front of a simulated camera. The shipped weights were trained on other simulated
    people. The publisher runs in its own process; this command subscribes to it. Raw events never leave the publisher:
    for the picture of what the camera sees, this command simulates the same people again. Only the publisher knows the
    true gestures: it prints each as "shown", next to the recognised one, "seen". A web page also shows what is
    published.

    Example:  eventveil demo --seconds 10
    """
    require_line("eventveil demo")
    say(f"eventveil: {NOTICE}")
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    command = module_command("eventveil.cli", "run", SOURCE, "--stop", str(seconds), "--json", "--wait-for", "1")
    command += ["--weights", "shipped", "--set", "line.delivery=live", "--set", f"publish.bind={endpoint}"]
    publisher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    summary: dict[str, Any] = {}
    try:
        if json:
            summary = _summary(publisher, endpoint)
        else:
            _watch(publisher, endpoint)
        status = publisher.wait(EXIT_TIMEOUT_S)  # its stream has ended, so it exits by itself
    finally:
        publisher.terminate()
        publisher.wait(EXIT_TIMEOUT_S)
    if status != 0:
        raise LineError(f"the publisher ended with exit status {status}; see its message above")
    if json:
        print_json(summary)


class SimulatedCamera:
    """Simulates the same people again, for the picture of what the publisher's camera sees.

    Args:
        uri: what the publisher reads.
    """

    def __init__(self, uri: str) -> None:
        from eventveil.replay.player.player import Excerpt, Player
        from eventveil.replay.player.sources import SourceUri, open_playlist
        from eventveil.stream.histogram import WindowedHistogrammer

        playlist = open_playlist(SourceUri.parse(uri), sensor=None, on_disorder="raise", shuffle=False, seed=None)
        histogrammer = WindowedHistogrammer(playlist.sensor, (PIXELS, PIXELS), 1, BIN_US, start_us=0)
        self._bins = (one for packet in Player(playlist, Excerpt()) for one in histogrammer.push(packet))
        self._latest: deque[Window] = deque(maxlen=MAX_BINS)

    def seen(self, header: StreamHeader) -> npt.NDArray[np.float32]:
        """Return the counts of the published window's time, (2, 32, 32)."""
        import numpy as np

        while not self._latest or self._latest[-1].t_end_us < header.t_end_us:
            self._latest.append(next(self._bins))
        during = [one.counts[0] for one in self._latest if header.t_start_us <= one.t_start_us < header.t_end_us]
        counts: npt.NDArray[np.float32] = np.sum(during, axis=0, dtype=np.float32)
        return counts


def _watch(publisher: subprocess.Popen[str], endpoint: str) -> None:
    """Show publisher and subscriber until the publisher ends."""
    from eventveil.stream import subscribe

    max_lines = LINES if stdout.is_terminal else None  # a terminal shows the last lines, a log all of them
    left: deque[str] = deque(maxlen=max_lines)
    right: deque[str] = deque(maxlen=max_lines)
    reader = threading.Thread(target=_read_status, args=(publisher.stdout, left), daemon=True)
    reader.start()
    pictures: tuple[Text, ...] = ()
    camera = SimulatedCamera(SOURCE) if stdout.is_terminal else None
    shown = False  # in a browser
    with Live(console=stdout, auto_refresh=False) as live, ExitStack() as opened:
        for message in subscribe(endpoint, stop=lambda: publisher.poll() is not None and not reader.is_alive()):
            if message.topic == "window" and not shown:  # not earlier: the publisher waits for one subscriber, this one
                shown = True
                _open_page(endpoint, opened)
            right.append(_message_line(message, 18 if stdout.is_terminal else None))
            if camera is not None:
                if message.topic == "window":
                    pictures = _draw(camera.seen(message.header)), _draw(message.array)
                live.update(_side_by_side(left, right, pictures), refresh=True)
            else:
                stdout.print(f"subscriber  {right[-1]}", markup=False)
    reader.join(10)
    if not stdout.is_terminal:
        for line in left:
            stdout.print(f"publisher   {line}", markup=False)


def _summary(publisher: subprocess.Popen[str], endpoint: str) -> dict[str, Any]:
    """Return how many messages of each topic arrived, and the publisher's last status."""
    from eventveil.stream import subscribe

    lines: deque[str] = deque(maxlen=1)
    reader = threading.Thread(target=lines.extend, args=(publisher.stdout or (),), daemon=True)
    reader.start()
    messages = subscribe(endpoint, stop=lambda: publisher.poll() is not None and not reader.is_alive())
    received = Counter(message.topic for message in messages)
    reader.join(EXIT_TIMEOUT_S)
    return {"received": dict(received), "publisher": json_module.loads(lines[-1]) if lines else None}


def _open_page(endpoint: str, opened: ExitStack) -> None:
    """Serve the page of the published windows, and print its address."""
    from eventveil.stream.clients.web.process import page_of

    opened.enter_context(page_of(endpoint, ("127.0.0.1", 0), say=say))


def _read_status(lines: IO[str] | None, into: deque[str]) -> None:
    for line in lines or ():
        into.extend(_status_lines(json_module.loads(line)))


def _status_lines(status: dict[str, Any]) -> list[str]:
    """Return the publisher's status, with true and recognised gesture; at the end, with the accuracy."""
    latency = status["latency_p50_ms"]
    delay = "-" if latency is None else f"{latency:.0f} ms"
    dropped = sum(status["dropped"].values())
    lines = [f"{status['seconds']:4.0f} s {status['published_windows']:4} windows {delay:>7} {dropped:3} lost"]
    if "0" in status.get("last", {}):
        last = status["last"]["0"]
        lines += [f"  shown  {last['label']}", f"  seen   {last['recognised'] or '-'}"]
    elif (truth := status["truth"]) and truth["judged"]:
        lines += [f"  {truth['accuracy']:.0%} of {truth['judged']} correct, by chance {truth['chance']:.0%}"]
    return lines


def _message_line(message: Message, label_width: int | None = None) -> str:
    """Return a message as a line, its label cut to `label_width` characters."""
    header = message.header
    if message.topic == "state":
        return f"{f'stream {header.stream}' if header.stream else 'pipeline'}: {header.state.replace('_', ' ')}"
    text = f"{message.topic:7} {header.seq:4}"
    if message.topic != "gesture":
        return text
    certainty = "" if header.probability is None else f" {header.probability:4.0%}"
    return f"{text} {(header.label or '-')[:label_width]}{certainty}"


def _draw(values: npt.NDArray[np.float32]) -> Text:
    """Draw a window (C, H, W) as half blocks, summed over its channels; brighter means more events.

    Without colours (NO_COLOR), a fuller character means more events.
    """
    import numpy as np

    channels, height, width = values.shape
    pixels = values.reshape(channels, PIXELS, height // PIXELS, PIXELS, width // PIXELS).sum(axis=(0, 2, 4))
    grey = np.clip(255 * pixels / max(float(pixels.max()), 1e-6), 0, 255).astype(int)
    text = Text()
    if stdout.no_color:
        rows = (grey[0::2] + grey[1::2]) // 2  # a character is about twice as high as wide
        return Text("\n".join("".join(SHADES[level * len(SHADES) // 256] for level in row) for row in rows))
    for upper, lower in zip(grey[0::2], grey[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", style=f"rgb({above},{above},{above}) on rgb({below},{below},{below})")
        text.append("\n")
    text.right_crop()
    return text


def _side_by_side(left: deque[str], right: deque[str], pictures: tuple[Text, ...]) -> Group:
    """Lay out both pictures and the latest lines in 80 columns and 24 rows."""
    titles = ("what the camera sees", "what subscribers get")
    drawn = [
        Panel(picture, title=title, width=38, padding=(0, 2))
        for title, picture in zip(titles, pictures, strict=bool(pictures))
    ]
    lines = [
        Panel(Text("\n".join(lines), no_wrap=True), title=title, width=38)
        for title, lines in (("publisher", left), ("subscriber", right))
    ]
    return Group(Columns(drawn, padding=(0, 0)), Columns(lines, padding=(0, 0)))
