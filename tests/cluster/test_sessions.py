"""Clients that change their node: sessions continue, and deploys go unnoticed."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from tests.cluster.conftest import Nodes
from tests.cluster.test_nodes import KEYS, follow, soon, until_status
from tests.support.api_client import V1
from tests.support.balancer import balancer
from tests.support.clients import client, until
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.services import Redis
from tests.support.stores import direct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from presenced.cluster.marks import decode_mark
from presenced_client import Presence

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


class Client:
    """Client of presenced.v1 that remembers its session, and everything it receives."""

    def __init__(self, socket: ClientConnection, established: dict[str, Any]) -> None:
        self.socket = socket
        self.established = established
        self.messages: list[dict[str, Any]] = []

    async def receive_until(self, kind: str) -> dict[str, Any]:
        """Receive messages until one is of this type, and return it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message: dict[str, Any] = json.loads(await self.socket.recv())
                self.messages.append(message)
                if message["type"] == kind:
                    return message

    async def until_user(self, user_id: str, status: str) -> None:
        """Receive messages until one says that the user has this status: a change, or a snapshot."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message: dict[str, Any] = json.loads(await self.socket.recv())
                self.messages.append(message)
                if any((user["userId"], user["status"]) == (user_id, status) for user in message.get("users", ())):
                    return

    @property
    def position(self) -> str:
        """Last position received."""
        return str([message["position"] for message in self.messages if "position" in message][-1])

    @property
    def resume_query(self) -> str:
        """Query with which the session continues."""
        return f"&session={self.established['sessionId']}&position={self.position}"


@asynccontextmanager
async def enter(server: ServerProcess, user_id: str, more: str = "") -> AsyncIterator[Client]:
    """Connect a client that watches nobody."""
    url = f"{server.websocket_url}?userId={user_id}&watch=none{more}"
    async with connect(url, subprotocols=[V1], proxy=None) as socket:
        yield Client(socket, json.loads(await socket.recv()))


def have_marks(store: Redis, nodes: int) -> bool:
    """Return whether this many nodes have logged a mark since the last change."""
    log = direct(store).xrange(KEYS.log)
    changed = max(int(stream_id.partition(b"-")[0]) for stream_id, fields in log if fields[b"k"] == b"items")
    marks = (decode_mark(fields[b"d"]) for _, fields in log if fields[b"k"] == b"mark")
    return len({mark.home for mark in marks if mark.applied[0] >= changed}) == nodes


async def test_session_resumes_on_another_node_with_only_what_was_missed(store: Redis, nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start()
    async with enter(first, "watcher") as before:
        await before.socket.send(json.dumps({"type": "WATCH", "id": 1, "users": ["ada", "bob"]}))
        await before.receive_until("PRESENCE_SNAPSHOT")
        async with enter(first, "ada"):
            await before.until_user("ada", "online")
            await soon(lambda: have_marks(store, 2))
            async with enter(second, "bob"):
                async with client(second, "reader") as reader, reader.watch(["bob"]):
                    await until_status(reader, "bob", "online")  # so the second node has read the marks
                async with enter(second, "watcher", before.resume_query) as after:
                    assert (after.established["resumed"], after.established["sessionId"]) == (
                        True,
                        before.established["sessionId"],
                    )
                    await after.until_user("bob", "online")
                    users = [user["userId"] for message in after.messages for user in message.get("users", ())]
                    assert users == ["bob"], "ada is known already"


async def test_session_resumed_elsewhere_closes_the_old_with_4409(nodes: Nodes) -> None:
    """Nobody notices: the user stays online, and is offline as soon as the new connection closes."""
    first, second = nodes.start(), nodes.start()
    seen: list[tuple[str, str]] = []
    async with client(first, "watcher") as watcher, asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow(watcher, seen, "ada"))
        async with enter(first, "ada") as before:
            await before.socket.send(json.dumps({"type": "WATCH", "id": 1, "users": ["bob"]}))
            await before.receive_until("PRESENCE_SNAPSHOT")
            await until(watcher, lambda: watcher.user("ada").online)
            async with enter(second, "ada", before.resume_query) as after:
                assert after.established["resumed"]
                with pytest.raises(ConnectionClosed) as closed:
                    async with asyncio.timeout(PATIENCE):
                        while True:
                            await before.socket.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4409
                await asyncio.sleep(1.5)  # longer than the grace period of a lost connection
                assert watcher.user("ada").online
            await until(watcher, lambda: watcher.user("ada").status == "offline")
        await soon(lambda: seen[-1:] == [("ada", "offline")])
        following.cancel()
    assert [status for _, status in seen][-2:] == ["online", "offline"]
    assert seen.count(("ada", "offline")) <= 2, "at first, and at the end"


async def test_users_not_back_after_a_deploy_leave_with_cause_drain(nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start(show_causes=True)
    async with enter(second, "watcher") as watcher, enter(first, "ada"):
        await watcher.socket.send(json.dumps({"type": "WATCH", "id": 1, "users": ["ada"]}))
        await watcher.until_user("ada", "online")
        first.signal(signal.SIGTERM)
        await watcher.until_user("ada", "offline")
        assert watcher.messages[-1]["users"][0]["cause"] == "drain"


def is_current(presence: Presence) -> bool:
    """Return whether a client has a connection and has caught up."""
    return not presence.connection.stale


async def test_rolling_deploy_flickers_nobody(nodes: Nodes) -> None:
    servers = [nodes.start(grace_lost=5) for _ in range(3)]
    users = [f"user-{number}" for number in range(30)]
    seen: list[tuple[str, str]] = []
    async with balancer(lambda: [server.port for server in servers]) as proxy, AsyncExitStack() as stack:
        people = [await stack.enter_async_context(client(proxy.url, user)) for user in users]
        watcher = await stack.enter_async_context(client(proxy.url, "watcher"))
        await stack.enter_async_context(watcher.watch(users))
        await until(watcher, lambda: all(watcher.user(user).online for user in users))
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(follow(watcher, seen, *users))
            for index in range(3):
                old = servers[index]
                servers[index] = await asyncio.to_thread(nodes.start, grace_lost=5)
                old.signal(signal.SIGTERM)
                await asyncio.to_thread(old.wait)
                for person in people:
                    await until(person, partial(is_current, person))
            await asyncio.sleep(2)  # longer than what is left of the last node's users
            following.cancel()
        assert all(watcher.user(user).online for user in users)
    assert [change for change in seen if change[1] == "offline"] == []
