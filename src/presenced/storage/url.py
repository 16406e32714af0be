"""URL of the database that the settings name. The server process never loads SQLAlchemy, so this module does not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from urllib.parse import quote

from presenced.config.settings import Settings
from presenced.errors import ConfigError

FILE_NAME = "presenced.db"
"""Name of the SQLite file in `data_dir`."""

_DRIVERS = {"postgresql": "asyncpg", "postgres": "asyncpg", "mysql": "aiomysql", "mariadb": "aiomysql"}
"""Driver that SQLAlchemy needs, by the scheme of the URL."""

_EXTRAS = {"asyncpg": "postgresql", "aiomysql": "mysql"}
"""Extra of this package that installs a driver."""


def database_url(settings: Settings) -> str:
    """Return the URL of the database, including its password if there is one; empty if nothing is stored.

    Raises:
        ConfigError: The driver is not installed.
    """
    if settings.database != "url":
        file = Path(settings.data_dir).absolute() / FILE_NAME
        return f"sqlite:///{quote(str(file))}" if settings.database else ""
    url = settings.database_url.get_secret_value()
    scheme = url.partition(":")[0]
    driver = _DRIVERS.get(scheme)
    if driver is not None and importlib.util.find_spec(driver) is None:
        extra = _EXTRAS[driver]
        raise ConfigError(f"{scheme} needs {driver}, which is not installed: `pip install 'presenced[{extra}]'`")
    return url
