"""What is kept, and what comes of that when processes end."""

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
from tests.support.process import ServerProcess
from tests.support.server import metric
from tests.support.stored import (
    audience,
    drained,
    keeper_pid,
    link,
    rows,
    says,
    soon,
    sqlite_server,
    statuses,
    stored_in_time,
    warnings,
    well,
)
from tests.support.webhooks import SECRET
from websockets.asyncio.client import connect

from presenced.errors import StorageUnavailable
from presenced.worker.__main__ import NICENESS
from presenced.worker.rpc import HEADER, MAX_MESSAGE

pytestmark = pytest.mark.anyio

V1: Any = ["presenced.v1"]


@pytest.fixture
def anyio_backend() -> object:
    """The command's own, once: each test starts processes."""
    return "asyncio", {"use_uvloop": True}


async def test_what_happens_is_stored_within_a_second(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        async with connect(f"{running.url}?userId=ada&device=phone", subprotocols=V1) as ada:
            await ada.send(json.dumps({"type": "SET_STATUS", "status": "busy", "text": "hm", "expiresIn": 100}))
            await stored_in_time(running, lambda: statuses(tmp_path).get("ada") == "busy")
            found = json.loads(await link(running).questions.last_seen(["ada", "nobody"]))
            assert [one["userId"] for one in found] == ["ada"]
            assert found[0]["lastActive"] == found[0]["lastSeen"]
        visitor = await seen.sees_changes()
        await stored_in_time(running, lambda: statuses(tmp_path).get(visitor) == "offline")
        history = json.loads(await link(running).questions.history("ada", "", 10))
        assert [(one["status"], one["cause"]) for one in history["changes"]] == [
            ("offline", "close"),
            ("busy", "choice"),
            ("online", "connect"),
        ]
        sessions = json.loads(await link(running).questions.sessions("ada", "", 10))["sessions"]
        assert [(one["device"], one["reason"], one["protocol"]) for one in sessions] == [
            ("phone", "closed", "presenced.v1")
        ]
        assert "address" not in sessions[0]
        assert await warnings(running) == ""


async def test_the_server_itself_has_nothing_of_a_database_loaded() -> None:
    program = "import sys, presenced, presenced.cli.main; print([m for m in sys.modules if m.split('.')[0] in %r])"
    unwanted = ("sqlalchemy", "alembic", "aiosqlite", "asyncpg", "aiomysql")
    done = subprocess.run([sys.executable, "-c", program % (unwanted,)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_choice_outlasts_the_server_and_nobody_is_online_who_is_not_back(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, connect(f"{running.url}?userId=ada", subprotocols=V1) as ada:
        await ada.send('{"type":"SET_STATUS","status":"busy","text":"deep work"}')
        await soon(lambda: statuses(tmp_path).get("ada") == "busy")
        before = json.loads(await link(running).questions.history("ada", "", 1))["changes"][0]["version"]
        await running.stop()
    await soon(lambda: statuses(tmp_path) == {"ada": "offline"})  # a late keeper ends after its server
    assert rows(tmp_path, "SELECT reason FROM presenced_sessions WHERE closed_ms IS NULL") == []
    async with sqlite_server(tmp_path) as running:
        assert running.get_stats().online_users == 0
        async with connect(f"{running.url}?userId=ada"):
            await soon(lambda: statuses(tmp_path).get("ada") == "busy")
            change = json.loads(await link(running).questions.history("ada", "", 1))["changes"][0]
            assert (change["status"], change["text"]) == ("busy", "deep work")
            assert change["version"] > before


async def test_a_server_that_is_killed_leaves_no_session_open(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"database": "sqlite", "data_dir": str(tmp_path / "kept"), "node": "here"}
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


async def test_a_server_and_keeper_that_are_killed_leave_no_session_open_after_the_next_start(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"database": "sqlite", "data_dir": str(tmp_path / "kept"), "node": "here"}
    with ServerProcess(**settings) as process:
        async with connect(f"{process.websocket_url}?userId=ada"):
            await soon(lambda: statuses(tmp_path).get("ada") == "online")
            (keeper,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(keeper), signal.SIGKILL)
            process.kill()
        assert statuses(tmp_path) == {"ada": "online"}  # nobody was left to say otherwise
        ((sign,),) = rows(tmp_path, "SELECT sign_ms FROM presenced_nodes")
        process.start()
        await soon(lambda: statuses(tmp_path) == {"ada": "offline"})
        ((closed, seen),) = rows(tmp_path, "SELECT closed_ms, reason FROM presenced_sessions")
        assert (closed >= sign, seen) == (True, "lost")
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{process.url}stats")).json()["onlineUsers"] == 0


async def test_a_keeper_that_is_killed_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)
        first = keeper_pid(running)
        os.kill(first, signal.SIGSTOP)  # so that it has something that it has not stored
        one = await seen.sees_changes()
        await soon(lambda: link(running)._unstored)
        os.kill(first, signal.SIGKILL)
        other = await seen.sees_changes()
        await says(running, "process has ended")
        with pytest.raises(StorageUnavailable):
            await link(running).questions.last_seen(["ada"])
        await drained(running)
        assert keeper_pid(running) != first
        assert metric(running, "presenced_keepers_lost_total") == 1
        assert {one, other} <= statuses(tmp_path).keys()


async def test_a_keeper_that_is_announced_too_long_a_message_ends_and_nothing_is_lost(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)
        first, transport = keeper_pid(running), link(running)._transport
        assert transport
        transport.write(HEADER.pack(MAX_MESSAGE + 1))
        visitor = await seen.sees_changes()
        await soon(lambda: metric(running, "presenced_keepers_lost_total") == 1)
        await drained(running)
        assert keeper_pid(running) != first
        assert statuses(tmp_path) == {"watcher": "online", visitor: "offline"}, "it closed nobody's session"


async def test_a_keeper_gives_way_and_ignores_signals_for_all(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)  # so its program runs
        pid = keeper_pid(running)
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        visitor = await seen.sees_changes()
        await soon(lambda: visitor in statuses(tmp_path))
        assert keeper_pid(running) == pid


async def test_processes_that_help_know_no_settings_by_their_environment(tmp_path: Path) -> None:
    given = {"PRESENCED_JWT_KEY": "s" * 40, "PRESENCED_WEBHOOK_SECRETS": SECRET, "TZ": "Asia/Tokyo"}
    settings: dict[str, Any] = {"database": "sqlite", "data_dir": str(tmp_path / "kept"), "auth": "jwt", "writers": 1}
    with ServerProcess(given, **settings) as process:
        helpers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(helpers) == 2
        for helper in helpers:
            environ = Path(f"/proc/{helper}/environ").read_bytes().decode().split("\0")
            assert "TZ=Asia/Tokyo" in environ
            assert [entry for entry in environ if "PRESENCED" in entry or SECRET in entry] == []


async def test_who_is_erased_does_not_come_back_when_the_keeper_dies_before_it_says_so(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)
        transport = link(running)._transport
        assert transport
        transport.pause_reading()  # whatever the keeper says from now on is lost with it
        visitor = await seen.sees_changes()
        await soon(lambda: statuses(tmp_path).get(visitor) == "offline")
        erasing = asyncio.create_task(link(running).questions.erase(visitor))
        await soon(lambda: visitor not in statuses(tmp_path))
        assert link(running)._unstored, "these will be sent again"
        other = await seen.sees_changes()
        os.kill(keeper_pid(running), signal.SIGKILL)
        transport.abort()
        with pytest.raises(StorageUnavailable):
            await erasing
        await drained(running)
        assert metric(running, "presenced_keepers_lost_total") == 1
        assert statuses(tmp_path).keys() == {"watcher", other}
        for query in ("SELECT user_id FROM presenced_sessions", "SELECT user_id FROM presenced_changes"):
            assert {user_id for (user_id,) in rows(tmp_path, query)} == {"watcher", other}


async def test_erasing_a_user_leaves_nothing_of_them(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)  # so the keeper responds
        visitor = await seen.sees_changes()
        assert json.loads(await link(running).questions.erase(visitor))["stored"] >= 0
        await drained(running)
        assert visitor not in statuses(tmp_path)
        assert rows(tmp_path, "SELECT user_id FROM presenced_changes WHERE user_id LIKE 'visitor%'") == []
