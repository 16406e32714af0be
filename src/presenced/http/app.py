"""The ASGI application behind `transports.front_door`: builds its parts, and responds if no endpoint matches."""

from __future__ import annotations

from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from presenced.config.settings import WEBSOCKET_PATH
from presenced.errors import Problem
from presenced.http.api.dispatch import api_mount
from presenced.http.api.endpoint import Api
from presenced.http.auth import Access
from presenced.http.errors import ProblemError, problem_response
from presenced.http.health import operator_routes
from presenced.http.middleware import Cors, HostGuard, RawPaths, SecurityHeaders
from presenced.net.refusals import Refusal
from presenced.runtime.text import quoted

_PATHS = ("/", "/client.js", "/healthz", "/readyz", "/stats", "/metrics", "/docs", "/api/v1")


def make_app(api: Api) -> Starlette:
    """Return the application of one server."""

    def end_streams(user_id: str) -> int:
        api.resumable_streams.forget_user(user_id)
        return api.waiting.end_of(user_id)

    api.service.on_disconnect(end_streams)
    access = api.access
    return Starlette(
        routes=[
            *operator_routes(api),
            Route(WEBSOCKET_PATH, partial(_upgrade_required, access)),
            api_mount(api),
            Mount("/", StaticFiles(packages=[("presenced", "web/demo"), ("presenced", "web")], html=True)),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(HostGuard, access),
            Middleware(Cors, access),
            Middleware(RawPaths),
        ],
        exception_handlers={HTTPException: partial(_refusal, access), Exception: _internal_error},
    )


async def _upgrade_required(access: Access, request: Request) -> Response:
    """Respond to a request to the WebSocket path that is not a handshake."""
    detail = (
        f"connect with a WebSocket client: new WebSocket('ws://{request.url.netloc}{WEBSOCKET_PATH}?userId=ID'); "
        "behind a proxy, have it pass on the headers Upgrade and Connection"
    )
    connection, upgrade = (quoted(", ".join(request.headers.getlist(name))) for name in ("connection", "upgrade"))
    found = f"Connection is {connection or 'missing'} and Upgrade is {upgrade or 'missing'}"
    logged = f"{found}, but a handshake needs Upgrade and websocket; a proxy in front must forward both headers"
    access.report(Refusal(Problem.UPGRADE_REQUIRED, "", logged=logged), request.headers)
    return problem_response(Problem.UPGRADE_REQUIRED, detail, {"upgrade": "websocket", "connection": "close, upgrade"})


async def _refusal(access: Access, request: Request, error: Exception) -> Response:
    """Handle a `ProblemError`, and Starlette's own 404 and 405."""
    assert isinstance(error, HTTPException), "registered for it"
    if "websocket" in request.headers.get("upgrade", "").lower() and not isinstance(error, ProblemError):
        access.report(_no_websocket(request, error), request.headers)
    # The body has not been read, and may still be in flight. On a connection that stays open, the next request would
    # have to wait for it.
    headers = {**(error.headers or {}), "connection": "close"}
    if isinstance(error, ProblemError):
        return problem_response(error.problem, error.detail, headers)
    if error.status_code == Problem.METHOD_NOT_ALLOWED.status:
        return problem_response(Problem.METHOD_NOT_ALLOWED, f"use {headers.get('Allow', 'GET')}", headers)
    if request.url.path.startswith("/api/"):
        detail = "there is no such path in the API; /docs lists them all"
    else:
        detail = f"the paths are {', '.join(_PATHS)} and, for WebSockets, {WEBSOCKET_PATH}?userId=ID"
    return problem_response(Problem.NOT_FOUND, detail, headers)


async def _internal_error(request: Request, error: Exception) -> Response:
    return problem_response(Problem.INTERNAL_ERROR, "the server's log has the details")


def _no_websocket(request: Request, error: HTTPException) -> Refusal:
    """Return the refusal to log for a handshake with another path or method than the WebSocket's."""
    if error.status_code == Problem.METHOD_NOT_ALLOWED.status:
        return Refusal(Problem.METHOD_NOT_ALLOWED, "a handshake is a GET request")
    logged = f"there is no WebSocket at {quoted(request.url.path)}; it is at {WEBSOCKET_PATH}?userId=ID"
    return Refusal(Problem.NOT_FOUND, "", logged=logged)
