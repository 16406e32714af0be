"""Middleware around all routes. A request passes it in this order:

| class | does | refuses |
|---|---|---|
| `SecurityHeaders` | adds response headers that keep browsers from misusing a response | nothing |
| `HostGuard` | checks `Host` against DNS rebinding | 421, except on health checks |
| `Cors` | answers preflight requests, lets allowed pages read responses | 403, preflight requests only |
| `RawPaths` | keeps percent-encoded slashes inside names | nothing |

`HostGuard` wraps `Cors`, so that a page that rebinds its name cannot read the responses of `Cors`.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from presenced.http.auth import Access, header_values
from presenced.http.errors import problem_response
from presenced.net.refusals import foreign_host, foreign_page

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}
"""Headers of every response."""

ANY_HOST = frozenset(("/healthz", "/readyz"))
"""Paths exempt from the check of `Host`. Load balancers request them with any configured `Host`, and the responses
reveal nothing about users."""

PUBLIC_FILES = frozenset(("/client.js",))
"""Static files that pages of every origin may load. They are the same for everybody and contain no secrets."""

PREFLIGHT_MAX_AGE_S = 600
"""Seconds for which a browser may cache the response to a preflight request."""

ALLOWED_HEADERS = "authorization, cache-control, content-type, if-none-match, last-event-id"
"""Headers that pages may send. Polyfills of `EventSource` that can authenticate add `Cache-Control: no-cache` to every
request, and `Last-Event-ID` when they reconnect."""


class SecurityHeaders:
    """Adds the headers that keep browsers from misusing a response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = MutableHeaders(scope=message)
                fields.update(SECURITY_HEADERS)
                if scope["path"] in PUBLIC_FILES:
                    fields["cross-origin-resource-policy"] = "cross-origin"
            await send(message)

        await self._app(scope, receive, send_with_headers)


class HostGuard:
    """Refuses requests whose `Host` is not a name of this server (`net.hosts`)."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request."""
        headers = Headers(scope=scope)
        given = header_values(headers, b"host")
        if self._access.hosts.allow_all(given) or scope["path"] in ANY_HOST:
            await self._app(scope, receive, send)
            return
        refusal = foreign_host(given)
        self._access.report(refusal, headers)
        # A body may be in flight, and nothing reads it.
        response = problem_response(refusal.problem, refusal.detail, {"connection": "close"})
        await response(scope, receive, send)


class Cors:
    """Lets the pages that may connect read responses, too (https://fetch.spec.whatwg.org/#http-cors-protocol).

    The server never reads cookies, so credentials are not allowed. Requests other than preflights pass regardless of
    their origin: browsers withhold the response from the page, and the endpoints check origins themselves
    (`http.auth`).
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request."""
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if scope["path"] in PUBLIC_FILES and scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, _open_to_all(send))
            return
        if origin is None:
            await self._app(scope, receive, send)
            return
        allowed = self._access.allows_page(headers)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            response = _preflight(origin) if allowed else self._refuse(headers)
            await response(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = MutableHeaders(scope=message)
                fields.add_vary_header("Origin")
                if allowed:
                    fields["access-control-allow-origin"] = origin
                    fields["access-control-expose-headers"] = "etag, retry-after"
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refuse(self, headers: Headers) -> Response:
        refusal = foreign_page(header_values(headers, b"origin"))
        self._access.report(refusal, headers)
        return problem_response(refusal.problem, refusal.detail)


def _open_to_all(send: Send) -> Send:
    """Return a `send` that lets pages of every origin read the response.

    The header does not depend on the request, so a cache may give one stored response to all pages.
    """

    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["access-control-allow-origin"] = "*"
        await send(message)

    return send_with_header


def _preflight(origin: str) -> Response:
    return Response(
        status_code=204,
        headers={
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "GET, POST, PUT, DELETE",
            "access-control-allow-headers": ALLOWED_HEADERS,
            "access-control-max-age": str(PREFLIGHT_MAX_AGE_S),
            "vary": "Origin",
        },
    )


class RawPaths:
    """Routes API requests by the path as it was sent, still percent-encoded.

    User ids and names of rooms may contain `/`, sent as `%2F`. In a decoded path, `a%2Fb` would be two segments instead
    of one (RFC 3986 section 2.2). `dispatch.decoded` decodes each name after routing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request."""
        raw = scope.get("raw_path", b"")
        if raw.startswith(b"/api/"):
            scope = {**scope, "path": raw.decode("latin-1")}
        await self._app(scope, receive, send)
