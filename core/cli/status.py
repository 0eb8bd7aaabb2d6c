"""`eventveil status`: how a running line does, asked from outside."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from eventveil.cli.options import JsonOption, print_json, stdout
from eventveil.errors import LineError

ADDRESS = "127.0.0.1:9464"
PATIENCE_S = 5.0
EVERY_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("status")(status)


def status(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="Where the line tells how it does: its watch.metrics.")
    ] = ADDRESS,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, once a second, until Ctrl-C.")] = False,
    json: JsonOption = False,
) -> None:
    """Tell how a running line does: its stages, what they dropped, delays, subscribers.

    The line must have been started with --metrics 127.0.0.1:9464, or watch.metrics in its configuration.

    Exit status 0 where it is healthy, 1 where it is not, 2 where nobody answers.

    Example:  eventveil status --watch
    """
    if watch and not json:
        _follow(address)
        return
    while True:
        told = ask(address)
        print_json(told) if json else stdout.print(_page(told, None))
        if not watch:
            raise typer.Exit(0 if told["healthy"] else 1)
        time.sleep(EVERY_S)


def ask(address: str) -> dict[str, Any]:
    """Ask a line how it does.

    Raises:
        LineError: nobody answers there, or what answers is no line.
    """
    url = f"http://{address}/status"
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            told = json.loads(answer.read())
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise LineError(
            f"{address}: no line tells there how it does ({reason}); start one with --metrics {ADDRESS}, and name its "
            "address"
        ) from None
    if not isinstance(told, dict) or "healthy" not in told:
        raise LineError(f"{address}: what answers there is no line; name the address of its watch.metrics")
    return told


def _follow(address: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    before = ask(address)
    with Live(_page(before, None), console=stdout, refresh_per_second=4) as live:
        while True:
            time.sleep(EVERY_S)
            told = ask(address)
            live.update(_page(told, before))
            before = told


def _page(told: dict[str, Any], before: dict[str, Any] | None) -> Group:
    """A table of the stages, and a line of the whole; rates where there is an earlier answer."""
    table = Table("stage", "state", "in", "out", "dropped", "waiting", "restarts")
    for name, report in told.get("stages", {}).items():
        counts = report["counts"]
        dropped = ", ".join(f"{number:,} {reason}" for reason, number in report["dropped"].items())
        out = counts.get("windows") if name == "publish" else counts.get("sent")
        table.add_row(
            name, report["kind"], _number(counts.get("received")), _number(out), dropped or "none",
            _number(counts.get("waiting")), _number(counts.get("restarts", 0)),
        )  # fmt: skip
    return Group(Text(_headline(told, before)), table)


def _headline(told: dict[str, Any], before: dict[str, Any] | None) -> str:
    state = "healthy" if told["healthy"] else "UNHEALTHY"
    state += ", ready" if told["ready"] else ", not ready"
    if "seconds" not in told:
        return f"{state}; starting"
    rate = ""
    if before is not None and "seconds" in before and told["seconds"] > before["seconds"]:
        seconds = told["seconds"] - before["seconds"]
        events = (told["events"] - before["events"]) / seconds / 1e6
        windows = (told["published_windows"] - before["published_windows"]) / seconds
        rate = f", {events:.3f} Mev/s, {windows:.1f} windows/s"
    p99 = told.get("latency_p99_ms")
    delay = "" if p99 is None else f", latency p99 {p99:.1f} ms"
    return f"{state}; {told['seconds']:.0f} s{rate}{delay}, subscribers {told['subscribers'] or 0:.0f}"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
