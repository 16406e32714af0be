"""Webhooks over HTTP, to receivers that use the library of the specification and fail in every way."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.event import listen
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support import command
from tests.support.raw import PATIENCE
from tests.support.webhook_sender import USERS
from tests.support.webhooks import (
    SCALE,
    SECRET,
    Received,
    Receiver,
    change,
    config_for,
    make_tables,
    now_ms,
    sqlite,
    tell,
    turns,
)

from presenced.webhooks.dispatcher import WebhookDispatcher
from presenced.webhooks.sender import send_test_events
from presenced.webhooks.signing import new_secret

pytestmark = pytest.mark.anyio


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(SCALE)


@asynccontextmanager
async def sending(folder: Path, *urls: str, **changes: Any) -> AsyncIterator[tuple[WebhookDispatcher, AsyncEngine]]:
    """Run a dispatcher with an SQLite file."""
    database = sqlite(folder / "presenced.db")
    await make_tables(database)
    hooks = WebhookDispatcher(database, config_for(*urls, **changes), now_ms)
    task = asyncio.create_task(hooks.run())
    try:
        await until(lambda: hooks.is_idle)
        yield hooks, database
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.dispose()


class Failing:
    """Answer with these statuses, one after the other, and then with 204."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)

    def __call__(self, _: Received) -> int:
        return self.statuses.pop(0) if self.statuses else 204


def waits_for(release: threading.Event) -> Callable[[Received], int]:
    """Answer only after `release` is set."""

    def answer(_: Received) -> int:
        release.wait(PATIENCE)
        return 204

    return answer


def has_accepted(receiver: Receiver, number: int) -> bool:
    return len(receiver.taken) == number


async def test_events_arrive_in_batches_signed_and_in_order(tmp_path: Path) -> None:
    with Receiver() as receiver:
        async with sending(tmp_path, receiver.url) as (hooks, database):
            await tell(hooks, database, *turns("ada", 1, 250))
            await until(lambda: hooks.stats().delivered == 250)
            assert [len(request.events) for request in receiver.requests] == [100, 100, 50]
            assert receiver.versions("ada") == list(range(1, 251))
            assert receiver.forged == 0
            assert all(request.body["type"] == "presence.batch" for request in receiver.requests)
            figures = hooks.stats()
            assert (figures.delivered, figures.requests, figures.failed, figures.waiting) == (250, 3, 0, 0)
            assert sum(figures.buckets) == 3


async def test_events_within_the_batch_wait_share_a_request(tmp_path: Path) -> None:
    with Receiver() as receiver:
        async with sending(tmp_path, receiver.url, batch_wait_s=300 * SCALE) as (hooks, database):
            for number in range(5):
                await tell(hooks, database, change(f"u{number}", number + 1))
            await until(lambda: len(receiver.taken) == 5)
            assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [500, 429, 302, 404, 0])
async def test_a_failed_request_is_repeated_unchanged_with_the_same_id(tmp_path: Path, status: int) -> None:
    answer, there_is_more = Failing(status, status), threading.Event()

    def failing(request: Received) -> int:
        there_is_more.wait(PATIENCE)
        return answer(request)

    with Receiver(failing) as receiver:
        async with sending(tmp_path, receiver.url, timeout_s=PATIENCE) as (hooks, database):
            await tell(hooks, database, *turns("ada", 1, 10))
            await until(lambda: receiver.asked == 1)
            await tell(hooks, database, *turns("ada", 11, 5))
            there_is_more.set()
            await until(lambda: hooks.stats().delivered == 15)
            assert [len(request.events) for request in receiver.requests] == [10, 10, 10, 5]
            assert len({(request.id, json.dumps(request.body)) for request in receiver.requests[:3]}) == 1
            figures = hooks.stats()
            assert (figures.failed, figures.retried) == (2, 20)


async def test_a_receiver_that_is_down_receives_its_events_after_starting(tmp_path: Path) -> None:
    with Receiver() as receiver:
        port, url = receiver.port, receiver.url
    async with sending(tmp_path, url) as (hooks, database):
        await tell(hooks, database, *turns("ada", 1, 10))
        await until(lambda: hooks.stats().failed >= 3)
        assert hooks.stats().waiting == 10
        assert hooks.stats().oldest_ms > 0
        with Receiver(port=port) as receiver:
            await until(lambda: len(receiver.taken) == 10)
            assert receiver.versions("ada") == list(range(1, 11))


async def test_a_timeout_is_a_failure(tmp_path: Path) -> None:
    release = threading.Event()

    with Receiver(waits_for(release)) as receiver:
        async with sending(tmp_path, receiver.url, timeout_s=10 * SCALE) as (hooks, database):
            await tell(hooks, database, change("ada", 1))
            await until(lambda: hooks.stats().failed)
            release.set()
            await until(lambda: hooks.stats().delivered == 1)
            assert len({event["id"] for event in receiver.taken}) == 1


async def test_retry_after_is_honoured(tmp_path: Path) -> None:
    with Receiver(Failing(503)) as receiver:
        receiver.headers["retry-after"] = "1"
        async with sending(tmp_path, receiver.url) as (hooks, database):
            await tell(hooks, database, change("ada", 1))
            await until(lambda: len(receiver.taken) == 1)
            first, second = receiver.requests
            assert second.at - first.at >= 1


async def test_a_refused_event_delays_only_its_user_and_arrives_later(tmp_path: Path) -> None:
    is_fixed = threading.Event()

    def picky(request: Received) -> int:
        return 422 if any(e["data"]["userId"] == "eve" for e in request.events) and not is_fixed.is_set() else 204

    with Receiver(picky) as receiver:
        async with sending(tmp_path, receiver.url, batch_size=8) as (hooks, database):
            facts = [change(name, n) for n, name in enumerate(["ada", "bo", "eve", "cy", "di"], 1)]
            await tell(hooks, database, *facts, change("eve", 6, "away"), change("bo", 7, "away"))
            await until(lambda: {e["data"]["userId"] for e in receiver.taken} == {"ada", "bo", "cy", "di"})
            await tell(hooks, database, *(change(f"u{n}", 100 + n) for n in range(20)))
            await until(lambda: receiver.versions("u19"))
            assert receiver.versions("eve") == []
            is_fixed.set()
            await until(lambda: len(receiver.versions("eve")) == 2)
            assert receiver.versions("eve") == [1 + 2, 6]
            assert receiver.versions("bo") == [2, 7]
            await until(lambda: hooks.stats().waiting == 0)


async def test_while_secrets_are_replaced_receivers_accept_either(tmp_path: Path) -> None:
    fresh = new_secret()
    with Receiver() as old, Receiver(secret=fresh) as new:
        async with sending(tmp_path, old.url, new.url, secrets=(fresh, SECRET)) as (hooks, database):
            await tell(hooks, database, change("ada", 1))
            await until(lambda: old.taken and new.taken and not hooks.stats().waiting)  # otherwise it is sent once more
        async with sending(tmp_path, old.url, new.url, secrets=(fresh,)) as (hooks, database):
            await tell(hooks, database, change("ada", 2, "away"))
            await until(lambda: len(new.taken) == 2 and old.forged)
            assert len(old.taken) == 1


async def test_a_slow_and_a_dead_receiver_do_not_delay_another(tmp_path: Path) -> None:
    release = threading.Event()
    with Receiver() as gone:
        dead_url = gone.url
    with Receiver(waits_for(release)) as slow, Receiver() as good:
        async with sending(tmp_path, slow.url, dead_url, good.url, timeout_s=PATIENCE) as (hooks, database):
            for number in range(5):
                began = time.monotonic()
                await tell(hooks, database, change("ada", number + 1, ("online", "away")[number % 2]))
                await until(partial(has_accepted, good, number + 1))
                assert time.monotonic() - began < PATIENCE / 2, "the slow receiver does not delay the good one"
            assert slow.taken == []
            release.set()


async def test_events_that_are_too_old_become_dead_letters_and_can_be_sent_again(tmp_path: Path) -> None:
    working = threading.Event()
    with Receiver(lambda _: 204 if working.is_set() else 500) as receiver:
        async with sending(tmp_path, receiver.url, max_age_s=20 * SCALE) as (hooks, database):
            await tell(hooks, database, *turns("ada", 1, 10), change("bo", 11))
            await until(lambda: hooks.stats().dead == 11)
            assert hooks.stats().waiting == 0
            found = json.loads(await hooks.dead_letters("", 5))
            assert len(found["deadLetters"]) == 5
            first = found["deadLetters"][0]
            assert first["error"] == "it answered with status 500"
            assert first["endpoint"] == receiver.url.partition("?")[0]
            assert first["attempts"] > 0
            assert first["event"]["data"]["userId"] == "ada"
            working.set()
            assert await hooks.retry_dead([first["id"]]) == b'{"retried":1}'
            await until(lambda: len(receiver.taken) == 1)
            assert receiver.taken[0] == first["event"]
            assert await hooks.retry_dead(None) == b'{"retried":10}'
            await until(lambda: len(receiver.taken) == 11)
            assert hooks.stats().dead == 0


async def test_410_turns_all_waiting_events_into_dead_letters_after_one_request(tmp_path: Path) -> None:
    with Receiver(lambda _: 410) as receiver:
        async with sending(tmp_path, receiver.url, batch_size=10, first_retry_s=PATIENCE) as (hooks, database):
            await tell(hooks, database, *turns("ada", 1, 50))
            await until(lambda: hooks.stats().dead == 50)
            assert len(receiver.requests) == 1
            tries = [letter["attempts"] for letter in json.loads(await hooks.dead_letters("", 50))["deadLetters"]]
            assert tries == [1] * 10 + [0] * 40, "only the events of the request were attempted"


async def test_redirects_and_private_addresses_are_not_followed(tmp_path: Path) -> None:
    with Receiver() as inside, Receiver(Failing(307)) as receiver:
        receiver.headers["location"] = inside.url
        async with sending(tmp_path, receiver.url) as (hooks, database):
            await tell(hooks, database, change("ada", 1))
            await until(lambda: receiver.taken)
            assert inside.requests == []
        url = inside.url.replace("http:", "https:")
        async with sending(tmp_path, url, allow_private=False) as (hooks, database):
            await tell(hooks, database, change("bo", 2))
            await until(lambda: hooks.stats().failed)
            assert inside.requests == []
            (result,) = await send_test_events(config_for(url, allow_private=False), now_ms())
            assert "private address" in result.error


async def test_one_connection_serves_many_requests(tmp_path: Path) -> None:
    with Receiver() as receiver:
        async with sending(tmp_path, receiver.url, batch_size=10) as (hooks, database):
            await tell(hooks, database, *turns("ada", 1, 100))
            await until(lambda: len(receiver.taken) == 100)
    assert len(receiver.requests) == 10
    assert len(receiver.connections) == 1


async def test_while_the_database_is_locked_nothing_is_lost(tmp_path: Path) -> None:
    import sqlite3

    with Receiver() as receiver:
        async with sending(tmp_path, receiver.url) as (hooks, database):
            await tell(hooks, database, *turns("ada", 1, 10))
            await until(lambda: len(receiver.taken) == 10)
            other = sqlite3.connect(
                tmp_path / "presenced.db", timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            await tell(hooks, database, change("bo", 11))
            # In a thread: a transaction of the dispatcher that holds the lock needs the loop in order to end.
            await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
            await until(lambda: receiver.versions("bo"))
            other.execute("ROLLBACK")
            other.close()
            await tell(hooks, database, change("bo", 12, "away"))
            await until(lambda: len(receiver.versions("bo")) == 2)


async def test_an_outage_of_the_database_is_logged_once_and_not_as_one_of_a_receiver(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failures = 0

    def count(_: object) -> None:
        nonlocal failures
        failures += 1

    with Receiver() as receiver, Receiver() as other:
        async with sending(tmp_path, receiver.url, other.url) as (hooks, database):
            listen(database.sync_engine, "handle_error", count)
            async with database.begin() as connection:
                await connection.exec_driver_sql("ALTER TABLE presenced_webhooks RENAME TO away")
            hooks.wake()
            await until(lambda: failures >= 10)
            [line] = caplog.messages
            assert line == "webhooks wait, because the database can't be used: no such table: presenced_webhooks"
            async with database.begin() as connection:
                await connection.exec_driver_sql("ALTER TABLE away RENAME TO presenced_webhooks")
            await until(lambda: len(caplog.messages) > 1)
            await tell(hooks, database, change("ada", 1))
            await until(lambda: receiver.taken and other.taken)
    assert caplog.messages[1:] == ["webhooks continue, because the database can be used again"]


@pytest.mark.timeout(600)
def test_every_event_arrives_in_order_although_the_process_is_killed_twenty_times(tmp_path: Path) -> None:
    chance = random.Random(6)
    statuses = random.Random(7)

    def sometimes(_: Received) -> int:
        return statuses.choices((204, 500, 0), (90, 5, 5))[0]

    program = [sys.executable, "-m", "tests.support.webhook_sender", str(tmp_path / "presenced.db")]
    with Receiver(sometimes) as receiver:
        for number in range(20):
            before = len(receiver.requests)
            child = subprocess.Popen([*program, receiver.url])
            deadline = time.monotonic() + PATIENCE
            while len(receiver.requests) == before and child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.15))
            child.kill()
            child.wait()
            assert len(receiver.requests) > before, f"process {number} delivered something"
        receiver.answer = lambda _: 204
        subprocess.run([*program, receiver.url, "drain"], check=True, timeout=PATIENCE)
    found: dict[int, set[str]] = defaultdict(set)
    for event in receiver.taken:
        found[event["data"]["version"]].add(event["id"])
    assert set(found) == set(range(1, max(found) + 1)), "every event arrived"
    assert all(len(ids) == 1 for ids in found.values()), "a repeated event has the same id"
    for user in range(USERS):
        versions = receiver.versions(f"u{user}")
        assert versions == sorted(versions)


async def test_the_command_prints_every_response_and_fails_if_one_is_an_error(tmp_path: Path) -> None:
    with Receiver() as good, Receiver(lambda _: 500) as bad:
        environ = {
            "PRESENCED_DATABASE": "sqlite",
            "PRESENCED_WEBHOOK_URLS": good.url,
            "PRESENCED_WEBHOOK_SECRETS": SECRET,
            "PRESENCED_OUTGOING_PRIVATE": "true",
        }
        code, output, errors = await command.run("webhook", "test", cwd=tmp_path, environ=environ)
        assert (code, errors) == (0, "")
        assert "accepted (204" in output
        assert "hidden" not in output
        assert [request.body["type"] for request in good.requests] == ["presence.test"]
        environ["PRESENCED_WEBHOOK_URLS"] += f",{bad.url}"
        code, output, errors = await command.run("webhook", "test", cwd=tmp_path, environ=environ)
        assert code == 1
        assert "NOT ACCEPTED: it answered with status 500" in output
        assert "1 of 2 endpoints" in errors
        code, output, _ = await command.run("webhook", "secret", cwd=tmp_path)
        assert code == 0
        assert output.startswith("whsec_")
        code, _, errors = await command.run("webhook", "test", cwd=tmp_path)
        assert code == 2
        assert "webhook_urls" in errors
