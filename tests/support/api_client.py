"""A backend that uses the HTTP API of a running server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
from tests.support.raw import PATIENCE
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from presenced import PresenceServer

V1 = Subprotocol("presenced.v1")


class Event(NamedTuple):
    """A Server-Sent Event."""

    kind: str
    id: str
    data: Any


class ApiClient:
    """Client whose paths are below `/api/v1`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """Send a request, and return the response. `if_none_match=...` becomes the header `if-none-match`."""
        content = None if body is None else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, f"/api/v1{path}", content=content, headers=named)

    async def get(self, path: str) -> Any:
        """Return the body of a successful response to GET."""
        return parsed(await self.ask("GET", path))

    async def post(self, path: str, body: object = None) -> Any:
        """Return the body of a successful response to POST."""
        return parsed(await self.ask("POST", path, body))

    async def put(self, path: str, body: object = None) -> Any:
        """Return the body of a successful response to PUT."""
        return parsed(await self.ask("PUT", path, body))

    async def delete(self, path: str) -> Any:
        """Return the body of a successful response to DELETE."""
        return parsed(await self.ask("DELETE", path))

    async def announce(self, user_id: str, online: bool = True) -> None:
        """Announce a user online, or offline."""
        await self.post(f"/users/{user_id}/announce", {"online": online})

    @asynccontextmanager
    async def events(self, path: str, **headers: str) -> AsyncIterator[AsyncIterator[Event]]:
        """Yield the events of a stream, without comments and `retry` fields."""
        named = {"accept": "text/event-stream"} | {k.replace("_", "-"): v for k, v in headers.items()}
        async with self.client.stream("GET", f"/api/v1{path}", headers=named) as response:
            assert response.status_code == 200, await response.aread()
            assert response.headers["content-type"] == "text/event-stream"
            yield _events(response.aiter_lines())


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            key, _, value = line.partition(": ")
            fields[key] = value
            continue
        if "event" in fields:
            yield Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
        fields = {}


@asynccontextmanager
async def api_client(running: PresenceServer, key: str = "") -> AsyncIterator[ApiClient]:
    """Yield a client of the server, which authenticates with `key` if there is one."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    base = f"http://127.0.0.1:{running.port}"
    async with httpx.AsyncClient(base_url=base, trust_env=False, headers=headers, timeout=PATIENCE) as client:
        yield ApiClient(client)


def parsed(response: httpx.Response, status: int = 200) -> Any:
    """Return the body of a response, which must have this status."""
    assert response.status_code == status, response.text
    return response.json()


def problem(response: httpx.Response) -> tuple[int, str]:
    """Check that the response is a problem document, and return its status and code."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    found = response.json()
    assert found["status"] == response.status_code
    assert found["title"]
    assert found["detail"]
    return found["status"], found["code"]


def is_unknown(record: dict[str, Any]) -> bool:
    """Return whether the record is that of an unknown user, with the current version."""
    return record.keys() == {"userId", "status", "since", "version"} and record["since"] == 0


def connect_v1(running: PresenceServer, query: str) -> Any:
    """Return a connection of presenced.v1 to enter, with this query."""
    return connect(f"ws://127.0.0.1:{running.port}/ws-online-status?{query}", subprotocols=[V1], proxy=None)


async def send_request(socket: ClientConnection, kind: str, **fields: object) -> None:
    """Send a request of presenced.v1, and wait for its ACK or error."""
    await socket.send(json.dumps({"type": kind, "id": kind, **fields}))
    while json.loads(await socket.recv()).get("id") != kind:
        pass
