"""Promises of storage, on a real database of each kind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tests.support.changes import change_of
from tests.support.services import MariaDB, PostgreSQL, Service

from presenced.errors import StorageError
from presenced.presence.model import Cause, Change, Status, StatusDetails, View
from presenced.presence.status import choice_of
from presenced.storage import migrate
from presenced.storage import queries as reading
from presenced.storage.database import open_database
from presenced.storage.records import (
    YEAR_2026_MS,
    Record,
    Restored,
    RestoredChoices,
    RestoredDisplay,
    RoomOccupancy,
    StoredClaim,
    StoredRevocation,
    StoredSession,
    StoredUser,
    choice_json,
    start_position,
)
from presenced.storage.schema import changes, metadata, nodes, sessions, users
from presenced.storage.store import MAX_LOST_POSITIONS, PRUNED_ROWS, SHORT_HISTORY_MS, SILENT_MS, Store

pytestmark = pytest.mark.anyio

NOW = 1_795_000_000_000
DAY = 86_400_000

WRITING = choice_of("busy", "écrire", "🖋", b'{"a":[1]}')


@pytest.fixture
def anyio_backend() -> str:
    """Event loop of `one_store`."""
    return "asyncio"


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def service(request: pytest.FixtureRequest) -> Iterator[Service | None]:
    if request.param == "sqlite":
        yield None
    else:
        with (PostgreSQL if request.param == "postgresql" else MariaDB)() as running:
            yield running


@pytest.fixture
async def empty(service: Service | None, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = open_database(service.new_database() if service else f"sqlite:///{tmp_path}/data/presenced.db")
    yield engine
    await engine.dispose()


@pytest.fixture
async def database(empty: AsyncEngine) -> AsyncEngine:
    async with empty.begin() as connection:
        await connection.run_sync(migrate.prepare_tables)
    return empty


def store(
    database: AsyncEngine, epoch: str = "one", node: str = "here", started: int = NOW, history: int = 30 * DAY
) -> Store:
    return Store(dialect=database.dialect.name, node=node, epoch=epoch, started_ms=started, history_ms=history)


def user(user_id: str = "ada", status: str = "online", version: int = 5, seen: int = NOW, **more: Any) -> StoredUser:
    return StoredUser(user_id, status, version, seen, seen, seen, **more)


def session(key: str = "ada-1", user_id: str = "ada", opened: int = NOW, closed: int | None = None) -> StoredSession:
    reason = "closed" if closed else ""
    return StoredSession(key, user_id, key, "", "classic", "phone", None, opened, closed, reason)


def change(position: int, user_id: str = "ada", status: str = "online", at: int = NOW) -> Change:
    return change_of(user_id, position, status, at_ms=at)


async def write(database: AsyncEngine, one_store: Store, *records: Record, at: int = NOW, position: int = 1) -> None:
    async with database.begin() as connection:
        await one_store.renew(connection, at, position)
        await one_store.write(connection, records)


async def rows(database: AsyncEngine, table: Any) -> list[dict[str, Any]]:
    async with database.connect() as connection:
        return [dict(row) for row in (await connection.execute(select(table))).mappings()]


async def restored(database: AsyncEngine, one_store: Store, at: int = NOW, most: int = 100) -> list[Restored]:
    async with database.connect() as connection:
        return [record async for page in one_store.restored(connection, at, most) for record in page]


async def test_the_migrations_create_the_tables_of_the_schema(database: AsyncEngine) -> None:
    def differences(connection: Any) -> Sequence[Any]:
        options = {"version_table": migrate.VERSION_TABLE, "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_tables_of_an_unknown_version_are_refused_and_unchanged(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await connection.run_sync(migrate.prepare_tables)  # again: nothing to do
        await connection.execute(text("UPDATE presenced_version SET version_num = '9999'"))
    async with database.connect() as connection:
        for act in (migrate.prepare_tables, migrate.upgrade_tables):
            with pytest.raises(StorageError, match="9999, which this presenced does not know"):
                await connection.run_sync(act)


async def test_tables_without_a_version_are_refused_and_unchanged(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await connection.execute(text("DELETE FROM presenced_version"))
    async with database.connect() as connection:
        with pytest.raises(StorageError, match="without presenced_version"):
            await connection.run_sync(migrate.prepare_tables)


async def test_writing_records_again_changes_nothing(database: AsyncEngine) -> None:
    one_store = store(database)
    records: list[Record] = [
        user(chosen=choice_json(WRITING), timed=choice_json(choice_of("away"))),
        session(),
        change(1),
        RoomOccupancy(2, "lobby", True, NOW),
        StoredClaim("ada", "calendar", "busy", "meeting", set_ms=NOW, until_ms=NOW + 1),
        StoredRevocation("token", "jti", 1.5, 2.5),
    ]
    await write(database, one_store, *records)
    before = [await rows(database, table) for table in metadata.sorted_tables]
    await write(database, one_store, *records)
    assert [await rows(database, table) for table in metadata.sorted_tables] == before
    assert sorted(map(len, before)) == [0, 0, 0, 1, 1, 1, 1, 1, 1]


async def test_an_older_state_overwrites_no_newer_one_and_last_seen_never_decreases(database: AsyncEngine) -> None:
    one_store = store(database)
    await write(database, one_store, user(version=7, status="away", seen=NOW))
    await write(database, one_store, user(version=6, status="online", seen=NOW + 5))
    assert [(row["version"], row["status"]) for row in await rows(database, users)] == [(7, "away")]
    await write(database, one_store, StoredUser("ada", "offline", 8, 0, 0, 0))
    assert [(row["status"], row["seen_ms"], row["active_ms"]) for row in await rows(database, users)] == [
        ("offline", NOW, NOW)
    ]


async def test_ids_compare_byte_by_byte(database: AsyncEngine) -> None:
    ids = [
        "ada",
        "Ada",
        "ada ",
        " ada",
        "àda",
        "a\u0300da",
        "ﬁ",
        "fi",
        "😀",
        "__proto__",
        "x" * 128,
        "1",
        "01",
        "%",
        "_",
        "ada\u3000",
        "ada\u00a0",
        "ada\u2003",
        "ada\u200d",
        "ada\u200c",
        "\u200cada",
        "ada\u00ad",
        "\ufeffada",
        "\u5c71\u7530\u3000\u592a\u90ce",
        "\u5c71\u7530 \u592a\u90ce",
        "\U0001f468\u200d\U0001f469",
        "\U0001f468\U0001f469",
        "\U0001fae8",
        "\U0001fae7",
        "\U00031350",
        "\U0002fffd",
        "\ue000",
        "\U0010fffd",
        " ",
        "  ",
        "\u3000",
        "\U0001fae8" * 128,
    ]
    await write(database, store(database), *(user(each) for each in ids))
    async with database.connect() as connection:
        for each in ids:
            found = json.loads(await reading.last_seen(connection, [each]))
            assert [str(one["userId"]) for one in found] == [each]
        assert len(await rows(database, users)) == len(ids)


async def test_sources_and_revocations_compare_byte_by_byte_too(database: AsyncEngine) -> None:
    names = ["call", "call ", "call\u3000", "Call", "ca\u200dll", "\U0001fae8" * 64]
    claimed = [StoredClaim("ada", name, "busy", set_ms=NOW) for name in names]
    revoked = [StoredRevocation("user", name, NOW / 1000, NOW / 1000 + 60) for name in names]
    one_store = store(database)
    await write(database, one_store, *claimed, *revoked)
    found = await restored(database, one_store)
    assert sorted(record.source for record in found if isinstance(record, StoredClaim)) == sorted(names)
    assert sorted(record.subject for record in found if isinstance(record, StoredRevocation)) == sorted(names)


async def test_a_resumed_session_is_open_again(database: AsyncEngine) -> None:
    one_store = store(database)
    await write(database, one_store, session(closed=NOW + 5))
    assert [(row["closed_ms"], row["reason"]) for row in await rows(database, sessions)] == [(NOW + 5, "closed")]
    await write(database, one_store, session())
    assert [(row["closed_ms"], row["reason"]) for row in await rows(database, sessions)] == [(None, "")]


async def test_history_is_read_newest_first_page_by_page(database: AsyncEngine) -> None:
    await write(database, store(database), *(change(n) for n in range(1, 8)), change(9, "bob"))
    seen, before = [], 0
    async with database.connect() as connection:
        while True:
            page = json.loads(await reading.history(connection, "ada", before, 3))
            seen += [one["version"] for one in page["changes"]]
            if page["next"] is None:
                break
            before = int(page["next"])
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_history_has_the_details_of_a_status(database: AsyncEngine) -> None:
    details = msgspec.structs.replace(
        change(1, status="busy"),
        view=View(Status.BUSY, StatusDetails("écrire", "🖋", b'{"a":[1]}', 9), ("phone", "web")),
        was=Status.ONLINE,
        cause=Cause.CHOICE,
    )
    await write(database, store(database), details)
    async with database.connect() as connection:
        page = json.loads(await reading.history(connection, "ada", 0, 10))
    assert page["changes"] == [
        {
            "version": 1,
            "status": "busy",
            "was": "online",
            "cause": "choice",
            "at": NOW,
            "text": "écrire",
            "emoji": "🖋",
            "data": {"a": [1]},
            "until": 9,
            "devices": ["phone", "web"],
        }
    ]


async def test_sessions_are_read_newest_first_page_by_page_even_if_opened_together(
    database: AsyncEngine,
) -> None:
    made = [session(f"ada-{n}", opened=NOW + n // 3) for n in range(7)]
    await write(database, store(database), *made)
    seen: list[str] = []
    before: tuple[int, str] | None = None
    async with database.connect() as connection:
        while True:
            page = json.loads(await reading.past_sessions(connection, "ada", before, 2))
            seen += [one["connectionId"] for one in page["sessions"]]
            if page["next"] is None:
                break
            opened, _, key = page["next"].partition("-")
            before = int(opened), key
    assert seen == [f"ada-{n}" for n in reversed(range(7))]


async def test_changes_are_not_stored_without_a_history(database: AsyncEngine) -> None:
    await write(database, store(database, history=0), user(), change(1))
    assert await rows(database, changes) == []


async def test_a_start_closes_open_rows_of_a_dead_process_at_its_last_sign_of_life(database: AsyncEngine) -> None:
    first, other = store(database), store(database, "other", "elsewhere")
    records = user("ada", seen=NOW - 50), user("bob", "away"), user("eve", "offline", seen=NOW - 9), session()
    await write(database, first, *records, session("bob-1", "bob", closed=NOW + 1), at=NOW + 700, position=40)
    await write(database, other, user("zoe"), session("zoe-1", "zoe"), at=NOW + 5000)
    second = store(database, "two", started=NOW + 5000)
    async with database.begin() as connection:
        start = await second.start(connection)
    assert start.closed == 2
    assert start.position >= start_position(NOW + 5000)
    found = {row["user_id"]: row for row in await rows(database, users)}
    assert {key: row["status"] for key, row in found.items()} == {
        "ada": "offline", "bob": "offline", "eve": "offline", "zoe": "online",
    }  # fmt: skip
    assert [found[key]["seen_ms"] for key in ("ada", "bob", "eve")] == [NOW + 700, NOW + 700, NOW - 9]
    ended = {row["session_key"]: (row["closed_ms"], row["reason"]) for row in await rows(database, sessions)}
    assert ended == {"ada-1": (NOW + 700, "lost"), "bob-1": (NOW + 1, "closed"), "zoe-1": (None, "")}
    stored = await rows(database, changes)
    assert [(row["user_id"], row["was"], row["status"], row["cause"], row["at_ms"]) for row in stored] == [
        ("ada", "online", "offline", "timeout", NOW + 700),
        ("bob", "away", "offline", "timeout", NOW + 700),
    ]
    assert all(5 < row["version"] <= start.position for row in [*stored, found["ada"], found["bob"]])
    async with database.begin() as connection:
        assert (await second.start(connection)).closed == 0  # again: nothing is left to do
    assert await rows(database, changes) == stored


async def test_a_late_start_does_not_override_the_live_state_of_its_server(database: AsyncEngine) -> None:
    """The database may respond when users are back. The waiting records about them have the versions of their time."""
    await write(database, store(database), user("ada", version=7), user("bob", version=9), position=90)
    soon = NOW + 5000  # by positions, closer to the last renewal than a start would leave them
    second = store(database, "two", started=soon)
    live = start_position(soon) + 1
    await write(database, store(database), at=NOW + 4000, position=start_position(NOW) + 20)
    async with database.begin() as connection:
        start = await second.start(connection)
    assert start.position > live
    await write(database, second, user("ada", version=live), change_of("ada", live, "online", at_ms=soon))
    found = {row["user_id"]: (row["status"], row["version"]) for row in await rows(database, users)}
    assert found == {"ada": ("online", live), "bob": ("offline", live - 1)}
    async with database.connect() as connection:
        page = json.loads(await reading.history(connection, "ada", 0, 10))
    assert [(one["status"], one["version"]) for one in page["changes"]] == [("online", live), ("offline", live - 1)]


async def test_closed_rows_are_above_stored_ones_although_the_clock_was_set_back(database: AsyncEngine) -> None:
    before = start_position(NOW) + 7
    await write(database, store(database), user("ada", version=before), position=before)
    async with database.begin() as connection:
        start = await store(database, "two", started=NOW - DAY).start(connection)
    assert [(row["status"], row["version"]) for row in await rows(database, users)] == [("offline", before + 1)]
    assert start.position > before + 1


async def test_a_second_start_keeps_the_rows_that_the_first_one_closed(database: AsyncEngine) -> None:
    """A restarted storage worker has the same epoch, so its positions must differ."""
    await write(database, store(database), user("ada"))
    await write(database, store(database, "other", "elsewhere"), user("bob"), user("eve"))
    second = store(database, "two", started=NOW + SILENT_MS)
    async with database.begin() as connection:
        assert (await second.start(connection)).closed == 1
    await write(database, second, change(start_position(NOW + SILENT_MS) + 1, "zoe"))
    async with database.begin() as connection:
        await connection.execute(update(nodes).where(nodes.c.node == "elsewhere").values(sign_ms=NOW - 1))
        assert (await second.start(connection)).closed == 2
    found = [(row["user_id"], row["status"]) for row in await rows(database, changes)]
    assert sorted(found) == [("ada", "offline"), ("bob", "offline"), ("eve", "offline"), ("zoe", "online")]


async def test_other_servers_consider_a_long_silent_server_dead(database: AsyncEngine) -> None:
    await write(database, store(database, "a", "gone"), user(), session())
    for started, status in ((NOW + SILENT_MS, "online"), (NOW + SILENT_MS + 1, "offline")):
        async with database.begin() as connection:
            await store(database, "b", "new", started).start(connection)
        assert [row["status"] for row in await rows(database, users)] == [status]


async def test_a_server_that_stops_leaves_nobody_online(database: AsyncEngine) -> None:
    one_store = store(database)
    await write(database, one_store, user(), session(), position=70)
    async with database.begin() as connection:
        await one_store.stop(connection, NOW + 9, 70, "stopping")
    assert [(row["status"], row["version"]) for row in await rows(database, users)] == [("offline", 71)]
    assert [(row["closed_ms"], row["reason"]) for row in await rows(database, sessions)] == [(NOW + 9, "stopping")]
    assert [(row["stopped_ms"], row["position"]) for row in await rows(database, nodes)] == [(NOW + 9, 71)]


async def test_positions_grow_from_start_to_start_even_if_the_clock_was_set_back(database: AsyncEngine) -> None:
    assert start_position(NOW) == NOW - YEAR_2026_MS
    await write(database, store(database, "one"), change(9), position=start_position(NOW) + 123_456)
    async with database.begin() as connection:
        start = await store(database, "two", started=NOW - DAY).start(connection)
    assert start.position == start_position(NOW) + 123_456 + MAX_LOST_POSITIONS


async def test_data_that_is_in_force_is_restored(database: AsyncEngine) -> None:
    one_store = store(database)
    busy, away = choice_json(WRITING), choice_json(choice_of("away", until_ms=NOW + 10))
    await write(
        database,
        one_store,
        user("lasting", chosen=busy),
        user("timed", timed=away, seen=NOW + 2),
        user("both", chosen=busy, timed=away, seen=NOW + 1),
        user("neither"),
        StoredClaim("ada", "call", "busy", "on a call", "📞", b"{}", 3, NOW),
        StoredClaim("ada", "calendar", "away", set_ms=NOW, until_ms=NOW + 10),
        StoredClaim("ada", "agent", "away", set_ms=NOW),
        StoredRevocation("user", "ada", 1.25, NOW / 1000 + 1),
    )
    await write(database, one_store, StoredClaim("ada", "agent"))
    found = await restored(database, one_store)
    assert [record for record in found if isinstance(record, RestoredChoices)] == [
        RestoredChoices("lasting", busy),
        RestoredChoices("both", busy, away),
        RestoredChoices("timed", b"", away),
    ]
    claimed = {record.source: record for record in found if isinstance(record, StoredClaim)}
    assert claimed["call"] == StoredClaim("ada", "call", "busy", "on a call", "📞", b"{}", 3, NOW)
    assert claimed.keys() == {"call", "calendar"}
    assert found[-1] == StoredRevocation("user", "ada", 1.25, NOW / 1000 + 1)
    later = await restored(database, one_store, NOW + 1000)
    assert [record for record in later if isinstance(record, RestoredChoices)] == [
        RestoredChoices("lasting", busy),
        RestoredChoices("both", busy),
    ]
    assert [record.source for record in later if isinstance(record, StoredClaim)] == ["call"]
    assert not [record for record in later if isinstance(record, StoredRevocation)]
    assert [
        record.user_id for record in await restored(database, one_store, most=1) if isinstance(record, RestoredChoices)
    ] == ["timed"]


@pytest.mark.parametrize("most", [0, 1])
async def test_every_revocation_and_claim_is_restored_however_few_choices_are(database: AsyncEngine, most: int) -> None:
    one_store = store(database)
    subjects = [f"user{number}" for number in range(5)]
    revoked = [StoredRevocation("user", name, 1.0, NOW / 1000 + 9 - at) for at, name in enumerate(subjects)]
    claimed = [StoredClaim(name, "call", "busy", set_ms=NOW + at) for at, name in enumerate(subjects)]
    await write(database, one_store, *revoked, *claimed)
    found = await restored(database, one_store, most=most)
    assert [record for record in found if isinstance(record, StoredRevocation)] == revoked, "those that end last first"
    assert [record.user_id for record in found if isinstance(record, StoredClaim)] == subjects


async def test_the_claims_set_last_are_restored(database: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.storage.store.MAX_RESTORED_CLAIMS", 2)
    one_store = store(database)
    claimed = [StoredClaim(name, "call", "busy", set_ms=NOW + at) for at, name in enumerate(("ada", "bo", "carl"))]
    await write(database, one_store, *claimed)
    found = await restored(database, one_store)
    assert [record.user_id for record in found if isinstance(record, StoredClaim)] == ["bo", "carl"]


async def test_display_data_is_restored_of_the_users_seen_last_regardless_of_choices(database: AsyncEngine) -> None:
    one_store, busy = store(database), choice_json(choice_of("busy"))
    data = '{"name":"Zoë 🖋 \\u0000"}'.encode()
    given = [user(name, seen=NOW + number, display=data) for number, name in enumerate(("ada", "bo", "carl"))]
    await write(database, one_store, *given, user("chose", seen=NOW + 9, chosen=busy), user("neither"))
    found = [record for record in await restored(database, one_store, most=2) if isinstance(record, RestoredDisplay)]
    assert found == [RestoredDisplay("bo", data), RestoredDisplay("carl", data)]
    await write(database, one_store, user("carl", version=6, seen=NOW + 3))
    found = [record for record in await restored(database, one_store) if isinstance(record, RestoredDisplay)]
    assert [record.user_id for record in found] == ["ada", "bo"], "it was taken away"


async def test_an_erased_user_is_in_no_table(database: AsyncEngine) -> None:
    one_store = store(database)
    of_ada: list[Record] = [user(), session(), change(1), StoredClaim("ada", "call", "busy")]
    await write(database, one_store, *of_ada, user("bob"), change(2, "bob"))
    async with database.begin() as connection:
        assert await one_store.erase(connection, "ada") == 4
    for table in metadata.sorted_tables:
        for row in await rows(database, table):
            assert "ada" not in (row.get("user_id"), row.get("subject")), table.name
    assert [row["user_id"] for row in await rows(database, users)] == ["bob"]


async def test_old_rows_are_deleted_in_portions(database: AsyncEngine) -> None:
    one_store = store(database, history=DAY)
    old = [change(n, at=NOW - DAY - 1 - n) for n in range(1, PRUNED_ROWS + 101)]
    gone = session("a-1", opened=NOW - 3 * DAY, closed=NOW - 2 * DAY), session("a-2", opened=NOW - 3 * DAY)
    await write(database, one_store, *old, change(9999, at=NOW - DAY), *gone, user())

    async def left(connection: AsyncConnection) -> int:
        return int((await connection.execute(select(func.count()).select_from(changes))).scalar_one())

    async with database.begin() as connection:
        assert await one_store.prune(connection, NOW)
        assert await left(connection) == 101
        assert not await one_store.prune(connection, NOW)
        assert await left(connection) == 1
    assert [row["session_key"] for row in await rows(database, sessions)] == ["a-2"]  # the other one is still open
    assert len(await rows(database, users)) == 1
    assert SHORT_HISTORY_MS == DAY
