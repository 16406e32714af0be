"""Following all changes by polls, long polls and streams, without missing any."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from tests.support.api_client import ApiClient, api_client, problem
from tests.support.journal_replica import ChangesFollower
from tests.support.raw import PATIENCE
from tests.support.server import metric, server, until

from presenced.http import waiting
from presenced.http.api import changes

pytestmark = pytest.mark.anyio


async def shake(api: ApiClient, seed: int, steps: int) -> None:
    """Make many random changes of few users."""
    rng = random.Random(seed)
    for _ in range(steps):
        user = f"/users/{rng.randrange(8)}"
        match rng.randrange(4):
            case 0:
                await api.post(f"{user}/announce", {"online": rng.random() < 0.7})
            case 1:
                await api.put(f"{user}/status", {"status": rng.choice(["auto", "busy", "invisible", "away"])})
            case 2:
                await api.put(f"{user}/claims/x", {"status": "busy", "priority": 1, "text": str(rng.random())})
            case 3:
                await api.delete(f"{user}/claims/x")


async def shake_and_tell(api: ApiClient, seed: int, steps: int) -> None:
    await shake(api, seed, steps)
    await api.announce(f"end of {seed}")


async def poll(
    api: ApiClient, follower: ChangesFollower, cursor: str, wait: float = 0.0, limit: int = 3
) -> tuple[str, Any]:
    """Apply all changes after the cursor, and return the next cursor and the last digest."""
    while True:
        answer = await api.get(f"/changes?after={cursor}&limit={limit}&wait={wait}")
        for record in answer["changes"]:
            follower.apply(record)
        cursor = answer["next"]
        if answer["digest"] is not None:
            return cursor, answer["digest"]
        assert answer["changes"], "the digest is null only if there are more changes"


async def begin(api: ApiClient, follower: ChangesFollower) -> str:
    """Apply the pages of online users, and return the position from which to continue."""
    position, cursor = "", 0
    while cursor is not None:
        page = await api.get(f"/online?limit=2&after={cursor}")
        position = position or page["position"]
        for record in page["users"]:
            follower.apply(record)
        cursor = page["next"]
    return position


@pytest.mark.parametrize("seed", range(3))
async def test_a_polling_client_misses_nothing_and_the_digest_proves_this(seed: int) -> None:
    async with server() as running, api_client(running) as api:
        await shake(api, seed, 60)
        follower = ChangesFollower()
        shaking = asyncio.create_task(shake(api, seed + 100, 60))  # even while the client reads the first pages
        cursor = await begin(api, follower)
        while not shaking.done():
            cursor, digest = await poll(api, follower, cursor)
            assert digest["digest"] == follower.digest()
        await shaking
        cursor, digest = await poll(api, follower, cursor)
        assert digest["digest"] == follower.digest()
        assert digest["users"] == (await api.get("/counts"))["onlineUsers"]


async def test_the_feed_has_all_changes_in_order_with_versions_and_causes() -> None:
    async with server() as running, api_client(running) as api:
        start = (await api.get("/changes"))["next"]
        await api.announce("ada")
        await api.put("/users/ada/claims/call", {"status": "busy", "text": "on the phone"})
        await api.put("/users/ada/status", {"status": "invisible"})
        found = (await api.get(f"/changes?after={start}"))["changes"]
        assert [(c["was"], c["status"], c["cause"]) for c in found] == [
            ("offline", "online", "announcement"),
            ("online", "busy", "claim"),
            ("busy", "offline", "close"),  # to others, going invisible looks like a close
        ]
        versions = [c["version"] for c in found]
        assert versions == sorted(set(versions))
        assert found[1]["text"] == "on the phone"


async def test_a_long_poll_ends_at_the_first_change_or_at_its_timeout() -> None:
    async with server() as running, api_client(running) as api:
        poll_task = asyncio.create_task(api.get("/changes?wait=30"))
        await until(lambda: metric(running, "presenced_api_followers") == 1)
        await api.announce("ada")
        assert [c["userId"] for c in (await poll_task)["changes"]] == ["ada"]
        assert metric(running, "presenced_api_followers") == 0
        assert (await api.get("/changes?wait=0.05"))["changes"] == []


async def test_a_long_poll_ends_when_its_client_disconnects() -> None:
    async with server() as running, api_client(running) as api:
        poll_task = asyncio.create_task(api.get("/changes?wait=60"))
        await until(lambda: metric(running, "presenced_api_followers") == 1)
        poll_task.cancel()
        await until(lambda: metric(running, "presenced_api_followers") == 0)


async def test_a_stream_resumes_without_a_gap_and_its_digests_prove_this(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "STATE_DIGEST_PERIOD_S", 0.05)
    async with server() as running, api_client(running) as api:
        await shake(api, 1, 20)
        follower = ChangesFollower()
        last = await begin(api, follower)
        for seed in range(3):  # the stream is lost twice
            shaking = asyncio.create_task(shake_and_tell(api, seed, 40))
            async with api.events("/changes", last_event_id=last) as events:
                async for event in events:
                    last = event.id
                    if event.kind == "change":
                        follower.apply(event.data)
                        continue
                    assert event.kind == "digest"
                    assert event.data["digest"] == follower.digest()
                    if f"end of {seed}" in follower.users:
                        break
            await shaking


async def test_a_silent_stream_sends_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.http.sse.HEARTBEAT_S", 0.02)
    async with server() as running, api_client(running) as api:
        async with api.client.stream("GET", "/api/v1/changes", headers={"accept": "text/event-stream"}) as response:
            lines = []
            async for line in response.aiter_lines():
                lines.append(line)
                if lines.count(":") == 2:
                    break
            await response.aclose()
        assert lines[0].startswith("retry: ")


async def test_a_client_too_far_behind_must_start_again() -> None:
    async with server(journal_size=1000) as running, api_client(running) as api:
        start = (await api.get("/changes"))["next"]
        for number in range(1001):
            running.broadcast_user_status("ada", number % 2 == 0)
        answer = await api.ask("GET", f"/changes?after={start}")
        assert problem(answer) == (410, "CURSOR_TOO_OLD")
        assert "/api/v1/online" in answer.json()["detail"]
        streamed = await api.ask("GET", "/changes", accept="text/event-stream", last_event_id=start)
        assert problem(streamed) == (410, "CURSOR_TOO_OLD")


async def test_waiting_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_BACKENDS", 1)
    async with server() as running, api_client(running) as api, api.events("/changes") as events:
        await anext(events)
        refused = await api.ask("GET", "/changes?wait=1")
        assert problem(refused) == (503, "UNAVAILABLE")
        assert refused.headers["retry-after"] == "5"
        assert (await api.ask("GET", "/changes")).status_code == 200, "a request that does not wait needs no place"


async def test_a_stop_ends_waiting_requests() -> None:
    async with server() as running, api_client(running) as api:
        poll_task = asyncio.create_task(api.get("/changes?wait=60"))
        async with api.events("/changes") as events:
            await anext(events)
            await until(lambda: metric(running, "presenced_api_followers") == 2)
            async with asyncio.timeout(PATIENCE):
                await running.stop()
                assert [event async for event in events] == []
                assert (await poll_task)["changes"] == []
