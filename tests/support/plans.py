"""Query plans: the indexes that a database uses, and the tables that it reads from end to end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class Statement(NamedTuple):
    """Statement as the driver gets it."""

    text: str
    parameters: Any


@contextmanager
def statements_of(database: AsyncEngine) -> Iterator[list[Statement]]:
    """Yield a list that collects the statements that read or delete."""
    found: list[Statement] = []

    def collect(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.startswith(("SELECT", "DELETE")):
            found.append(Statement(statement, parameters))

    event.listen(database.sync_engine, "before_cursor_execute", collect)
    try:
        yield found
    finally:
        event.remove(database.sync_engine, "before_cursor_execute", collect)


async def plan(connection: AsyncConnection, statement: Statement) -> list[str]:
    """Return the steps of the plan in the words of the database."""
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    rows = (await connection.exec_driver_sql(f"{explain} {statement.text}", statement.parameters)).mappings().all()
    if connection.dialect.name == "sqlite":
        return [row["detail"] for row in rows]
    if connection.dialect.name == "postgresql":
        return [row["QUERY PLAN"] for row in rows]
    return [f"{row['type']} {row['table']} key={row['key']} of {row['possible_keys']} {row['Extra']}" for row in rows]


_WHOLE = (
    re.compile(r"^SCAN (presenced_\w+)(?!.*USING)"),  # SQLite
    re.compile(r"Seq Scan on (presenced_\w+)"),
    re.compile(r"^ALL (presenced_\w+)"),  # MariaDB
)


def read_whole(steps: Sequence[str]) -> set[str]:
    """Return the tables that are read from end to end, without an index."""
    return {found[1] for step in steps for pattern in _WHOLE if (found := pattern.search(step))}
