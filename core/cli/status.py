"""`eventveil status`: query a running pipeline over HTTP."""

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
TIMEOUT_S = 5.0
INTERVAL_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("status")(status)


def status(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="Status address of the pipeline: its watch.metrics.")
    ] = ADDRESS,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second until Ctrl-C.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the status of a running pipeline: its stages, dropped windows, latency and subscribers.

    Start the pipeline with --metrics 127.0.0.1:9464, or set watch.metrics in its configuration.

    Exit status 0: healthy. 1: unhealthy. 2: no answer.

    For example:

    eventveil run simulate: --weights shipped --metrics 127.0.0.1:9464

    eventveil status --watch
    """
    if watch and not json:
        _follow(address)
        return
    while True:
        current = fetch_status(address)
        print_json(current) if json else stdout.print(_render(current, None))
        if not watch:
            raise typer.Exit(0 if current["healthy"] else 1)
        time.sleep(INTERVAL_S)


def fetch_status(address: str) -> dict[str, Any]:
    """Fetch the status of a running pipeline.

    Raises:
        LineError: nothing answers at the address, or what answers is not a pipeline.
    """
    url = f"http://{address}/status"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            current = json.loads(response.read())
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        reason = getattr(reason, "strerror", None) or reason
        raise LineError(
            f"{address}: no pipeline answers ({reason}); start one with --metrics {ADDRESS}, and give its address here"
        ) from None
    if not isinstance(current, dict) or "healthy" not in current:
        raise LineError(f"{address}: not the status address of a pipeline; give the one set by watch.metrics")
    return current


def _follow(address: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    previous = fetch_status(address)
    with Live(_render(previous, None), console=stdout, refresh_per_second=4) as live:
        while True:
            time.sleep(INTERVAL_S)
            current = fetch_status(address)
            live.update(_render(current, previous))
            previous = current


def _render(current: dict[str, Any], previous: dict[str, Any] | None) -> Group:
    """Return a headline, with rates if there is a previous status, and a table of the stages."""
    table = Table("stage", "state", "in", "out", "dropped", "waiting", "restarts")
    for name, report in current.get("stages", {}).items():
        counts = report["counts"]
        dropped = ", ".join(f"{number:,} {reason}" for reason, number in report["dropped"].items())
        out = counts.get("windows") if name == "publish" else counts.get("sent")
        table.add_row(
            name, report["kind"], _number(counts.get("received")), _number(out), dropped or "none",
            _number(counts.get("waiting")), _number(counts.get("restarts", 0)),
        )  # fmt: skip
    return Group(Text(_headline(current, previous)), table)


def _headline(current: dict[str, Any], previous: dict[str, Any] | None) -> str:
    state = "healthy" if current["healthy"] else "UNHEALTHY"
    state += ", ready" if current["ready"] else ", not ready"
    if "seconds" not in current:
        return f"{state}; starting"
    rate = ""
    if previous is not None and "seconds" in previous and current["seconds"] > previous["seconds"]:
        seconds = current["seconds"] - previous["seconds"]
        events = (current["events"] - previous["events"]) / seconds / 1e6
        windows = (current["published_windows"] - previous["published_windows"]) / seconds
        rate = f", {events:.3f} Mev/s, {windows:.1f} windows/s"
    p99 = current.get("latency_p99_ms")
    latency = "" if p99 is None else f", latency p99 {p99:.1f} ms"
    return f"{state}; {current['seconds']:.0f} s{rate}{latency}, subscribers {current['subscribers'] or 0:.0f}"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
