"""A server that authenticates with tokens, and its clients."""

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
    return server(auth="jwt", jwt_key=SECRET, api_keys=[KEY.entry, READ.entry, WRITE.entry], **changes)


def token(user_id: str | int = "ada", seconds: float = 600, **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode({"sub": user_id, "iat": now, "exp": now + seconds, **claims}, SECRET, "HS256")


def url(running: PresenceServer, query: str = "") -> str:
    return f"ws://127.0.0.1:{running.port}/ws-online-status{query}"


async def first(socket: ClientConnection) -> Any:
    return json.loads(await socket.recv())


async def closed(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed):
        while True:
            await socket.recv()
    assert socket.close_code is not None
    return socket.close_code, socket.close_reason or ""


async def ask(
    running: PresenceServer, method: str, path: str, key: str = KEY.key, body: Any = None, **headers: str
) -> httpx.Response:
    given = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as client:
        return await client.request(method, path, json=body, headers=given | headers)
