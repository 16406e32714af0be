"""Stored data of a server, and its state after processes end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.api_client import api_client
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.server import metric
from tests.support.stored import (
    audience,
    client_of,
    drained,
    rows,
    says,
    soon,
    sqlite_server,
    statuses,
    stored_in_time,
    warnings,
    well,
    worker_pid,
)
from tests.support.webhooks import SECRET
from websockets.asyncio.client import connect

from presenced.errors import StorageUnavailable
from presenced.worker import client
from presenced.worker.__main__ import NICENESS
from presenced.worker.rpc import MAX_MESSAGE_BYTES, MESSAGE_HEADER

pytestmark = pytest.mark.anyio

V1: Any = ["presenced.v1"]


@pytest.fixture
def anyio_backend() -> object:
    """Event loop of the command. One is enough, because each test starts processes."""
    return "asyncio", {"use_uvloop": True}


async def test_events_are_stored_within_a_second(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        async with connect(f"{running.url}?userId=ada&device=phone", subprotocols=V1) as ada:
            await ada.send(json.dumps({"type": "SET_STATUS", "status": "busy", "text": "hm", "expiresIn": 100}))
            await stored_in_time(running, lambda: statuses(tmp_path).get("ada") == "busy")
            found = json.loads(await client_of(running).calls.last_seen(["ada", "nobody"]))
            assert [one["userId"] for one in found] == ["ada"]
            assert found[0]["lastActive"] == found[0]["lastSeen"]
        visitor = await seen.sees_changes()
        await stored_in_time(running, lambda: statuses(tmp_path).get(visitor) == "offline")
        history = json.loads(await client_of(running).calls.history("ada", "", 10))
        assert [(one["status"], one["cause"]) for one in history["changes"]] == [
            ("offline", "close"),
            ("busy", "choice"),
            ("online", "connect"),
        ]
        sessions = json.loads(await client_of(running).calls.sessions("ada", "", 10))["sessions"]
        assert [(one["device"], one["reason"], one["protocol"]) for one in sessions] == [
            ("phone", "closed", "presenced.v1")
        ]
        assert "address" not in sessions[0]
        assert await warnings(running) == ""


async def test_the_server_process_loads_no_database_library() -> None:
    program = "import sys, presenced, presenced.cli.main; print([m for m in sys.modules if m.split('.')[0] in %r])"
    unwanted = ("sqlalchemy", "alembic", "aiosqlite", "asyncpg", "aiomysql")
    done = subprocess.run([sys.executable, "-c", program % (unwanted,)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_choice_survives_a_restart_and_absent_users_are_offline_after_it(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, connect(f"{running.url}?userId=ada", subprotocols=V1) as ada:
        await ada.send('{"type":"SET_STATUS","status":"busy","text":"deep work"}')
        await soon(lambda: statuses(tmp_path).get("ada") == "busy")
        before = json.loads(await client_of(running).calls.history("ada", "", 1))["changes"][0]["version"]
        await running.stop()
    await soon(lambda: statuses(tmp_path) == {"ada": "offline"})  # a late worker ends after its server
    assert rows(tmp_path, "SELECT reason FROM presenced_sessions WHERE closed_ms IS NULL") == []
    async with sqlite_server(tmp_path) as running:
        assert running.get_stats().online_users == 0
        async with connect(f"{running.url}?userId=ada"):
            await soon(lambda: statuses(tmp_path).get("ada") == "busy")
            change = json.loads(await client_of(running).calls.history("ada", "", 1))["changes"][0]
            assert (change["status"], change["text"]) == ("busy", "deep work")
            assert change["version"] > before


async def test_a_killed_server_leaves_no_session_open(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"database": "sqlite", "data_dir": str(tmp_path / "data"), "node": "here"}
    with ServerProcess(**settings) as process:
        async with connect(f"{process.websocket_url}?userId=ada"):
            await soon(lambda: statuses(tmp_path).get("ada") == "online")
            process.kill()
        await soon(lambda: statuses(tmp_path) == {"ada": "offline"})
        assert rows(tmp_path, "SELECT closed_ms > 0, reason FROM presenced_sessions") == [(1, "lost")]
        assert rows(tmp_path, "SELECT status, cause FROM presenced_changes ORDER BY version DESC LIMIT 1") == [
            ("offline", "timeout")
        ]
        process.start()
        await well(process)


async def test_a_server_killed_with_its_worker_leaves_no_session_open_after_the_next_start(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"database": "sqlite", "data_dir": str(tmp_path / "data"), "node": "here"}
    with ServerProcess(**settings) as process:
        async with connect(f"{process.websocket_url}?userId=ada"):
            await soon(lambda: statuses(tmp_path).get("ada") == "online")
            (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(worker), signal.SIGKILL)
            process.kill()
        assert statuses(tmp_path) == {"ada": "online"}  # nothing was left to write anything else
        ((sign,),) = rows(tmp_path, "SELECT sign_ms FROM presenced_nodes")
        process.start()
        await soon(lambda: statuses(tmp_path) == {"ada": "offline"})
        ((closed, seen),) = rows(tmp_path, "SELECT closed_ms, reason FROM presenced_sessions")
        assert (closed >= sign, seen) == (True, "lost")
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{process.url}stats")).json()["onlineUsers"] == 0


async def test_a_killed_worker_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)
        first = worker_pid(running)
        os.kill(first, signal.SIGSTOP)  # so that it has unconfirmed batches
        one = await seen.sees_changes()
        await soon(lambda: client_of(running).unconfirmed)
        os.kill(first, signal.SIGKILL)
        other = await seen.sees_changes()
        await says(running, "the storage worker has ended")
        with pytest.raises(StorageUnavailable):
            await client_of(running).calls.last_seen(["ada"])
        await drained(running)
        assert worker_pid(running) != first
        assert metric(running, "presenced_storage_workers_lost_total") == 1
        assert {one, other} <= statuses(tmp_path).keys()


async def test_a_server_that_stops_right_after_its_worker_ended_stores_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "STOP_TIMEOUT_S", PATIENCE)  # on a busy machine the next worker starts slowly
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)
        os.kill(worker_pid(running), signal.SIGKILL)
        await says(running, "the storage worker has ended")
        visitor = await seen.sees_changes()
        assert visitor not in statuses(tmp_path), "no worker runs yet"
        await running.stop()
    assert statuses(tmp_path) == {"watcher": "offline", visitor: "offline"}


async def test_a_worker_ends_at_the_announcement_of_a_too_long_message_and_nothing_is_lost(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)
        first, transport = worker_pid(running), client_of(running)._transport
        assert transport
        transport.write(MESSAGE_HEADER.pack(MAX_MESSAGE_BYTES + 1))
        visitor = await seen.sees_changes()
        await soon(lambda: metric(running, "presenced_storage_workers_lost_total") == 1)
        await drained(running)
        assert worker_pid(running) != first
        assert statuses(tmp_path) == {"watcher": "online", visitor: "offline"}, "no session was closed"


async def test_a_worker_has_a_lower_priority_and_ignores_signals(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)  # so its program runs
        pid = worker_pid(running)
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        visitor = await seen.sees_changes()
        await soon(lambda: visitor in statuses(tmp_path))
        assert worker_pid(running) == pid


async def test_helper_processes_have_no_settings_in_their_environment(tmp_path: Path) -> None:
    given = {"PRESENCED_JWT_KEY": "s" * 40, "PRESENCED_WEBHOOK_SECRETS": SECRET, "TZ": "Asia/Tokyo"}
    settings: dict[str, Any] = {"database": "sqlite", "data_dir": str(tmp_path / "data"), "auth": "jwt", "writers": 1}
    with ServerProcess(given, **settings) as process:
        helpers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(helpers) == 2
        for helper in helpers:
            environ = Path(f"/proc/{helper}/environ").read_bytes().decode().split("\0")
            assert "TZ=Asia/Tokyo" in environ
            assert [entry for entry in environ if "PRESENCED" in entry or SECRET in entry] == []


async def test_an_erased_user_does_not_return_if_the_worker_dies_before_it_confirms(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)
        transport = client_of(running)._transport
        assert transport
        transport.pause_reading()  # so that confirmations are lost with the process
        visitor = await seen.sees_changes()
        await soon(lambda: statuses(tmp_path).get(visitor) == "offline")
        erasing = asyncio.create_task(client_of(running).calls.erase(visitor))
        await soon(lambda: visitor not in statuses(tmp_path))
        assert client_of(running)._unconfirmed, "these will be sent again"
        other = await seen.sees_changes()
        os.kill(worker_pid(running), signal.SIGKILL)
        transport.abort()
        with pytest.raises(StorageUnavailable):
            await erasing
        await drained(running)
        assert metric(running, "presenced_storage_workers_lost_total") == 1
        assert statuses(tmp_path).keys() == {"watcher", other}
        for query in ("SELECT user_id FROM presenced_sessions", "SELECT user_id FROM presenced_changes"):
            assert {user_id for (user_id,) in rows(tmp_path, query)} == {"watcher", other}


async def test_nothing_is_left_of_an_erased_user(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)  # so that the worker responds
        visitor = await seen.sees_changes()
        async with api_client(running) as api:
            assert (await api.delete(f"/users/{visitor}"))["stored"] >= 0
            expected = {"userId": visitor, "status": "offline"}
            assert await api.get(f"/users/{visitor}/last-seen") == expected, "no time, not even that of the erasure"
        await drained(running)
        assert visitor not in statuses(tmp_path)
        assert rows(tmp_path, "SELECT user_id FROM presenced_changes WHERE user_id LIKE 'visitor%'") == []
