"""How long does what is asked of the database take when much is kept: 100,000 users and 1,000,000 changes?

By the keeper's own code, on all kinds of database; servers are started for this, on a disk, with little memory. What is
read while somebody waits must not read a large table from end to end, but for the users where many are asked for: there
is no answer if a database plans to.
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
from tests.support.plans import asked_of, plan, read_whole
from tests.support.services import MariaDB, PostgreSQL

from presenced.storage import migrate
from presenced.storage import queries as reading
from presenced.storage.database import open_database
from presenced.storage.records import Record, StoredChoice, StoredSession, StoredUser
from presenced.storage.schema import changes, sessions, users
from presenced.storage.store import SLICE, Store

KINDS = ("SQLite", "PostgreSQL", "MariaDB")

USERS, QUICK_USERS = 100_000, 20_000
COPIES = 9
"""Of one change per user: ten of each, and ten sessions of some."""

BUSY, OF_BUSY = "user-7", 10_000
"""Somebody with more changes, and how many more."""

CHOSEN = 10
"""One user of so many has chosen something that is restored at the start."""

CHUNK = 2_000
TIMES, SOME_TIMES = 20, 3
PAGE = 100

NOW = 1_795_000_000_000
DAY = 86_400_000
FIRST = NOW - 20 * DAY

Ask = Callable[[AsyncConnection], Awaitable[object]]


class Read(NamedTuple):
    """Something that is asked of the database."""

    ask: Ask
    times: int
    whole: frozenset[str] = frozenset()
    """Tables that it may read from end to end, for that is what it is for."""


def reads(store: Store, users_: int) -> dict[str, Read]:
    """What is asked."""
    thousand = [f"user-{number * max(1, users_ // 1000)}" for number in range(1000)]
    return {
        # PostgreSQL may read all users for one in a hundred of them: with more users it looks each of them up.
        "last seen of 1,000 users": Read(lambda c: reading.last_seen(c, thousand), TIMES, frozenset({users.name})),
        "history, first page": Read(lambda c: reading.history(c, BUSY, 0, PAGE), TIMES),
        "history, page 90": Read(lambda c: reading.history(c, BUSY, OF_BUSY // 10, PAGE), TIMES),
        "sessions, first page": Read(lambda c: reading.past_sessions(c, BUSY, None, PAGE), TIMES),
        "sessions, page 50": Read(lambda c: reading.past_sessions(c, BUSY, (FIRST + OF_BUSY // 2, "x"), PAGE), TIMES),
        f"restore of {users_ // CHOSEN:,} choices": Read(
            lambda c: _restored(store, c, users_), SOME_TIMES, frozenset({users.name})
        ),
        f"prune, a slice of {SLICE:,} changes": Read(lambda c: store.prune(c, FIRST + 30 * DAY + 60 * DAY), SOME_TIMES),
    }


async def _restored(store: Store, connection: AsyncConnection, most: int) -> None:
    async for _ in store.restored(connection, NOW, most):
        pass


def run(quick: bool) -> Report:
    """Fill and ask each."""
    found: dict[str, dict[str, list[float]]] = {}
    notes = [
        "Milliseconds, median and longest; a read with its JSON, over the driver, in one transaction.",
        "The start notes all users as offline whom a server that is no more had left online, and closes its sessions.",
        "The database server, where there is one, and the reader share a core, but for what the machine does besides.",
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
        "How long does what is asked of the database take when much is kept?",
        "What is read while somebody waits takes at most "
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
    """Median and longest."""
    return f"{1e3 * statistics.median(seconds):,.1f} / {1e3 * max(seconds):,.1f}"


@contextmanager
def _database(kind: str) -> Iterator[str]:
    """The URL of an empty one."""
    if kind == "SQLite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/presenced.db"
    else:
        with (PostgreSQL if kind == "PostgreSQL" else MariaDB)() as server:
            yield server.new_database()


async def _measure(url: str, users_: int) -> dict[str, list[float]]:
    """Seconds that each read took, time after time.

    Raises:
        LoadError: One of them reads a whole table.
    """
    database = open_database(url)
    try:
        store = Store(database.dialect.name, "here", "one", NOW, 30 * DAY)
        await _fill(database, store, users_)
        found = {name: await _time(database, name, read) for name, read in reads(store, users_).items()}
        later = Store(database.dialect.name, "here", "two", NOW + 1000, 30 * DAY)
        began = time.monotonic()
        async with database.begin() as connection:
            start = await later.start(connection)
        if start.closed != users_:
            raise LoadError(f"{start.closed} users were noted as offline, {users_} were online")
        found[f"start after a crash with {users_:,} users online"] = [time.monotonic() - began]
        return found
    finally:
        await database.dispose()


async def _time(database: AsyncEngine, name: str, read: Read) -> list[float]:
    took = []
    with asked_of(database) as asked:
        for _ in range(read.times):
            async with database.begin() as connection:
                began = time.monotonic()
                await read.ask(connection)
                took.append(time.monotonic() - began)
    large = {table.name for table in (users, sessions, changes)} - read.whole
    async with database.connect() as connection:
        for one in asked[: len(asked) // read.times]:
            if read_whole(steps := await plan(connection, one)) & large:
                raise LoadError(f"{name} reads a whole table: {steps}")
    return took


async def _fill(database: AsyncEngine, store: Store, users_: int) -> None:
    """A change and a session of each user by the keeper's own statements; the others are copies of these."""
    async with database.begin() as connection:
        await connection.run_sync(migrate.check)
    for first in range(0, users_, CHUNK):
        facts: list[Record] = []
        for number in range(first, first + CHUNK):
            user = f"user-{number}"
            choice = StoredChoice("busy", "deep work") if number % CHOSEN == 0 else None
            facts += [
                StoredUser(user, "online", number + 1, NOW, NOW, NOW, choice),
                change_of(user, number + 1, at_ms=FIRST + number, since_ms=NOW),
                StoredSession(f"{user}-1", user, f"{user}-1", "", "classic", "", "", FIRST + number, NOW, "closed"),
            ]
        async with database.begin() as connection:
            await store.sign(connection, NOW, users_)
            await store.write(connection, facts)
    facts = []
    for number in range(OF_BUSY):
        at = FIRST + number
        facts += [
            change_of(BUSY, 10 * users_ + number, "away", "online", "idle", at_ms=at),
            StoredSession(f"busy-{number}", BUSY, f"busy-{number}", "", "classic", "", "", at, at, "closed"),
        ]
    async with database.begin() as connection:
        await store.write(connection, facts)
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
