"""The version of the tables: which it is, and making it the one this program knows."""

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
_FOLDER = Path(__file__).parent / "migrations"


class Versions(NamedTuple):
    """What the database has, and what this program needs; empty: none."""

    has: str
    needs: str


def newest() -> str:
    """The version that this program needs."""
    return ScriptDirectory(str(_FOLDER)).get_current_head() or ""


def versions(connection: Connection) -> Versions:
    """Of the database.

    Raises:
        StorageError: It is one that this program does not know, or there are tables without a version.
    """
    scripts = ScriptDirectory(str(_FOLDER))
    has = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision() or ""
    if has and has not in {script.revision for script in scripts.walk_revisions()}:
        raise StorageError(
            f"the tables are of version {has}, which this presenced does not know: a newer one made them. "
            "Update presenced, or use another database"
        )
    if not has and inspect(connection).has_table("presenced_users"):
        raise StorageError(
            f"there are tables of presenced without {VERSION_TABLE}, which says what version they are of: "
            "restore it from a backup, or rename the tables"
        )
    return Versions(has, newest())


def check(connection: Connection) -> None:
    """Make the tables where there are none.

    Raises:
        StorageError: The tables are of another version than this program's.
    """
    found = versions(connection)
    if not found.has:
        upgrade(connection)
    elif found.has != found.needs:
        raise StorageError(
            f"the tables are of version {found.has}, and this presenced needs {found.needs}: run `presenced migrate`"
        )


def upgrade(connection: Connection) -> Versions:
    """Bring the tables to the version this program needs. What they were and are.

    Raises:
        StorageError: As `versions`.
    """
    found = versions(connection)
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return found
