"""`eventveil status`: query a running pipeline over HTTP."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from eventveil.cli.options import JsonOption, print_json, stdout
from eventveil.errors import LineError
from eventveil.host.addresses import parse_port, split_host_port

ADDRESS = "127.0.0.1:9464"
TIMEOUT_S = 5.0
INTERVAL_S = 1.0
MAX_ANSWER = 1 << 20  # bytes


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("status")(status)


def status(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="Status address of the pipeline: its watch.metrics.")
    ] = ADDRESS,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second until Ctrl-C.")] = False,
    token: Annotated[
        Path | None, typer.Option("--token", metavar="FILE", help="The pipeline's watch.token, or a copy of it.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the status of a running pipeline: its stages, dropped windows, latency and subscribers.

    Start the pipeline with --metrics 127.0.0.1:9464, or set watch.metrics in its configuration. Health is current;
    the figures are up to ten seconds old.

    Exit status 0: healthy. 1: unhealthy. 2: no answer.

    For example:

    eventveil run simulate: --weights shipped --metrics 127.0.0.1:9464

    eventveil status --watch
    """
    from eventveil.stream.monitoring.token import read_token

    secret = None if token is None else read_token(token)
    if watch and not json:
        _follow(address, secret)
        return
    while True:
        current = fetch_status(address, secret)
        print_json(current) if json else stdout.print(_render(current, None))
        if not watch:
            raise typer.Exit(0 if current["healthy"] else 1)
        time.sleep(INTERVAL_S)


def fetch_status(address: str, token: str | None = None) -> dict[str, Any]:
    """Fetch the status of a running pipeline.

    It is asked directly: a proxy or a redirection could be given the token.

    Raises:
        LineError: nothing answers at the address, the token is wrong, or what answers is not a pipeline.
    """
    import http.client

    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    host, port = split_host_port(address)
    number = parse_port(port)
    if not host or "/" in host or number is None:
        raise LineError(f"{address}: expected HOST:PORT, such as {ADDRESS}: the pipeline's watch.metrics")
    connection = http.client.HTTPConnection(host, number, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/status", headers=headers)
        answer = connection.getresponse()
        text, code = answer.read(MAX_ANSWER), answer.status
        current = json.loads(text) if code == http.HTTPStatus.OK else None
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or error
        raise LineError(
            f"{address}: no pipeline answers ({reason}); start one with --metrics {ADDRESS}, and give its address here"
        ) from None
    finally:
        connection.close()
    if code == http.HTTPStatus.UNAUTHORIZED:
        raise LineError(f"{address}: asks for a token; give --token FILE with the one of the pipeline's watch.token")
    if not isinstance(current, dict) or "healthy" not in current:
        raise LineError(f"{address}: not the status address of a pipeline; give the one set by watch.metrics")
    return current


def _follow(address: str, token: str | None) -> None:
    from rich.live import Live

    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    earlier = latest = fetch_status(address, token)
    with Live(_render(latest, None), console=stdout, refresh_per_second=4) as live:
        while True:
            time.sleep(INTERVAL_S)
            current = fetch_status(address, token)
            if current.get("seconds") != latest.get("seconds"):
                earlier = latest
            latest = current
            live.update(_render(latest, earlier))


def _render(current: dict[str, Any], previous: dict[str, Any] | None) -> Group:
    """Return a headline, with rates if there is a previous status, and a table of the stages."""
    counts_of = (Column(name, justify="right", no_wrap=True) for name in ("in", "out"))
    others = (Column(name, justify="right", no_wrap=True) for name in ("in flight", "restarts"))
    table = Table("stage", "state", *counts_of, "dropped", *others)
    windows = current.get("books", {}).get("stages", {})
    for name, stage in current.get("stages", {}).items():
        counts = windows[name]
        dropped = ", ".join(f"{number:,} {reason}" for reason, number in counts["dropped"].items())
        state = f"{stage['state']} ({stage['runs_on']})" if "runs_on" in stage else stage["state"]
        table.add_row(
            name, state, f"{counts['received']:,}", f"{counts['sent']:,}", dropped or "none",
            f"{counts['in_flight']:,}", f"{stage['restarts']:,}",
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
        windows = (current["published_windows"] - previous["published_windows"]) / seconds
        rate = f", {windows:.1f} windows/s"
    p99 = current["latency_p99_ms"]
    latency = "" if p99 is None else f", latency p99 {p99} ms"
    connected = (current["subscribers"] or {}).get("connected", 0)
    away = "".join(f", CAMERA OF {name} AWAY" for name, camera in current["cameras"].items() if camera["away"])
    return f"{state}; {current['seconds']:.0f} s{rate}{latency}, subscribers {connected}{away}"
