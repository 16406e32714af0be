"""The command about the database: `migrate`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from presenced.config import load
from presenced.errors import ConfigError, StorageError
from presenced.storage.address import database_url

if TYPE_CHECKING:
    from presenced.storage.migrate import Versions

Config = Annotated[Path | None, Parameter(help="Settings file [default presenced.toml, if there is one]")]


def add_to(app: App) -> None:
    """Make it a command of `app`."""
    app.command(migrate)


def migrate(
    *,
    check: Annotated[
        bool, Parameter(negative=(), help="Only say whether there is something to do; exit code 1.")
    ] = False,
    config: Config = None,
) -> None:
    """Bring the tables in the database to the version that this presenced needs.

    Back up the database before, and stop the servers that use it.
    """
    url = database_url(load({}, os.environ, config).settings)
    if not url:
        raise ConfigError("nothing is kept: the setting database is empty")
    has, needs = asyncio.run(_migrate(url, check))
    if has == needs:
        sys.stdout.write(f"the tables are of version {needs}, as they should be\n")
    elif check:
        raise StorageError(f"the tables are of version {has or 'none'}, and {needs} is needed: run `presenced migrate`")
    else:
        sys.stdout.write(f"the tables were of version {has or 'none'}, and are now of {needs}\n")


async def _migrate(url: str, check: bool) -> Versions:
    """What the tables were, and what is needed."""
    from presenced.storage import access, migrate

    if check:
        return await access.look(url)
    async with access.connected(url, endless=True) as connection:
        found = await connection.run_sync(migrate.upgrade)
        await connection.commit()
        return found
