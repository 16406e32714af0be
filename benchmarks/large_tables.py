"""Duration of queries with large tables: 100,000 users and 1,000,000 changes.

The storage worker's own code runs on each kind of database. Database servers are started for it, on a disk, with little
memory. A query for which a client waits must not read a large table from end to end, except the users if many are
wanted. The benchmark fails if the plan of a database does.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from benchmarks.load import LoadError
from benchmarks.report import Report, Table
from sqlalchemy import ColumnElement, insert, literal, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tests.support.changes import change_of
from tests.support.plans import plan, read_whole, statements_of
from tests.support.services import MariaDB, PostgreSQL

from presenced.presence.status import choice_of
from presenced.storage import migrate, queries
from presenced.storage.database import open_database
from presenced.storage.records import Record, StoredSession, StoredUser, choice_json
from presenced.storage.schema import changes, sessions, users
from presenced.storage.store import PRUNED_ROWS, Store

KINDS = ("SQLite", "PostgreSQL", "MariaDB")

USERS, QUICK_USERS = 100_000, 20_000
COPIES = 9
"""Number of copies of one change per user: ten changes of each user."""

BUSY, OF_BUSY = "user-7", 10_000
"""User with more changes, and the number of these."""

CHOSEN = 10
"""One in so many users has a choice that is restored at the start."""

CHUNK = 2_000
TIMES, SOME_TIMES = 20, 3
PAGE = 100

NOW = 1_795_000_000_000
DAY = 86_400_000
FIRST = NOW - 20 * DAY

Ask = Callable[[AsyncConnection], Awaitable[object]]


class Read(NamedTuple):
    """A query."""

    ask: Ask
    times: int
    whole: frozenset[str] = frozenset()
    """Tables that it may read from end to end, because that is its purpose."""


def reads(store: Store, users_: int) -> dict[str, Read]:
    """Return the queries by name."""
    thousand = [f"user-{number * max(1, users_ // 1000)}" for number in range(1000)]
    return {
        # PostgreSQL may read all users if one in a hundred is wanted. With more users it uses the index.
        "last seen of 1,000 users": Read(lambda c: queries.last_seen(c, thousand), TIMES, frozenset({users.name})),
        "history, first page": Read(lambda c: queries.history(c, BUSY, 0, PAGE), TIMES),
        "history, page 90": Read(lambda c: queries.history(c, BUSY, OF_BUSY // 10, PAGE), TIMES),
        "sessions, first page": Read(lambda c: queries.past_sessions(c, BUSY, None, PAGE), TIMES),
        "sessions, page 50": Read(lambda c: queries.past_sessions(c, BUSY, (FIRST + OF_BUSY // 2, "x"), PAGE), TIMES),
        f"restore of {users_ // CHOSEN:,} choices": Read(
            lambda c: _restored(store, c, users_), SOME_TIMES, frozenset({users.name})
        ),
        f"prune, a slice of {PRUNED_ROWS:,} changes": Read(
            lambda c: store.prune(c, FIRST + 30 * DAY + 60 * DAY), SOME_TIMES
        ),
    }


async def _restored(store: Store, connection: AsyncConnection, most: int) -> None:
    async for _ in store.restored(connection, NOW, most):
        pass


def run(quick: bool) -> Report:
    """Fill and measure each kind of database."""
    found: dict[str, dict[str, list[float]]] = {}
    notes = [
        "Milliseconds, median and longest; a read with its JSON, over the driver, in one transaction.",
        "The start sets all users offline that a dead server had left online, and closes its sessions.",
        "The database server, if there is one, and the reader share the cores of the machine.",
    ]
    for kind in KINDS:
        try:
            with _database(kind) as url:
                found[kind] = asyncio.run(_measure(url, QUICK_USERS if quick else USERS))
        except pytest.skip.Exception as missing:
            notes.append(f"{kind}: {missing}.")
    names = list(next(iter(found.values())))
    slowest = {kind: max(statistics.median(of[name]) for name in names[:5]) for kind, of in found.items()}
    return Report(
        "How long do queries take with large tables?",
        "Queries for which a client waits take at most "
        f"{', '.join(f'{1e3 * seconds:.1f} ms ({kind})' for kind, seconds in slowest.items())} at the median.",
        [
            Table(
                ["", *found],
                [[name, *(cell(of[name]) for of in found.values())] for name in names],
            )
        ],
        notes,
        {kind: {name: statistics.median(seconds) for name, seconds in of.items()} for kind, of in found.items()},
    )


def cell(seconds: list[float]) -> str:
    """Return median and maximum in milliseconds."""
    return f"{1e3 * statistics.median(seconds):,.1f} / {1e3 * max(seconds):,.1f}"


@contextmanager
def _database(kind: str) -> Iterator[str]:
    """Start an empty database and yield its URL."""
    if kind == "SQLite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/presenced.db"
    else:
        with (PostgreSQL if kind == "PostgreSQL" else MariaDB)() as server:
            yield server.new_database()


async def _measure(url: str, users_: int) -> dict[str, list[float]]:
    """Return the seconds that each query took, in each of its runs.

    Raises:
        LoadError: The plan of one of them reads a whole table.
    """
    database = open_database(url)
    try:
        store = _store(database, "one", NOW)
        await _fill(database, store, users_)
        found = {name: await _time(database, name, read) for name, read in reads(store, users_).items()}
        later = _store(database, "two", NOW + 1000)
        began = time.monotonic()
        async with database.begin() as connection:
            start = await later.start(connection)
        if start.closed != users_:
            raise LoadError(f"{start.closed} users were set offline, {users_} were online")
        found[f"start after a crash with {users_:,} users online"] = [time.monotonic() - began]
        return found
    finally:
        await database.dispose()


def _store(database: AsyncEngine, epoch: str, started_ms: int) -> Store:
    return Store(dialect=database.dialect.name, node="here", epoch=epoch, started_ms=started_ms, history_ms=30 * DAY)


async def _time(database: AsyncEngine, name: str, read: Read) -> list[float]:
    took = []
    with statements_of(database) as statements:
        for _ in range(read.times):
            async with database.begin() as connection:
                began = time.monotonic()
                await read.ask(connection)
                took.append(time.monotonic() - began)
    large = {table.name for table in (users, sessions, changes)} - read.whole
    async with database.connect() as connection:
        for one in statements[: len(statements) // read.times]:
            if read_whole(steps := await plan(connection, one)) & large:
                raise LoadError(f"{name} reads a whole table: {steps}")
    return took


async def _fill(database: AsyncEngine, store: Store, users_: int) -> None:
    """Store a change and a session of each user as the storage worker does, and copy the changes with SQL."""
    async with database.begin() as connection:
        await connection.run_sync(migrate.prepare_tables)
    for first in range(0, users_, CHUNK):
        records: list[Record] = []
        for number in range(first, first + CHUNK):
            user = f"user-{number}"
            choice = choice_json(choice_of("busy", "deep work")) if number % CHOSEN == 0 else b""
            records += [
                StoredUser(user, "online", number + 1, NOW, NOW, NOW, choice),
                change_of(user, number + 1, at_ms=FIRST + number, since_ms=NOW),
                StoredSession(f"{user}-1", user, f"{user}-1", "", "classic", "", None, FIRST + number, NOW, "closed"),
            ]
        async with database.begin() as connection:
            await store.renew(connection, NOW, users_)
            await store.write(connection, records)
    records = []
    for number in range(OF_BUSY):
        at = FIRST + number
        records += [
            change_of(BUSY, 10 * users_ + number, "away", "online", "idle", at_ms=at),
            StoredSession(f"busy-{number}", BUSY, f"busy-{number}", "", "classic", "", None, at, at, "closed"),
        ]
    async with database.begin() as connection:
        await store.write(connection, records)
    for copy in range(1, COPIES + 1):
        async with database.begin() as connection:
            columns: dict[str, ColumnElement[Any]] = {column.name: column for column in changes.columns}
            columns |= {"epoch": literal(f"copy{copy}"), "version": changes.c.version + copy * users_}
            columns["at_ms"] = changes.c.at_ms + copy * DAY
            copied = select(*columns.values()).where(changes.c.epoch == "one", changes.c.position <= users_)
            await connection.execute(insert(changes).from_select(list(columns), copied))
    async with database.begin() as connection:
        if database.dialect.name == "mysql":
            await connection.execute(text("ANALYZE TABLE presenced_users, presenced_sessions, presenced_changes"))
        else:
            await connection.execute(text("ANALYZE"))
