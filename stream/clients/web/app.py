"""The web application: the page, its files, and a WebSocket with the frames."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from eventveil.stream.clients.web.access import PROTOCOL, Access
from eventveil.stream.clients.web.feed import Feed
from eventveil.stream.clients.web.newest import NewestFrames

CHECK, FRAMES = "/check", "/frames"
MAX_BROWSERS = 32
PAGE = "page.html"
FILES = {PAGE: "text/html", "page.css": "text/css"} | dict.fromkeys(
    ("page.js", "connection.js", "facts.js", "picture.js", "timeline.js"), "text/javascript"
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
]
"""Headers of every response: the page loads nothing from elsewhere, runs no other script, and cannot be framed."""


def make_app(feed: Feed, token: str | None) -> ASGIApp:
    """Return the application.

    Args:
        feed: what browsers receive.
        token: that a browser needs; None: a request must name this machine by a local name.
    """
    file, free = page_files({name: (__package__, kind) for name, kind in FILES.items()}, PAGE)

    async def check(_: Request) -> Response:
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def frames(websocket: WebSocket) -> None:
        if feed.browsers >= MAX_BROWSERS:
            full = PlainTextResponse(f"{MAX_BROWSERS} browsers are watching already\n", HTTPStatus.SERVICE_UNAVAILABLE)
            await websocket.send_denial_response(full)
            return
        offered = PROTOCOL in websocket.scope["subprotocols"]
        await websocket.accept(PROTOCOL if offered else None)
        with feed.watched() as newest:
            await _serve(websocket, newest)

    routes = [Route("/", file), Route(CHECK, check), Route("/{name}", file), WebSocketRoute(FRAMES, frames)]
    return Access(Starlette(routes=routes), token, free)


def page_files(
    kinds: Mapping[str, tuple[str, str]], page: str
) -> tuple[Callable[[Request], Awaitable[Response]], tuple[str, ...]]:
    """Return what answers requests for the files of a page, and their paths.

    Args:
        kinds: the package that holds each file, and its media type, by its name.
        page: name of the file at "/".
    """
    contents = {name: (files(package) / name).read_bytes() for name, (package, _) in kinds.items()}

    async def file(request: Request) -> Response:
        name = request.path_params.get("name", page)
        if name not in kinds:
            return PlainTextResponse("no such page\n", HTTPStatus.NOT_FOUND)
        return Response(contents[name], media_type=kinds[name][1])

    return file, ("/", *(f"/{name}" for name in kinds))


async def _serve(websocket: WebSocket, newest: NewestFrames) -> None:
    """Send frames until the browser leaves, or says anything: it has nothing to say."""
    sending, receiving = asyncio.create_task(_send(websocket, newest)), asyncio.create_task(websocket.receive())
    tasks = (sending, receiving)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send(websocket: WebSocket, newest: NewestFrames) -> None:
    try:
        while True:
            await websocket.send_bytes(await newest.take())
    except (OSError, WebSocketDisconnect):
        return
