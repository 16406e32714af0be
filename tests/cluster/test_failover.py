"""The store is a master with a replica and sentinels. The replica takes over, and lacks the last writes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager

import pytest
from tests.cluster.conftest import LEASE_S, Nodes
from tests.cluster.test_nodes import until_status, visit
from tests.cluster.timing import LOCAL_WITHIN_S, RIGHT_WITHIN_S, within
from tests.support.clients import client, until
from tests.support.stores import SentinelStore, soon

from presenced_client import Presence

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

USERS = ["ada", "bob", "carl", "dora"]


@pytest.fixture
def watched() -> Iterator[SentinelStore]:
    with ExitStack() as running:
        yield SentinelStore(running)


class Views:
    """Everything that a client is shown of some users: statuses and versions."""

    def __init__(self) -> None:
        self.statuses: dict[str, list[str]] = defaultdict(list)
        self.versions: dict[str, list[int]] = defaultdict(list)

    async def follow(self, presence: Presence) -> None:
        """Collect changes until this is cancelled."""
        async for change in presence.changes(USERS):
            self.statuses[str(change.user)].append(change.current.status)
            self.versions[str(change.user)].append(change.current.version)

    def check_versions(self) -> None:
        """Check that the versions of each user rise."""
        for user_id, versions in self.versions.items():
            assert versions == sorted(set(versions)), f"versions of {user_id}"


async def until_live(presence: Presence) -> None:
    """Wait until a client shows what all nodes know."""
    await until(presence, lambda: not presence.connection.stale)


@asynccontextmanager
async def followed(presence: Presence) -> AsyncIterator[Views]:
    """Collect what a client is shown."""
    views = Views()
    task = asyncio.create_task(views.follow(presence))
    try:
        yield views
    finally:
        task.cancel()


async def test_sentinel_failover_with_lost_writes_no_wrong_view(watched: SentinelStore, nodes: Nodes) -> None:
    """Watchers have seen what the new master does not know. They never see anything older again."""
    first = await asyncio.to_thread(nodes.start, backend=watched.url)
    second = await asyncio.to_thread(nodes.start, backend=watched.url)
    async with (
        client(first, "w1") as here,
        client(second, "w2") as there,
        here.watch(USERS),
        there.watch(USERS),
        followed(here) as seen_here,
        followed(there) as seen_there,
        client(first, "ada") as ada,
    ):
        async with visit(second, "bob"):
            async with visit(second, "dora"):
                for watcher in (here, there):
                    for user_id in ("ada", "bob", "dora"):
                        await until_status(watcher, user_id, "online")
                await asyncio.to_thread(watched.replicate)
                await asyncio.to_thread(watched.isolation.lose_replicas)
            await ada.set_status("busy", text="deploying")
            async with visit(first, "carl"):
                for watcher in (here, there):
                    await until_status(watcher, "carl", "online")
                    await until_status(watcher, "dora", "offline")
                    await until_status(watcher, "ada", "busy")
                watched.master.kill()
                async with within(LOCAL_WITHIN_S, "watchers know"):
                    await until(here, lambda: here.connection.stale)
                await asyncio.to_thread(soon, lambda: watched.has_failed_over, "another master")
                async with within(RIGHT_WITHIN_S + 2, "all is right"):  # the sentinels publish it within 2 s
                    for watcher in (here, there):
                        await until_live(watcher)
                third = await asyncio.to_thread(nodes.start, backend=watched.url)
                expected = {"ada": "busy", "bob": "online", "carl": "online", "dora": "offline"}
                async with client(third, "w3") as newcomer, newcomer.watch(USERS):
                    await until(newcomer, lambda: {u: newcomer.user(u).status for u in USERS} == expected)
                    await asyncio.sleep(LEASE_S + 3)  # until the last user who does not fit is settled
                    for watcher in (here, there, newcomer):
                        assert {user: watcher.user(user).status for user in USERS} == expected
                        assert watcher.user("ada").text == "deploying"
            for watcher in (here, there):
                await until_status(watcher, "carl", "offline")
        for watcher in (here, there):
            await until_status(watcher, "bob", "offline")
        await asyncio.sleep(0.1)  # until both feeds have it, too
        for views in (seen_here, seen_there):
            views.check_versions()
            assert views.statuses["bob"][-2:] == ["online", "offline"]
            assert views.statuses["ada"][-2:] == ["online", "busy"]
            assert views.statuses["carl"] == ["online", "offline"]
            assert views.statuses["dora"][-2:] == ["online", "offline"]


async def test_split_brain_heals_and_shows_nobody_offline(watched: SentinelStore, nodes: Nodes) -> None:
    """One node goes on with the old master, the other one with the new master. The lease is longer than that."""
    isolation = watched.isolation
    lease = 40
    others = await asyncio.to_thread(isolation.clients)
    first = await asyncio.to_thread(nodes.start, backend=watched.url, cluster_lease=lease)
    await asyncio.sleep(0.5)
    own = await asyncio.to_thread(isolation.clients) - others
    second = await asyncio.to_thread(nodes.start, backend=watched.url, cluster_lease=lease)
    async with (
        client(first, "w1") as here,
        client(second, "w2") as there,
        here.watch(USERS),
        there.watch(USERS),
        followed(here) as seen_here,
        followed(there) as seen_there,
        visit(first, "ada"),
        visit(second, "bob"),
    ):
        for watcher in (here, there):
            await until_status(watcher, "ada", "online")
            await until_status(watcher, "bob", "online")
        await asyncio.to_thread(isolation.begin, own)
        async with within(LOCAL_WITHIN_S, "watchers know"):
            await until(there, lambda: there.connection.stale)
        async with visit(first, "carl"), visit(second, "dora"):
            await until_status(here, "carl", "online")
            await until_status(there, "dora", "online")
            await asyncio.to_thread(soon, lambda: watched.has_failed_over, "another master")
            await until(there, lambda: not there.connection.stale)
            assert not here.connection.stale, "the old master accepts everything"
            assert watched.replica.cli("HLEN", "presenced:{0ax}:users") != "0"
            assert here.user("dora").status == there.user("carl").status == "offline"
            await asyncio.to_thread(isolation.end)
            await asyncio.to_thread(soon, lambda: watched.is_old_replica, "the old master gives up")
            async with within(RIGHT_WITHIN_S, "all is right"):
                await until_status(here, "dora", "online")
                await until_status(there, "carl", "online")
            await asyncio.sleep(3)  # until users who do not fit are settled
            for watcher in (here, there):
                assert {user: watcher.user(user).status for user in USERS} == dict.fromkeys(USERS, "online")
                await until_live(watcher)
            for views in (seen_here, seen_there):
                views.check_versions()
                assert "offline" not in views.statuses["ada"][1:]
                assert "offline" not in views.statuses["bob"][1:]
