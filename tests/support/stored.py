"""Servers with a database, and helpers to watch what they store."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.server import node, server
from tests.support.services import PostgreSQL
from websockets.asyncio.client import ClientConnection, connect

from presenced import PresenceServer
from presenced.worker.client import WorkerClient


def client_of(running: PresenceServer) -> WorkerClient:
    """Return the client of the storage worker."""
    assert running._parts
    assert running._parts.storage
    return running._parts.storage


def worker_pid(running: PresenceServer) -> int:
    """Return the process id of the storage worker."""
    process = client_of(running)._process
    assert process
    return process.pid


def sqlite_server(folder: Path, **more: object) -> PresenceServer:
    """Return a server that stores in an SQLite file below `folder`."""
    return server(database="sqlite", data_dir=str(folder / "data"), node="here", **more)


def rows(folder: Path, query: str) -> list[Any]:
    """Return the rows from the database; nothing until the storage worker has created it."""
    file = f"file:{folder / 'data' / 'presenced.db'}?mode=rw"
    try:
        with closing(sqlite3.connect(file, timeout=PATIENCE, uri=True)) as database:
            return database.execute(query).fetchall()
    except sqlite3.OperationalError as error:
        if "unable to open" in str(error) or "no such table" in str(error):
            return []
        raise


def statuses(folder: Path) -> dict[str, str]:
    """Return the stored status of each user."""
    return dict(rows(folder, "SELECT user_id, status FROM presenced_users"))


class Audience:
    """Watcher of everyone that fails if a change is late."""

    def __init__(self, url: str, watcher: ClientConnection) -> None:
        self.url = url
        self._watcher = watcher
        self._visitors = 0

    async def sees_changes(self) -> str:
        """Check that the live service works while storage does not: a user comes, is seen, and goes. Return the user.

        A service that waited for storage would time out here, because storage only recovers when the test repairs it.
        """
        self._visitors += 1
        visitor = f"visitor{self._visitors}"
        async with asyncio.timeout(PATIENCE):
            async with connect(f"{self.url}?userId={visitor}"):
                await self._receive("USER_ONLINE", visitor)
            await self._receive("USER_OFFLINE", visitor)
        return visitor

    async def _receive(self, kind: str, user_id: str) -> None:
        while True:
            message = json.loads(await self._watcher.recv())
            if (message["type"], message.get("userId")) == (kind, user_id):
                return


@asynccontextmanager
async def audience(url: str) -> AsyncIterator[Audience]:
    """Connect a watcher, and yield it."""
    async with connect(f"{url}?userId=watcher") as watcher:
        yield Audience(url, watcher)


async def warnings(running: PresenceServer) -> str:
    """Return the warnings of `/readyz`, joined."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://localhost:{running.port}/readyz")
    assert answer.status_code == 200, "a server whose storage fails still serves"
    return " ".join(answer.json()["warnings"])


async def stored_in_time(running: PresenceServer, condition: Callable[[], object]) -> None:
    """Wait a second for something to be stored, and longer only while the server reports that storage is behind."""
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        while True:
            # Checked before the condition: it may be stored in between.
            is_late = time.monotonic() - began > 1 and not client_of(running).behind_s
            if condition():
                return
            assert not is_late, "nothing waits to be stored, and the condition does not hold"
            await asyncio.sleep(0.02)


async def well(process: ServerProcess) -> None:
    """Wait until a started server reports no fault. On a busy machine its storage worker is late."""
    async with httpx.AsyncClient() as client, asyncio.timeout(PATIENCE):
        while (await client.get(f"{process.url}readyz")).json()["warnings"]:
            await asyncio.sleep(0.05)


async def soon(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for a condition that storage fulfils by itself."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def says(running: PresenceServer, text: str) -> None:
    """Wait until the warnings contain this text."""
    async with asyncio.timeout(PATIENCE):
        while text not in await warnings(running):
            await asyncio.sleep(0.05)


async def drained(running: PresenceServer) -> None:
    """Wait until everything is stored, and check that nothing is wrong."""
    write_behind = node(running).storage
    assert write_behind
    client = client_of(running)
    await soon(lambda: not write_behind.waiting and not client._unconfirmed and not client.warning)
    assert await warnings(running) == ""


@contextmanager
def postgres() -> Iterator[tuple[PostgreSQL, dict[str, str]]]:
    """Run PostgreSQL. Yield it, and the settings of a server that stores in it."""
    with PostgreSQL() as service:
        yield service, {"database": "url", "database_url": service.new_database(), "node": "here"}
