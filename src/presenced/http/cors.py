"""Which pages of other origins may read answers (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from presenced.http.errors import TurnedAway, problem_answer
from presenced.net.origins import Origins
from presenced.net.refusals import foreign_page

MAX_AGE = 600
"""Seconds for which a browser may cache the response to a preflight request."""

ALLOWED_HEADERS = "authorization, cache-control, content-type, if-none-match, last-event-id"
"""Headers that pages may send. Polyfills of `EventSource` that can authenticate add `Cache-Control: no-cache` to every
request, and `Last-Event-ID` when they reconnect."""


class Cors:
    """Lets the pages that may connect read responses, too. The server never reads cookies, so credentials are not
    allowed."""

    def __init__(self, app: ASGIApp, origins: Origins, turned_away: TurnedAway) -> None:
        self._app = app
        self._origins = origins
        self._turned_away = turned_away

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
            answer = self._preflight(given[0]) if allowed else self._refuse(given)
            await answer(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = MutableHeaders(scope=message)
                fields.add_vary_header("Origin")
                if allowed:
                    fields["access-control-allow-origin"] = given[0]
                    fields["access-control-expose-headers"] = "etag, retry-after"
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refuse(self, origins: list[str]) -> Response:
        given = [origin.encode("latin-1") for origin in origins]
        refusal = foreign_page(given)
        self._turned_away(refusal, given[0])
        return problem_answer(refusal.problem, refusal.detail)

    def _preflight(self, origin: str) -> Response:
        return Response(
            status_code=204,
            headers={
                "access-control-allow-origin": origin,
                "access-control-allow-methods": "GET, POST, PUT, DELETE",
                "access-control-allow-headers": ALLOWED_HEADERS,
                "access-control-max-age": str(MAX_AGE),
                "vary": "Origin",
            },
        )
