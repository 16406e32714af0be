"""The server's side of the storage worker, without a process: batches, calls, and the end."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.fakes import FakeTransport
from tests.support.storing_harness import StoringNode

from presenced.errors import StorageUnavailable
from presenced.storage.records import StoredRevocation, StoredUser
from presenced.testing import FakeClock
from presenced.worker import client, rpc
from presenced.worker.client import WorkerClient
from presenced.worker.rpc import (
    MAX_MESSAGE_BYTES,
    MESSAGE_HEADER,
    Absent,
    CallResult,
    FindAbsent,
    Method,
    ProcessStarted,
    Ready,
    RecordBatch,
    Setup,
    Splitter,
    StorageState,
    ToWorker,
    WorkerCall,
    encode_message,
    to_worker,
)

pytestmark = pytest.mark.anyio

SETUP = Setup(
    url="sqlite:///x",
    node="here",
    epoch="e",
    started_ms=0,
    position=0,
    history_ms=0,
    max_restored=10,
    webhooks=None,
    settling_s=1.0,
    restore=True,
)


class Connected:
    """Client with the other end of its stream in the test.

    The node's write-behind has a worker of its own: `storing.worker.room = 0` makes records wait there.
    """

    def __init__(self) -> None:
        self.storing = StoringNode()
        self.client = WorkerClient(setup=SETUP, clock=FakeClock(), metrics=self.storing.node.metrics)
        self.client.attach(self.storing.write_behind)
        self.transport = FakeTransport()
        transport: Any = self.transport
        self.client.connection_made(transport)
        self.sent()

    def ready(self) -> None:
        self.client.data_received(encode_message(Ready(0)))

    def sent(self) -> list[ToWorker]:
        return [to_worker.decode(message) for message in Splitter().split(self.transport.take())]


def launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect a client that starts to a transport of the test instead of a process."""

    async def launch(client: WorkerClient) -> None:
        transport: Any = FakeTransport()
        client.connection_made(transport)

    monkeypatch.setattr(WorkerClient, "_launch", launch)
    monkeypatch.setattr(client, "DATABASE_TIMEOUT_S", 0.0)


async def test_a_program_that_cannot_be_executed_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.touch(mode=0o600)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(client, "DATABASE_TIMEOUT_S", 0.0)
    storing = StoringNode()
    worker = WorkerClient(setup=SETUP, clock=FakeClock(), metrics=storing.node.metrics)
    await worker.start(storing.write_behind)
    worker.abandon()
    assert f"the storage worker can't be started: Permission denied: {program};" in caplog.text


async def test_a_process_is_started_later_if_too_many_files_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []

    def fail(*_: object) -> None:
        attempts.append(len(attempts))
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(client, "RETRY_S", 0.0)
    connected = Connected()
    connected.storing.worker.room = 0
    connected.storing.open()
    monkeypatch.setattr(socket, "socketpair", fail)
    connected.client.connection_lost(None)
    async with asyncio.timeout(5):
        while len(attempts) < 3:
            await asyncio.sleep(0.001)
    assert "the storage worker can't be started: Too many open files" in connected.client.warning
    await connected.client.stop()


async def test_a_process_that_needs_long_to_run_does_not_make_the_server_start_without_its_data(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a busy machine would show invisible users as online."""
    launches(monkeypatch)
    connected = Connected()
    starting = asyncio.create_task(connected.client.start(connected.storing.write_behind))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not starting.done(), "the process does not run yet"
    connected.client.data_received(encode_message(ProcessStarted()) + encode_message(Ready(0)))
    await starting
    assert not connected.client.warning
    assert "starts without" not in caplog.text
    connected.client.abandon()


@pytest.mark.parametrize("ends", [False, True])
async def test_a_database_that_does_not_answer_and_a_process_that_ends_delay_the_start_for_the_shorter_time_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ends: bool
) -> None:
    launches(monkeypatch)
    connected = Connected()
    starting = asyncio.create_task(connected.client.start(connected.storing.write_behind))
    await asyncio.sleep(0)
    if ends:
        connected.client.connection_lost(None)
    else:
        connected.client.data_received(encode_message(ProcessStarted()))
    async with asyncio.timeout(client.LAUNCH_TIMEOUT_S / 2):
        await starting
    assert "starts without" in caplog.text
    connected.client.abandon()


def test_a_batch_too_large_for_a_message_is_sent_in_several_and_a_record_too_large_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connected = Connected()
    connected.ready()
    monkeypatch.setattr(rpc, "MAX_MESSAGE_BYTES", 400)
    records: list[Any] = [StoredRevocation("token", f"t{n}" * (200 if n == 5 else 1), 1.0, 2.0) for n in range(40)]
    connected.client.store_batch(records, 7)
    batches = [message for message in connected.sent() if isinstance(message, RecordBatch)]
    assert [batch.number for batch in batches] == list(range(1, len(batches) + 1))
    assert [record for batch in batches for record in batch.records] == records[:5] + records[6:]
    assert connected.storing.metric("presenced_storage_facts_unusable_total") == 1


def test_a_message_longer_than_the_bound_ends_the_connection() -> None:
    connected = Connected()
    connected.transport.has_linger_option = True  # the stream is a Unix socket, which needs no reset
    connected.client.data_received(MESSAGE_HEADER.pack(MAX_MESSAGE_BYTES + 1))
    assert connected.transport.aborted
    assert "was announced" in connected.client.warning


def test_each_failed_attempt_of_a_worker_is_counted_once() -> None:
    connected = Connected()
    for count in (1, 2):
        connected.client.data_received(encode_message(StorageState("it is locked", count)))
    connected.ready()
    connected.client.data_received(encode_message(StorageState("", 2)))
    assert connected.storing.metric("presenced_storage_failures_total") == 2
    transport: Any = FakeTransport()
    connected.client.connection_made(transport)  # of the next process, which counts from its own start
    connected.client.data_received(encode_message(StorageState("it is locked", 1)))
    assert connected.storing.metric("presenced_storage_failures_total") == 3


async def test_the_end_of_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Also if the outage was the end of a worker, and not a failure that a worker reported."""
    connected = Connected()
    connected.ready()
    assert "works again" not in caplog.text, "nothing was reported as broken"
    connected.client.data_received(encode_message(StorageState("it is locked", 1)))
    connected.client.data_received(encode_message(StorageState("", 1)))
    assert caplog.text.count("works again") == 1
    connected.client.connection_lost(None)
    transport: Any = FakeTransport()
    connected.client.connection_made(transport)
    connected.ready()
    assert caplog.text.count("works again") == 2
    connected.client.abandon()


def test_absent_users_are_reported_although_records_about_them_wait() -> None:
    connected = Connected()
    connected.storing.open("ada")
    connected.client.data_received(encode_message(FindAbsent(["ada", "bo"], ["lobby"])))
    assert connected.sent() == [Absent(["bo"], ["lobby"])]


async def test_a_user_s_waiting_records_are_dropped_only_if_the_worker_can_erase_the_user() -> None:
    """Otherwise neither the database nor the receivers of webhooks would ever learn that the user has left."""
    connected = Connected()
    connected.storing.worker.room = 0
    connected.storing.close(connected.storing.open("ada"))
    with pytest.raises(StorageUnavailable):
        await connected.client.calls.erase("ada")
    assert connected.storing.write_behind.waiting_of(["ada"])
    connected.ready()
    erasing = asyncio.create_task(connected.client.calls.erase("ada"))
    await asyncio.sleep(0)
    (call,) = [message for message in connected.sent() if isinstance(message, WorkerCall)]
    assert (call.method, call.arguments) == (Method.ERASE, ("ada",))
    assert not connected.storing.write_behind.waiting_of(["ada"])
    connected.client.data_received(encode_message(CallResult(call.number, b'{"stored":3}')))
    assert await erasing == b'{"stored":3}'


async def test_an_error_of_a_call_reaches_its_caller_and_an_ended_worker_fails_all_calls() -> None:
    connected = Connected()
    connected.ready()
    calls = [asyncio.create_task(connected.client.calls.dead_letters("", 10)) for _ in range(2)]
    await asyncio.sleep(0)
    first, _ = [message for message in connected.sent() if isinstance(message, WorkerCall)]
    connected.client.data_received(encode_message(CallResult(first.number, b"", "disk full")))
    connected.client.connection_lost(None)
    connected.client.abandon()
    with pytest.raises(StorageUnavailable, match="disk full"):
        await calls[0]
    with pytest.raises(StorageUnavailable, match="unavailable"):
        await calls[1]


def test_the_newest_record_of_a_user_counts_while_several_are_not_confirmed() -> None:
    connected = Connected()
    connected.ready()
    older, newer = StoredUser("ada", "online", 1, 1, 1, 1), StoredUser("ada", "offline", 2, 2, 2, 2)
    connected.client.store_batch([older, StoredUser("bo", "online", 1, 1, 1, 1)], 1)
    connected.client.store_batch([newer], 2)
    assert connected.client.calls.unstored(["ada", "cy"]) == {"ada": newer}


async def test_a_worker_that_is_ready_only_when_the_server_stops_still_receives_the_waiting_records() -> None:
    connected = Connected()
    connected.storing.worker.room = 0
    connected.storing.open()
    stopping = asyncio.create_task(connected.client.stop())
    await asyncio.sleep(0)
    assert not connected.transport.ended, "the worker has yet to say whether it can store"
    connected.client.connection_lost(None)
    await stopping


async def test_a_worker_that_is_being_connected_when_the_server_stops_still_receives_the_waiting_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_launched, may_connect = asyncio.Event(), asyncio.Event()
    transport: Any = FakeTransport()

    async def connect(factory: Callable[[], WorkerClient], sock: socket.socket) -> None:
        sock.close()
        is_launched.set()
        await may_connect.wait()
        factory().connection_made(transport)

    monkeypatch.setattr(client, "RETRY_S", 0.0)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: SimpleNamespace(pid=0, poll=lambda: 0))
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None, raising=False)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_unix_connection", connect)
    connected = Connected()
    connected.storing.worker.room = 0
    connected.storing.open()
    connected.client.connection_lost(None)
    await is_launched.wait()
    stopping = asyncio.create_task(connected.client.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done()
    may_connect.set()
    await asyncio.sleep(0.01)
    (setup,) = [to_worker.decode(message) for message in Splitter().split(transport.take())]
    assert isinstance(setup, Setup)
    assert not transport.ended, "the worker has yet to say whether it can store"
    connected.client.connection_lost(None)
    await stopping


async def test_nothing_is_sent_to_a_worker_after_stop() -> None:
    """The stream has ended. A worker that becomes ready, or has a question, gets no answer and causes no error."""
    connected = Connected()
    stopping = asyncio.create_task(connected.client.stop())
    await asyncio.sleep(0)
    assert connected.transport.ended
    connected.ready()
    assert not connected.client.accepts_batch
    connected.client.data_received(encode_message(FindAbsent(["ada"], [])))
    connected.client.connection_lost(None)
    await stopping
