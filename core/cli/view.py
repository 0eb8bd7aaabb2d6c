"""`eventveil view`: a web page that shows what a pipeline publishes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eventveil.cli.options import (
    EndpointArgument,
    ExpectedBookOption,
    JsonOption,
    RequireCertificateOption,
    ServerKeyOption,
    SubscriberKeyOption,
    on_signals,
    say,
    say_json,
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("view")(view)


def view(
    endpoint: EndpointArgument,
    http: Annotated[
        str, typer.Option("--http", metavar="HOST:PORT", help="Address to serve the page at.")
    ] = "127.0.0.1:8765",
    token: Annotated[
        Path | None,
        typer.Option(
            "--token",
            metavar="FILE",
            help="File with a token that browsers must give. Required with keys, and where other machines can connect.",
        ),
    ] = None,
    server_key: ServerKeyOption = None,
    key: SubscriberKeyOption = None,
    require_certificate: RequireCertificateOption = None,
    book: ExpectedBookOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a pipeline publishes as a web page, until Ctrl-C.

    The page shows the published windows as a moving picture, the gestures of the last minute, losses with their
    reasons, and what protects the people: anonymizer, certificate, book and bits per second. It is a subscriber like
    any other, with the same keys and checks as `eventveil subscribe`: it sees no raw events and slows nothing down.

    The command waits for a pipeline, and for the next one when one has ended. If the data fails the check of
    --require-certificate or --book, it ends with status 2 and the cause.

    HTTP is not encrypted. To watch from another machine, use an SSH tunnel or a proxy with TLS.

    For example:

    eventveil view tcp://127.0.0.1:5556

    eventveil view tcp://HOST:5556 --server-key line.pub --key alice/secret.key --token page.token
    """
    from eventveil.stream.clients.web.feed import WatchedPipeline
    from eventveil.stream.clients.web.serve import serve_page

    stopped: list[bool] = []
    on_signals(lambda: stopped.append(True))
    pipeline = WatchedPipeline(
        endpoint, server_key=server_key, key=key, require_certificate=require_certificate, book=book
    )
    tell = say_json if json else say
    serve_page(pipeline, http, token, say=tell, stop=lambda: bool(stopped))
