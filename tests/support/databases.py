"""An empty database with all tables, for each kind that is supported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tests.support.webhooks import make_tables, sqlite

KINDS = ("sqlite", "postgresql", "mariadb")


class Servers:
    """Database servers, each started when it is first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[str, Any] = {}

    def new_database(self, kind: str) -> str:
        """Its URL."""
        if kind not in self._running:
            services = pytest.importorskip("tests.services")
            made = services.PostgreSQL() if kind == "postgresql" else services.MariaDB()
            self._running[kind] = self._stack.enter_context(made)
        return str(self._running[kind].new_database())


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


@asynccontextmanager
async def opened(kind: str, servers: Servers, folder: Path) -> AsyncIterator[AsyncEngine]:
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
