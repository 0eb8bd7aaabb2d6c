"""The web application: the page, and pictures of the steps for requests with the token."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from eventveil.errors import ConfigError
from eventveil.stream.clients.web.access import Access
from eventveil.stream.clients.web.app import page_files
from eventveil.stream.clients.web.frames import PageFrame
from eventveil.stream.owner.show.reel import Reel, ReelStep, Shown
from eventveil.stream.owner.show.sheet import animation, png, save
from eventveil.stream.owner.show.steps import STEP_US

PAGE = "show.html"
FILES = {
    PAGE: (__package__, "text/html"),
    "show.css": (__package__, "text/css"),
    "show.js": (__package__, "text/javascript"),
    "page.css": ("eventveil.stream.clients.web", "text/css"),
    "connection.js": ("eventveil.stream.clients.web", "text/javascript"),
}
ANIMATION_STEPS = 30  # three seconds


def make_app(reel: Reel, token: str, out: Path, say: Callable[[str], None]) -> ASGIApp:
    """Return the application.

    Args:
        reel: the steps.
        token: without it, a request gets the files of the page and nothing else.
        out: folder for saved pictures.
        say: called with the name of each saved picture.
    """
    file, free = page_files(FILES, PAGE)

    async def state(_: Request) -> Response:
        span = reel.span
        return JSONResponse({
            "first": span.start, "end": span.stop, "names": reel.names, "live": reel.live, "over": reel.end,
            "failed": reel.failure is not None, "step_ms": STEP_US // 1000,
        })  # fmt: skip

    async def pictures(request: Request) -> Response:
        found = _find(reel, request)
        if found is None:
            return _no_step()
        step, column = found
        shown = (step.columns[0], step.columns[column])
        arrays = [array for one in shown for array in (one.events, one.picture) if array is not None]
        header: dict[str, Any] = {"columns": [_described(one) for one in shown], "end_us": step.end_us}
        frame = PageFrame.of("step", payload=b"".join(array.tobytes() for array in arrays), **header)
        return Response(frame.message(0), media_type="application/octet-stream")

    async def keep(request: Request) -> Response:
        found = _find(reel, request)
        if found is None:
            return _no_step()
        step, column = found
        names, kind = [reel.names[column - 1]], request.path_params["kind"]
        try:
            path = await run_in_threadpool(_save, reel, request.path_params["number"], step, names, kind, out)
        except ConfigError as error:
            return PlainTextResponse(f"{error}\n", HTTPStatus.INSUFFICIENT_STORAGE)
        say(f"eventveil: saved {path}; it shows raw events, so keep it to yourself")
        return JSONResponse({"file": str(path)})

    routes = [
        Route("/", file),
        Route("/state", state),
        Route("/pictures/{number:int}/{column:int}", pictures),
        Route("/save/{kind}/{number:int}/{column:int}", keep, methods=["POST"]),
        Route("/{name}", file),
    ]
    return Access(Starlette(routes=routes), token, free, local=True)


def _find(reel: Reel, request: Request) -> tuple[ReelStep, int] | None:
    """Return the step that a request names, and the column of the anonymizer."""
    step, column = reel.step(request.path_params["number"]), request.path_params["column"]
    known = request.path_params.get("kind", "png") in ("png", "gif")
    return (step, column) if known and step is not None and 1 <= column < len(step.columns) else None


def _save(reel: Reel, number: int, step: ReelStep, names: list[str], kind: str, out: Path) -> Path:
    if kind == "png":
        return save(out, kind, png(step, names))
    steps = [one for at in range(number, number + ANIMATION_STEPS) if (one := reel.step(at)) is not None]
    return save(out, kind, animation(steps or [step], names))


def _described(shown: Shown) -> dict[str, Any]:
    picture = None if shown.picture is None else shown.picture.shape
    return {"name": shown.name, "label": shown.label, "events": shown.events.shape, "picture": picture}


def _no_step() -> Response:
    return PlainTextResponse("no such step\n", HTTPStatus.NOT_FOUND)
