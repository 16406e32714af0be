"""Loss after `kill -9` under load of the server, of its storage worker, or of both in turn.

`PRESENCED_KILLS=20 pytest -s tests/integration/test_worker_kills.py` runs longer and prints its findings.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.process import ServerProcess
from tests.support.webhooks import SECRET, Receiver
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from presenced.worker.program import RENEW_S

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KILLS = int(os.environ.get("PRESENCED_KILLS", "3"))

KINDS = ("server", "worker", "both")
"""Processes that are killed, in turn."""

CROWD = 60
"""Number of users who connect and leave, some 200 changes a second."""

TOLERABLE_MS = 1000
"""Milliseconds of last seen, and of changes, that may be lost on a machine that keeps up. Otherwise the server's own
metrics at the time of the kill say how many."""

V1: Any = ["presenced.v1"]


@pytest.fixture
def anyio_backend() -> object:
    """Event loop of the command. One is enough, because the test starts processes."""
    return "asyncio", {"use_uvloop": True}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Visit(NamedTuple):
    """Times of a visit in epoch milliseconds: the connect, the first and the last certain presence."""

    asked_ms: int
    came_ms: int
    there_ms: int


class Crowd:
    """Users who connect and leave, and a watcher who sees them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._random = random.Random(7)
        self._watcher: ClientConnection
        self._watching: asyncio.Task[None]
        self._living: list[asyncio.Task[None]] = []
        self._is_over = False
        self.there: dict[str, Visit] = {}
        self.last: dict[str, Visit] = {}
        """Latest visit of each user since `begin`."""
        self.seen: dict[tuple[str, int], int] = {}
        """When the watcher was notified of changes, by user and version."""

    async def begin(self) -> None:
        """Start. The watcher is connected on return."""
        self._is_over = False
        self.last.clear()
        self._watcher = await connect(f"{self._url}?userId=watcher", subprotocols=V1, close_timeout=1)
        self._watching = asyncio.create_task(self._watch(self._watcher))
        self._living = [asyncio.create_task(self._live(f"user{number}")) for number in range(CROWD)]

    async def end(self) -> None:
        """Disconnect everybody, if the server still runs."""
        self._is_over = True
        await asyncio.gather(*self._living)
        await self._watcher.close()
        await self._watching

    def killed(self, kind: str) -> None:
        """Record that present users were present until now."""
        for user_id, visit in self.there.items():
            self.last[user_id] = visit._replace(there_ms=now_ms())
        self._is_over = kind != "worker"

    async def _watch(self, watcher: ClientConnection) -> None:
        with suppress(WebSocketException):  # the server is killed
            async for text in watcher:
                message = json.loads(text)
                if message["type"] == "PRESENCE_CHANGES":
                    for user in message["users"]:
                        self.seen[user["userId"], user["version"]] = now_ms()

    async def _live(self, user_id: str) -> None:
        url = f"{self._url}?userId={user_id}"
        while not self._is_over:
            with suppress(OSError, WebSocketException):  # the server is killed, or not up yet
                asked_ms = now_ms()
                async with connect(url, subprotocols=V1, close_timeout=1) as connection:
                    await connection.recv()
                    self.there[user_id] = visit = Visit(asked_ms, now_ms(), 0)
                    try:
                        await self._stay(connection)
                        if not self._is_over:
                            self.last[user_id] = visit._replace(there_ms=now_ms())
                    finally:
                        del self.there[user_id]
            await asyncio.sleep(self._random.uniform(0.02, 0.3))

    async def _stay(self, connection: ClientConnection) -> None:
        await connection.send('{"type":"JOIN","room":"lobby"}')
        await asyncio.sleep(self._random.uniform(0.02, 0.2))
        status = self._random.choice(("busy", "away", "online"))
        await connection.send(json.dumps({"type": "SET_STATUS", "status": status}))
        await asyncio.sleep(self._random.uniform(0.02, 0.3))


class Trial:
    """The server under test, its database file, and its receiver."""

    def __init__(self, process: ServerProcess, receiver: Receiver, file: Path) -> None:
        self._process = process
        self._receiver = receiver
        self._file = file

    def kill(self, kind: str) -> None:
        (worker,) = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if kind != "server":
            os.kill(int(worker), signal.SIGKILL)
        if kind != "worker":
            self._process.kill()

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self._file, timeout=10)) as database:
            return database.execute(query).fetchall()

    def may_lose_ms(self) -> int:
        """Return how many milliseconds are lost at most if a process is killed now: the age of the oldest record, the
        time since the last renewal of the server's row, and the longest transaction."""
        asked_ms = now_ms()
        samples = {
            (sample.name, sample.labels.get("le", "")): sample.value
            for family in text_string_to_metric_families(httpx.get(f"{self._process.url}metrics").text)
            for sample in family.samples
        }
        behind = samples["presenced_storage_behind_seconds", ""]
        name = "presenced_storage_batch_duration_seconds"
        all_of_them = samples[f"{name}_count", ""]
        slowest = min(
            float(bound) for (of, bound), number in samples.items() if of == f"{name}_bucket" and number == all_of_them
        )
        assert slowest < math.inf, "a machine for a test of this"
        return max(TOLERABLE_MS, int(1000 * (RENEW_S + behind + slowest)) + now_ms() - asked_ms)

    async def settled(self) -> None:
        """Wait until nobody is present, and everything is stored and delivered."""
        await soon(lambda: self._is_quiet("presenced_users_online 0.0"))  # nothing changes after that
        await soon(
            lambda: self._is_quiet(
                "presenced_storage_up 1.0",
                "presenced_storage_waiting_facts 0.0",
                "presenced_storage_unstored_facts 0.0",
            )
        )
        await soon(lambda: not self.rows("SELECT user_id FROM presenced_users WHERE status <> 'offline'"))
        await soon(
            lambda: (
                not self.rows("SELECT subject FROM presenced_webhook_states WHERE status NOT IN ('offline', 'vacated')")
            )
        )
        await soon(lambda: not self.rows("SELECT id FROM presenced_webhooks"))

    def _is_quiet(self, *samples: str) -> bool:
        lines = httpx.get(f"{self._process.url}metrics").text.splitlines()
        return all(sample in lines for sample in samples)

    @property
    def events(self) -> dict[str, dict[str, Any]]:
        """Events that the receiver accepted, by id, in the order of their first arrival."""
        found: dict[str, dict[str, Any]] = {}
        for event in self._receiver.taken:
            assert found.setdefault(event["id"], event) == event, "the same id is the same event"
        return found

    @property
    def taken(self) -> int:
        """Number of events that the receiver accepted, duplicates included."""
        return len(self._receiver.taken)


async def soon(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.mark.timeout(60 + 30 * KILLS)
async def test_kills_under_load_lose_only_recent_records(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "database": "sqlite",
        "data_dir": str(tmp_path / "data"),
        "node": "here",
        "outgoing_private": True,
        "grace_lost": 0.5,
        "settling": 0.5,
        "grace_going_away": 0.3,
        "status_pause": 0.0,
    }
    with (
        Receiver() as receiver,
        ServerProcess({"PRESENCED_WEBHOOK_SECRETS": SECRET}, webhook_urls=receiver.url, **given) as process,
    ):
        trial = Trial(process, receiver, tmp_path / "data" / "presenced.db")
        crowd = Crowd(process.websocket_url)
        lost: list[tuple[str, int, int]] = []
        for number in range(KILLS):
            kind = KINDS[number % len(KINDS)]
            await crowd.begin()
            await asyncio.sleep(random.uniform(0.6, 1.4))
            tolerable_ms = await asyncio.to_thread(trial.may_lose_ms)
            killed_ms = now_ms()
            crowd.killed(kind)
            trial.kill(kind)
            if kind == "worker":
                await asyncio.sleep(random.uniform(0, 1.5))  # the live service continues without a worker
            await crowd.end()
            if kind != "worker":
                await asyncio.to_thread(process.start)
            await trial.settled()
            seen = last_seen_lost(trial, crowd, killed_ms, tolerable_ms)
            lost.append((kind, seen, changes_lost(trial, crowd, killed_ms - tolerable_ms, kind)))
            assert trial.rows("SELECT session_key FROM presenced_sessions WHERE closed_ms IS NULL") == []
        report(trial, crowd, lost)


def last_seen_lost(trial: Trial, crowd: Crowd, killed_ms: int, tolerable_ms: int) -> int:
    """Return the milliseconds of last seen that the user with the greatest loss lost.

    If a whole visit was lost, its length until the kill counts.
    """
    stored: dict[str, int] = dict(trial.rows("SELECT user_id, seen_ms FROM presenced_users"))
    lost = max(
        visit.there_ms - seen_ms if (seen_ms := stored.get(user_id, 0)) >= visit.asked_ms else killed_ms - visit.came_ms
        for user_id, visit in crowd.last.items()
    )
    assert lost <= tolerable_ms
    return max(0, lost)


def changes_lost(trial: Trial, crowd: Crowd, oldest_ms: int, kind: str) -> int:
    """Return how many changes that the watcher saw did not reach the receiver.

    They must all be recent, and the last state that the receiver knows must be true.
    """
    delivered = {(event["data"].get("userId"), event["data"]["version"]) for event in trial.events.values()}
    newest = {event[0]: event for event in in_order(trial)}
    missing = {key: seen for key, seen in crowd.seen.items() if key not in delivered and key[0] != "watcher"}
    for seen_ms in missing.values():
        assert kind != "worker", "the server still has it"
        assert seen_ms >= oldest_ms
    assert {status for _, _, status in newest.values()} <= {"offline"}, "nobody is present"
    for key in missing:
        del crowd.seen[key]  # it is counted now
    return len(missing)


def in_order(trial: Trial) -> list[tuple[str, int, str]]:
    """Return user, version and status of all events. Check that versions increase for each user."""
    newest: Counter[str] = Counter()
    found = []
    for event in trial.events.values():
        data = event["data"]
        subject = data.get("userId") or data["room"]
        assert data["version"] > newest[subject], "events are in order, and each came once"
        newest[subject] = data["version"]
        found.append((subject, data["version"], data.get("status", "offline" if "vacated" in event["type"] else "")))
    return [one for one in found if one[0] != "lobby"]


def report(trial: Trial, crowd: Crowd, lost: list[tuple[str, int, int]]) -> None:
    lines = [""]
    for kind in KINDS:
        seen = [milliseconds for of, milliseconds, _ in lost if of == kind] or [0]
        changes = [number for of, _, number in lost if of == kind] or [0]
        lines.append(
            f"{kind} killed {len(changes)} times: at most {max(seen)} ms of last seen lost; {sum(changes)} changes "
            f"(at most {max(changes)} at once) not delivered, all recent; the last known states are true"
        )
    events, taken = trial.events, trial.taken
    lines.append(
        f"{len(crowd.seen)} changes seen and delivered; {len(events)} events, {taken - len(events)} of them twice\n"
    )
    sys.stdout.write("\n".join(lines))
