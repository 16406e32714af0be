"""Webhooks from end to end: a real server, its storage worker, and a receiver that verifies."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support.api_client import api_client
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.server import metric, node, server
from tests.support.stored import drained, soon, well, worker_pid
from tests.support.webhooks import SECRET, Receiver
from websockets.asyncio.client import connect

from presenced.storage import collected as module
from presenced.storage.records import StoredRevocation

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    """Event loop of the command. One is enough, because each test starts processes."""
    return "asyncio", {"use_uvloop": True}


def received(receiver: Receiver) -> list[tuple[str, Any]]:
    """Each event once."""
    events = {event["id"]: event for event in receiver.taken}
    return [(event["type"], event["data"].get("userId", event["data"].get("room"))) for event in events.values()]


def by_version(receiver: Receiver) -> dict[str, str]:
    """Return the state of users at a receiver that compares versions, as documented."""
    newest: dict[str, dict[str, Any]] = {}
    for data in (event["data"] for event in receiver.taken):
        if data["version"] > newest.get(data["userId"], {"version": 0})["version"]:
            newest[data["userId"]] = data
    return {user_id: data["status"] for user_id, data in newest.items()}


def visit(url: str, user_id: str) -> connect:
    """A connection that nobody reads from, but whose end is detected."""
    return connect(f"{url}?userId={user_id}", max_queue=None)


def settings(folder: Path, receiver: Receiver, **more: object) -> dict[str, Any]:
    return {
        "database": "sqlite",
        "data_dir": str(folder),
        "node": "here",
        "webhook_urls": receiver.url,
        "outgoing_private": True,
        **more,
    }


async def test_events_reach_the_receiver(tmp_path: Path) -> None:
    v1: Any = ["presenced.v1"]
    with Receiver() as receiver:
        async with server(**settings(tmp_path, receiver, webhook_secrets=SECRET)) as running:
            async with connect(f"{running.url}?userId=ada", subprotocols=v1) as ada:
                await ada.send('{"type":"JOIN","room":"lobby"}')
                await soon(lambda: len(received(receiver)) == 2)
            await soon(lambda: len(received(receiver)) == 4)
            assert sorted(received(receiver)) == [
                ("room.occupied", "lobby"),
                ("room.vacated", "lobby"),
                ("user.offline", "ada"),
                ("user.online", "ada"),
            ]
            await soon(lambda: metric(running, "presenced_webhooks_delivered_total") == 4)
            assert metric(running, "presenced_webhooks_waiting") == 0


async def test_after_a_kill_only_users_who_do_not_return_are_reported_offline(tmp_path: Path) -> None:
    with Receiver() as receiver:
        given = settings(tmp_path, receiver, settling=12.0)  # enough for the user to return on a busy machine
        with ServerProcess({"PRESENCED_WEBHOOK_SECRETS": SECRET}, **given) as process:
            async with (
                connect(f"{process.websocket_url}?userId=leaver"),
                connect(f"{process.websocket_url}?userId=stayer"),
            ):
                await soon(lambda: len(received(receiver)) == 2)
                (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                os.kill(int(worker), signal.SIGKILL)
                process.kill()
            process.start()
            async with connect(f"{process.websocket_url}?userId=stayer"):
                await soon(lambda: ("user.offline", "leaver") in received(receiver))
                await well(process)
            assert sorted(received(receiver)[:2]) == [("user.online", "leaver"), ("user.online", "stayer")]
            assert received(receiver)[2:3] == [("user.offline", "leaver")]


async def test_a_user_who_is_erased_repeatedly_while_the_receiver_is_down_is_reported_offline(tmp_path: Path) -> None:
    with Receiver() as receiver:
        async with (
            server(**settings(tmp_path, receiver, webhook_secrets=SECRET)) as running,
            api_client(running) as api,
        ):
            async with visit(running.url, "ada"):
                await soon(lambda: received(receiver) == [("user.online", "ada")])
                await soon(lambda: metric(running, "presenced_webhooks_delivered_total") == 1)
                receiver.answer = lambda _: 503
                os.kill(worker_pid(running), signal.SIGKILL)
                await soon(lambda: metric(running, "presenced_storage_workers_lost_total") == 1)
                assert (await api.ask("DELETE", "/users/ada")).status_code == 503
            await drained(running)
            counts = [(await api.delete("/users/ada"))["stored"] for _ in range(3)]
            assert counts[1:] == [0, 0]
            receiver.answer = lambda _: 204
            await soon(lambda: ("user.offline", "ada") in received(receiver))


async def test_receivers_know_returned_users_before_the_database_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check after a restart uses the live state: here records wait so long that the database never learns it."""
    back = [f"back{number}" for number in range(20)]
    with Receiver() as receiver:
        given = settings(tmp_path, receiver, webhook_secrets=SECRET, settling=1.0)
        async with server(**given) as running, AsyncExitStack() as there:
            for user_id in (*back, "leaver"):
                await there.enter_async_context(visit(running.url, user_id))
            await soon(lambda: len(received(receiver)) == len(back) + 1)
            await running.stop()  # nobody is notified that they left
        monkeypatch.setattr(module, "STATE_PERIOD_S", 3600.0)
        async with server(**given) as running, AsyncExitStack() as there:
            for user_id in ("first", *back):  # the first user's records are sent immediately, and the others' wait
                await there.enter_async_context(visit(running.url, user_id))
            await soon(lambda: ("user.offline", "leaver") in received(receiver))
            await soon(lambda: {by_version(receiver)[user_id] for user_id in back} == {"online"})


async def test_receivers_know_the_live_state_when_users_return_around_the_end_of_settling(tmp_path: Path) -> None:
    users = [f"user{number}" for number in range(60)]
    with Receiver() as receiver:
        given = settings(tmp_path, receiver, settling=2.0)
        with ServerProcess({"PRESENCED_WEBHOOK_SECRETS": SECRET}, **given) as process:
            async with AsyncExitStack() as there:
                for user_id in (*users, "leaver"):
                    await there.enter_async_context(visit(process.websocket_url, user_id))
                await soon(lambda: len(received(receiver)) == len(users) + 1)
                process.kill()
            process.start()
            async with AsyncExitStack() as there:
                began = time.monotonic()
                for number, user_id in enumerate(users):  # from 0.4 s before the end to 0.8 s after it
                    await asyncio.sleep(max(0.0, began + 1.6 + 0.02 * number - time.monotonic()))
                    await there.enter_async_context(visit(process.websocket_url, user_id))
                await soon(lambda: ("user.offline", "leaver") in received(receiver))  # so the check is over
                await soon(lambda: {by_version(receiver)[user_id] for user_id in users} == {"online"})


async def test_an_event_is_delivered_after_its_worker_was_killed(tmp_path: Path) -> None:
    with Receiver(lambda _: 503) as receiver:
        async with (
            server(**settings(tmp_path, receiver, webhook_secrets=SECRET)) as running,
            connect(f"{running.url}?userId=ada"),
        ):
            await soon(lambda: receiver.requests)
            os.kill(worker_pid(running), signal.SIGKILL)
            receiver.answer = lambda _: 204
            await soon(lambda: received(receiver) == [("user.online", "ada")])


async def test_reports_are_sent_while_records_arrive_without_a_pause(tmp_path: Path) -> None:
    with Receiver() as receiver:
        async with (
            server(**settings(tmp_path, receiver, webhook_secrets=SECRET)) as running,
            connect(f"{running.url}?userId=ada"),
        ):
            write_behind = node(running).storage
            assert write_behind
            async with asyncio.timeout(PATIENCE):
                while not metric(running, "presenced_webhooks_delivered_total"):
                    write_behind.revoked(StoredRevocation("token", f"token{time.monotonic()}", 0, 2e9))
                    await asyncio.sleep(0.01)
