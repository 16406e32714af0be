"""Servers that presenced calls: an issuer of keys, and an application with callbacks. They may fail in many ways."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.server import server
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from presenced import PresenceServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CallbackServer:
    """HTTP server whose `handler` responds."""

    def __init__(self) -> None:
        self.handler: Handler = self.keys_handler
        self.keys: list[tuple[str, ec.EllipticCurvePrivateKey]] = []
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Record a request, and respond with `handler`."""
        self.requests.append(request)
        self.bodies.append(await request.read())
        return await self.handler(request)

    async def keys_handler(self, _: web.Request) -> web.StreamResponse:
        """Respond with the public keys as a JWK Set."""
        entries = [
            json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())) | ({"kid": key_id} if key_id else {})
            for key_id, key in self.keys
        ]
        return web.json_response({"keys": entries})

    def new_key(self, key_id: str) -> None:
        """Add a key. New tokens are signed with it."""
        self.keys.append((key_id, ec.generate_private_key(ec.SECP256R1())))

    def token(self, user_id: str = "ada", seconds: float = 600) -> str:
        """Return a token signed with the newest key."""
        key_id, key = self.keys[-1]
        claims = {"sub": user_id, "exp": int(time.time() + seconds)}
        return jwt.encode(claims, key, "ES256", {"kid": key_id} if key_id else None)


@asynccontextmanager
async def callback_server(context: ssl.SSLContext | None = None) -> AsyncIterator[CallbackServer]:
    """Run a server, with TLS if there is a context."""
    made = CallbackServer()
    runner = web.ServerRunner(web.Server(cast(Any, made.answer)), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    sockets = site._server.sockets  # type: ignore[union-attr]  # it has started
    made.url = f"{'https' if context else 'http'}://localhost:{sockets[0].getsockname()[1]}/keys"
    try:
        yield made
    finally:
        await runner.cleanup()


def jwks_server(issuer: CallbackServer, **changes: object) -> PresenceServer:
    """Return a presenced server that fetches keys from this issuer."""
    return server(auth="jwt", jwt_jwks_url=issuer.url, outgoing_private=True, **changes)


def server_with_callbacks(application: CallbackServer, **changes: object) -> PresenceServer:
    """Return a presenced server whose tokens this application verifies."""
    return server(auth="callback", callback_url=application.url, outgoing_private=True, **changes)


async def connect_with(running: PresenceServer, token: str, **headers: str) -> tuple[int, str]:
    """Return the user id of the token with code 0, or the code and reason with which the server closes."""
    url, given = f"ws://127.0.0.1:{running.port}/ws-online-status?token={token}", dict(headers)
    async with connect(url, additional_headers=given, proxy=None) as socket:
        return await outcome(socket)


async def outcome(socket: ClientConnection) -> tuple[int, str]:
    """Return code 0 and the user id from the first message, or the code and reason of the close."""
    try:
        return 0, json.loads(await socket.recv())["userId"]
    except ConnectionClosed:
        assert socket.close_code is not None
        return socket.close_code, socket.close_reason or ""


# Handlers that fail.


async def large(request: web.Request) -> web.StreamResponse:
    """Respond with 64 MB."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(1000):
        await response.write(b" " * 65_536)
    return response


async def slow(_: web.Request) -> web.StreamResponse:
    """Respond after half a minute."""
    await asyncio.sleep(30)
    return web.Response()


async def elsewhere(_: web.Request) -> web.StreamResponse:
    """Redirect the request."""
    raise web.HTTPFound("/keys?again")


async def nonsense(_: web.Request) -> web.StreamResponse:
    """Respond with HTML in place of JSON."""
    return web.Response(text="<html>")


async def refusing(_: web.Request) -> web.StreamResponse:
    """Respond that the service is unavailable."""
    return web.Response(status=503)
