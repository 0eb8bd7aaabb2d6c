"""Serves the page of a pipeline until it is stopped: what `eventveil view` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from eventveil.errors import ConfigError, LineError
from eventveil.stream.clients.web.feed import Feed, WatchedPipeline
from eventveil.stream.monitoring.token import NEW, read_token
from eventveil.stream.protocol.endpoints import is_loopback
from eventveil.stream.settings.watch import parse_address

ADDRESS = "127.0.0.1:8765"
POLL_S = 0.1
TELL_S = 1.0  # for browsers to receive why the page ends


def serve_page(
    pipeline: WatchedPipeline,
    http: str = ADDRESS,
    token: Path | None = None,
    *,
    say: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Serve the page of a pipeline until `stop` returns True.

    Args:
        pipeline: where to subscribe, and what to check.
        http: HOST:PORT to serve the page at.
        token: file with the token that browsers need. Required where other machines can connect, and for a pipeline
            with keys: other users of this machine have none.
        say: called with the page's address.
        stop: called ten times a second.

    Raises:
        ConfigError: the address is not one of this machine or in use, a token is missing.
        AccessError: the file of the token or of a key cannot be used, or the publisher refuses the key.
        AuditError, BookError: the certificate or the book does not fit the pipeline, see `eventveil.stream.subscribe`.
    """
    try:
        host, port = parse_address(http)
    except ValueError as error:
        raise ConfigError(f"--http: {error}") from None
    if token is None and (pipeline.key is not None or not is_loopback(ip_address(host))):
        others = "other users of this machine" if is_loopback(ip_address(host)) else "other machines"
        raise ConfigError(
            f"{others} could open {http} and see what only your key may receive: create a token, {NEW}, and give "
            "--token FILE"
            if pipeline.key is not None
            else f"{others} can open {http}: create a token, {NEW}, and give --token FILE, or stay on {ADDRESS}"
        )
    from eventveil.stream.clients.web.app import make_app
    from eventveil.stream.clients.web.server import PageServer

    secret = None if token is None else read_token(token)
    with Feed(pipeline) as feed, PageServer((host, port), make_app(feed, secret)) as server:
        asks = "" if secret is None else ", which asks for the token"
        say(f"eventveil: watch in a browser: {server.url}{asks}")
        while feed.works and not stop():
            time.sleep(POLL_S)
        if not feed.works:
            time.sleep(TELL_S)
    if feed.failure is not None:
        raise feed.failure
    if not feed.works and not stop():
        raise LineError("the page no longer receives anything; see the error above")
