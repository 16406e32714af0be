"""Fuzzing of the port: every connection ends in a documented way, the server survives, other clients notice nothing.

Documented ways are HTTP responses with a status of the tables and then the end, 101 and valid frames, or the end alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from random import Random

import pytest
from tests.support.fuzz import request, seeds
from tests.support.raw import PATIENCE, RawClient, raw, raw_websocket
from tests.support.server import server
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from presenced import PresenceServer
from presenced.errors import Problem

pytestmark = pytest.mark.anyio

STATUSES = {problem.status for problem in Problem} | {100, 101, 200, 304, 404, 405}
AT_A_TIME = 40
QUICK = {"head_timeout": 0.5, "message_timeout": 0.5, "close_timeout": 0.3, "grace_lost": 0, "grace_going_away": 0}


async def test_every_connection_ends_in_a_documented_way_and_other_clients_notice_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with (
        server(**QUICK, heartbeat_interval=3600, pong_timeout=3600) as running,
        raw_websocket(running.port, "?userId=witness") as witness,
    ):
        listening = asyncio.create_task(listen(witness))
        waiting = asyncio.Semaphore(AT_A_TIME)
        async with asyncio.TaskGroup() as group:
            for seed in seeds(2000):
                await waiting.acquire()
                task = group.create_task(attack(running.port, seed))
                task.add_done_callback(lambda _: waiting.release())
        await settle(running)
        await assert_works(running, listening)
    assert failures == []
    assert [record.getMessage() for record in caplog.records] == []


async def attack(port: int, seed: int) -> None:
    random = Random(seed)
    data = request(random)
    byte_by_byte = random.random() < 0.5
    try:
        async with raw(port) as client:
            try:
                for part in [data[i : i + 1] for i in range(len(data))] if byte_by_byte else [data]:
                    await client.send(part)
                    if byte_by_byte:
                        await asyncio.sleep(0)
                client.writer.write_eof()
            except OSError:
                pass  # already closed; `check` examines the output
            check(await client.closed())
    except Exception as error:
        error.add_note(f"seed {seed}{', byte by byte' if byte_by_byte else ''}: {data!r}")
        raise


def check(received: bytes) -> None:
    """Check that `received` is whole responses, perhaps a WebSocket at the end. A reset may have cut off the rest."""
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        line = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        assert line, f"not a response: {received[:200]!r}"
        status = int(line[1])
        assert status in STATUSES, head
        assert status < 500 or status in (503, 505), "no server fault"
        if status == 101:
            check_frames(rest)
            return
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        size = int(length[1]) if length else 0
        if rest[:size].startswith(b'{"title"'):
            problem = json.loads(rest[:size])
            assert problem["status"] == status
            assert problem["detail"]
        following = rest[size:]
        # The response to HEAD has a length and no body.
        received = following if following.startswith(b"HTTP/1.1 ") or not rest.startswith(b"HTTP/1.1 ") else rest


def check_frames(received: bytes) -> None:
    reader = Protocol(CLIENT)
    reader.receive_data(received)
    assert reader.parser_exc is None
    for event in reader.events_received():
        assert isinstance(event, Frame)
        if event.opcode is Opcode.TEXT:
            assert json.loads(bytes(event.data))["type"] in {"CONNECTION_ESTABLISHED", "USER_ONLINE", "USER_OFFLINE"}


async def settle(running: PresenceServer) -> None:
    """Wait until only the witness is connected."""
    async with asyncio.timeout(PATIENCE):
        while running.get_stats().total_connections > 1:
            await asyncio.sleep(PATIENCE / 1000)


async def listen(witness: RawClient) -> dict[object, bool]:
    """Return the users whose changes the witness receives until the probe connects. Their changes must alternate."""
    online: dict[object, bool] = {}
    while "probe" not in online:
        try:
            event = await witness.frame()
        except TimeoutError:
            continue
        if event.opcode is Opcode.PING:  # the first one comes within a minute; a long run lasts longer
            continue
        assert event.opcode is Opcode.TEXT
        message = json.loads(bytes(event.data))
        if message["type"] != "CONNECTION_ESTABLISHED":
            assert online.get(message["userId"], False) is not (message["type"] == "USER_ONLINE")
            online[message["userId"]] = message["type"] == "USER_ONLINE"
    return online


async def assert_works(running: PresenceServer, listening: asyncio.Task[dict[object, bool]]) -> None:
    """Check that the server responds and that the witness is still notified."""
    async with raw(running.port) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer()).status == 200
    async with raw_websocket(running.port, "?userId=probe"), asyncio.timeout(PATIENCE):
        online = await listening
    assert [user_id for user_id, is_online in online.items() if is_online] == ["probe"], "no user stays online"
