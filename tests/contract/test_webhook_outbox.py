"""The outbox of webhooks in every database: events that are queued, held, sent again and deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.databases import database, servers
from tests.support.webhooks import NOON, change, config_for, tell, turns

from presenced.presence.model import Change
from presenced.storage.database import writing
from presenced.storage.records import RoomOccupancy
from presenced.storage.schema import users, webhook_states, webhooks
from presenced.storage.store import Store
from presenced.webhooks import producer
from presenced.webhooks.dispatcher import WebhookDispatcher
from presenced.webhooks.queue import EndpointQueue
from presenced.webhooks.sender import endpoint_key
from presenced.worker.absence_check import AbsenceCheck
from presenced.worker.rpc import FindAbsent

__all__ = ["database", "servers"]

pytestmark = pytest.mark.anyio

HERE, THERE = "https://here.example/?key=hidden", "https://there.example/"


@pytest.fixture
def anyio_backend() -> object:
    """One event loop is enough, because the tests compare databases."""
    return "asyncio"


class Time:
    def __init__(self) -> None:
        self.ms = NOON

    def __call__(self) -> int:
        return self.ms


def hooks_of(database: AsyncEngine, time: Time | None = None, **changes: Any) -> WebhookDispatcher:
    return WebhookDispatcher(database, config_for(HERE, THERE, **changes), time or Time())


async def waiting(database: AsyncEngine, url: str = HERE, state: str = "waiting") -> list[dict[str, Any]]:
    """Return the events in the outbox, in order."""
    c = webhooks.c
    query = select(c.payload).where((c.endpoint == endpoint_key(url)) & (c.state == state)).order_by(c.id)
    async with database.connect() as connection:
        return [json.loads(text) for (text,) in await connection.execute(query)]


def shape(events: list[dict[str, Any]]) -> list[tuple[str, Any, int]]:
    return [(e["type"], e["data"].get("userId", e["data"].get("room")), e["data"]["version"]) for e in events]


async def check_absences(database: AsyncEngine, hooks: WebhookDispatcher, present: Sequence[str]) -> list[FindAbsent]:
    """Compare the last states sent with a server on which these are present. Return the questions to the server."""
    absence_check, asked = AbsenceCheck(database, hooks.producer, 0), []
    while (question := await absence_check.next_question()) is not None:
        asked.append(question)
        users, rooms = ([name for name in names if name not in present] for names in (question.users, question.rooms))
        async with database.begin() as connection:
            await hooks.producer.enqueue_absent(connection, users, rooms)
        absence_check.answered()
    return asked


async def last_sent(database: AsyncEngine) -> dict[str, tuple[str, int]]:
    """Return the last state sent about each user."""
    async with database.connect() as connection:
        found = await connection.execute(
            select(webhook_states.c.subject, webhook_states.c.status, webhook_states.c.version)
        )
        return {name: (status, version) for name, status, version in found}


async def test_every_endpoint_receives_every_event_in_order_with_the_same_id(database: AsyncEngine) -> None:
    await tell(
        hooks_of(database), database, *turns("ada", 1, 3), RoomOccupancy(4, "lobby", True, NOON), change("Ada", 5)
    )
    here, there = await waiting(database), await waiting(database, THERE)
    assert shape(here) == [
        ("user.online", "ada", 1),
        ("user.status_changed", "ada", 2),
        ("user.status_changed", "ada", 3),
        ("room.occupied", "lobby", 4),
        ("user.online", "Ada", 5),
    ]
    assert [event["id"] for event in here] == [event["id"] for event in there]
    assert len({event["id"] for event in here}) == 5


async def test_repeated_facts_are_no_events(database: AsyncEngine) -> None:
    facts: list[Change | RoomOccupancy] = [
        *turns("ada", 1, 3),
        RoomOccupancy(4, "lobby", True, NOON),
        change("ada", 5, "offline"),
    ]
    await tell(hooks_of(database), database, *facts)
    await tell(hooks_of(database), database, *facts)  # another storage worker, with an empty memory
    assert len(await waiting(database)) == 5


async def test_a_transaction_that_fails_queues_nothing_and_its_repetition_queues_all(database: AsyncEngine) -> None:
    hooks = hooks_of(database)
    with pytest.raises(ZeroDivisionError):
        async with database.begin() as connection:
            await hooks.producer.enqueue(connection, turns("ada", 1, 2))
            raise ZeroDivisionError
    assert await waiting(database) == []
    await tell(hooks, database, *turns("ada", 1, 2))
    assert len(await waiting(database)) == 2


async def test_only_configured_events_are_queued_and_none_is_queued_later(database: AsyncEngine) -> None:
    hooks = hooks_of(database, events=("user.offline",))
    await tell(hooks, database, *turns("ada", 1, 3), change("ada", 4, "offline"), RoomOccupancy(5, "lobby", True, NOON))
    assert shape(await waiting(database)) == [("user.offline", "ada", 4)]


async def test_a_user_who_returns_after_a_crash_is_an_event_only_if_the_status_differs(database: AsyncEngine) -> None:
    await tell(hooks_of(database), database, change("ada", 1, text="tea"), change("bo", 2), change("cy", 3))
    again = hooks_of(database)  # to the new server, all of them were offline before
    await tell(again, database, change("ada", 101), change("bo", 102), change("cy", 103, "away"))
    assert shape(await waiting(database))[3:] == [
        ("user.status_changed", "ada", 101),
        ("user.status_changed", "cy", 103),
    ]


async def test_a_user_who_does_not_return_after_a_crash_is_reported_offline_once(database: AsyncEngine) -> None:
    await tell(hooks_of(database), database, *(change(name, n) for n, name in enumerate(("ada", "bo", "cy", "di"), 1)))
    async with database.begin() as connection:
        for name, status, version in (("ada", "online", 101), ("bo", "offline", 2), ("cy", "offline", 50)):
            row = {"user_id": name, "status": status, "version": version, "since_ms": 7, "seen_ms": 8, "active_ms": 9}
            await connection.execute(insert(users).values(**row, node="n", epoch="e"))
    time = Time()
    time.ms = NOON + 1000
    for _ in range(2):
        await check_absences(database, hooks_of(database, time), present=("ada",))
    found = (await waiting(database))[4:]
    assert shape(found) == [("user.offline", "bo", 3), ("user.offline", "cy", 50), ("user.offline", "di", 5)]
    bo = {"userId": "bo", "status": "offline", "since": 7, "version": 3, "lastSeen": 8}
    assert found[0]["data"] == {**bo, "cause": "restart", "was": "online"}
    await tell(hooks_of(database), database, change("bo", 103))
    assert shape(await waiting(database))[7:] == [("user.online", "bo", 103)]


async def test_more_users_than_one_page_are_checked(database: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "CHUNK_ROWS", 10)
    await tell(hooks_of(database), database, *(change(f"u{n}", n) for n in range(1, 36)))
    await tell(hooks_of(database), database, *(RoomOccupancy(100 + n, f"r{n}", True, NOON) for n in range(35)))
    questions = await check_absences(database, hooks_of(database), present=("u7", "r7"))
    kinds = [event["type"] for event in (await waiting(database))[70:]]
    assert (kinds.count("user.offline"), kinds.count("room.vacated")) == (34, 34)
    assert max(len(question.users) + len(question.rooms) for question in questions) == 20
    named = [name for question in questions for name in (*question.users, *question.rooms)]
    assert len(named) == len(set(named)) == 70


async def test_returned_users_are_not_reported_offline_before_the_database_knows_them(
    database: AsyncEngine,
) -> None:
    """Facts about users wait for up to 250 ms, so rows are older than the live state."""
    await tell(hooks_of(database), database, change("ada", 1), change("bo", 2))
    async with database.begin() as connection:
        for name in ("ada", "bo"):
            row = {"user_id": name, "status": "offline", "version": 50, "since_ms": 7, "seen_ms": 8, "active_ms": 9}
            await connection.execute(insert(users).values(**row, node="n", epoch="e"))
    hooks = hooks_of(database)
    await tell(hooks, database, change("ada", 101))  # her row is still offline
    await check_absences(database, hooks, present=("ada",))
    assert shape(await waiting(database))[2:] == [("user.offline", "bo", 50)]
    assert await last_sent(database) == {"ada": ("online", 101), "bo": ("offline", 50)}


async def test_a_user_who_returns_right_after_the_answer_absent_is_reported_online(
    database: AsyncEngine,
) -> None:
    hooks = hooks_of(database)
    await tell(hooks, database, change("ada", 1))
    absence_check = AbsenceCheck(database, hooks.producer, 0)
    assert await absence_check.next_question() == FindAbsent(["ada"], [])
    async with database.begin() as connection:  # the server's answer, then its next fact
        await hooks.producer.enqueue_absent(connection, ["ada"], [])
        await hooks.producer.enqueue(connection, [change("ada", 101)])
    absence_check.answered()
    assert shape(await waiting(database)) == [
        ("user.online", "ada", 1),
        ("user.offline", "ada", 2),
        ("user.online", "ada", 101),
    ]


async def test_an_absent_user_with_an_online_row_is_offline_since_the_answer(database: AsyncEngine) -> None:
    hooks = hooks_of(database)
    await tell(hooks, database, change("ada", 1))
    row = {"user_id": "ada", "status": "online", "version": 1, "since_ms": 7, "seen_ms": 8, "active_ms": 9}
    async with database.begin() as connection:
        await connection.execute(insert(users).values(**row, node="n", epoch="e"))
        await hooks.producer.enqueue_absent(connection, ["ada"], [])
    assert (await waiting(database))[-1]["data"]["since"] == NOON


async def test_only_one_question_is_outstanding_and_none_before_its_time(database: AsyncEngine) -> None:
    hooks = hooks_of(database)
    await tell(hooks, database, change("ada", 1))
    assert await AbsenceCheck(database, hooks.producer, 3600).next_question() is None
    absence_check = AbsenceCheck(database, hooks.producer, 0)
    assert await absence_check.next_question() == FindAbsent(["ada"], [])
    assert await absence_check.next_question() is None, "it waits for the answer"
    absence_check.answered()
    assert await absence_check.next_question() is None, "all was asked"


async def test_rooms_that_are_not_occupied_again_after_a_crash_are_reported_vacated(database: AsyncEngine) -> None:
    await tell(hooks_of(database), database, *(RoomOccupancy(n, name, True, NOON) for n, name in enumerate("abc", 1)))
    hooks = hooks_of(database)
    await tell(hooks, database, RoomOccupancy(1001, "b", True, NOON))
    await check_absences(database, hooks, present=("b",))
    assert shape(await waiting(database))[3:] == [("room.vacated", "a", 2), ("room.vacated", "c", 4)]


async def test_ids_increase_although_the_clock_is_set_back(database: AsyncEngine) -> None:
    await tell(hooks_of(database), database, *turns("ada", 1, 2))
    early = Time()
    early.ms -= 3_600_000
    await tell(hooks_of(database, early), database, *turns("ada", 3, 2))
    assert [event["data"]["version"] for event in await waiting(database)] == [1, 2, 3, 4]


async def test_when_too_many_events_wait_the_oldest_become_dead_letters_and_are_counted(database: AsyncEngine) -> None:
    hooks = hooks_of(database, max_waiting=10)
    await tell(hooks, database, *turns("ada", 1, 25))
    assert [event["data"]["version"] for event in await waiting(database)] == list(range(16, 26))
    assert hooks.stats().expelled == 30
    letters = json.loads(await hooks.dead_letters("", 100))["deadLetters"]
    assert len(letters) == 30
    assert "more than 10 events waited" in letters[0]["error"]


async def test_too_many_dead_letters_and_too_old_ones_are_deleted_and_counted(database: AsyncEngine) -> None:
    time = Time()
    hooks = hooks_of(database, time, max_waiting=0, max_dead=5)
    await tell(hooks, database, *turns("ada", 1, 8))
    await hooks.sweep()
    assert (hooks.stats().dead, hooks.stats().dropped) == (10, 6)
    versions = [event["data"]["version"] for event in await waiting(database, state="dead")]
    assert versions == [4, 5, 6, 7, 8]
    time.ms += 31 * 86_400_000
    await hooks.sweep()
    assert (hooks.stats().dead, hooks.stats().dropped) == (0, 16)


async def test_events_added_while_the_sweep_waits_for_its_turn_are_counted_once(database: AsyncEngine) -> None:
    hooks = hooks_of(database)
    await tell(hooks, database, change("ada", 1))
    await hooks.sweep()
    async with writing(database) as connection:
        counting = asyncio.create_task(hooks.sweep())
        await asyncio.sleep(0)  # it waits now
        await hooks.producer.enqueue(connection, [change("bo", 2), change("cy", 3)])
    await counting
    assert hooks.stats().waiting == 6, "each for two endpoints"


async def test_dead_letters_are_read_in_pages_and_sent_again(database: AsyncEngine) -> None:
    time = Time()
    hooks = hooks_of(database, time, max_waiting=0)
    await tell(hooks, database, *turns("ada", 1, 4))
    found: list[Any] = []
    page = {"next": ""}
    while page["next"] is not None:
        page = json.loads(await hooks.dead_letters(page["next"], 3))
        found += page["deadLetters"]
    assert len(found) == len({letter["id"] for letter in found}) == 8
    assert {letter["endpoint"] for letter in found} == {"https://here.example/", "https://there.example/"}
    assert [letter["event"]["data"]["version"] for letter in found] == [1, 1, 2, 2, 3, 3, 4, 4]

    again = WebhookDispatcher(database, config_for(HERE), time)  # `THERE` has been removed from the settings
    await again.sweep()
    time.ms += 7 * 86_400_000
    chosen = [letter["id"] for letter in found if letter["event"]["data"]["version"] <= 2]
    assert await again.retry_dead([*chosen, "nonsense"]) == b'{"retried":2}'
    assert await again.retry_dead(chosen) == b'{"retried":0}'
    assert [event["data"]["version"] for event in await waiting(database)] == [1, 2]
    assert await again.retry_dead(None) == b'{"retried":2}'
    assert await waiting(database, THERE) == []
    assert (again.stats().waiting, again.stats().dead) == (4, 4)
    queue = EndpointQueue(database, endpoint_key(HERE))
    await queue.expire("too old", time.ms - 86_400_000)
    assert len(await waiting(database)) == 4, "they have another 24 h"


async def test_a_held_event_blocks_its_subject_and_no_other(database: AsyncEngine) -> None:
    await tell(hooks_of(database), database, change("ada", 1), change("bo", 2), change("ada", 3, "away"))
    queue = EndpointQueue(database, endpoint_key(HERE))
    (first,) = await queue.oldest(1)
    await queue.hold(first, "no", NOON + 1000)
    assert [json.loads(event.payload)["data"]["userId"] for event in await queue.oldest(10)] == ["bo"]
    assert await queue.due_held(NOON, 300_000) == []
    assert [event.row_id for event in await queue.due_held(NOON + 1000, 300_000)] == [first.row_id]
    (due,) = await queue.due_held(NOON - 3_600_000, 300_000)
    assert due.row_id == first.row_id, "the clock was set back"


async def test_the_number_of_held_events_is_corrected_when_their_user_is_erased(database: AsyncEngine) -> None:
    """Otherwise no further event is held after a hundred of these, and all events wait for a refused one."""
    hooks = hooks_of(database)
    hooks._is_delivering = True  # as while `run` delivers
    await tell(hooks, database, change("ada", 1), change("bo", 2))
    queue = hooks._deliveries[0].queue
    ada, bo = await queue.oldest(2)
    await queue.hold(ada, "no", NOON)
    await queue.hold(bo, "no", NOON)
    await erase(hooks, database, "ada")
    await hooks.sweep()
    assert queue.held == 1
    await queue.delete_delivered([ada], were_held=True)  # it was being sent, and there is no row any more
    assert queue.held == 1, "the other one"
    await tell(hooks, database, change("bo", 3, "away"))
    assert [json.loads(event.payload)["data"]["userId"] for event in await queue.oldest(10)] == ["ada"], "not bo"
    await queue.delete_delivered([bo], were_held=True)
    assert queue.held == 0


async def test_waiting_events_of_removed_endpoints_become_dead_letters_when_they_are_old(database: AsyncEngine) -> None:
    time = Time()
    await tell(hooks_of(database, time), database, change("ada", 1))
    again = WebhookDispatcher(database, config_for(HERE), time)
    await again.sweep()
    assert len(await waiting(database, THERE)) == 1
    time.ms += 86_400_001
    await again.sweep()
    assert len(await waiting(database, THERE, "dead")) == 1
    assert len(await waiting(database)) == 1


async def test_rooms_vacated_long_ago_are_forgotten(database: AsyncEngine) -> None:
    hooks = hooks_of(database)
    facts = [
        RoomOccupancy(1, "old", True, NOON),
        RoomOccupancy(2, "old", False, NOON),
        RoomOccupancy(3, "kept", True, NOON),
    ]
    await tell(hooks, database, *facts, RoomOccupancy(2_000_000, "new", True, NOON))
    await hooks.sweep()
    async with database.connect() as connection:
        assert set((await connection.execute(select(webhook_states.c.subject))).scalars()) == {"kept", "new"}


async def erase(hooks: WebhookDispatcher, database: AsyncEngine, user_id: str) -> int:
    """Erase a user as the storage worker does. Return the number of rows."""
    store = Store(dialect=database.dialect.name, node="here", epoch="e1", started_ms=NOON, history_ms=0)
    async with database.begin() as connection:
        state = await hooks.producer.prepare_erasure(connection, user_id)
        deleted = await store.erase(connection, user_id)
        if state is not None:
            await hooks.producer.enqueue_erased(connection, user_id, state)
    return deleted


@pytest.mark.parametrize(
    ("last", "is_delivered", "version"),
    [("online", True, 6), ("offline", False, 5), ("offline", True, None), (None, True, None)],
)
async def test_an_erased_user_is_reported_offline_once_and_nothing_else_stays(
    database: AsyncEngine, last: str | None, is_delivered: bool, version: int | None
) -> None:
    hooks = hooks_of(database)
    if last:
        await tell(hooks, database, change("ada", 4, "busy", text="private"), change("ada", 5, last))
    if is_delivered:
        async with database.begin() as connection:
            await connection.execute(delete(webhooks))
    await erase(hooks, database, "ada")
    assert shape(await waiting(database)) == ([("user.offline", "ada", version)] if version else [])
    await tell(hooks, database, change("ada", 7))
    assert shape(await waiting(database))[-1:] == [("user.online", "ada", 7)], (
        "a new session of the user is announced again"
    )


async def test_repeated_erasures_keep_the_event_that_the_user_is_offline_until_it_is_delivered(
    database: AsyncEngine,
) -> None:
    hooks = hooks_of(database)
    await tell(hooks, database, change("ada", 4, "busy", text="private"))
    async with database.begin() as connection:
        await connection.execute(delete(webhooks))  # receivers have got that the user is busy
    for state in ("waiting", "waiting", "held", "dead"):
        assert await erase(hooks, database, "ada") == 0
        for url in (HERE, THERE):
            assert shape(await waiting(database, url)) == [("user.offline", "ada", 5)]
        async with database.begin() as connection:
            await connection.execute(update(webhooks).values(state=state))
    await erase(hooks, database, "ada")
    assert "private" not in json.dumps(await waiting(database))
    async with database.begin() as connection:
        await connection.execute(delete(webhooks))
    await erase(hooks, database, "ada")
    assert await waiting(database) == [], "receivers know it"


async def test_user_ids_and_texts_of_any_kind_are_queued(database: AsyncEngine) -> None:
    names = ["x" * 128, "é" * 128, "😀" * 64, "a'b\"c\\d", "%_", "7"]
    await tell(hooks_of(database), database, *(change(name, n, text="😀'") for n, name in enumerate(names, 1)))
    await tell(hooks_of(database), database, *(change(name, n, text="😀'") for n, name in enumerate(names, 1)))
    assert [event["data"]["userId"] for event in await waiting(database)] == [*names[:-1], 7]


async def test_the_queue_is_read_by_its_index(database: AsyncEngine) -> None:
    if database.dialect.name != "sqlite":
        pytest.skip("looked at for SQLite")
    c = webhooks.c
    async with database.connect() as connection:
        query = select(c.id).where((c.endpoint == "e") & (c.state == "waiting")).order_by(c.id).limit(100)
        text = str(query.compile(database.sync_engine, compile_kwargs={"literal_binds": True}))
        plan = " ".join(str(row) for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}"))
    assert "presenced_webhooks_due" in plan
    assert "TEMP B-TREE" not in plan


async def test_no_facts_queue_nothing(database: AsyncEngine) -> None:
    hooks = hooks_of(database)
    await tell(hooks, database)
    async with database.begin() as connection:
        await connection.execute(update(webhooks).values(state="dead"))
        await hooks.producer.enqueue_absent(connection, ["ada"], ["lobby"])
        assert (await connection.execute(select(func.count()).select_from(webhooks))).scalar() == 0


async def test_a_writer_gets_its_turn_while_another_writes_continuously(database: AsyncEngine) -> None:
    writes, ended = 0, False

    async def write_on() -> None:
        nonlocal writes
        while not ended:
            async with writing(database) as connection:
                await connection.execute(update(webhook_states).values(version=1))
            writes += 1

    other = asyncio.create_task(write_on())
    for _ in range(20):
        before = writes
        async with writing(database) as connection:
            await connection.execute(update(webhook_states).values(version=2))
        assert writes - before <= 2
    ended = True
    await other
