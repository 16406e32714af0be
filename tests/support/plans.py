"""How a database means to answer what it is asked: which indexes it uses, and what it reads from end to end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class Asked(NamedTuple):
    """A statement as the driver gets it."""

    statement: str
    parameters: Any


@contextmanager
def asked_of(database: AsyncEngine) -> Iterator[list[Asked]]:
    """The statements that read, or delete what they find, while this goes on."""
    found: list[Asked] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.startswith(("SELECT", "DELETE")):
            found.append(Asked(statement, parameters))

    event.listen(database.sync_engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(database.sync_engine, "before_cursor_execute", note)


async def plan(connection: AsyncConnection, asked: Asked) -> list[str]:
    """The steps, as the database says them."""
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    rows = (await connection.exec_driver_sql(f"{explain} {asked.statement}", asked.parameters)).mappings().all()
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
    """Tables that are read from end to end, without an index."""
    return {found[1] for step in steps for pattern in _WHOLE if (found := pattern.search(step))}
