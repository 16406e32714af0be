"""Refuses requests for a name that this server does not go by, on every path but those of health checks."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from presenced.auth.hosts import AllowedHosts
from presenced.http.answers import TurnedAway, problem_answer
from presenced.refusals import foreign_host

ANY_HOST = frozenset(("/healthz", "/readyz"))
"""Load balancers ask these with whatever `Host` they are set to, and nothing about users is in the answers."""


class HostGuard:
    """Answers 421 to requests whose `Host` is not on the list. It stands before CORS, so that no page reads more."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts, turned_away: TurnedAway) -> None:
        self._app = app
        self._hosts = hosts
        self._turned_away = turned_away

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        given = [value for name, value in scope["headers"] if name == b"host"]
        if self._hosts.allow_all(given) or scope["path"] in ANY_HOST:
            await self._app(scope, receive, send)
            return
        refusal = foreign_host(given)
        self._turned_away(refusal, Headers(scope=scope).get("origin", "").encode("latin-1"))
        # A body may be on its way, and is not read.
        answer = problem_answer(refusal.problem, refusal.detail, {"connection": "close"})
        await answer(scope, receive, send)
