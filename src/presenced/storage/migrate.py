"""Version of the tables: check it, and upgrade it to the one that this program needs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from presenced.errors import StorageError

VERSION_TABLE = "presenced_version"
"""Name of the table that holds the version of the other tables."""

_FOLDER = Path(__file__).parent / "migrations"


class Versions(NamedTuple):
    """Version that the database has, and version that this program needs."""

    has: str
    """Empty if there are no tables."""
    needs: str


def newest_version() -> str:
    """Return the version that this program needs."""
    return ScriptDirectory(str(_FOLDER)).get_current_head() or ""


def versions(connection: Connection) -> Versions:
    """Return the version of the database, and the one that is needed.

    Raises:
        StorageError: The program does not know the version, or there are tables without a version.
    """
    scripts = ScriptDirectory(str(_FOLDER))
    has = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision() or ""
    if has and has not in {script.revision for script in scripts.walk_revisions()}:
        raise StorageError(
            f"the tables have version {has}, which this presenced does not know: a newer one created them. "
            "Update presenced, or use another database"
        )
    if not has and inspect(connection).has_table("presenced_users"):
        raise StorageError(
            f"there are tables of presenced without {VERSION_TABLE}, which holds their version: "
            "restore it from a backup, or rename the tables"
        )
    return Versions(has, newest_version())


def prepare_tables(connection: Connection) -> None:
    """Create the tables if there are none. Otherwise check their version.

    Raises:
        StorageError: The tables have another version than this program needs.
    """
    found = versions(connection)
    if not found.has:
        upgrade_tables(connection)
    elif found.has != found.needs:
        raise StorageError(
            f"the tables have version {found.has}, and this presenced needs {found.needs}: run `presenced migrate`"
        )


def upgrade_tables(connection: Connection) -> Versions:
    """Upgrade the tables to the version that this program needs. Return the versions before and after.

    Raises:
        StorageError: As `versions`.
    """
    found = versions(connection)
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return found
