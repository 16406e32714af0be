"""Both protocols with npm's `ws` in Node.js, the client library of existing users."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.raw import PATIENCE
from tests.support.server import server, until_all_have_answered

pytestmark = pytest.mark.anyio

CLIENT = Path(__file__).parents[1] / "js" / "client.cjs"


class NodeClient:
    """Node.js process that takes commands as lines and returns received messages as lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def hear(self) -> dict[str, Any]:
        assert self._process.stdout
        async with asyncio.timeout(PATIENCE):
            found = json.loads(await self._process.stdout.readline())
            assert isinstance(found, dict)
            return found

    def say(self, command: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(command.encode() + b"\n")


@asynccontextmanager
async def node(url: str, *protocols: str) -> AsyncIterator[NodeClient]:
    found = shutil.which("node")
    assert found, "the tests need Node"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(found, CLIENT, url, *protocols, stdin=pipe, stdout=pipe)
    try:
        yield NodeClient(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_two_nodejs_clients_see_each_other_connect_and_disconnect() -> None:
    async with server() as running, node(f"{running.url}?userId=1") as alice:
        established = await alice.hear()
        assert (established["type"], established["userId"]) == ("CONNECTION_ESTABLISHED", 1)
        async with node(f"{running.url}?userId=bob") as bob:
            assert (await bob.hear())["userId"] == "bob"
            assert (await alice.hear())["type"] == "USER_ONLINE"
            bob.say("send not json")
            bob.say("close 1000")
            assert await bob.hear() == {"closed": 1000, "reason": ""}
        offline = await alice.hear()
        assert (offline["type"], offline["userId"]) == ("USER_OFFLINE", "bob")


async def test_nodejs_answers_pings_and_a_killed_process_is_offline_after_the_grace_period() -> None:
    async with (
        server(grace_lost=0.2, heartbeat_interval=1, pong_timeout=1) as running,
        node(f"{running.url}?userId=1") as alice,
    ):
        await alice.hear()
        async with node(f"{running.url}?userId=2") as bob:
            await bob.hear()
            assert (await alice.hear())["type"] == "USER_ONLINE"
            for _ in range(2):
                await until_all_have_answered(running)
            assert running.get_stats().total_connections == 2
        offline = await alice.hear()
        assert (offline["type"], offline["userId"]) == ("USER_OFFLINE", 2)


async def test_a_nodejs_client_receives_the_close_reason() -> None:
    async with server() as running:
        async with node(running.url) as refused:
            closed = await refused.hear()
            assert closed["closed"] == 4400
            assert "userId is missing" in closed["reason"]
        async with node(f"{running.url}?userId=1") as alice:
            await alice.hear()
            running.handle_user_disconnect(1)
            assert (await alice.hear())["closed"] == 4410
        async with node(f"{running.url}?userId=1") as alice:
            await alice.hear()
            await running.stop()
            assert await alice.hear() == {"closed": 1001, "reason": "the server is stopping"}
            await running.start()


async def test_a_nodejs_client_can_use_presenced_v1() -> None:
    async with server() as running, node(f"{running.url}?userId=1&device=node", "presenced.v1") as alice:
        types = [(await alice.hear())["type"] for _ in range(4)]
        assert types == ["CONNECTION_ESTABLISHED", "SELF", "PRESENCE_SNAPSHOT", "PRESENCE_CHANGES"]
        async with node(f"{running.url}?userId=bob", "presenced.v1") as bob:
            assert (await alice.hear())["users"][0]["userId"] == "bob"
            bob.say('send {"type":"SET_STATUS","status":"busy","text":"Grüße","id":7}')
            [seen] = (await alice.hear())["users"]
            assert (seen["status"], seen["text"]) == ("busy", "Grüße")
