"""Differences between databases: opening, upserts, transactions that write, and errors.

| | SQLite | PostgreSQL | MariaDB, MySQL |
|---|---|---|---|
| driver | aiosqlite, a thread per connection | asyncpg | aiomysql |
| upsert | `ON CONFLICT DO UPDATE ... WHERE` | the same | `ON DUPLICATE KEY UPDATE` with `IF` per column |
| writers | one at a time for the whole file | concurrent | concurrent |
| creating tables can be rolled back | yes | yes | no |
"""

from __future__ import annotations

import asyncio
import re
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from sqlalchemy import URL, ColumnElement, Connection, Dialect, Engine, Table, event, func, make_url
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.dml import Delete, Insert, Update

from presenced.errors import ConfigError

LOCK_TIMEOUT_S = 2.0
"""Seconds for which SQLite waits while another process writes to the file. Then the transaction fails."""

CONNECT_TIMEOUT_S = 5.0
"""Seconds for a connection to a database server, new or from the pool. Then the transaction fails."""

WRITE_TIMEOUT_S = 10.0
"""Seconds for a transaction that writes, unless the caller sets another timeout. Then it is rolled back."""

READ_TIMEOUT_S = 10.0
"""Seconds for reading outside of a transaction that writes. Then the connection is given up."""

_SERVER_POOL: dict[str, Any] = {
    "pool_size": 3,
    "max_overflow": 2,
    "pool_timeout": CONNECT_TIMEOUT_S,
    "hide_parameters": True,  # errors, which are logged, must not contain data of users
}

_PRISMA_ONLY = {
    "connection_limit", "pool_timeout", "connect_timeout", "socket_timeout", "sslaccept", "sslcert", "sslidentity",
    "sslpassword", "statement_cache_size", "single_use_connections", "max_idle_connection_lifetime", "application_name",
}  # fmt: skip
"""Parameters of Prisma that the URL of an application may have. They mean nothing here, and are ignored."""


def open_database(url: str) -> AsyncEngine:
    """Return an engine for the database. It is not connected yet.

    Args:
        url: The setting `database_url`, which may have Prisma's parameters.

    Raises:
        ConfigError: The URL is invalid. The text contains nothing of it, because it may have a password.
    """
    if (file := file_of(url)) is not None:
        return _open_file(file)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError("database_url is not a URL like postgresql://user:password@host:5432/database") from None
    # An unencoded @ in the password moves the rest of it to the host, or to the name of the database.
    if "@" in (parsed.host or "") or re.search("@.*/", parsed.database or ""):
        raise ConfigError(
            "database_url has an @ or / in its user or password: percent-encode them, @ as %40, / as %2F, % as %25"
        )
    if parsed.drivername in ("mysql", "mariadb"):
        return _open_mysql(parsed)
    return _open_postgresql(parsed)


def file_of(url: str) -> Path | None:
    """Return the file of an SQLite database; None for a database server."""
    return Path(unquote(url.removeprefix("sqlite:///").partition("?")[0])) if url.startswith("sqlite:") else None


def _open_file(path: Path) -> AsyncEngine:
    url = URL.create("sqlite+aiosqlite", database=str(path))
    engine = create_async_engine(
        url, connect_args={"timeout": LOCK_TIMEOUT_S}, pool_size=2, max_overflow=2, hide_parameters=True
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def make_file(*_: object) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)  # for its owner only, regardless of the mode of the directory

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # By default the driver begins transactions itself, but none before a statement that creates a table.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:  # a read-only file cannot change its mode, and may be in it already
            if "readonly" not in str(error):
                raise
        cursor.execute("PRAGMA synchronous=NORMAL")  # with WAL, a power failure loses the last commits, not the file
        cursor.execute("PRAGMA journal_size_limit=67108864")  # 64 MiB: the WAL shrinks again after a burst
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _open_postgresql(url: URL) -> AsyncEngine:
    query = _parameters_of(url, {"schema", "sslmode", "pgbouncer", "options"})
    arguments: dict[str, Any] = {"timeout": CONNECT_TIMEOUT_S}
    if "sslmode" in query:
        arguments["ssl"] = query["sslmode"]
    if "schema" in query:
        arguments["server_settings"] = {"search_path": query["schema"]}
    if query.get("pgbouncer") == "true":  # each transaction may get another connection, without its statements
        arguments["statement_cache_size"] = 0
        arguments["prepared_statement_cache_size"] = 0
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg", query={}),
        connect_args=arguments,
        **_SERVER_POOL,
    )


def _open_mysql(url: URL) -> AsyncEngine:
    query = _parameters_of(url, {"charset"})
    return create_async_engine(
        url.set(drivername=f"{url.drivername}+aiomysql", query={"charset": query.get("charset", "utf8mb4")}),
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        pool_recycle=1800,
        isolation_level="READ COMMITTED",
        **_SERVER_POOL,
    )


def _parameters_of(url: URL, known: set[str]) -> dict[str, str]:
    """Return the parameters of the URL.

    Raises:
        ConfigError: A parameter is neither known nor one of Prisma.
    """
    query = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    for name in query:
        if name not in known and name not in _PRISMA_ONLY:
            raise ConfigError(f"database_url has the parameter {name}, which is not known here: leave it out")
    return query


class _CompiledStatement(NamedTuple):
    """Statement in the form that the driver takes."""

    sql: str
    values: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    """Returns the values of a row in the order of the parameters."""


_compiled: WeakKeyDictionary[Dialect, dict[Insert | Update | Delete, _CompiledStatement]] = WeakKeyDictionary()


async def execute_many(
    connection: AsyncConnection, statement: Insert | Update | Delete, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Execute `statement` with each of `rows`, which must have the same keys. No-op without rows.

    The driver gets the values unchanged. SQLAlchemy would process each value in Python first, which took a quarter of
    the CPU of the storage worker, and no type of these tables needs it.

    Args:
        statement: A long-lived statement, because its text is cached for as long as the dialect exists.
    """
    if not rows:
        return
    statements = _compiled.setdefault(connection.dialect, {})
    if (prepared := statements.get(statement)) is None:
        compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
        names = compiled.positiontup
        assert names is not None, "the drivers here take parameters by position"
        assert len(names) > 1, "with a single name, itemgetter would return the value without a tuple"
        prepared = statements[statement] = _CompiledStatement(str(compiled), itemgetter(*names))
    await connection.exec_driver_sql(prepared.sql, [prepared.values(row) for row in rows])


_write_locks: WeakKeyDictionary[Engine, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def writing(database: AsyncEngine, timeout_s: float = WRITE_TIMEOUT_S) -> AsyncIterator[AsyncConnection]:
    """Open a transaction that writes. Within this process there is one at a time, in order of arrival.

    An SQLite file has one writer. SQLite itself has no queue: its waiters poll, so one that begins transactions without
    a pause can starve another until `LOCK_TIMEOUT_S`.

    Args:
        timeout_s: Seconds for the whole transaction, the wait included.

    Raises:
        TimeoutError: It took longer.
    """
    lock = _write_locks.setdefault(database.sync_engine, asyncio.Lock())
    async with asyncio.timeout(timeout_s), lock, database.begin() as connection:
        yield connection


@asynccontextmanager
async def reading(database: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a connection for reading.

    Raises:
        TimeoutError: It took longer than `READ_TIMEOUT_S`, for example because the host of the database has vanished.
    """
    async with asyncio.timeout(READ_TIMEOUT_S), database.connect() as connection:
        yield connection


def upsert(
    dialect: str, table: Table, *, overwrite: bool = True, newer: str = "", highest: Sequence[str] = ()
) -> Insert:
    """Return an upsert: it inserts new rows, and overwrites rows with the same primary key.

    Args:
        overwrite: Whether existing rows change.
        newer: Column that must not decrease. An existing row with a higher value does not change.
        highest: Columns that get the higher one of the old and the new value.
    """
    keys = [column.name for column in table.primary_key]
    # MySQL assigns in order, and later expressions see the assigned values. So the column to compare comes last.
    columns = sorted((c.name for c in table.columns if c.name not in keys), key=lambda name: name == newer)
    higher = func.max if dialect == "sqlite" else func.greatest
    if dialect in ("mysql", "mariadb"):
        insert = mysql.insert(table)
        new = insert.inserted
        if not overwrite:
            return insert.on_duplicate_key_update([(keys[0], table.c[keys[0]])])
        values = {c: higher(new[c], table.c[c]) if c in highest else new[c] for c in columns}
        if newer:
            wins = new[newer] >= table.c[newer]
            values = {c: getattr(func, "if")(wins, values[c], table.c[c]) for c in columns}
        return insert.on_duplicate_key_update(list(values.items()))
    statement = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    if not overwrite:
        return statement.on_conflict_do_nothing(index_elements=keys)
    excluded = statement.excluded
    values = {c: higher(excluded[c], table.c[c]) if c in highest else excluded[c] for c in columns}
    where: ColumnElement[bool] | None = excluded[newer] >= table.c[newer] if newer else None
    return statement.on_conflict_do_update(index_elements=keys, set_=values, where=where)


def refuses_values(error: Exception) -> bool:
    """Return whether the database refuses the values, and would refuse them again. The database itself works then."""
    if isinstance(error, (DataError, IntegrityError, UnicodeError)):
        return True
    cause = error.orig if isinstance(error, StatementError) else None
    state = getattr(cause, "sqlstate", None) or ""  # asyncpg; classes 22 and 23: PostgreSQL, appendix A
    of_driver = cause and (cause.__cause__ or cause)
    # By name, because each driver has a class of its own, and not every driver is installed.
    return state[:2] in ("22", "23") or "DataError" in {kind.__name__ for kind in type(of_driver).__mro__}


def is_corrupt(error: BaseException) -> bool:
    """Return whether the file is broken, or not a database."""
    text = str(error)
    return "malformed" in text or "file is not a database" in text


def explain_error(error: BaseException, url: str | URL = "") -> str:
    """Return one line for operators about the error, without the password of the URL, and without the statement."""
    server = make_url(url) if url and not str(url).startswith("sqlite") else None
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, OSError) and cause.strerror:
        # The resolver's error does not name the host.
        about = server.host if server is not None and isinstance(cause, socket.gaierror) else cause.filename
        text = f"{cause.strerror}: {about}" if about else cause.strerror
    else:
        text = str(cause.args[-1] if isinstance(cause.args, tuple) and cause.args else cause)
    text = " ".join(text.split())[:200] or type(cause).__name__
    if server is not None and server.password:
        text = text.replace(server.password, "***")
    return text


def is_driver_error(error: Exception) -> bool:
    """Return whether a database driver raised the error.

    SQLAlchemy does not wrap all of these, for example errors of asyncpg while it connects.
    """
    return type(error).__module__.partition(".")[0] in ("asyncpg", "aiomysql", "pymysql", "sqlalchemy", "sqlite3")
