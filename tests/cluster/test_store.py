"""The store is away, slow, emptied or wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.conftest import Nodes
from tests.cluster.test_nodes import follow, visit
from tests.support import command
from tests.support.clients import client, until
from tests.support.services import Redis, free_port

COMMAND = [sys.executable, "-m", "presenced", "serve", "--config", os.devnull]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


async def test_store_killed_local_service_goes_on_and_all_is_right_when_it_returns(store: Redis, nodes: Nodes) -> None:
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
            await until(there, lambda: there.user("bob").online)
            assert there.user("ada").online, "nobody whose node lives is shown offline"
            async with visit(first, "carl"):
                await until(here, lambda: here.user("carl").online)
                store.start()
                await until(here, lambda: here.user("bob").online)
                await until(there, lambda: there.user("carl").online)
            await until(there, lambda: there.user("carl").status == "offline")
            assert there.user("ada").online


async def test_store_frozen_then_thawed_shows_nobody_offline(store: Redis, nodes: Nodes) -> None:
    first, second = nodes.start(), nodes.start()
    seen: list[tuple[str, str]] = []
    async with client(second, "watcher") as watcher, visit(first, "ada"), watcher.watch(["ada", "bob"]):
        await until(watcher, lambda: watcher.user("ada").online)
        os.kill(store.pid, signal.SIGSTOP)
        try:
            async with visit(second, "bob"):
                await until(watcher, lambda: watcher.user("bob").online)
        finally:
            os.kill(store.pid, signal.SIGCONT)
        await until(watcher, lambda: watcher.user("bob").status == "offline")
        assert watcher.user("ada").online
        assert seen == []


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
            assert "waiting" not in (await node.say("the store is in reach")).removeprefix(said)
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
