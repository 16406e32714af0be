"""Every query can use an index. Whether a database does depends on the sizes of its tables."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tests.support.databases import KINDS, Servers, servers
from tests.support.plans import plan, statements_of

from presenced.storage import migrate, queries
from presenced.storage.database import open_database
from presenced.storage.store import Store

__all__ = ["servers"]

pytestmark = pytest.mark.anyio

Read = Callable[[AsyncConnection], Awaitable[object]]

READS: dict[str, tuple[Read, str]] = {
    "last_seen": (lambda c: queries.last_seen(c, ["ada", "bob"]), "pkey|autoindex_presenced_users|PRIMARY"),
    "history": (lambda c: queries.history(c, "ada", 0, 100), "presenced_changes_user"),
    "history, deep": (lambda c: queries.history(c, "ada", 5, 100), "presenced_changes_user"),
    "sessions": (lambda c: queries.past_sessions(c, "ada", None, 100), "presenced_sessions_user"),
    "sessions, deep": (lambda c: queries.past_sessions(c, "ada", (5, "x"), 100), "presenced_sessions_user"),
}
"""Queries, each with the index that it must use."""


@pytest.fixture
def anyio_backend() -> str:
    """Event loop of the storage worker."""
    return "asyncio"


@pytest.fixture(params=KINDS)
async def database(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    url = f"sqlite:///{tmp_path}/presenced.db" if request.param == "sqlite" else servers.new_database(request.param)
    engine = open_database(url)
    async with engine.begin() as connection:
        await connection.run_sync(migrate.prepare_tables)
    yield engine
    await engine.dispose()


async def test_every_query_can_use_an_index(database: AsyncEngine) -> None:
    for name, (read, index) in READS.items():
        steps = await plans_of(database, read)
        assert re.search(index, " ".join(steps)), (name, steps)


async def test_deleting_old_rows_can_use_an_index(database: AsyncEngine) -> None:
    store = Store(dialect=database.dialect.name, node="here", epoch="one", started_ms=1, history_ms=1000)
    steps = " ".join(await plans_of(database, lambda c: store.prune(c, 10_000)))
    assert "presenced_changes_at" in steps
    assert "presenced_sessions_closed" in steps


async def plans_of(database: AsyncEngine, read: Read) -> list[str]:
    async with database.begin() as connection:
        if connection.dialect.name == "postgresql":  # it reads small tables from end to end
            await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        with statements_of(database) as statements:
            await read(connection)
        return [step for one in statements for step in await plan(connection, one)]
