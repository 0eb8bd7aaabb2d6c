"""Decides which requests are answered: those of this machine's own pages, or those with the token.

- Without a token, a request must name this machine by a local name. So a web page elsewhere whose name points here (DNS
  rebinding) gets nothing.
- A WebSocket must come from a page of this very server: browsers let pages of other sites open one.
- With a token, everything but the page's own files needs it: they hold nothing of a stream, and the page asks for it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from eventveil.stream.monitoring.token import bears_token
from eventveil.stream.protocol.endpoints import names_this_machine

PROTOCOL = "eventveil"
TOKEN_PROTOCOL = "eventveil.token."  # and the token in base64url: a page cannot add a header to a WebSocket


class Access:
    """Answers a refused request, and passes every other one on. An ASGI application.

    Args:
        app: the application.
        token: that requests need; None: they must name this machine.
        free: paths that need no token.
        local: whether requests must name this machine even with a token.
    """

    def __init__(self, app: ASGIApp, token: str | None, free: Collection[str], *, local: bool = False) -> None:
        self._app = app
        self._token = token
        self._free = frozenset(free)
        self._local = local or token is None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of ASGI."""
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("Host", ""), headers.get("Origin")
        if self._local and not names_this_machine(host):
            return _refused(HTTPStatus.FORBIDDEN, "use a local host name, such as localhost")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return _refused(HTTPStatus.FORBIDDEN, "pages of other sites may not read this one")
        if self._token is not None and scope["path"] not in self._free and not _has_token(headers, self._token):
            return _refused(HTTPStatus.UNAUTHORIZED, "Authorization: Bearer TOKEN is missing")
        return None


def _has_token(headers: Headers, token: str) -> bool:
    offered = [each.strip() for each in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    texts = [_decoded(each.removeprefix(TOKEN_PROTOCOL)) for each in offered if each.startswith(TOKEN_PROTOCOL)]
    return any(bears_token(text, token) for text in (headers.get("Authorization", ""), *texts))


def _decoded(text: str) -> str:
    try:
        return "Bearer " + base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        return ""


def _refused(code: HTTPStatus, why: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if code == HTTPStatus.UNAUTHORIZED else {}
    return PlainTextResponse(f"{why}\n", code, headers)
