"""Probe: find out whether a server could use a database, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import delete, false
from sqlalchemy.ext.asyncio import AsyncConnection

from presenced.errors import StorageError
from presenced.storage import migrate
from presenced.storage.database import explain_error, file_of, is_driver_error, open_database, upsert
from presenced.storage.migrate import Versions
from presenced.storage.schema import metadata, nodes

PROBE_TIMEOUT_S = 10.0
"""Seconds for connecting, and for the probe."""


@asynccontextmanager
async def connected(url: str, with_time_limit: bool = True) -> AsyncIterator[AsyncConnection]:
    """Open a transaction that is rolled back at the end unless it is committed.

    Args:
        with_time_limit: Whether `PROBE_TIMEOUT_S` limits the whole transaction, and not only connecting.

    Raises:
        ConfigError: The URL is invalid.
        StorageError: The database cannot be used. The text does not contain the password.
    """
    engine = open_database(url)
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S) as timeout, engine.connect() as connection:
            await connection.begin()
            if not with_time_limit:
                timeout.reschedule(None)
            yield connection
    except Exception as error:
        if not isinstance(error, OSError) and not is_driver_error(error):
            raise
        raise StorageError(f"the database can't be used: {explain_error(error, url)}") from None
    finally:
        await engine.dispose()


async def table_versions(url: str) -> Versions:
    """Return the version of the tables, and the one that is needed. A missing file is not created.

    Raises:
        ConfigError, StorageError: As `connected` and `migrate.versions`.
    """
    if (file := file_of(url)) is not None and _is_new(file):
        return Versions("", migrate.newest_version())
    async with connected(url) as connection:
        return await connection.run_sync(migrate.versions)


async def try_writing(url: str) -> None:
    """Write as a server would, and roll back. If there are no tables, create them, and roll that back, too.

    If they are missing in MariaDB or MySQL, nothing is tried, because creating tables there cannot be rolled back.

    Raises:
        ConfigError, StorageError: As `connected` and `migrate.versions`.
    """
    if (file := file_of(url)) is not None and _is_new(file):
        _try_folder(file)
        return
    async with connected(url) as connection:
        dialect = connection.dialect.name
        if not (await connection.run_sync(migrate.versions)).has:
            if dialect in ("mysql", "mariadb"):
                return
            await connection.run_sync(migrate.upgrade_tables)
        times = {"started_ms": 0, "sign_ms": 0, "stopped_ms": None, "position": 0}
        row = {"node": f"doctor-{secrets.token_hex(8)}", "epoch": "", **times}
        await connection.execute(upsert(dialect, nodes), [row])
        for table in metadata.tables.values():
            await connection.execute(delete(table).where(false()))


def _is_new(file: Path) -> bool:
    """Return whether the file is missing or empty. Opening it would create it."""
    try:
        return not file.exists() or not file.stat().st_size
    except OSError as error:
        raise StorageError(f"the database can't be used: {error.strerror}: {file}") from None


def _try_folder(file: Path) -> None:
    nearest = next(path for path in (file, *file.parents) if path.exists())
    try:
        # Not `os.access`: root may write everywhere according to it, also in /proc and on some network file systems.
        if nearest == file:
            os.close(os.open(file, os.O_RDWR))
        with tempfile.TemporaryFile(dir=file.parent if nearest == file else nearest):
            pass
    except OSError as error:
        text = f"the database can't be used: nothing can be written at {nearest}: {error.strerror}"
        raise StorageError(text) from None
