"""Which pages of other origins may read answers (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from presenced.auth.origin import Origins
from presenced.errors import Problem
from presenced.http.answers import problem_answer

MAX_AGE = 600
"""Seconds for which a browser may remember what it was allowed."""


class Cors:
    """Lets those pages read that may connect, too. Cookies are not asked for, so none are let through."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        headers = Headers(scope=scope)
        given = headers.getlist("origin")
        if not given:
            await self._app(scope, receive, send)
            return
        host = headers.get("host", "").encode("latin-1")
        allowed = len(given) == 1 and self._origins.allows(given[0].encode("latin-1"), host)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await self._preflight(given[0] if allowed else "")(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.add_vary_header("Origin")
                if allowed:
                    answer["access-control-allow-origin"] = given[0]
                    answer["access-control-expose-headers"] = "etag, retry-after"
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _preflight(self, origin: str) -> Response:
        if not origin:
            detail = "this page's origin is not among those of the setting origins"
            return problem_answer(Problem.FORBIDDEN_ORIGIN, detail)
        return Response(
            status_code=204,
            headers={
                "access-control-allow-origin": origin,
                "access-control-allow-methods": "GET, POST, PUT, DELETE",
                "access-control-allow-headers": "authorization, content-type, if-none-match, last-event-id",
                "access-control-max-age": str(MAX_AGE),
                "vary": "Origin",
            },
        )
