"""presenced.v1 over real sockets, with the client of the `websockets` library, on both event loops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.support.live_client_v1 import QUIET, LiveV1Client
from tests.support.server import server
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from presenced import PresenceServer

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def enter(
    running: PresenceServer, query: str, session: LiveV1Client | None = None
) -> AsyncIterator[LiveV1Client]:
    """Connect and read the first messages. With `session`, resume that session."""
    if session:
        query += f"&session={session.session_id}&position={session.position}"
    url = f"{running.url}?userId={query}"
    async with connect(url, proxy=None, subprotocols=[Subprotocol("presenced.v1")], max_queue=None) as connection:
        client = LiveV1Client(connection)
        if session:
            client.resume_from(session)
        await client.until("PRESENCE_CHANGES")
        yield client


async def test_the_subprotocol_is_negotiated_and_classic_clients_see_no_difference() -> None:
    async with server(**QUIET) as running:
        other = [Subprotocol("chat"), Subprotocol("presenced.v1")]
        async with connect(f"{running.url}?userId=1", proxy=None, subprotocols=other) as both:
            assert both.subprotocol == "presenced.v1"
        async with connect(f"{running.url}?userId=1", proxy=None, subprotocols=other[:1]) as classic:
            assert classic.subprotocol is None
            assert json.loads(await classic.recv()).keys() == {"type", "userId", "timestamp", "connectionId"}
            async with enter(running, "2") as new:
                assert json.loads(await classic.recv())["type"] == "USER_ONLINE"
                await new.request("SET_STATUS", status="busy", text="not for old ears")
                await new.request("SET_STATUS", status="away")
            assert json.loads(await classic.recv())["type"] == "USER_OFFLINE"


async def test_clients_receive_snapshots_and_changes_of_presence() -> None:
    async with server(**QUIET, snapshot_page=2) as running, AsyncExitStack() as stack:
        for number in range(4):
            await stack.enter_async_context(enter(running, f"{number}&watch=none"))
        ada = await stack.enter_async_context(enter(running, "ada&device=web"))
        assert sorted(ada.records) == ["0", "1", "2", "3", "ada"]
        assert sum(message["type"] == "PRESENCE_SNAPSHOT" for message in ada.heard) == 3
        bob = await stack.enter_async_context(enter(running, "bob&device=phone"))
        assert (await ada.sees("bob", "online"))["devices"] == ["phone"]
        await bob.request("SET_STATUS", status="busy", text="in a meeting", emoji="☕", data={"room": 4}, expiresIn=1)
        seen = await ada.sees("bob", "busy")
        assert (seen["text"], seen["emoji"], seen["data"]) == ("in a meeting", "☕", {"room": 4})
        assert (await ada.sees("bob", "online")).get("text") is None, "the earlier one returns by itself"
        await bob.request("ACTIVITY", state="idle")
        await ada.sees("bob", "away")


async def test_a_change_of_network_resumes_the_session_and_notifies_nobody() -> None:
    async with server(**QUIET, grace_lost=60) as running, enter(running, "bob") as bob:
        async with enter(running, "ada") as ada:
            await bob.sees("ada", "online")
            await ada.request("JOIN", room="lobby", data={"seat": 1})
            await ada.until("PRESENCE_CHANGES")  # its position confirms that the room has arrived
            ada.cut()
        await bob.request("SET_STATUS", status="busy")
        heard = len(bob.heard)
        async with enter(running, "ada", ada) as again:
            assert (again.resumed, again.session_id) == (True, ada.session_id)
            assert not any(message["type"] == "PRESENCE_SNAPSHOT" for message in again.heard)
            assert again.seen("bob")["status"] == "busy", "which was missed"
            assert (await again.request("SET_MEMBER", room="lobby", data={"seat": 2}))["type"] == "ACK", (
                "still a member"
            )
            await bob.request("PING")
            assert not any("ada" in str(message) for message in bob.heard[heard:]), "nobody noticed"


async def test_a_new_connection_of_a_session_replaces_the_old_one() -> None:
    async with server(**QUIET) as running, enter(running, "ada") as ada, enter(running, "ada", ada) as newer:
        assert newer.resumed
        assert await ada.closed() == 4409
        assert running.get_stats().total_connections == 1


async def test_clients_receive_room_members_and_counts() -> None:
    async with (
        server(**QUIET) as running,
        enter(running, "ada&watch=none") as ada,
        enter(running, "bob&watch=none") as bob,
    ):
        await ada.request("JOIN", room="lobby")
        await ada.until("ROOM_SNAPSHOT")
        await ada.request("WATCH", everyone=True, mode="count")
        assert (await ada.until("PRESENCE_COUNT"))["online"] == 2
        await bob.request("JOIN", room="lobby", data={"x": 1})
        await ada.until("ROOM_CHANGES")
        assert ada.rooms["lobby"] == {"ada": None, "bob": {"x": 1}}
        await bob.connection.close()
        await ada.until("ROOM_CHANGES", left=["bob"])
        assert (await ada.until("PRESENCE_COUNT"))["online"] == 1


async def test_refusals_state_the_reason() -> None:
    async with server(**QUIET, request_rate=0.001, request_burst=3) as running:  # the limit does not refill
        async with connect(
            f"{running.url}?userId=1&watch=all", proxy=None, subprotocols=[Subprotocol("presenced.v1")]
        ) as bad:
            assert await LiveV1Client(bad).closed() == 4402
            assert bad.close_reason == "watch must be everyone or none"
        async with enter(running, "ada") as ada:
            assert (await ada.request("DANCE"))["name"] == "BAD_REQUEST"
            for _ in range(9):
                await ada.connection.send('{"type":"PING"}')
            assert await ada.closed() == 4429
            assert [message["type"] for message in ada.heard[-5:]] == ["PONG", "PONG", "ERROR", "ERROR", "ERROR"]


async def test_a_client_that_stops_reading_receives_a_missed_user_once() -> None:
    async with server(**QUIET, behind_timeout=60, write_buffer=4096) as running, enter(running, "slow") as slow:
        slow.connection.transport.pause_reading()
        online = False
        while not running._parts.node.broadcaster.behind:  # type: ignore[union-attr]  # the server runs
            online = not online
            for number in range(300):
                running.broadcast_user_status(f"{number} {'x' * 100}", online)
            await asyncio.sleep(0.001)
        for number in range(20):
            running.broadcast_user_status("late", number % 2 == 1)
        slow.connection.transport.resume_reading()
        running.broadcast_user_status("last", True)
        await slow.sees("last", "online")
        told = [record for message in slow.heard for record in message.get("users", ()) if record["userId"] == "late"]
        assert [record["status"] for record in told] == ["online"]


async def test_a_stop_sends_every_client_a_reconnect_delay() -> None:
    async with server(**QUIET) as running, enter(running, "ada") as ada, enter(running, "bob") as bob:
        await ada.sees("bob", "online")
        stopping = asyncio.create_task(running.stop())
        for client in (ada, bob):
            assert await client.closed() == 1001
            assert client.heard[-1]["type"] == "GOING_AWAY"
            assert 0 < client.heard[-1]["retryAfter"] < 1
            assert client.seen("ada")["status"] == client.seen("bob")["status"] == "online"
        await stopping


async def test_clients_detect_a_restart_of_the_server() -> None:
    running = server(**QUIET, grace_lost=60)
    async with running, enter(running, "ada") as ada:
        await ada.request("SET_STATUS", status="invisible")
    await running.start()
    try:
        async with enter(running, "bob") as bob, enter(running, "ada&status=invisible", ada) as again:
            assert (again.resumed, again.own["status"]) == (False, "invisible")
            greeting = next(message for message in again.heard if message["type"] == "CONNECTION_ESTABLISHED")
            assert greeting["epoch"] != next(m for m in ada.heard if "epoch" in m)["epoch"]
            assert greeting["settling"] > 0
            await bob.request("PING")
            assert "ada" not in bob.records, "not for a moment"
    finally:
        await running.stop()
