"""The ASGI application behind the front door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from presenced.auth.api_keys import ApiKeys
from presenced.auth.ticket_streams import TicketStreams
from presenced.auth.tickets import Tickets
from presenced.config.settings import WEBSOCKET_PATH
from presenced.errors import Problem
from presenced.http.api.archive import Archive, Letters
from presenced.http.api.endpoint import Api
from presenced.http.api.followers import Followers
from presenced.http.api.router import api_mount
from presenced.http.api.segments import Segments
from presenced.http.api.spans import Spans
from presenced.http.auth import Access
from presenced.http.cors import Cors
from presenced.http.errors import ProblemError, json_answer, problem_answer
from presenced.http.health import not_ready, warnings
from presenced.http.host_guard import HostGuard
from presenced.net.hosts import AllowedHosts
from presenced.net.origins import Origins
from presenced.net.refusals import Refusal
from presenced.node.node import Node
from presenced.node.service import PresenceService
from presenced.node.stats import MAX_PAGE
from presenced.presence.identity import MAX_SAFE_INTEGER
from presenced.runtime.metrics import MEDIA_TYPE as METRICS_MEDIA_TYPE
from presenced.runtime.strict_json import EXTENSION, no_field
from presenced.runtime.text import quoted
from presenced.version import __version__

DEFAULT_PAGE = 100
"""Sessions in one page of `/stats` when the request does not say."""

_SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}

_PATHS = ("/", "/healthz", "/readyz", "/stats", "/metrics", "/docs", "/api/v1")


def make_app(
    application: PresenceService,
    node: Node,
    keys: ApiKeys,
    tickets: Tickets,
    followers: Followers,
    archive: Archive | None = None,
    letters: Letters | None = None,
) -> Starlette:
    """The application of one server.

    Args:
        archive: Where to ask of the past; None: nothing is kept.
        letters: Where to ask of dead letters; None: no webhooks are sent.
    """
    hosts = AllowedHosts.of(node.settings)
    origins = Origins(node.settings.origins, hosts.allow)
    own = AllowedHosts.own(node.settings)
    access = Access(keys, origins, own, node.gatekeeper is None, node.throttle, node.clock, node.turned_away)
    spans = Spans(application, node.settings.journal_size)
    ticket_streams = TicketStreams(tickets, node.settings.token_lifetime)
    api = Api(application, node, access, tickets, ticket_streams, followers, spans, archive, letters)

    def end_streams(user_id: str) -> int:
        ticket_streams.forget_user(user_id)
        return followers.end_of(user_id)

    application.on_disconnect(end_streams)

    async def http_error(request: Request, error: Exception) -> Response:
        if "websocket" in request.headers.get("upgrade", "").lower() and not isinstance(error, ProblemError):
            node.turned_away(_no_websocket(request, error), _origin(request))
        return _http_error(request, error)

    return Starlette(
        routes=[
            *_operator_routes(node, access),
            Route(WEBSOCKET_PATH, _websocket_refusal(node)),
            api_mount(api),
            Mount("/", StaticFiles(packages=[("presenced", "web/demo"), ("presenced", "web")], html=True)),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(HostGuard, hosts=hosts, turned_away=node.turned_away),
            Middleware(Cors, origins=origins, turned_away=node.turned_away),
            Middleware(Segments),
        ],
        exception_handlers={HTTPException: http_error, Exception: _internal_error},
    )


def _operator_routes(node: Node, access: Access) -> list[Route]:
    """Return the routes for health checks and metrics."""

    async def healthz(_: Request) -> Response:
        return json_answer({"status": "alive", "version": __version__, "authentication": node.settings.auth})

    async def readyz(_: Request) -> Response:
        reasons = not_ready(node)
        body = {"status": "not ready" if reasons else "ready", "reasons": reasons, "warnings": warnings(node)}
        return json_answer(body, 503 if reasons else 200)

    async def stats(request: Request) -> Response:
        access.check_figures(request)
        _check_known(request, "limit", "after")
        limit, after = _number(request, "limit", DEFAULT_PAGE, MAX_PAGE), _number(request, "after", 0, MAX_SAFE_INTEGER)
        if node.gatekeeper is not None and not access.allows(request, "read"):
            limit = 0  # who is here is for those who may know
        return json_answer(node.stats(limit, after))

    async def metrics(request: Request) -> Response:
        access.check_figures(request)
        return Response(node.metrics.exposition(), media_type=METRICS_MEDIA_TYPE)

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/stats", stats),
        Route("/metrics", metrics),
    ]


def _websocket_refusal(node: Node) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint for requests to the WebSocket path that are not handshakes."""

    async def websocket(request: Request) -> Response:
        detail = (
            f"connect with a WebSocket client: new WebSocket('ws://{request.url.netloc}{WEBSOCKET_PATH}?userId=ID'); "
            "behind a proxy, have it pass on the headers Upgrade and Connection"
        )
        node.turned_away(_not_upgraded(request), _origin(request))
        return problem_answer(
            Problem.UPGRADE_REQUIRED, detail, {"upgrade": "websocket", "connection": "close, upgrade"}
        )

    return websocket


class SecurityHeaders:
    """Adds the headers that keep browsers from misusing a response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _check_known(request: Request, *known: str) -> None:
    """Refuse parameters that are given twice or unknown, such as `viewer`, which would restrict nothing."""
    for key in request.query_params:
        if key not in known and not key.startswith(EXTENSION):
            raise ProblemError(Problem.BAD_PARAMETER, no_field(key, known, "parameter"))
        if (times := len(request.query_params.getlist(key))) > 1:
            raise ProblemError(Problem.BAD_PARAMETER, f"{key} is given {times} times; give it once")


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
        raise ProblemError(Problem.BAD_PARAMETER, f"{name} must be a whole number from 0 to {most}")
    return int(text)


def _origin(request: Request) -> bytes:
    return request.headers.get("origin", "").encode("latin-1")


def _not_upgraded(request: Request) -> Refusal:
    """Return the log text for a request to the WebSocket path without an upgrade."""
    connection, upgrade = (quoted(", ".join(request.headers.getlist(name))) for name in ("connection", "upgrade"))
    found = f"Connection is {connection or 'missing'} and Upgrade is {upgrade or 'missing'}"
    logged = f"{found}, but a handshake needs Upgrade and websocket; a proxy in front must forward both headers"
    return Refusal(Problem.UPGRADE_REQUIRED, "", logged=logged)


def _no_websocket(request: Request, error: Exception) -> Refusal:
    """Return the log text for a handshake with another path or method than the WebSocket's."""
    if isinstance(error, HTTPException) and error.status_code == Problem.METHOD_NOT_ALLOWED.status:
        return Refusal(Problem.METHOD_NOT_ALLOWED, "a handshake is a GET request")
    logged = f"there is no WebSocket at {quoted(request.url.path)}; it is at {WEBSOCKET_PATH}?userId=ID"
    return Refusal(Problem.NOT_FOUND, "", logged=logged)


def _http_error(request: Request, error: Exception) -> Response:
    """Respond to requests that Starlette refused (404 or 405). Close the connection, because a body may be in
    flight."""
    assert isinstance(error, HTTPException), "registered for it"
    headers = {**(error.headers or {}), "connection": "close"}
    if isinstance(error, ProblemError):
        return problem_answer(error.problem, error.detail, headers)
    if error.status_code == Problem.METHOD_NOT_ALLOWED.status:
        return problem_answer(Problem.METHOD_NOT_ALLOWED, f"use {headers.get('Allow', 'GET')}", headers)
    if request.url.path.startswith("/api/"):
        return problem_answer(Problem.NOT_FOUND, "there is no such path in the API; /docs lists them all", headers)
    detail = f"there is {', '.join(_PATHS)} and, by WebSocket, {WEBSOCKET_PATH}?userId=ID"
    return problem_answer(Problem.NOT_FOUND, detail, headers)


async def _internal_error(request: Request, error: Exception) -> Response:
    return problem_answer(Problem.INTERNAL_ERROR, "the server's log has the details")
