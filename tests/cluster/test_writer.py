"""The nodes share a database: one of them stores for all, and another one goes on if it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.cluster.conftest import LEASE_S, Nodes
from tests.cluster.test_nodes import visit
from tests.support.clients import client, until
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.services import PostgreSQL
from tests.support.webhooks import SECRET, Receiver

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as running:
        yield running


class Storing:
    """Nodes with one database, and a receiver of webhooks."""

    def __init__(self, nodes: Nodes, database: dict[str, Any], environ: dict[str, str], receiver: Receiver) -> None:
        self._nodes = nodes
        self._settings = database
        self._environ = environ
        self.receiver = receiver
        self.servers: dict[str, ServerProcess] = {}

    async def start(self, names: str) -> None:
        """Start nodes with these names, one character each."""

        def start(name: str) -> None:
            self.servers[name] = self._nodes.start(environ=self._environ, node=name, **self._settings)

        await asyncio.gather(*(asyncio.to_thread(start, name) for name in names))

    async def get(self, name: str, path: str) -> Any:
        """Return what a node answers."""
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            response = await http.get(f"{self.servers[name].url}api/v1{path}")
        assert response.is_success, response.text
        return response.json()

    async def writer(self) -> str:
        """Return the name of the node that stores for all, once there is one."""
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            while True:
                for name, server in self.servers.items():
                    text = (await http.get(f"{server.url}metrics")).text
                    if "presenced_cluster_designated_writer 1.0" in text.splitlines():
                        return name
                await asyncio.sleep(0.1)

    async def history(self, name: str, user_id: str) -> list[tuple[str, int]]:
        """Return statuses and versions of a user from the database, oldest first."""
        found = (await self.get(name, f"/users/{user_id}/history?limit=1000"))["changes"]
        return [(one["status"], one["version"]) for one in reversed(found)]

    def webhooks(self, user_id: str) -> list[tuple[str, int]]:
        """Return statuses and versions of a user as the receiver has got them, each event once."""
        events: dict[str, dict[str, Any]] = {}
        for event in self.receiver.taken:
            assert events.setdefault(event["id"], event) == event, "the same id is the same event"
        ours = [event["data"] for event in events.values() if event["data"].get("userId") == user_id]
        return [(data["status"], data["version"]) for data in ours]

    def kill(self, name: str) -> None:
        """Kill a node and its storage worker with -9."""
        server = self.servers.pop(name)
        for child in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(int(child), signal.SIGKILL)
        server.kill()


@pytest.fixture
async def storing(request: pytest.FixtureRequest, nodes: Nodes, tmp_path: Path) -> AsyncIterator[Storing]:
    environ = {"PRESENCED_WEBHOOK_SECRETS": SECRET}
    settings: dict[str, Any] = {"database": "sqlite", "data_dir": str(tmp_path / "data")}
    if request.param == "postgresql":
        settings = {"database": "url"}
        postgresql: PostgreSQL = request.getfixturevalue("postgresql")
        environ["PRESENCED_DATABASE_URL"] = postgresql.new_database()
    with Receiver() as receiver:
        settings |= {"webhook_urls": receiver.url, "outgoing_private": True, "settling": 0}
        yield Storing(nodes, settings, environ, receiver)


async def come_and_go(server: ServerProcess, user_id: str, done: asyncio.Event) -> None:
    """Connect and disconnect again and again."""
    while not done.is_set():
        async with visit(server, user_id):
            await asyncio.sleep(0.03)
        await asyncio.sleep(0.03)


async def agrees(condition: Any) -> None:
    """Wait until an asynchronous condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.1)


USERS = [f"u{number}" for number in range(6)]
"""Users who come and go on the nodes that live."""

Changes = dict[str, list[tuple[str, int]]]
"""Statuses and versions of each user."""


async def truth(storing: Storing, name: str, cursor: str, users: Sequence[str] = (*USERS, "lost")) -> Changes:
    """Return all changes of these users that a node has shown since a cursor."""
    found: Changes = {user_id: [] for user_id in users}
    while (page := await storing.get(name, f"/changes?after={cursor}&limit=500"))["changes"]:
        cursor = page["next"]
        for change in page["changes"]:
            found[change["userId"]].append((change["status"], change["version"]))
    return found


@pytest.mark.parametrize("storing", ["postgresql"], indirect=True)
async def test_designated_writer_killed_webhooks_and_history_complete_in_order(storing: Storing) -> None:
    await storing.start("abc")
    killed = await storing.writer()
    left = [name for name in "abc" if name != killed]
    cursor = (await storing.get(left[0], "/changes"))["next"]
    done = asyncio.Event()
    async with contextlib.AsyncExitStack() as staying, asyncio.TaskGroup() as tasks:
        for number, user_id in enumerate(USERS):
            tasks.create_task(come_and_go(storing.servers[left[number % 2]], user_id, done))
        await staying.enter_async_context(visit(storing.servers[killed], "lost"))
        await asyncio.sleep(1.5)
        await asyncio.to_thread(storing.kill, killed)
        await asyncio.sleep(LEASE_S + 2)
        done.set()

    async def all_are_gone() -> bool:
        seen = await truth(storing, left[0], cursor)
        return all(found[-1:] and found[-1][0] == "offline" for found in seen.values())

    async def all_is_stored_and_sent() -> bool:
        stored = {user_id: await storing.history(left[1], user_id) for user_id in seen}
        return stored == seen and {user_id: storing.webhooks(user_id) for user_id in seen} == seen

    await agrees(all_are_gone)
    seen = await truth(storing, left[0], cursor)
    with contextlib.suppress(TimeoutError):  # what differs is below
        await agrees(all_is_stored_and_sent)
    for user_id, found in seen.items():
        assert await storing.history(left[1], user_id) == found
        assert storing.webhooks(user_id) == found
    assert await storing.writer() in left
    [session] = (await storing.get(left[0], "/users/lost/sessions/past"))["sessions"]
    assert (session["node"], session["reason"]) == (killed, "lost")
    assert session["closedAt"] >= session["openedAt"]


@pytest.mark.parametrize("storing", ["sqlite"], indirect=True)
async def test_last_seen_history_and_a_choice_survive_the_restart_of_all_nodes(
    storing: Storing, request: pytest.FixtureRequest
) -> None:
    await storing.start("ab")
    await storing.writer()
    async with client(storing.servers["b"], "ada") as ada:
        await ada.set_status("busy", text="deploying")

        async def is_stored() -> bool:
            return [status for status, _ in await storing.history("a", "ada")] == ["online", "busy"]

        await agrees(is_stored)
    for name in "ab":
        await asyncio.to_thread(storing.kill, name)
    request.getfixturevalue("store").forget()  # nothing is left but the database
    await storing.start("c")
    async with client(storing.servers["c"], "ada"), client(storing.servers["c"], "bob") as bob, bob.watch(["ada"]):
        await until(bob, lambda: bob.user("ada").text == "deploying")

        async def goes_on() -> bool:
            found = await storing.history("c", "ada")
            versions = [version for _, version in found]
            assert versions == sorted(set(versions))
            return [status for status, _ in found] == ["online", "busy", "offline", "busy"]

        await agrees(goes_on)
