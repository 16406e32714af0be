"""`presenced migrate`, run as a process."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.command import run
from tests.support.ports import free_port
from tests.support.services import MariaDB, PostgreSQL, Service

pytestmark = pytest.mark.anyio

SERVICE_USER = 54_321
"""Id of a user of a service, which need not exist."""


@pytest.fixture
def anyio_backend() -> str:
    """Event loop of the test. The tests start processes, which use their own."""
    return "asyncio"


async def test_tables_are_created_once_and_checked(tmp_path: Path) -> None:
    environ = {"PRESENCED_DATABASE": "sqlite"}
    code, _, errors = await run("migrate", "--check", cwd=tmp_path, environ=environ)
    assert (code, errors) == (
        1,
        "presenced: the tables have version none, and 0002 is needed: run `presenced migrate`\n",
    )
    assert list(tmp_path.iterdir()) == [], "a check creates nothing"
    code, output, _ = await run("migrate", cwd=tmp_path, environ=environ)
    assert (code, output) == (0, "migrated the tables from version none to 0002\n")
    for arguments in (["migrate"], ["migrate", "--check"]):
        code, output, _ = await run(*arguments, cwd=tmp_path, environ=environ)
        assert (code, output) == (0, "the tables have version 0002, which is up to date\n")


async def test_a_newer_schema_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    environ = {"PRESENCED_DATABASE": "sqlite"}
    await run("migrate", cwd=tmp_path, environ=environ)
    file = tmp_path / "presenced-data" / "presenced.db"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE presenced_version SET version_num = '0999'")
    code, _, errors = await run("migrate", cwd=tmp_path, environ=environ)
    assert (code, "0999, which this presenced does not know" in errors) == (1, True)
    file.write_bytes(b"no database" * 1000)
    code, _, errors = await run("migrate", cwd=tmp_path, environ=environ)
    assert (code, errors) == (1, "presenced: the database can't be used: file is not a database\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_file_that_root_creates_belongs_to_the_owner_of_its_directory(tmp_path: Path) -> None:
    folder = tmp_path / "presenced-data"
    folder.mkdir()
    os.chown(folder, SERVICE_USER, SERVICE_USER)
    assert (await run("migrate", cwd=tmp_path, environ={"PRESENCED_DATABASE": "sqlite"}))[0] == 0
    assert {(file.stat().st_uid, file.stat().st_gid) for file in folder.iterdir()} == {(SERVICE_USER, SERVICE_USER)}


async def test_nothing_is_migrated_without_a_database(tmp_path: Path) -> None:
    assert (await run("migrate", cwd=tmp_path))[0] == 2


@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
async def test_errors_of_a_server_never_show_the_password(kind: type[Service], tmp_path: Path) -> None:
    with kind() as service:
        url = service.new_database()
        wrong = url.replace("not-asked-for", "hidden").replace("secret", "hidden")
        if kind is PostgreSQL:
            rules = service.folder / "data" / "pg_hba.conf"
            rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
            service.run("psql", "-h", str(service.folder), "-p", str(service.port), "-U", "admin", "-d", "postgres",
                        "-qc", "SELECT pg_reload_conf()")  # fmt: skip
        for given, expected in ((wrong, "admin"), (wrong.replace(str(service.port), str(free_port())), "onnect")):
            environ = {"PRESENCED_DATABASE": "url", "PRESENCED_DATABASE_URL": given}
            code, output, errors = await run("migrate", cwd=tmp_path, environ=environ)
            assert (code, output) == (1, "")
            assert errors.startswith("presenced: the database can't be used: ")
            assert expected in errors
            assert "hidden" not in errors
