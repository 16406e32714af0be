"""`presenced doctor` with real database servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, select
from tests.support.command import run
from tests.support.ports import free_port
from tests.support.services import MariaDB, PostgreSQL, Service

from presenced.storage import migrate, probe
from presenced.storage.schema import nodes

pytestmark = pytest.mark.anyio

NEW = ["note: the database has no tables yet"]


@pytest.fixture
def anyio_backend() -> str:
    """These tests start processes, which needs asyncio."""
    return "asyncio"


@pytest.fixture(params=[PostgreSQL, MariaDB])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    kind: type[Service] = request.param
    with kind() as running:
        yield running


async def doctor(folder: Path, url: str) -> list[str]:
    """Return the findings about the database."""
    environ = {"PRESENCED_DATABASE": "url", "PRESENCED_DATABASE_URL": url}
    _, output, errors = await run("doctor", cwd=folder, environ=environ)
    assert "Traceback" not in errors
    assert "hidden" not in output + errors, "the password"
    findings = [line.strip() for line in output.splitlines() if ": " in line[:10]]
    return [one for one in findings if "authentication is off" not in one and "as root" not in one]


async def test_the_doctor_writes_to_the_database_and_leaves_it_unchanged(service: Service, tmp_path: Path) -> None:
    url = service.new_database()
    assert await doctor(tmp_path, url) == NEW
    async with probe.connected(url) as connection:
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == []
        await connection.run_sync(migrate.upgrade_tables)
        await connection.commit()
    assert await doctor(tmp_path, url) == []
    async with probe.connected(url) as connection:
        assert (await connection.execute(select(nodes))).all() == []


async def test_a_read_only_database_is_broken(service: Service, tmp_path: Path) -> None:
    url = service.new_database()
    async with probe.connected(url) as connection:
        await connection.run_sync(migrate.upgrade_tables)
        await connection.commit()
    if isinstance(service, PostgreSQL):
        service.ask("ALTER DATABASE test_1 SET default_transaction_read_only = on")
        url = url.replace("not-asked-for", "hidden")
    else:
        service.ask("CREATE USER reader@'%' IDENTIFIED BY 'hidden'; GRANT SELECT ON *.* TO reader@'%'")
        url = url.replace("admin:secret", "reader:hidden")
    (broken,) = await doctor(tmp_path, url)
    assert broken.startswith("broken: nothing can be stored: the database can't be used: ")
    assert "INSERT" in broken


async def test_a_database_server_that_is_down_is_broken(service: Service, tmp_path: Path) -> None:
    url = service.new_database().replace("not-asked-for", "hidden").replace("secret", "hidden")
    (broken,) = await doctor(tmp_path, url.replace(str(service.port), str(free_port())))
    assert broken.startswith("broken: the database can't be used: ")
