"""Helper processes that write: their shares, slow clients, and the cost of a helper that dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any

import pytest
from tests.support.fakes import FakeConnection
from tests.support.raw import PATIENCE, RawClient, raw_websocket
from tests.support.server import metric, node, server, until

from presenced.runtime.metrics import Metrics
from presenced.testing import FakeClock
from presenced.transports.fastpath.writer_pool import MIN_CONNECTIONS, RETRY_S, WriterPool

MANY = 2 * MIN_CONNECTIONS

SHORT_TIMEOUT_S = 0.2
"""Timeout in seconds for a helper that hangs."""


class WrittenClient(FakeConnection):
    """Connection with a real socket and a minimal transport."""

    def __init__(self, serial: int) -> None:
        super().__init__()
        self.serial = serial
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.settimeout(10)
        self.own_writes = 0
        self.direct_fd = -1
        self.helper: Any = None
        self.deflates = False
        self.was_aborted = False

    def fileno(self) -> int:
        return self.near.fileno()

    def abort(self) -> None:
        self.was_aborted = True

    def check_direct_fd(self) -> int:
        return -1

    def write(self, data: bytes) -> None:
        self.own_writes += 1
        self.writes.append(data)
        self.drain()

    def drain(self) -> None:
        """Write as much of the buffer as the socket takes."""
        waiting = b"".join(self.writes)
        with suppress(BlockingIOError, BrokenPipeError):  # the socket is full, or its other end has closed
            waiting = waiting[self.near.send(waiting) :]
        self.writes = [waiting] if waiting else []
        self.unsent = len(waiting)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            if self.unsent:
                self.drain()
            part = self.far.recv(size - len(data))
            assert part, "the stream has ended"
            data += part
        return data


class WritersHarness:
    def __init__(self, helpers: int, clients: int) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.clients = [WrittenClient(serial) for serial in range(1, clients + 1)]
        self.writers = WriterPool(helpers, self.clock, self.metrics, PATIENCE)

    def write(self, data: bytes) -> None:
        self.writers._write(self.clients, data)

    @property
    def helped(self) -> list[WrittenClient]:
        return [client for client in self.clients if client.helper is not None]

    @property
    def pids(self) -> list[int]:
        return [helper._process.pid for helper in self.writers._helpers]

    def metric(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name)


def kill(pid: int) -> None:
    """Kill a process and wait until it is dead."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@contextmanager
def bench(helpers: int = 1, clients: int = MANY) -> Iterator[WritersHarness]:
    made = WritersHarness(helpers, clients)
    try:
        yield made
    finally:
        made.writers.stop()
        for client in made.clients:
            client.near.close()
            client.far.close()


@pytest.mark.parametrize("helpers", [1, 3])
def test_every_process_has_its_share_and_every_client_receives_everything_in_order(helpers: int) -> None:
    with bench(helpers) as b:
        expected = b""
        for number in range(8):
            data = b"%d " % number * (1 + 997 * number)
            expected += data
            b.write(data)
        assert {client.read(len(expected)) for client in b.clients} == {expected}
        share = MANY / (helpers + 1)
        for helper in b.writers._helpers:
            assert abs(len(helper.connections) - share) <= 20
        assert min(client.own_writes for client in b.helped) < 8, "its helper wrote the rest"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process choose its cores")
@pytest.mark.parametrize("helpers", [1, 2, 64])
def test_each_process_has_its_own_cores_if_there_are_enough(helpers: int) -> None:
    before = os.sched_getaffinity(0)
    with bench(helpers, clients=1) as b:
        shares = [os.sched_getaffinity(pid) for pid in (0, *b.pids)]
        if len(before) > helpers:
            assert set.union(*shares) == before
            assert sum(map(len, shares)) == len(before), "no two processes share a core"
            kill(b.pids[0])
            b.clock.advance(RETRY_S)
            for _ in range(2):  # the first finds it dead, the second starts another
                b.writers._write(b.clients * MIN_CONNECTIONS, b"x")
                b.clock.advance(RETRY_S)
            assert [os.sched_getaffinity(pid) for pid in (0, *b.pids)][-1] == shares[1]
        else:
            assert all(share == before for share in shares)
    assert os.sched_getaffinity(0) == before


def test_a_batch_larger_than_any_buffer_between_the_processes_arrives() -> None:
    with bench(clients=MIN_CONNECTIONS) as b:
        b.write(b"x")
        assert b.helped
        data = os.urandom(400_000)
        b.write(data)
        assert b.helped[0].read(400_001) == b"x" + data


def test_few_connections_are_written_to_without_helpers() -> None:
    with bench() as b:
        b.write(b"a")
        b.writers._write(b.helped[: MIN_CONNECTIONS - 1], b"b")
        assert {client.own_writes for client in b.helped[: MIN_CONNECTIONS - 1]} == {2}


def test_a_client_that_reads_a_part_receives_the_rest_from_its_transport_in_order() -> None:
    with bench() as b:
        b.write(b"x")
        slow = b.helped[0]
        slow.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        big = os.urandom(60_000)
        b.write(big)
        assert 0 < slow.unsent < len(big)
        b.write(b"after")
        assert slow.read(1 + len(big) + 5) == b"x" + big + b"after"


def test_a_client_that_is_gone_affects_no_other() -> None:
    with bench() as b:
        b.write(b"x")
        b.helped[0].far.close()
        b.write(b"y")
        assert b.helped[1].read(2) == b"xy"
        assert b.metric("presenced_writers_lost_total") == 0


def test_a_discarded_connection_is_closed_in_every_process() -> None:
    with bench() as b:
        b.write(b"x")
        client = b.helped[0]
        b.writers.discard(client)
        client.near.close()
        assert client.read(1) == b"x"
        assert client.far.recv(1) == b"", "no process holds the socket"
        client.far.close()
        b.clients.remove(client)
        b.write(b"y")
        assert b.helped[0].read(2) == b"xy"


def test_a_helper_that_died_is_replaced_and_no_client_misses_anything() -> None:
    with bench() as b:
        b.write(b"a")
        kill(b.pids[0])
        b.write(b"b")
        assert b.metric("presenced_writers") == 0
        assert b.metric("presenced_writers_lost_total") == 1
        b.clock.advance(RETRY_S)
        for letter in (b"c", b"d"):
            b.write(letter)
        assert b.metric("presenced_writers") == 1
        assert b.helped
        assert {client.read(4) for client in b.clients} == {b"abcd"}
        assert not any(client.was_aborted for client in b.clients)


def test_a_dead_helper_is_detected_when_one_of_its_clients_leaves() -> None:
    with bench() as b:
        b.write(b"a")
        kill(b.pids[0])
        b.writers.discard(b.helped[0])
        assert b.metric("presenced_writers") == 0
        assert not b.helped


def test_only_the_clients_that_a_hanging_helper_was_writing_to_are_aborted() -> None:
    with bench(helpers=2) as b:
        for _ in range(4):
            b.write(b"a")
        hung, other = b.writers._helpers
        os.kill(hung._process.pid, signal.SIGSTOP)
        hung._socket.settimeout(SHORT_TIMEOUT_S)
        theirs: set[Any] = set(hung.connections.values())
        b.write(b"b")
        assert {client for client in b.clients if client.was_aborted} == theirs
        assert b.writers._helpers == [other]
        for client in set(b.clients) - theirs:
            assert client.read(5) == b"aaaab"


def test_after_the_stop_the_server_writes_alone() -> None:
    with bench() as b:
        b.write(b"a")
        pid = b.pids[0]
        b.writers.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        b.write(b"b")
        assert {client.read(2) for client in b.clients} == {b"ab"}


def test_if_no_helper_can_be_started_the_server_writes_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with bench() as b:
        b.write(b"a")
        assert {client.read(1) for client in b.clients} == {b"a"}
    assert "can't be started" in caplog.text


class Listening:
    """Client that records the users it is notified of."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self.notified: list[int] = []

    async def listen(self) -> None:
        with suppress(AssertionError):  # the server closed the connection
            while True:
                message = json.loads(bytes((await self._client.frame()).data))
                if message["type"] == "USER_ONLINE":
                    self.notified.append(message["userId"])


@pytest.mark.anyio
async def test_every_client_is_notified_of_everything_even_when_helpers_are_killed() -> None:
    """One user has many connections, so the announcements are the only changes."""
    calm = {"heartbeat_interval": 3600, "pong_timeout": 3600}
    async with server(writers=2, **calm) as running, AsyncExitStack() as stack:
        clients = [Listening(await stack.enter_async_context(raw_websocket(running.port))) for _ in range(MANY)]
        listening = [asyncio.create_task(client.listen()) for client in clients]
        announced: list[int] = []

        async def announce() -> None:
            announced.append(1000 + len(announced))
            running.broadcast_user_status(announced[-1], True)
            await until(lambda: all(client.notified == announced for client in clients))

        for _ in range(3):
            await announce()
        writers = node(running).broadcaster._writer
        assert isinstance(writers, WriterPool)
        assert metric(running, "presenced_writers") == 2
        assert all(len(helper.connections) > MANY / 4 for helper in writers._helpers)
        for helper in writers._helpers:
            kill(helper._process.pid)
        await announce()
        assert metric(running, "presenced_writers_lost_total") == 2
        assert metric(running, "presenced_connections") == MANY
        for task in listening:
            task.cancel()
