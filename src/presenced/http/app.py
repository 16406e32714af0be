"""The ASGI application behind the front door."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.json import Encoder
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from presenced.config import WEBSOCKET_PATH
from presenced.core.identity import MAX_SAFE_INTEGER
from presenced.engine import Engine
from presenced.errors import Problem
from presenced.metrics import MEDIA_TYPE as METRICS_MEDIA_TYPE
from presenced.stats import MAX_PAGE
from presenced.version import __version__
from presenced.wire.problem import MEDIA_TYPE as PROBLEM_MEDIA_TYPE
from presenced.wire.problem import problem_body

DEFAULT_PAGE = 100
"""Sessions in one page of `/stats` when the request does not say."""

_SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

_PATHS = ("/", "/healthz", "/readyz", "/stats", "/metrics")

_encoder = Encoder()


def make_app(engine: Engine) -> Starlette:
    """The application of one server."""

    async def healthz(_: Request) -> Response:
        return _json({"status": "alive", "version": __version__})

    async def readyz(_: Request) -> Response:
        reasons = engine.not_ready()
        body = {"status": "not ready" if reasons else "ready", "reasons": reasons, "warnings": engine.warnings()}
        return _json(body, 503 if reasons else 200)

    async def stats(request: Request) -> Response:
        limit = _number(request, "limit", DEFAULT_PAGE, MAX_PAGE)
        return _json(engine.stats(limit, _number(request, "after", 0, MAX_SAFE_INTEGER)))

    async def metrics(_: Request) -> Response:
        return Response(engine.metrics.exposition(), media_type=METRICS_MEDIA_TYPE)

    async def websocket(request: Request) -> Response:
        detail = (
            f"connect with a WebSocket client: new WebSocket('ws://{request.url.netloc}{WEBSOCKET_PATH}?userId=ID'); "
            "behind a proxy, have it pass on the headers Upgrade and Connection"
        )
        return _problem(Problem.UPGRADE_REQUIRED, detail, {"upgrade": "websocket", "connection": "close, upgrade"})

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/stats", stats),
            Route("/metrics", metrics),
            Route(WEBSOCKET_PATH, websocket),
            Mount("/", StaticFiles(packages=[("presenced", "web")], html=True)),
        ],
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers={HTTPException: _http_error, Exception: _internal_error},
    )


class SecurityHeaders:
    """Adds the headers that keep a browser from doing with a page what it is not meant for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class _BadParameter(HTTPException):
    """A query parameter has a value that can't be used."""


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
        raise _BadParameter(400, f"{name} must be a whole number from 0 to {most}")
    return int(text)


def _json(content: object, status: int = 200) -> Response:
    return Response(_encoder.encode(content), status, {"cache-control": "no-store"}, "application/json")


def _problem(problem: Problem, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(problem_body(problem, detail), problem.status, headers, PROBLEM_MEDIA_TYPE)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette refused: no such path, or not with this method. Closes, since a body may be on its way."""
    assert isinstance(error, HTTPException), "registered for it"
    headers = {**(error.headers or {}), "connection": "close"}
    if isinstance(error, _BadParameter):
        return _problem(Problem.BAD_PARAMETER, error.detail, headers)
    if error.status_code == Problem.METHOD_NOT_ALLOWED.status:
        return _problem(Problem.METHOD_NOT_ALLOWED, "use GET", headers)
    detail = f"there is {', '.join(_PATHS)} and, by WebSocket, {WEBSOCKET_PATH}?userId=ID"
    return _problem(Problem.NOT_FOUND, detail, headers)


async def _internal_error(request: Request, error: Exception) -> Response:
    return _problem(Problem.INTERNAL_ERROR, "the fault is in the server's log")
