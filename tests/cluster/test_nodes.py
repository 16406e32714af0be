"""Several servers behave like one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest
from tests.cluster.conftest import Nodes
from tests.cluster.timing import RIGHT_WITHIN_S, within
from tests.support.clients import client, until
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.services import Redis
from tests.support.stores import direct
from websockets.asyncio.client import connect

from presenced.cluster.redis.format import Keys, decode_member
from presenced_client import Presence

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

KEYS = Keys("presenced", 0)


def visit(server: ServerProcess, user_id: str) -> connect:
    """Connect a client of the classic protocol, which reads nothing: its queue must not be full when it closes."""
    return connect(f"{server.websocket_url}?userId={user_id}", proxy=None, max_queue=None)


async def follow(presence: Presence, into: list[tuple[str, str]], *users: str) -> None:
    """Collect the statuses of users as they change."""
    async for change in presence.changes(users):
        into.append((str(change.user), change.current.status))  # noqa: PERF401, extend would add them after the end


async def soon(condition: Callable[[], object]) -> None:
    """Wait for a condition with a deadline."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def until_status(presence: Presence, user_id: str, status: str) -> None:
    """Wait until a client sees a user with this status."""
    await until(presence, lambda: presence.user(user_id).status == status)


async def test_joins_and_leaves_are_heard_on_every_node_once(nodes: Nodes) -> None:
    servers = [nodes.start() for _ in range(3)]
    async with asyncio.TaskGroup() as tasks:
        seen: list[list[tuple[str, str]]] = [[] for _ in servers]
        async with client(servers[0], "w0") as a, client(servers[1], "w1") as b, client(servers[2], "w2") as c:
            watchers = [a, b, c]
            following = [tasks.create_task(follow(one, into, "ada")) for one, into in zip(watchers, seen, strict=True)]
            for one in watchers:
                await until_status(one, "ada", "offline")
            async with visit(servers[1], "ada"):
                for one in watchers:
                    await until_status(one, "ada", "online")
            for one in watchers:
                await until_status(one, "ada", "offline")
            await soon(lambda: all(found[-1:] == [("ada", "offline")] for found in seen))
            for task in following:
                task.cancel()
    for found in seen:
        assert found[-2:] == [("ada", "online"), ("ada", "offline")]
        assert len(found) <= 3


async def test_user_on_two_nodes_is_online_until_the_last_closes(nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start()
    async with client(first, "watcher") as watcher, watcher.watch(["ada", "later"]):
        async with visit(second, "ada"):
            async with visit(first, "ada"):
                await until(watcher, lambda: watcher.user("ada").online)
            async with visit(first, "later"):  # after the end of the first one, which must change nothing
                await until_status(watcher, "later", "online")
            assert watcher.user("ada").online
        await until(watcher, lambda: watcher.user("ada").status == "offline")


def entries_of(store: Redis, incarnation: str) -> list[str]:
    """Return the ids of the entries in the log that an incarnation of a node has written."""
    log = direct(store).xrange(KEYS.log)
    return [stream_id.decode() for stream_id, fields in log if fields[b"a"].split()[1].decode() == incarnation]


def incarnations(store: Redis, name: str) -> list[str]:
    """Return the registered incarnations of nodes with this name."""
    members = [decode_member(slot, value) for slot, value in direct(store).hgetall(KEYS.nodes).items()]
    return [member.incarnation for member in members if member.name == name]


async def test_frozen_node_writes_nothing_with_its_old_incarnation(store: Redis, nodes: Nodes) -> None:
    first, second = nodes.start(node="first"), nodes.start(node="second")
    async with client(second, "watcher") as watcher, watcher.watch(["ada", "carl"]):
        async with client(first, "ada") as ada:
            await ada.set_status("busy")
            await until_status(watcher, "ada", "busy")
            [old] = incarnations(store, "first")
            first.signal(signal.SIGSTOP)
            try:
                await until_status(watcher, "ada", "offline")
                written = entries_of(store, old)
                assert written
                choosing = asyncio.create_task(ada.set_status("away"))  # it is on its way when the node wakes up
            finally:
                first.signal(signal.SIGCONT)
            await until_status(watcher, "ada", "away")
            await choosing
            async with visit(first, "carl"):
                await until_status(watcher, "carl", "online")
        [new] = incarnations(store, "first")
    assert new != old
    assert entries_of(store, old) == written
    assert entries_of(store, new)


async def test_frozen_node_comes_back_and_asserts(nodes: Nodes) -> None:
    """Its users are online again, with what they chose meanwhile, and later changes on it count."""
    first, second = nodes.start(), nodes.start()
    async with client(second, "watcher") as watcher, watcher.watch(["ada", "bob"]):
        async with visit(first, "ada"), visit(second, "bob"):
            await until(watcher, lambda: watcher.user("ada").online)
            first.signal(signal.SIGSTOP)
            try:
                await until(watcher, lambda: watcher.user("ada").status == "offline")
            finally:
                first.signal(signal.SIGCONT)
            async with within(RIGHT_WITHIN_S, "it is back"):
                await until(watcher, lambda: watcher.user("ada").online)
            assert watcher.user("bob").online
        await until(watcher, lambda: watcher.user("ada").status == "offline")


async def test_a_choice_and_a_room_count_on_all_nodes(nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start()
    async with (
        client(first, "ada", device="web") as ada,
        client(second, "bob") as bob,
        bob.watch(["ada"]),
        ada.room("lobby", data={"seat": 1}) as here,
        bob.room("lobby") as there,
    ):
        await ada.set_status("busy", text="deploying")
        await until(bob, lambda: bob.user("ada").text == "deploying")
        assert (bob.user("ada").status, bob.user("ada").devices) == ("busy", ("web",))
        await until(bob, lambda: set(there.members) == {"ada", "bob"})
        await until(ada, lambda: set(here.members) == {"ada", "bob"})
        assert there.members["ada"].data == {"seat": 1}


async def test_versions_grow_over_nodes_and_failovers(store: Redis, nodes: Nodes) -> None:
    """A store that restarts with an older snapshot, or empty, repeats no version."""
    servers = [nodes.start(), nodes.start()]
    versions: list[int] = []
    async with client(servers[0], "watcher") as watcher, watcher.watch(["ada"]):
        for turn in range(6):
            async with visit(servers[turn % 2], "ada"):
                await until(watcher, lambda: watcher.user("ada").online)
                versions.append(watcher.user("ada").version)
            await until(watcher, lambda: watcher.user("ada").status == "offline")
            versions.append(watcher.user("ada").version)
            if turn == 1:
                store.cli("SAVE")
            if turn in (2, 3):  # without what was written since then
                await asyncio.to_thread(store.restart)
            if turn == 4:
                store.cli("FLUSHALL")
    assert versions == sorted(set(versions))
    late = await asyncio.to_thread(nodes.start)
    async with client(late, "w2") as other, client(servers[1], "w3") as third, visit(late, "ada"):
        for one in (other, third):
            async with one.watch(["ada"]):
                await until_status(one, "ada", "online")
                assert one.user("ada").version > versions[-1]
