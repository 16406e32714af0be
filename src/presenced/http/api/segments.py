"""Paths whose names may hold anything, also `/`, percent-encoded."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send


class Segments:
    """Has paths of the API divided before they are decoded: `a%2Fb` is one name (RFC 3986 section 2.2), which `name`
    decodes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        raw = scope.get("raw_path", b"")
        if raw.startswith(b"/api/"):
            scope = {**scope, "path": raw.decode("latin-1")}
        await self._app(scope, receive, send)


def name(segment: str) -> str:
    """What a segment says. Bytes that are not UTF-8 become lone surrogates, which no name may hold."""
    return unquote(segment, errors="surrogateescape")
