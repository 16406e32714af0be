"""Watching over Server-Sent Events: authentication, visibility, and slow clients."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import jwt
import pytest
from tests.support.api_client import Event, api_client, connect_v1, problem
from tests.support.raw import PATIENCE
from tests.support.server import metric, node, server, until

from presenced import PresenceServer
from presenced.auth.api_keys import new_key
from presenced.http import waiting
from presenced.node.service import PresenceService
from presenced.presence.model import Status, StatusDetails
from presenced.presence.status import Claim
from presenced.transports.http1.connection import HttpConnection

pytestmark = pytest.mark.anyio

SECRET = "a secret of forty characters, or nearly so"
KEY = new_key("admin")
JWT = {"auth": "jwt", "jwt_key": SECRET, "api_keys": [KEY.entry]}


def token(user_id: str, seconds: float = 600, **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode({"sub": user_id, "iat": now, "exp": now + seconds, **claims}, SECRET, "HS256")


def seen(event: Event) -> dict[int | str, str]:
    return {user["userId"]: user["status"] for user in event.data["users"]}


async def test_a_stream_begins_with_a_snapshot_and_continues_with_changes() -> None:
    async with server() as running, api_client(running) as api:
        await api.announce("bo")
        async with api.events("/watch?users=bo&users=7") as events:
            first = await anext(events)
            assert (first.kind, seen(first), first.data["more"]) == ("snapshot", {7: "offline", "bo": "online"}, False)
            await api.announce("eve")
            await api.announce("7")
            second = await anext(events)
            assert (second.kind, seen(second)) == ("changes", {7: "online"})


@pytest.mark.parametrize("path", ["/watch?users=eve&users=bo", "/watch?everyone=true", "/changes"])
async def test_data_with_line_breaks_from_a_client_breaks_no_stream(path: str) -> None:
    """Line breaks between tokens of JSON are valid, but end a line of an event stream."""
    broken = '{"type":"SET_STATUS","status":"busy","data":{"a":\n\n1,\r"\u2028":"\\n"}}'
    async with server(status_pause=0) as running, api_client(running) as api, connect_v1(running, "userId=eve") as eve:
        async with api.events(path) as events:
            if path != "/changes":
                await anext(events)
            await eve.send(broken)
            await api.announce("bo")
            received: dict[object, Any] = {}
            async with asyncio.timeout(10):
                while len(received) < 2:
                    event = await anext(events)
                    for user in event.data.get("users", [event.data]) if event.kind.startswith("change") else ():
                        received[user["userId"]] = user
            assert received["eve"]["data"] == {"a": 1, "\u2028": "\n"}
        async with api.events("/watch?users=eve") as events:
            assert (await anext(events)).data["users"][0]["data"] == {"a": 1, "\u2028": "\n"}, "in a snapshot, too"


async def test_data_with_line_breaks_from_a_backend_breaks_no_stream() -> None:
    async with server() as running, api_client(running) as api, api.events("/watch?users=ada") as events:
        await anext(events)
        await api.announce("ada")
        body = '{"status":"busy","priority":1,"data":[\n\n1\r\n]}'
        await api.client.put("/api/v1/users/ada/claims/x", content=body)
        async with asyncio.timeout(10):
            while "data" not in (user := (await anext(events)).data["users"][0]):
                pass
        assert user["data"] == [1]


async def test_a_snapshot_of_everyone_is_sent_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.http.api.watch.PAGE_USERS", 2)
    async with server() as running, api_client(running) as api:
        for number in range(5):
            await api.announce(str(number))
        async with api.events("/watch?everyone=true") as events:
            pages = [await anext(events) for _ in range(3)]
            assert [page.data["more"] for page in pages] == [True, True, False]
            assert [bool(page.id) for page in pages] == [False, False, True]
            assert len({user for page in pages for user in seen(page)}) == 5


@pytest.mark.parametrize("is_busy", [False, True])
async def test_a_silent_stream_sends_comments_also_while_other_users_change(
    monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    """On a busy server, every step of the stream ends with a change, though of a user that it does not watch."""
    monkeypatch.setattr("presenced.http.sse.HEARTBEAT_S", 0.02)
    monkeypatch.setattr("presenced.http.api.watch.WRITE_PERIOD_S", 0.05)
    monkeypatch.setattr("presenced.http.api.watch.TOKEN_CHECK_S", PATIENCE if is_busy else 0.05)

    async def change(running: PresenceServer) -> None:
        for number in range(1_000_000):
            running.broadcast_user_status("eve", number % 2 == 0)
            await asyncio.sleep(0.01)

    async with server() as running, api_client(running) as api, asyncio.timeout(PATIENCE):
        changing = asyncio.create_task(change(running)) if is_busy else None
        async with api.client.stream("GET", "/api/v1/watch?users=bo") as response:
            lines: list[str] = []
            async for line in response.aiter_lines():
                lines.append(line)
                if lines.count(":") == 2:
                    break
        if changing is not None:
            changing.cancel()


async def test_only_a_token_with_the_role_receives_causes() -> None:
    async with server(**JWT) as running, api_client(running, KEY.key) as api:
        for presence, cause in ({"roles": ["causes"]}, "announcement"), ({"roles": ["desk"]}, None):
            await api.announce("bo", True)
            given = token("ada", presence=presence)
            async with api.events(f"/watch?users=bo&token={given}") as events:
                assert (await anext(events)).data["users"][0].get("cause") == cause
                await api.announce("bo", False)
                assert (await anext(events)).data["users"][0].get("cause") == cause


async def test_users_blocked_by_the_token_are_not_watched() -> None:
    async with server(**JWT) as running, api_client(running, KEY.key) as api:
        await api.announce("bo")
        await api.announce("eve")
        mine = token("ada", presence={"block": ["eve"]})
        for query, nobody in ("everyone=true", {}), ("users=bo&users=eve", {"eve": "offline"}):
            async with api.events(f"/watch?{query}&token={mine}") as events:
                assert seen(await anext(events)) == {"bo": "online", **nobody}
                await api.announce("eve", online=False)
                await api.announce("bo", online=False)
                assert seen(await anext(events)) == {"bo": "offline"}
                await api.announce("bo")
                await api.announce("eve")


async def test_a_user_who_changes_quickly_is_sent_once_with_the_last_state() -> None:
    async with server() as running, api_client(running) as api, api.events("/watch?users=ada") as events:
        await anext(events)
        await api.announce("ada")
        service = PresenceService(node(running))
        for number in range(50):  # in parallel, so that the result does not depend on the duration of requests
            service.set_claim("ada", Claim("x", Status.BUSY, StatusDetails(str(number))))
        count = 0
        async for event in events:
            count += 1
            (user,) = event.data["users"]
            if user.get("text") == "49":
                break
        assert count <= 2, "fewer events than changes"


async def test_a_lost_stream_resumes() -> None:
    async with server() as running, api_client(running) as api:
        async with api.events("/watch?everyone=true") as events:
            last = (await anext(events)).id
        await api.announce("ada")
        async with api.events("/watch?everyone=true", last_event_id=last) as events:
            event = await anext(events)
            assert (event.kind, seen(event)) == ("changes", {"ada": "online"})
        async with api.events("/watch?everyone=true", last_event_id="00000000-1") as events:
            assert (await anext(events)).kind == "snapshot"


async def test_a_stream_with_a_users_token_shows_only_users_they_may_see() -> None:
    async with server(visibility="claims", **JWT) as running, api_client(running, KEY.key) as api:
        await api.announce("bo")
        await api.announce("eve")
        mine = token("ada", presence={"watch": ["bo"]})
        for query, headers in ((f"&token={mine}", {}), ("", {"authorization": f"Bearer {mine}"})):
            async with api.events(f"/watch?users=bo&users=eve&users=nobody{query}", **headers) as events:
                records = {user["userId"]: user for user in (await anext(events)).data["users"]}
                assert records["bo"]["status"] == "online"
                assert {**records["eve"], "userId": ""} == {**records["nobody"], "userId": ""}
                await api.announce("eve", online=False)
                await api.announce("bo", online=False)
                assert seen(await anext(events)) == {"bo": "offline"}
                await api.announce("bo")
                await api.announce("eve")
        async with api.events(f"/watch?everyone=true&token={mine}") as events:
            assert seen(await anext(events)) == {"bo": "online"}
        async with api.events("/watch?everyone=true") as events:
            assert seen(await anext(events)) == {"bo": "online", "eve": "online"}, "with a key"


@pytest.mark.parametrize("shown", ["", "&token=nonsense", "&token=" + token("ada", seconds=-60)])
async def test_a_request_without_valid_credentials_is_refused(shown: str) -> None:
    async with server(**JWT) as running, api_client(running) as api:
        assert problem(await api.ask("GET", f"/watch?everyone=true{shown}")) == (401, "UNAUTHORIZED")


async def test_a_stream_ends_when_its_token_expires_or_is_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.http.api.watch.TOKEN_CHECK_S", 0.05)
    async with server(jwt_leeway=0, **JWT) as running, api_client(running, KEY.key) as api:
        async with api.events(f"/watch?users=bo&token={token('ada', seconds=2)}") as events:
            assert len([event async for event in events]) == 1
        async with api.events(f"/watch?users=bo&token={token('ada')}") as events:
            await anext(events)
            await api.post("/users/ada/revoke", {})
            assert [event async for event in events] == []


async def test_one_user_cannot_occupy_the_places_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING_OF_USER", 1)
    mine, other = (f"/watch?users=bo&token={token(user_id)}" for user_id in ("ada", "bo"))
    async with server(**JWT) as running, api_client(running) as api, api.events(mine) as events:
        await anext(events)
        assert problem(await api.ask("GET", mine)) == (503, "UNAVAILABLE")
        async with api.events(other) as others:
            await anext(others)


async def test_a_client_that_does_not_read_is_cut_off_and_harms_no_other() -> None:
    """The snapshot is larger than the buffers of the kernel."""
    async with server(behind_timeout=0.5, max_announced=20_000) as running, api_client(running) as api:
        for number in range(15_000):
            running.broadcast_user_status(f"{number:05}" + "x" * 120, is_online=True)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", running.port))
            slow.sendall(b"GET /api/v1/watch?everyone=true HTTP/1.1\r\nhost: localhost\r\n\r\n")
            await until(lambda: metric(running, "presenced_api_followers") == 1)
            async with asyncio.timeout(PATIENCE):
                while metric(running, "presenced_api_followers"):
                    assert (await api.get("/counts"))["onlineUsers"] == 15_000
                    await asyncio.sleep(0.01)


def holds_something(running: PresenceServer) -> bool:
    """Return whether a transport has unwritten output."""
    assert running._parts
    peers = running._parts.listener._peers
    return any(isinstance(peer, HttpConnection) and peer.transport.get_write_buffer_size() for peer in peers)


async def test_a_client_that_does_not_read_does_not_delay_a_stop(caplog: pytest.LogCaptureFixture) -> None:
    async with server(max_announced=20_000, close_timeout=60, behind_timeout=60) as running:
        for number in range(15_000):
            running.broadcast_user_status(f"{number:05}" + "x" * 120, is_online=True)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", running.port))
            slow.sendall(b"GET /api/v1/watch?everyone=true HTTP/1.1\r\nhost: localhost\r\n\r\n")
            await until(lambda: metric(running, "presenced_api_followers") == 1)
            await until(lambda: holds_something(running))  # so the kernel's buffer is full
            async with asyncio.timeout(PATIENCE):
                await running.stop()
    assert not [record for record in caplog.records if record.exc_info], "no exception in the log"


async def test_without_authentication_every_client_that_may_connect_may_watch() -> None:
    async with server(host="127.0.0.1") as running, api_client(running) as api:
        assert problem(await api.ask("GET", "/counts", x_forwarded_for="203.0.113.7")) == (401, "UNAUTHORIZED")
        async with api.events("/watch?users=bo", x_forwarded_for="203.0.113.7") as events:
            assert (await anext(events)).kind == "snapshot"
