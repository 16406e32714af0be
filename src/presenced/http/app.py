"""The ASGI application behind `transports.front_door`: builds its parts, and responds if no endpoint matches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from presenced.auth.api_keys import ApiKeys
from presenced.auth.gatekeeper import Gatekeeper
from presenced.auth.resumable_streams import ResumableStreams
from presenced.auth.tickets import Tickets
from presenced.config.settings import WEBSOCKET_PATH, Settings
from presenced.errors import Problem
from presenced.http.api.dispatch import api_mount
from presenced.http.api.endpoint import Api
from presenced.http.api.latest_changes import SpanCache
from presenced.http.auth import Access
from presenced.http.errors import ProblemError, ReportRefusal, problem_response
from presenced.http.health import operator_routes
from presenced.http.middleware import Cors, HostGuard, RawPaths, SecurityHeaders
from presenced.http.waiting import WaitingRequests
from presenced.net.hosts import AllowedHosts
from presenced.net.origins import Origins
from presenced.net.refusals import Refusal
from presenced.net.throttle import Throttle
from presenced.node.service import PresenceService
from presenced.runtime.clock import Clock
from presenced.runtime.metrics import Metrics
from presenced.runtime.text import quoted
from presenced.worker.calls import StorageCalls

_PATHS = ("/", "/healthz", "/readyz", "/stats", "/metrics", "/docs", "/api/v1")


def make_app(
    *,
    service: PresenceService,
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    throttle: Throttle,
    gatekeeper: Gatekeeper | None,
    keys: ApiKeys,
    tickets: Tickets,
    waiting: WaitingRequests,
    storage: StorageCalls | None,
) -> Starlette:
    """Return the application of one server.

    Args:
        gatekeeper: None if authentication is off.
        waiting: Long polls and event streams, which the server ends when it stops.
        storage: Calls to the storage worker; None if there is no database.
    """
    hosts = AllowedHosts.of(settings)
    origins = Origins(settings.origins, hosts.allow)
    report = service.report_refusal
    access = Access(
        keys=keys,
        origins=origins,
        hosts=AllowedHosts.own(settings),
        is_development=gatekeeper is None,
        throttle=throttle,
        report=report,
    )
    resumable_streams = ResumableStreams(tickets, settings.token_lifetime)
    api = Api(
        service=service,
        settings=settings,
        clock=clock,
        metrics=metrics,
        access=access,
        gatekeeper=gatekeeper,
        tickets=tickets,
        resumable_streams=resumable_streams,
        waiting=waiting,
        latest_changes=SpanCache(service, settings.journal_size),
        storage=storage,
    )

    def end_streams(user_id: str) -> int:
        resumable_streams.forget_user(user_id)
        return waiting.end_of(user_id)

    service.on_disconnect(end_streams)
    return Starlette(
        routes=[
            *operator_routes(service=service, settings=settings, clock=clock, metrics=metrics, access=access),
            Route(WEBSOCKET_PATH, _upgrade_required(report)),
            api_mount(api),
            Mount("/", StaticFiles(packages=[("presenced", "web/demo"), ("presenced", "web")], html=True)),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(HostGuard, hosts=hosts, report=report),
            Middleware(Cors, origins=origins, report=report),
            Middleware(RawPaths),
        ],
        exception_handlers={HTTPException: _refusal(report), Exception: _internal_error},
    )


def _upgrade_required(report: ReportRefusal) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint for requests to the WebSocket path that are not handshakes."""

    async def upgrade_required(request: Request) -> Response:
        detail = (
            f"connect with a WebSocket client: new WebSocket('ws://{request.url.netloc}{WEBSOCKET_PATH}?userId=ID'); "
            "behind a proxy, have it pass on the headers Upgrade and Connection"
        )
        report(_not_upgraded(request), _origin(request))
        return problem_response(
            Problem.UPGRADE_REQUIRED, detail, {"upgrade": "websocket", "connection": "close, upgrade"}
        )

    return upgrade_required


def _refusal(report: ReportRefusal) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return the handler of a `ProblemError`, and of Starlette's own 404 and 405."""

    async def refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "registered for it"
        if "websocket" in request.headers.get("upgrade", "").lower() and not isinstance(error, ProblemError):
            report(_no_websocket(request, error), _origin(request))
        # The body has not been read, and may still be in flight. On a connection that stays open, the next request
        # would have to wait for it.
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

    return refusal


async def _internal_error(request: Request, error: Exception) -> Response:
    return problem_response(Problem.INTERNAL_ERROR, "the server's log has the details")


def _origin(request: Request) -> bytes:
    return request.headers.get("origin", "").encode("latin-1")


def _not_upgraded(request: Request) -> Refusal:
    """Return the refusal to log for a request to the WebSocket path without an upgrade."""
    connection, upgrade = (quoted(", ".join(request.headers.getlist(name))) for name in ("connection", "upgrade"))
    found = f"Connection is {connection or 'missing'} and Upgrade is {upgrade or 'missing'}"
    logged = f"{found}, but a handshake needs Upgrade and websocket; a proxy in front must forward both headers"
    return Refusal(Problem.UPGRADE_REQUIRED, "", logged=logged)


def _no_websocket(request: Request, error: HTTPException) -> Refusal:
    """Return the refusal to log for a handshake with another path or method than the WebSocket's."""
    if error.status_code == Problem.METHOD_NOT_ALLOWED.status:
        return Refusal(Problem.METHOD_NOT_ALLOWED, "a handshake is a GET request")
    logged = f"there is no WebSocket at {quoted(request.url.path)}; it is at {WEBSOCKET_PATH}?userId=ID"
    return Refusal(Problem.NOT_FOUND, "", logged=logged)
