"""Refusal of requests for a foreign host name, on every path except health checks."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from presenced.http.errors import TurnedAway, problem_answer
from presenced.net.hosts import AllowedHosts
from presenced.net.refusals import foreign_host

ANY_HOST = frozenset(("/healthz", "/readyz"))
"""Paths exempt from the check. Load balancers request them with any configured `Host`, and the responses reveal nothing
about users."""


class HostGuard:
    """Responds with 421 to requests whose `Host` is not allowed. It wraps CORS, so that a foreign page cannot read
    more."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts, turned_away: TurnedAway) -> None:
        self._app = app
        self._hosts = hosts
        self._turned_away = turned_away

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request."""
        given = [value for name, value in scope["headers"] if name == b"host"]
        if self._hosts.allow_all(given) or scope["path"] in ANY_HOST:
            await self._app(scope, receive, send)
            return
        refusal = foreign_host(given)
        self._turned_away(refusal, Headers(scope=scope).get("origin", "").encode("latin-1"))
        # A body may be in flight, and nothing reads it.
        answer = problem_answer(refusal.problem, refusal.detail, {"connection": "close"})
        await answer(scope, receive, send)
