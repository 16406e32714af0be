"""Nodes of two releases in one cluster.

There is no earlier release to run. So a peer stands for a later one: it writes what this release does not know. Another
layout of the store is what a release changes if its nodes cannot work beside those of earlier ones.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Raw, msgpack
from msgspec.structs import replace
from tests.cluster.conftest import Nodes
from tests.cluster.test_nodes import KEYS, until_status, visit
from tests.support.clients import client, until
from tests.support.ports import free_port
from tests.support.services import Redis
from tests.support.stores import direct

from presenced.cluster.backend import Applicant, State
from presenced.cluster.members import Figures
from presenced.cluster.records import SharedSession, decode_record, encode_record, encode_sessions
from presenced.cluster.redis.backend import open_backend
from presenced.cluster.redis.format import inbox_key
from presenced.testing.backend_peers import Recorder

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

COMMAND = [sys.executable, "-m", "presenced", "serve", "--config", os.devnull]

MOOD = msgpack.encode({"level": 7})
"""Value of a field that this release does not know."""


@pytest.mark.parametrize(("field", "value"), [("layout", "2"), ("shards", "4")])
def test_a_node_does_not_start_on_a_store_with_another_layout(
    store: Redis, nodes: Nodes, field: str, value: str
) -> None:
    nodes.start()
    store.cli("HSET", KEYS.head.decode(), field, value)
    done = subprocess.run(
        [*COMMAND, "--port", str(free_port()), "--backend", store.url("0")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "the store has layout" in line
    assert "choose another cluster_name" in line


@asynccontextmanager
async def later_node(store: Redis) -> AsyncIterator[int]:
    """Register a node of a later release, which has a state and figures that this release does not know."""
    recorder = Recorder()
    backend = open_backend(store.url("0"), "", cluster_name="presenced", shards=1)
    backend.start(Applicant("later", 60), recorder)
    await recorder.until(lambda: recorder.registrations)
    slot = recorder.registrations[-1].slot

    async def beat() -> None:
        figures = msgpack.encode([*msgpack.decode(msgpack.encode(Figures(release="9.0"))), "more", {"x": 1}])
        while True:
            backend.heartbeat(0, State.READY, figures)
            await asyncio.sleep(0.3)

    beating = asyncio.create_task(beat())
    try:
        yield slot
    finally:
        beating.cancel()
        await backend.stop()


def append(store: Redis, slot: int, kind: str, body: bytes, items: list[Any]) -> None:
    """Append an entry to the log, as a later release might."""
    server = direct(store)
    incarnation = server.hget(KEYS.nodes, slot).split()[0].decode()
    n, last = (int(value) for value in server.hmget(KEYS.head, "n", "last"))
    n += max(1, len(items))
    fields = {
        "a": f"{slot} {incarnation}",
        "b": "1",
        "k": kind,
        "p": str(last),
        "d": body,
        "e": msgpack.encode([[n - len(items) + 1 + index, *item] for index, item in enumerate(items)]),
    }
    with server.pipeline() as both:
        for index, (user_id, record, *_) in enumerate(items):
            number = (n - len(items) + 1 + index).to_bytes(8, "big")
            both.hset(KEYS.users, user_id, number + number + record)
        both.xadd(KEYS.log, fields, id=f"{n}-0")
        both.hset(KEYS.head, mapping={"n": n, "last": n})
        both.execute()


async def test_what_a_later_release_adds_is_carried_along_or_skipped(store: Redis, nodes: Nodes) -> None:
    """Fields of a record survive a change that this release makes. Entries and messages of unknown kinds do nothing."""
    first, second = nodes.start(), nodes.start()
    async with (
        later_node(store) as slot,
        client(second, "watcher") as watcher,
        watcher.watch(["ada", "bob"]),
        client(first, "ada") as ada,
    ):
        await until_status(watcher, "ada", "online")
        server = direct(store)
        stored = server.hget(KEYS.users, "ada")[16:]
        record = replace(decode_record(stored), later={"mood": Raw(MOOD)})
        full = msgpack.encode([*msgpack.decode(encode_record(record)), "a field after those"])
        sessions = encode_sessions((SharedSession(b"abcdef", "web", True),))
        server.hset(KEYS.sessions[slot], "ada", sessions)
        append(store, slot, "items", b"", [["ada", full, True, [[slot, sessions, None]]]])
        append(store, slot, "hologram", b"\xff\x00", [])
        for member in server.hkeys(KEYS.nodes):
            message = bytes([slot]) + msgpack.encode(["hologram", 1, 2])
            server.xadd(inbox_key("presenced", int(member)), {"m": message})
        await ada.set_status("busy", text="deploying")
        await until(watcher, lambda: watcher.user("ada").text == "deploying")
        assert decode_record(server.hget(KEYS.users, "ada")[16:]).later == {"mood": Raw(MOOD)}
        async with visit(first, "bob"):
            await until_status(watcher, "bob", "online")
        await until_status(watcher, "bob", "offline")
        third = await asyncio.to_thread(nodes.start)
        async with client(third, "w3") as newcomer, newcomer.watch(["ada"]):
            assert newcomer.user("ada").text == "deploying"
        for server_process in (first, second, third):
            assert "Traceback" not in server_process.output
            assert "unexpected" not in server_process.output
