"""Empty databases with all tables, of each kind that is supported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tests.support.services import MariaDB, PostgreSQL, Service
from tests.support.webhooks import make_tables, sqlite

KINDS = ("sqlite", "postgresql", "mariadb")


class Servers:
    """Database servers, each started when it is first needed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[str, Service] = {}

    def new_database(self, kind: str) -> str:
        """Create a database and return its URL."""
        if kind not in self._running:
            self._running[kind] = self._stack.enter_context(PostgreSQL() if kind == "postgresql" else MariaDB())
        return self._running[kind].new_database()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Yield the database servers, which stop at the end of the session."""
    with ExitStack() as stack:
        yield Servers(stack)


@asynccontextmanager
async def opened(kind: str, servers: Servers, folder: Path) -> AsyncIterator[AsyncEngine]:
    """Yield an empty database of this kind with all tables."""
    if kind == "sqlite":
        made = sqlite(folder / "presenced.db")
    elif kind == "postgresql":
        url = make_url(servers.new_database(kind)).set(drivername="postgresql+asyncpg", query={})
        made = create_async_engine(url)
    else:
        url = make_url(servers.new_database(kind)).set(drivername="mysql+aiomysql", query={"charset": "utf8mb4"})
        made = create_async_engine(url)
    try:
        await make_tables(made)
        yield made
    finally:
        await made.dispose()


@pytest.fixture(params=KINDS)
async def database(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """Empty database of each kind, with all tables."""
    async with opened(request.param, servers, tmp_path) as made:
        yield made
