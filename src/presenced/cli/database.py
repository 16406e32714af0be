"""Command for the database: `migrate`."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from presenced.cli.options import ConfigFile
from presenced.config.sources import load
from presenced.errors import ConfigError, StorageError
from presenced.storage.url import database_url

if TYPE_CHECKING:
    from presenced.storage.migrate import Versions


def migrate(
    *,
    check: Annotated[bool, Parameter(help="Only check: exit code 1 if the tables need a migration.")] = False,
    config: ConfigFile = None,
) -> None:
    """Migrate the tables in the database to the version that this presenced needs.

    First back up the database and stop the servers that use it.
    """
    url = database_url(load({}, os.environ, config).settings)
    if not url:
        raise ConfigError("there is no database to migrate: set database to sqlite or url")
    has, needs = asyncio.run(_migrate(url, check))
    if has == needs:
        sys.stdout.write(f"the tables have version {needs}, which is up to date\n")
    elif check:
        raise StorageError(f"the tables have version {has or 'none'}, and {needs} is needed: run `presenced migrate`")
    else:
        sys.stdout.write(f"migrated the tables from version {has or 'none'} to {needs}\n")


async def _migrate(url: str, check: bool) -> Versions:
    """Return the version that the tables had, and the version that is needed."""
    # Imported here, because SQLAlchemy and Alembic would slow down the start of the other commands.
    from presenced.storage import migrate, probe
    from presenced.storage.database import file_of

    if check:
        return await probe.table_versions(url)
    file = file_of(url)
    is_new = file is not None and not file.exists()
    async with probe.connected(url, with_time_limit=False) as connection:
        versions = await connection.run_sync(migrate.upgrade_tables)
        await connection.commit()
    if file is not None and is_new and os.geteuid() == 0:
        owner = file.parent.stat()  # the server, which is another user, has to write to the file
        for path in file.parent.glob(f"{file.name}*"):
            os.chown(path, owner.st_uid, owner.st_gid)
    return versions
