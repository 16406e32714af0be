"""Storage while the database fails: the live service continues, reports the failure, and catches up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.raw import PATIENCE
from tests.support.server import metric, server
from tests.support.stored import (
    audience,
    client_of,
    drained,
    postgres,
    says,
    soon,
    sqlite_server,
    statuses,
    warnings,
    worker_pid,
)
from tests.support.webhooks import SECRET, Receiver, change

from presenced.errors import ConfigError, StorageError
from presenced.presence.model import SEEN_ONLINE, Cause, Change, Status
from presenced.runtime.instant import Instant
from presenced.storage import url as address
from presenced.storage.records import Record, StoredUser, start_position
from presenced.worker import client
from presenced.worker.rpc import (
    ProcessStarted,
    Ready,
    RecordBatch,
    Setup,
    Splitter,
    Stop,
    ToServer,
    encode_message,
    to_server,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    """Event loop of the command. One is enough, because each test starts processes."""
    return "asyncio", {"use_uvloop": True}


async def test_a_database_may_be_killed_or_paused_or_missing_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "DATABASE_TIMEOUT_S", 1.0)
    with postgres() as (service, settings):
        service.kill()
        running = server(**settings)
        await running.start()
        try:
            async with audience(running.url) as seen:
                assert "nothing can be stored now" in await warnings(running)
                early = await seen.sees_changes()
                service.start()
                await drained(running)

                service.kill()
                during = await seen.sees_changes()
                await says(running, "nothing can be stored now")
                assert metric(running, "presenced_storage_up") == 0
                assert metric(running, "presenced_storage_failures_total") > 0
                service.start()
                await drained(running)

                service.pause()
                still = await seen.sees_changes()
                await says(running, "behind")
                assert metric(running, "presenced_storage_behind_seconds") > 1
                service.resume()
                await drained(running)
                found = json.loads(await client_of(running).calls.last_seen([early, during, still]))
                assert {one["userId"] for one in found} == {early, during, still}
        finally:
            await running.stop()


async def test_a_record_that_the_database_refuses_does_not_delay_others() -> None:
    with postgres() as (_, settings):
        async with server(**settings) as running:
            good, bad = (
                StoredUser("good", "online", 1, 1, 1, 1),
                StoredUser("bad", "much too long for a status", 1, 1, 1, 1),
            )
            client_of(running).store_batch([bad, good], 1)
            await soon(lambda: metric(running, "presenced_storage_facts_unusable_total") == 1)
            await drained(running)
            assert [one["userId"] for one in json.loads(await client_of(running).calls.last_seen(["good", "bad"]))] == [
                "good"
            ]


async def test_receivers_get_the_facts_stored_beside_one_that_the_database_refuses() -> None:
    with Receiver() as receiver, postgres() as (_, settings):
        hooks = {"webhook_urls": receiver.url, "webhook_secrets": SECRET, "outgoing_private": True}
        # These users are not connected. After the server has settled, receivers are notified that they are offline.
        async with server(**settings, **hooks, grace_lost=600) as running:
            bad = StoredUser("bad", "much too long for a status", 1, 1, 1, 1)
            client_of(running).store_batch([bad, change("ada", 7), change("bo", 8), change("ada", 9, "offline")], 9)
            await soon(lambda: metric(running, "presenced_storage_facts_unusable_total") == 1)
            await soon(lambda: len(receiver.taken) == 3)
            assert [(event["data"]["userId"], event["data"]["status"]) for event in receiver.taken] == [
                ("ada", "online"), ("bo", "online"), ("ada", "offline"),
            ]  # fmt: skip


def test_everything_is_closed_although_the_last_batch_had_a_record_that_the_database_refuses(tmp_path: Path) -> None:
    """The changes of the stop get positions above those of the batch."""
    file, now_ms = tmp_path / "presenced.db", time.time_ns() // 1_000_000
    setup = Setup(
        url=f"sqlite:///{file}",
        node="here",
        epoch="e",
        started_ms=now_ms,
        position=start_position(now_ms),
        history_ms=86_400_000,
        max_restored=10,
        webhooks=None,
        settling_s=1.0,
        restore=True,
    )
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "presenced.worker", str(theirs.fileno())]
    with ours, subprocess.Popen(command, pass_fds=(theirs.fileno(),)) as worker:
        theirs.close()
        ours.settimeout(PATIENCE)
        splitter, received = Splitter(), list[ToServer]()
        ours.sendall(encode_message(setup))
        while len(received) < 2:
            received += map(to_server.decode, splitter.split(ours.recv(1 << 18)))
        opening, ready = received
        assert isinstance(opening, ProcessStarted)
        assert isinstance(ready, Ready)
        position = ready.position + 1
        refused = StoredUser("bo", "online", position, now_ms, now_ms, now_ms, chosen=b"\xff")
        records: list[Record] = [
            Change(
                position, "ada", SEEN_ONLINE, Status.OFFLINE, position, Instant(0, now_ms), now_ms, 0, Cause.CONNECT
            ),
            refused,
            StoredUser("ada", "online", position, now_ms, now_ms, now_ms),
        ]
        ours.sendall(encode_message(RecordBatch(1, position, records)) + encode_message(Stop()))
        ours.shutdown(socket.SHUT_WR)
        worker.wait(PATIENCE)
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT user_id, status FROM presenced_users").fetchall() == [("ada", "offline")]
        changes = database.execute("SELECT status, position FROM presenced_changes ORDER BY position").fetchall()
    assert changes == [("online", position), ("offline", position + 1)]


async def test_records_are_stored_once_another_process_unlocks_the_file(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)
        with closing(sqlite3.connect(tmp_path / "data" / "presenced.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            visitor = await seen.sees_changes()
            await says(running, "locked")
            await seen.sees_changes()
            other.execute("ROLLBACK")
        await drained(running)
        assert visitor in statuses(tmp_path)


async def test_a_broken_file_is_reported_and_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "data" / "presenced.db"
    async with sqlite_server(tmp_path) as running:
        pass
    backup = file.read_bytes()
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)
        os.kill(worker_pid(running), signal.SIGSTOP)
        for path in (tmp_path / "data").iterdir():
            path.unlink()
        file.write_bytes(b"no database" * 2000)
        os.kill(worker_pid(running), signal.SIGKILL)
        visitor = await seen.sees_changes()
        await says(running, "the database file is broken")
        await seen.sees_changes()
        assert file.read_bytes() == b"no database" * 2000
        file.write_bytes(backup)
        await drained(running)
        assert visitor in statuses(tmp_path)


async def test_a_broken_file_or_other_tables_are_refused_at_the_start(tmp_path: Path) -> None:
    async with sqlite_server(tmp_path):
        pass
    file = tmp_path / "data" / "presenced.db"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE presenced_version SET version_num = '9999'")
    with pytest.raises(StorageError, match="a newer one created them"):
        await sqlite_server(tmp_path).start()
    file.write_bytes(b"no database" * 2000)
    with pytest.raises(StorageError, match="the database file is broken"):
        await sqlite_server(tmp_path).start()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ada:hidden@localhost:port/db", "is not a URL like"),
        ("postgresql://ada:hidden@localhost/db?sslmod=require", "the parameter sslmod"),
    ],
)
async def test_an_invalid_url_is_refused_at_the_start(url: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as refused:
        await server(database="url", database_url=url).start()
    assert "hidden" not in str(refused.value)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """File system of 1 MiB."""
    folder = tmp_path / "data"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode != 0:
        pytest.skip("it is not permitted to mount a file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_records_are_stored_once_a_full_disk_has_space(disk: Path, tmp_path: Path) -> None:
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        await drained(running)
        with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(4096))
        visitors = [await seen.sees_changes()]
        async with asyncio.timeout(PATIENCE):
            while "full" not in await warnings(running):
                visitors.append(await seen.sees_changes())
        (disk / "filler").unlink()
        await drained(running)
        assert set(visitors) <= statuses(tmp_path).keys()


async def test_records_are_stored_once_a_read_only_file_is_writable(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sqlite_server(tmp_path):
        pass
    monkeypatch.setattr(client, "DATABASE_TIMEOUT_S", 1.0)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    async with sqlite_server(tmp_path) as running, audience(running.url) as seen:
        visitor = await seen.sees_changes()
        await says(running, "nothing can be stored now")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        await drained(running)
        assert visitor in statuses(tmp_path)


async def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_DRIVERS", {"postgresql": "no_such_driver"})
    monkeypatch.setattr(address, "_EXTRAS", {"no_such_driver": "postgresql"})
    running = server(database="url", database_url="postgresql://ada:secret@localhost/x")
    with pytest.raises(ConfigError, match=r"pip install 'presenced\[postgresql\]'") as refused:
        await running.start()
    assert "secret" not in str(refused.value)
