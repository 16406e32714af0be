"""Differences between databases: URLs, upserts, and errors."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy.exc import DataError, OperationalError

from presenced.config.settings import Settings
from presenced.errors import ConfigError
from presenced.storage.database import explain_error, open_database, refuses_values, upsert
from presenced.storage.schema import changes, users
from presenced.storage.url import database_url


def test_sqlite_is_a_file_in_the_data_directory() -> None:
    assert database_url(Settings()) == ""
    url = database_url(Settings(database="sqlite", data_dir="/srv/a b%?#"))
    assert open_database(url).url.database == "/srv/a b%?#/presenced.db"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:pw@db:5432/app?schema=public&sslmode=require&connection_limit=5&pgbouncer=true",
        "postgres://ada:pw@db/app",
        "mysql://ada:pw@db:3306/app?connection_limit=5&sslaccept=strict",
        "mariadb://ada:pw@db/app",
    ],
)
def test_the_url_of_an_application_is_accepted_with_its_parameters(url: str) -> None:
    engine = open_database(database_url(Settings.model_validate({"database": "url", "database_url": url})))
    assert (engine.url.host, engine.url.username, engine.url.database) == ("db", "ada", "app")


@pytest.mark.parametrize("url", ["postgresql://ada:hidden@db/app?shema=public", "mysql://ada:hidden@db:x/app"])
def test_an_invalid_url_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_database(url)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("url", ["postgresql://ada:hid@den@db/app", "mysql://ada:p@hid/den@db:3306/app"])
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="percent-encode") as refused:
        open_database(url)
    assert "hid" not in str(refused.value)
    assert "den" not in str(refused.value)


def test_an_unknown_host_is_named() -> None:
    error = socket.gaierror(-2, "Name or service not known")
    assert explain_error(error, "postgresql://ada:pw@db.invalid/app") == "Name or service not known: db.invalid"


@pytest.mark.parametrize(
    "given",
    [
        {"database": "url"},
        {"database_url": "postgresql://db/app"},
        {"database": "sqlite", "database_url": "postgresql://db/app"},
        {"database": "url", "database_url": "oracle://db/app"},
        {"database": "url", "database_url": "sqlite://relative"},
        {"node": "two words"},
    ],
)
def test_contradictory_settings_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(given)


def test_only_the_owner_can_read_the_directory_and_the_file(tmp_path: Path) -> None:
    async def touch() -> None:
        engine = open_database(f"sqlite:///{tmp_path}/new/presenced.db")
        async with engine.connect():
            pass
        await engine.dispose()

    asyncio.run(touch())
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "presenced.db").stat().st_mode & 0o777 == 0o600


def test_mysql_compares_versions_before_it_assigns_the_new_one() -> None:
    statement = str(
        upsert("mysql", users, newer="version").compile(dialect=open_database("mysql://ada@db/app").dialect)
    )
    assert statement.rindex("version = if(") > statement.index("status = if(")
    assert statement.index("version = if(") > statement.index("epoch = if(")


def test_an_upsert_that_overwrites_nothing_keeps_existing_rows() -> None:
    statement = upsert("postgresql", changes, overwrite=False)
    assert str(statement.compile(dialect=open_database("postgres://db/app").dialect)).endswith(
        "ON CONFLICT (epoch, position) DO NOTHING"
    )


def test_the_reason_of_a_failure_is_one_line_without_the_password() -> None:
    url = "postgresql://ada:hidden@db/app"
    error = OperationalError("SELECT 1", {}, Exception("no route\nto hidden@db"))
    assert explain_error(error, url) == "no route to ***@db"
    assert explain_error(TimeoutError(), url) == "it does not answer in time"
    assert explain_error(ConnectionRefusedError(111, "Connection refused"), url) == "Connection refused"
    assert (
        explain_error(PermissionError(13, "Permission denied", "/root/.pgpass"), url)
        == "Permission denied: /root/.pgpass"
    )


def test_refused_values_are_distinguished_from_a_failing_database() -> None:
    class Driver(Exception):
        sqlstate = "22001"

    assert refuses_values(OperationalError("INSERT", {}, Driver()))
    assert refuses_values(DataError("INSERT", {}, Exception("too long")))
    assert not refuses_values(OperationalError("INSERT", {}, Exception("gone")))
    assert not refuses_values(ConnectionResetError())
