"""The store is away, slow, emptied or wrong."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.cluster.conftest import LEASE_S, Nodes
from tests.cluster.test_nodes import follow, until_status, visit
from tests.cluster.timing import LOCAL_WITHIN_S, RIGHT_WITHIN_S, within
from tests.support import command
from tests.support.clients import client, until
from tests.support.ports import free_port
from tests.support.raw import PATIENCE
from tests.support.services import Redis

COMMAND = [sys.executable, "-m", "presenced", "serve", "--config", os.devnull]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


@asynccontextmanager
async def events(url: str) -> AsyncIterator[AsyncIterator[str]]:
    """Open an event stream, and yield its lines."""
    async with (
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http,
        http.stream("GET", url) as response,
    ):
        yield response.aiter_lines()


async def anext_of(lines: AsyncIterator[str], kind: str) -> str:
    """Return the field of an event with the same name as its kind."""
    async with asyncio.timeout(PATIENCE):
        while await anext(lines) != f"event: {kind}":
            pass
        return str(json.loads((await anext(lines)).removeprefix("data: "))[kind])


async def test_store_killed_local_service_goes_on_and_converges_in_two_seconds(store: Redis, nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start()
    async with (
        client(first, "w1") as here,
        client(second, "w2") as there,
        here.watch(["ada", "bob", "carl"]),
        there.watch(["ada", "bob", "carl"]),
        visit(first, "ada"),
    ):
        await until(there, lambda: there.user("ada").online)
        store.kill()
        async with visit(second, "bob"):
            async with within(LOCAL_WITHIN_S, "local service goes on"):
                await until(there, lambda: there.user("bob").online)
                await until(there, lambda: there.connection.stale)
            await asyncio.sleep(LEASE_S + 2)
            assert there.user("ada").online, "nobody whose node lives is shown offline"
            async with visit(first, "carl"):
                async with within(LOCAL_WITHIN_S, "local service goes on"):
                    await until(here, lambda: here.user("carl").online)
                await asyncio.to_thread(store.start)
                async with within(RIGHT_WITHIN_S, "all is right"):
                    await until(here, lambda: here.user("bob").online)
                    await until(there, lambda: there.user("carl").online)
            await until(there, lambda: there.user("carl").status == "offline")
            assert there.user("ada").online


async def test_clients_of_a_node_without_the_store_know_it_until_it_is_back(store: Redis, nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start()
    async with (
        client(first, "w1") as here,
        here.watch(["ada", "bob"]),
        visit(first, "ada"),
        events(f"{first.url}api/v1/watch?users=bob") as stream,
    ):
        async with visit(second, "bob"):
            await until(here, lambda: here.user("ada").online and here.user("bob").online)
            store.kill()
            await until(here, lambda: here.connection.stale)
            assert await anext_of(stream, "certainty") == "stale"
            assert here.user("bob").online
            async with client(first, "w2") as late, late.watch(["ada", "bob", "nobody"]):
                assert late.connection.stale
                assert {name: late.user(name).certain for name in ("ada", "bob", "nobody")} == {
                    "ada": True,
                    "bob": False,
                    "nobody": False,
                }
                store.start()
                await until(here, lambda: not here.connection.stale)
                await until(late, lambda: not late.connection.stale)
                for watcher in (here, late):
                    assert watcher.user("bob").online
                    assert watcher.user("bob").certain
                assert await anext_of(stream, "certainty") == "live"
        await until(here, lambda: here.user("bob").status == "offline")
        assert here.user("bob").certain


async def test_store_frozen_then_thawed_late_commands_are_refused(store: Redis, nodes: Nodes) -> None:
    """Both nodes have sent a change of the same user, and of others. Each takes effect once, and nobody flickers."""
    first, second = nodes.start(), nodes.start()
    seen: list[tuple[str, str]] = []
    async with client(second, "watcher") as watcher, visit(first, "ada"), watcher.watch(["ada", "bob", "carl"]):
        await until(watcher, lambda: watcher.user("ada").online)
        following = asyncio.create_task(follow(watcher, seen, "ada", "bob", "carl"))
        store.pause()
        try:
            async with visit(second, "bob"), visit(first, "bob"), visit(second, "ada"):
                async with within(5 + LOCAL_WITHIN_S, "a silent store is noticed, and local service goes on"):
                    await until(watcher, lambda: watcher.user("bob").online)
                assert watcher.user("ada").online
                store.resume()
                async with visit(first, "carl"), within(RIGHT_WITHIN_S, "all is right"):
                    await until(watcher, lambda: watcher.user("carl").online)
                    await until(watcher, lambda: not watcher.connection.stale)
        finally:
            store.resume()
        for user_id in ("bob", "carl"):
            await until_status(watcher, user_id, "offline")
        await asyncio.sleep(1)
        following.cancel()
        assert watcher.user("ada").online
    assert [status for user, status in seen if user == "bob"] == ["online", "offline"]
    assert [status for user, status in seen if user == "carl"] == ["online", "offline"]
    assert [status for user, status in seen if user == "ada"] == []


async def test_flushall_shows_nobody_offline(store: Redis, nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start()
    seen: list[tuple[str, str]] = []
    async with client(second, "watcher") as watcher, visit(first, "ada"), visit(second, "bob"):
        async with watcher.watch(["carl"]), watcher.watch(["ada", "bob"]):
            await until(watcher, lambda: watcher.user("ada").online and watcher.user("bob").online)
            following = asyncio.create_task(follow(watcher, seen, "ada", "bob"))
            store.cli("FLUSHALL")
            async with visit(first, "carl"):
                await until(watcher, lambda: watcher.user("carl").online)
            following.cancel()
        assert [status for _, status in seen if status == "offline"] == []


async def test_a_store_that_is_away_at_the_start_is_waited_for_and_both_are_logged(tmp_path: Path) -> None:
    with Redis() as store:
        store.kill()
        environ = {"PRESENCED_BACKEND": store.url("0")}
        process = await command.start("serve", "--port", "0", cwd=tmp_path, environ=environ)
        try:
            node = command.Command(process)
            said = await node.say("\n")
            assert f"waiting for the store: 127.0.0.1:{store.port}: " in said
            await asyncio.to_thread(store.start)
            assert "waiting" not in (await node.say("joined the cluster presenced as node ")).removeprefix(said)
            await node.say("/ws-online-status")
        finally:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("requirepass", "secret", "password"), ("maxmemory-policy", "allkeys-lru", "noeviction")],
)
def test_a_store_that_cannot_be_used_is_one_clear_line(setting: str, value: str, said: str) -> None:
    with Redis() as store:
        store.cli("CONFIG", "SET", setting, value)
        done = subprocess.run(
            [*COMMAND, "--port", str(free_port()), "--backend", store.url("0")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert said in line
