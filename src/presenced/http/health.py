"""Routes for operators: health checks, statistics and metrics."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from presenced.errors import Problem
from presenced.http.api.dispatch import check_names
from presenced.http.api.endpoint import Api
from presenced.http.errors import ProblemError, json_response
from presenced.node.stats import MAX_PAGE_SESSIONS
from presenced.presence.identity import MAX_SAFE_INTEGER
from presenced.runtime.metrics import METRICS_MEDIA_TYPE
from presenced.version import __version__

DEFAULT_PAGE_SESSIONS = 100
"""Number of sessions in one page of `/stats` if the request has no `limit`."""


def operator_routes(api: Api) -> list[Route]:
    """Return the routes for health checks, statistics and metrics."""
    service, access, clock = api.service, api.access, api.clock

    async def healthz(_: Request) -> Response:
        return json_response({"status": "alive", "version": __version__, "authentication": api.settings.auth})

    async def readyz(_: Request) -> Response:
        reasons = service.not_ready()
        status = "not ready" if reasons else "ready"
        body: dict[str, Any] = {"status": status, "reasons": reasons, "warnings": service.warnings()}
        if (cluster := service.cluster()) is not None:
            body |= {"node": cluster.name, "cluster": {"nodes": cluster.live_nodes, "lag": round(cluster.lag_s, 1)}}
        return json_response(body, 503 if reasons else 200)

    async def stats(request: Request) -> Response:
        now = clock.now()
        access.check_statistics(request, now)
        check_names(request, ("limit", "after"))
        limit = _number(request, "limit", DEFAULT_PAGE_SESSIONS, MAX_PAGE_SESSIONS)
        after = _number(request, "after", 0, MAX_SAFE_INTEGER)
        if not access.may_name_users(request):
            limit = 0
        return json_response(service.stats(limit, after, now))

    async def exposition(request: Request) -> Response:
        access.check_statistics(request, clock.now())
        return Response(api.metrics.exposition(), media_type=METRICS_MEDIA_TYPE)

    paths = {"/healthz": healthz, "/readyz": readyz, "/stats": stats, "/metrics": exposition}
    return [Route(path, endpoint) for path, endpoint in paths.items()]


def _number(request: Request, name: str, default: int, maximum: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= maximum):
        raise ProblemError(Problem.BAD_PARAMETER, f"{name} must be a whole number from 0 to {maximum}")
    return int(text)
