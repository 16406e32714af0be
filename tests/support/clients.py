"""A real server, clients of `presenced_client`, and a backend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE

from presenced_client import Presence

StartServer = Callable[..., ServerProcess]

CALM: dict[str, Any] = {"heartbeat_interval": 3600, "pong_timeout": 3600}
"""Settings without pings, so that a busy machine does not lose a client."""


def client(server: ServerProcess | str, user_id: str | None, **options: Any) -> Presence:
    """Return a client that connects directly, even if the environment names a proxy."""
    url = server if isinstance(server, str) else server.url
    return Presence(url, user_id=user_id, proxy=None, **options)


class Backend:
    """The application's backend, which uses the HTTP API."""

    def __init__(self, server: ServerProcess, key: str = "") -> None:
        self._server = server
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    async def post(self, path: str, body: object = None) -> Any:
        """Return the body of a successful response."""
        url = f"{self._server.url}api/v1{path}"
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE, headers=self._headers) as http:
            response = await http.post(url, json=body)
        assert response.is_success, response.text
        return response.json() if response.content else None

    async def status(self, user_id: str) -> str:
        """Return the status of a user."""
        return str((await self.post("/users/query", {"users": [user_id]}))["users"][0]["status"])

    async def announce(self, user_id: str, online: bool = True) -> None:
        """Announce a user online or offline."""
        await self.post(f"/users/{user_id}/announce", {"online": online})

    async def refused_requests(self) -> list[str]:
        """Return the lines of the metric of refused requests."""
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            text = (await http.get(f"{self._server.url}metrics")).text
        return [line for line in text.splitlines() if line.startswith("presenced_requests_refused_total")]


async def until(presence: Presence, condition: Callable[[], Any]) -> None:
    """Wait for a condition with a deadline."""
    async with asyncio.timeout(PATIENCE):
        await presence.wait_for(condition)


async def restart(server: ServerProcess, pause: float = 0.0) -> None:
    """Kill the server with SIGKILL, and start it on the same port."""
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(pause)
    await asyncio.to_thread(server.start)
