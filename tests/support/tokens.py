"""A server that requires tokens, and requests to it."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import jwt
import pytest
from tests.support.server import server
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from presenced import PresenceServer
from presenced.auth.api_keys import new_key

SECRET = "a secret of forty characters, or nearly so"

KEY = new_key("admin")

READ, WRITE = new_key("read"), new_key("write")


def token_server(**changes: object) -> PresenceServer:
    """Return a server that requires tokens, with three API keys."""
    return server(auth="jwt", jwt_key=SECRET, api_keys=[KEY.entry, READ.entry, WRITE.entry], **changes)


def token(user_id: str | int = "ada", seconds: float = 600, **claims: Any) -> str:
    """Return a valid token."""
    now = int(time.time())
    return jwt.encode({"sub": user_id, "iat": now, "exp": now + seconds, **claims}, SECRET, "HS256")


def url(running: PresenceServer, query: str = "") -> str:
    """Return the URL of the WebSocket, with this query."""
    return f"ws://127.0.0.1:{running.port}/ws-online-status{query}"


async def first_message(socket: ClientConnection) -> Any:
    """Return the next message, decoded."""
    return json.loads(await socket.recv())


async def close_of(socket: ClientConnection) -> tuple[int, str]:
    """Read until the server closes, and return its code and reason."""
    with pytest.raises(ConnectionClosed):
        while True:
            await socket.recv()
    assert socket.close_code is not None
    return socket.close_code, socket.close_reason or ""


async def call_api(
    running: PresenceServer, method: str, path: str, key: str = KEY.key, body: Any = None, **headers: str
) -> httpx.Response:
    """Send a request to the HTTP API, and return the response."""
    given = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as client:
        return await client.request(method, path, json=body, headers=given | headers)
