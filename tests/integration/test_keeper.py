"""What is kept while everything breaks: the live service goes on, says so, and catches up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.house import engine, metric, server
from tests.process import ServerProcess
from tests.services import PostgreSQL
from websockets.asyncio.client import ClientConnection, connect

from presenced import PresenceServer
from presenced.errors import ConfigError, StorageError, StorageUnavailable
from presenced.keeper.link import KeeperLink
from presenced.storage import address
from presenced.storage.facts import UserFact

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    """The command's own, once: each test starts processes."""
    return "asyncio", {"use_uvloop": True}


def link(house: PresenceServer) -> KeeperLink:
    assert house._parts
    assert house._parts.keeper
    return house._parts.keeper


def keeper_pid(house: PresenceServer) -> int:
    process = link(house)._process
    assert process
    return process.pid


def sqlite_house(folder: Path, **more: object) -> PresenceServer:
    return server(database="sqlite", data_dir=str(folder / "kept"), node="here", **more)


def rows(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "kept" / "presenced.db", timeout=10)) as database:
        return database.execute(query).fetchall()


def statuses(folder: Path) -> dict[str, str]:
    return dict(rows(folder, "SELECT user_id, status FROM presenced_users"))


class Audience:
    """Somebody who sees who comes and goes."""

    def __init__(self, url: str, watcher: ClientConnection) -> None:
        self.url = url
        self._watcher = watcher
        self._visitors = 0

    async def sees_changes(self) -> str:
        """The live service works: somebody comes and is seen, goes and is seen to. Who it was."""
        self._visitors += 1
        visitor = f"visitor{self._visitors}"
        async with asyncio.timeout(1):
            async with connect(f"{self.url}?userId={visitor}"):
                await self._hears("USER_ONLINE", visitor)
            await self._hears("USER_OFFLINE", visitor)
        return visitor

    async def _hears(self, kind: str, user_id: str) -> None:
        while True:
            message = json.loads(await self._watcher.recv())
            if (message["type"], message.get("userId")) == (kind, user_id):
                return


@asynccontextmanager
async def audience(url: str) -> AsyncIterator[Audience]:
    async with connect(f"{url}?userId=watcher") as watcher:
        yield Audience(url, watcher)


async def warnings(house: PresenceServer) -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://localhost:{house.port}/readyz")
    assert answer.status_code == 200, "it serves, and says what is wrong"
    return " ".join(answer.json()["warnings"])


async def soon(condition: Callable[[], object], seconds: float = 8) -> None:
    """Wait for something that storage comes to by itself."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def says(house: PresenceServer, text: str, seconds: float = 8) -> None:
    async with asyncio.timeout(seconds):
        while text not in await warnings(house):
            await asyncio.sleep(0.05)


async def drained(house: PresenceServer) -> None:
    """All is stored, and nothing is wrong."""
    recorder = engine(house).recorder
    assert recorder
    await soon(lambda: not recorder.waiting and not link(house)._unstored and not link(house).warning)
    assert await warnings(house) == ""


async def test_what_happens_is_stored_within_a_second(tmp_path: Path) -> None:
    async with sqlite_house(tmp_path) as house, audience(house.url) as seen:
        async with connect(f"{house.url}?userId=ada&device=phone", subprotocols=["presenced.v1"]) as ada:  # type: ignore[list-item]
            await ada.send(json.dumps({"type": "SET_STATUS", "status": "busy", "text": "hm", "expiresIn": 100}))
            await soon(lambda: statuses(tmp_path).get("ada") == "busy", 1)
            found = json.loads(await link(house).questions.last_seen(["ada", "nobody"]))
            assert [one["userId"] for one in found] == ["ada"]
            assert found[0]["lastActive"] == found[0]["lastSeen"]
        visitor = await seen.sees_changes()
        await soon(lambda: statuses(tmp_path).get(visitor) == "offline", 1)
        history = json.loads(await link(house).questions.history("ada", "", 10))
        assert [(one["status"], one["cause"]) for one in history["changes"]] == [
            ("offline", "close"),
            ("busy", "choice"),
            ("online", "connect"),
        ]
        sessions = json.loads(await link(house).questions.sessions("ada", "", 10))["sessions"]
        assert [(one["device"], one["reason"], one["protocol"]) for one in sessions] == [
            ("phone", "closed", "presenced.v1")
        ]
        assert "address" not in sessions[0]
        assert await warnings(house) == ""


async def test_the_server_itself_has_nothing_of_a_database_loaded() -> None:
    program = "import sys, presenced, presenced.cli; print([m for m in sys.modules if m.split('.')[0] in %r])"
    unwanted = ("sqlalchemy", "alembic", "aiosqlite", "asyncpg", "aiomysql")
    done = subprocess.run([sys.executable, "-c", program % (unwanted,)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_choice_outlasts_the_server_and_nobody_is_online_who_is_not_back(tmp_path: Path) -> None:
    v1: Any = ["presenced.v1"]
    async with sqlite_house(tmp_path) as house, connect(f"{house.url}?userId=ada", subprotocols=v1) as ada:
        await ada.send('{"type":"SET_STATUS","status":"busy","text":"deep work"}')
        await soon(lambda: statuses(tmp_path).get("ada") == "busy", 2)
        before = json.loads(await link(house).questions.history("ada", "", 1))["changes"][0]["version"]
        await house.stop()
    assert statuses(tmp_path) == {"ada": "offline"}
    assert rows(tmp_path, "SELECT reason FROM presenced_sessions WHERE closed_ms IS NULL") == []
    async with sqlite_house(tmp_path) as house:
        assert house.get_stats().online_users == 0
        async with connect(f"{house.url}?userId=ada"):
            await soon(lambda: statuses(tmp_path).get("ada") == "busy", 2)
            change = json.loads(await link(house).questions.history("ada", "", 1))["changes"][0]
            assert (change["status"], change["text"]) == ("busy", "deep work")
            assert change["version"] > before


async def test_a_server_that_is_killed_leaves_no_session_open(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"database": "sqlite", "data_dir": str(tmp_path / "kept"), "node": "here"}
    with ServerProcess(**settings) as process:
        async with connect(f"{process.websocket_url}?userId=ada"):
            await soon(lambda: statuses(tmp_path).get("ada") == "online", 2)
            process.kill()
        await soon(lambda: statuses(tmp_path) == {"ada": "offline"})
        assert rows(tmp_path, "SELECT closed_ms > 0, reason FROM presenced_sessions") == [(1, "lost")]
        assert rows(tmp_path, "SELECT status, cause FROM presenced_changes ORDER BY version DESC LIMIT 1") == [
            ("offline", "timeout")
        ]
        process.start()
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{process.url}readyz")).json()["warnings"] == []


async def test_a_server_and_keeper_that_are_killed_leave_no_session_open_after_the_next_start(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"database": "sqlite", "data_dir": str(tmp_path / "kept"), "node": "here"}
    with ServerProcess(**settings) as process:
        async with connect(f"{process.websocket_url}?userId=ada"):
            await soon(lambda: statuses(tmp_path).get("ada") == "online", 2)
            (keeper,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(keeper), signal.SIGKILL)
            process.kill()
        assert statuses(tmp_path) == {"ada": "online"}  # nobody was left to say otherwise
        ((sign,),) = rows(tmp_path, "SELECT sign_ms FROM presenced_nodes")
        process.start()
        assert statuses(tmp_path) == {"ada": "offline"}
        ((closed, seen),) = rows(tmp_path, "SELECT closed_ms, reason FROM presenced_sessions")
        assert (closed >= sign, seen) == (True, "lost")
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{process.url}stats")).json()["onlineUsers"] == 0


async def test_a_keeper_that_is_killed_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    async with sqlite_house(tmp_path) as house, audience(house.url) as seen:
        await drained(house)
        first = keeper_pid(house)
        os.kill(first, signal.SIGSTOP)  # so that it has something that it has not stored
        one = await seen.sees_changes()
        await soon(lambda: link(house)._unstored)
        os.kill(first, signal.SIGKILL)
        other = await seen.sees_changes()
        await says(house, "process has ended")
        with pytest.raises(StorageUnavailable):
            await link(house).questions.last_seen(["ada"])
        await drained(house)
        assert keeper_pid(house) != first
        assert metric(house, "presenced_keepers_lost_total") == 1
        assert {one, other} <= statuses(tmp_path).keys()


async def test_a_keeper_gives_way_and_ignores_signals_for_all(tmp_path: Path) -> None:
    async with sqlite_house(tmp_path) as house, audience(house.url) as seen:
        pid = keeper_pid(house)
        assert os.getpriority(os.PRIO_PROCESS, pid) >= 10 or os.geteuid() != 0
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        visitor = await seen.sees_changes()
        await soon(lambda: visitor in statuses(tmp_path))
        assert keeper_pid(house) == pid


@contextmanager
def postgres() -> Iterator[tuple[PostgreSQL, dict[str, str]]]:
    with PostgreSQL() as service:
        yield service, {"database": "url", "database_url": service.new_database(), "node": "here"}


async def test_a_database_that_is_killed_or_stands_still_or_is_not_there_at_first(tmp_path: Path) -> None:
    with postgres() as (service, settings):
        service.kill()
        house = server(**settings)
        await house.start()
        try:
            async with audience(house.url) as seen:
                assert "nothing can be stored now" in await warnings(house)
                early = await seen.sees_changes()
                service.start()
                await drained(house)

                service.kill()
                during = await seen.sees_changes()
                await says(house, "nothing can be stored now")
                assert metric(house, "presenced_storage_up") == 0
                assert metric(house, "presenced_storage_failures_total") > 0
                service.start()
                await drained(house)

                service.pause()
                still = await seen.sees_changes()
                await says(house, "behind")
                assert metric(house, "presenced_storage_behind_seconds") > 1
                service.resume()
                await drained(house)
                found = json.loads(await link(house).questions.last_seen([early, during, still]))
                assert {one["userId"] for one in found} == {early, during, still}
        finally:
            await house.stop()


async def test_a_fact_that_the_database_does_not_take_holds_up_no_other() -> None:
    with postgres() as (_, settings):
        async with server(**settings) as house:
            good, bad = (
                UserFact("good", "online", 1, 1, 1, 1),
                UserFact("bad", "much too long for a status", 1, 1, 1, 1),
            )
            link(house).give([bad, good], 1)
            await soon(lambda: metric(house, "presenced_storage_facts_unusable_total") == 1)
            await drained(house)
            assert [one["userId"] for one in json.loads(await link(house).questions.last_seen(["good", "bad"]))] == [
                "good"
            ]


async def test_a_file_that_another_process_has_locked(tmp_path: Path) -> None:
    async with sqlite_house(tmp_path) as house, audience(house.url) as seen:
        await drained(house)
        with closing(sqlite3.connect(tmp_path / "kept" / "presenced.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            visitor = await seen.sees_changes()
            await says(house, "locked")
            await seen.sees_changes()
            other.execute("ROLLBACK")
        await drained(house)
        assert visitor in statuses(tmp_path)


async def test_a_file_that_breaks_is_reported_and_left_for_a_backup(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "presenced.db"
    async with sqlite_house(tmp_path) as house:
        pass
    backup = file.read_bytes()
    async with sqlite_house(tmp_path) as house, audience(house.url) as seen:
        await drained(house)
        os.kill(keeper_pid(house), signal.SIGSTOP)
        for path in (tmp_path / "kept").iterdir():
            path.unlink()
        file.write_bytes(b"no database" * 2000)
        os.kill(keeper_pid(house), signal.SIGKILL)
        visitor = await seen.sees_changes()
        await says(house, "the database file is broken")
        await seen.sees_changes()
        assert file.read_bytes() == b"no database" * 2000
        file.write_bytes(backup)
        await drained(house)
        assert visitor in statuses(tmp_path)


async def test_a_broken_file_or_other_tables_are_refused_at_the_start(tmp_path: Path) -> None:
    async with sqlite_house(tmp_path):
        pass
    file = tmp_path / "kept" / "presenced.db"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE presenced_version SET version_num = '9999'")
    with pytest.raises(StorageError, match="a newer one made them"):
        await sqlite_house(tmp_path).start()
    file.write_bytes(b"no database" * 2000)
    with pytest.raises(StorageError, match="the database file is broken"):
        await sqlite_house(tmp_path).start()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ada:hidden@localhost:port/db", "is not a URL like"),
        ("postgresql://ada:hidden@localhost/db?sslmod=require", "the parameter sslmod"),
    ],
)
async def test_a_url_that_can_t_be_read_is_refused_at_the_start(url: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as refused:
        await server(database="url", database_url=url).start()
    assert "hidden" not in str(refused.value)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "kept"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode != 0:
        pytest.skip("it is not permitted to mount a file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_disk_that_is_full(disk: Path, tmp_path: Path) -> None:
    async with sqlite_house(tmp_path) as house, audience(house.url) as seen:
        await drained(house)
        with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(4096))
        visitors = [await seen.sees_changes()]
        async with asyncio.timeout(20):
            while "full" not in await warnings(house):
                visitors.append(await seen.sees_changes())
        (disk / "filler").unlink()
        await drained(house)
        assert set(visitors) <= statuses(tmp_path).keys()


async def test_a_file_that_can_only_be_read(disk: Path, tmp_path: Path) -> None:
    async with sqlite_house(tmp_path):
        pass
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    async with sqlite_house(tmp_path) as house, audience(house.url) as seen:
        visitor = await seen.sees_changes()
        await says(house, "nothing can be stored now")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        await drained(house)
        assert visitor in statuses(tmp_path)


async def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_DRIVERS", {"postgresql": "no_such_driver"})
    monkeypatch.setattr(address, "_EXTRAS", {"no_such_driver": "postgresql"})
    house = server(database="url", database_url="postgresql://ada:secret@localhost/x")
    with pytest.raises(ConfigError, match=r"pip install 'presenced\[postgresql\]'") as refused:
        await house.start()
    assert "secret" not in str(refused.value)


async def test_erasing_a_user_leaves_nothing_of_them(tmp_path: Path) -> None:
    async with sqlite_house(tmp_path) as house, audience(house.url) as seen:
        visitor = await seen.sees_changes()
        assert json.loads(await link(house).questions.erase(visitor))["stored"] >= 0
        await drained(house)
        assert visitor not in statuses(tmp_path)
        assert rows(tmp_path, "SELECT user_id FROM presenced_changes WHERE user_id LIKE 'visitor%'") == []
