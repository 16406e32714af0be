"""The classic protocol over real sockets, on both event loops, with two third-party client libraries."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
import pytest
import websockets.asyncio.client
from tests.support.raw import PATIENCE, masked, raw_websocket
from tests.support.server import QUICK_HEARTBEAT, server, until, until_all_have_answered
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode

pytestmark = pytest.mark.anyio


class AnyLibrary(Protocol):
    """Interface that the tests need of a client library."""

    async def receive(self) -> dict[str, Any]: ...
    async def send(self, text: str) -> None: ...
    async def close(self, code: int) -> None: ...
    async def closed(self) -> int: ...


class Websockets:
    def __init__(self, connection: websockets.asyncio.client.ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            found = json.loads(await self._connection.recv())
            assert isinstance(found, dict)
            return found

    async def send(self, text: str) -> None:
        await self._connection.send(text)

    async def close(self, code: int) -> None:
        await self._connection.close(code)

    async def closed(self) -> int:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ConnectionClosed) as ended:
                while True:
                    await self._connection.recv()
            assert ended.value.rcvd
            return ended.value.rcvd.code


class Aiohttp:
    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection = connection

    async def receive(self) -> dict[str, Any]:
        found = await self._connection.receive_json(timeout=PATIENCE)
        assert isinstance(found, dict)
        return found

    async def send(self, text: str) -> None:
        await self._connection.send_str(text)

    async def close(self, code: int) -> None:
        await self._connection.close(code=code)

    async def closed(self) -> int:
        async with asyncio.timeout(PATIENCE):
            async for _ in self._connection:
                pass
        assert self._connection.close_code is not None
        return self._connection.close_code


@asynccontextmanager
async def with_websockets(url: str) -> AsyncIterator[AnyLibrary]:
    async with websockets.asyncio.client.connect(url, proxy=None) as connection:
        yield Websockets(connection)


@asynccontextmanager
async def with_aiohttp(url: str) -> AsyncIterator[AnyLibrary]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
        yield Aiohttp(connection)


@pytest.fixture(params=[with_websockets, with_aiohttp], ids=["websockets", "aiohttp"])
def connect(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_connecting_and_disconnecting_follow_the_contract(connect: Any) -> None:
    async with server() as running, connect(f"{running.url}?userId=123") as alice:
        before = time.time() * 1000
        established = await alice.receive()
        assert list(established) == ["type", "userId", "timestamp", "connectionId"]
        assert (established["type"], established["userId"]) == ("CONNECTION_ESTABLISHED", 123)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", established["timestamp"])
        user, _, milliseconds = established["connectionId"].rpartition("-")
        assert user == "123"
        assert abs(int(milliseconds) - before) < 10_000
        async with connect(f"{running.url}?userId=bob") as bob:
            assert (await bob.receive())["type"] == "CONNECTION_ESTABLISHED"
            online = await alice.receive()
            assert list(online) == ["type", "userId", "timestamp"]
            assert (online["type"], online["userId"]) == ("USER_ONLINE", "bob")
            async with connect(f"{running.url}?userId=bob") as second:
                assert (await second.receive())["type"] == "CONNECTION_ESTABLISHED"
                await second.close(1000)
            await bob.close(1000)
        offline = await alice.receive()
        assert (offline["type"], offline["userId"]) == ("USER_OFFLINE", "bob"), "once, for the last connection"


async def test_a_user_who_reconnects_within_the_grace_period_notifies_nobody(connect: Any) -> None:
    async with server(grace_going_away=60) as running, connect(f"{running.url}?userId=1") as alice:
        await alice.receive()
        for number in range(3):  # a page that reloads twice
            async with connect(f"{running.url}?userId=2") as bob:
                await bob.receive()
                if number == 0:
                    assert (await alice.receive())["type"] == "USER_ONLINE"
                await bob.close(1001 if number < 2 else 1000)
        assert (await alice.receive())["type"] == "USER_OFFLINE", "the first thing said since USER_ONLINE"


async def test_a_lost_user_goes_offline_after_the_grace_period(connect: Any) -> None:
    async with server() as running, connect(f"{running.url}?userId=1") as alice:
        await alice.receive()
        async with raw_websocket(running.port, "?userId=2") as bob:
            assert (await alice.receive())["type"] == "USER_ONLINE"
            await bob.send(masked(Opcode.PING))  # otherwise the connection would count as closed while opening
            while (await bob.frame()).opcode is not Opcode.PONG:
                pass
            lost_at = time.monotonic()  # before the abort, which the server may detect before this test continues
            await bob.abort()
        assert (await alice.receive())["type"] == "USER_OFFLINE"
        assert time.monotonic() - lost_at >= running.settings.grace_lost - 0.01


async def test_only_a_client_that_answers_no_ping_is_dropped(connect: Any) -> None:
    async with server(**QUICK_HEARTBEAT) as running, connect(f"{running.url}?userId=1") as alice:
        await alice.receive()
        waiting = asyncio.create_task(alice.receive())
        async with raw_websocket(running.port, "?userId=2") as ghost:
            assert (await waiting)["type"] == "USER_ONLINE"
            waiting = asyncio.create_task(alice.receive())
            assert (await ghost.close_frame()).code == 4408
        offline = await waiting
        assert (offline["type"], offline["userId"]) == ("USER_OFFLINE", 2)
        waiting = asyncio.create_task(alice.receive())  # aiohttp answers pings only while it receives
        for _ in range(2):
            await until_all_have_answered(running)
        assert running.get_stats().total_connections == 1
        waiting.cancel()


async def test_unknown_and_malformed_messages_close_no_connection(connect: Any) -> None:
    async with server() as running, connect(f"{running.url}?userId=1") as alice:
        await alice.receive()
        for text in ("", "hello", "{", "[]", '{"type":"NO_SUCH_THING"}', "null", "x" * 65_536):
            await alice.send(text)
        async with connect(f"{running.url}?userId=2"):
            assert (await alice.receive())["type"] == "USER_ONLINE"


@pytest.mark.parametrize("query", ["", "?userId=", "?userId=%00", "?userId=1&userId=2", f"?userId={'x' * 129}"])
async def test_an_invalid_user_id_closes_the_connection_with_4400(connect: Any, query: str) -> None:
    async with server() as running, connect(running.url + query) as alice:
        assert await alice.closed() == 4400


@pytest.mark.parametrize("user_id", ["__proto__", "constructor", "李 Zoë", 'a"b\\c', "9007199254740993", "007", "<b>"])
async def test_hostile_and_foreign_ids_arrive_unchanged(connect: Any, user_id: str) -> None:
    async with server() as running, connect(f"{running.url}?userId=1") as alice:
        await alice.receive()
        async with connect(f"{running.url}?userId={quote(user_id, safe='')}") as other:
            assert (await other.receive())["userId"] == user_id
            assert (await alice.receive())["userId"] == user_id


async def test_each_of_a_hundred_users_is_notified_of_all_later_users(connect: Any) -> None:
    async with server() as running:

        async def user(number: int) -> set[int]:
            async with connect(f"{running.url}?userId={number}") as client:
                assert (await client.receive())["userId"] == number
                heard = set()
                while (of := (await client.receive())["userId"]) != "that is all":
                    heard.add(of)
                return heard

        users = [asyncio.create_task(user(number)) for number in range(100)]
        await until(lambda: running.get_stats().connected_users == 100)
        running.broadcast_user_status("that is all", True)
        heard = await asyncio.gather(*users)
        pairs = {frozenset((one, other)) for one, others in enumerate(heard) for other in others}
        assert len(pairs) == sum(map(len, heard)) == 100 * 99 / 2, "of each pair the first one hears of the second"
