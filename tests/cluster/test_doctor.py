"""`presenced doctor` about the store of a cluster."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.command import run
from tests.support.ports import free_port
from tests.support.raw import PATIENCE
from tests.support.services import Redis, RedisClusterNode, RedisSentinel

from presenced.cli.backend_doctor import lease_findings, network_findings
from presenced.cli.doctor import Finding
from presenced.cluster.redis.discovery import parse_url
from presenced.config.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def running() -> Iterator[Redis]:
    with Redis("--appendonly", "yes") as store:
        yield store


@pytest.fixture
def durable(running: Redis) -> Iterator[Redis]:
    """Store that has everything it should have."""
    running.forget()
    yield running
    running.cli("CONFIG", "SET", "maxmemory", "0")


async def doctor(folder: Path, url: str, password: str = "") -> list[str]:
    """Return the findings about the store."""
    environ = {"PRESENCED_BACKEND": url, "PRESENCED_CLUSTER_LEASE": "60"}
    if password:
        environ["PRESENCED_BACKEND_PASSWORD"] = password
    _, output, errors = await run("doctor", cwd=folder, environ=environ)
    assert "Traceback" not in errors
    assert not password or password not in output
    findings = [line.strip() for line in output.splitlines() if re.match(" *(unsafe|broken|note): ", line)]
    others = ("authentication is off", "as root", "host name", "round trip", "open files")
    return [one for one in findings if not any(other in one for other in others)]


async def test_a_store_in_order_has_no_findings_and_stays_as_it_is(durable: Redis, tmp_path: Path) -> None:
    assert await doctor(tmp_path, durable.url("0")) == []
    assert durable.cli("DBSIZE") == "0"


async def test_a_store_without_a_file_or_replica_is_a_note(tmp_path: Path) -> None:
    with Redis() as store:
        [note] = await doctor(tmp_path, store.url("0"))
    assert note.startswith("note: 127.0.0.1")
    assert "no append-only file and no replica" in note


async def test_a_store_with_too_little_memory_is_a_note(durable: Redis, tmp_path: Path) -> None:
    durable.cli("CONFIG", "SET", "maxmemory", "32mb")
    [note] = await doctor(tmp_path, durable.url("0"))
    assert "may use 32 MiB, but 10,000 users need 66 MiB" in note


async def test_a_store_of_another_layout_is_broken(durable: Redis, tmp_path: Path) -> None:
    durable.cli("HSET", "presenced:{0ax}:head", "layout", "9", "shards", "1")
    [broken] = await doctor(tmp_path, durable.url("0"))
    assert broken.startswith("broken: the store has layout 9 and 1 shards, but this node expects layout 1 and 1")
    assert "choose another cluster_name" in broken


async def test_a_store_that_refuses_or_does_not_respond_is_broken(durable: Redis, tmp_path: Path) -> None:
    [broken] = await doctor(tmp_path, durable.url("0"), "hidden")
    assert broken.startswith("broken: ")
    assert "refuses the user or the password" in broken
    durable.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    _, output, _ = await run("doctor", cwd=tmp_path, environ={"PRESENCED_BACKEND": durable.url("0")})
    durable.cli("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert "set it to noeviction" in output
    assert "check that the store runs" not in output, "it does"
    [broken] = await doctor(tmp_path, f"redis://127.0.0.1:{free_port()}/0")
    assert broken.startswith("broken: the store does not respond: 127.0.0.1:")
    durable.cli("ACL", "SETUSER", "app", "on", ">hidden", "~presenced:*", "+@all", "-xtrim")
    [broken] = await doctor(tmp_path, durable.url("0").replace("//", "//app@"), "hidden")
    assert "lacks a permission" in broken
    durable.cli("ACL", "DELUSER", "app")


async def test_sentinel_needs_replicas_for_writes_unless_that_cannot_be_checked(durable: Redis, tmp_path: Path) -> None:
    with RedisSentinel(durable, 1) as sentinel:
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster"
        [note] = await doctor(tmp_path, url)
        assert re.search("min-replicas-to-write of .* is 0", note)
        durable.cli("CONFIG", "SET", "min-replicas-to-write", "1")
        assert not any("is 0" in one for one in await doctor(tmp_path, url))
        durable.cli("CONFIG", "SET", "min-replicas-to-write", "0")
        durable.cli("ACL", "SETUSER", "app", "on", ">hidden", "~presenced:*", "+@all", "-config")
        [note] = await doctor(tmp_path, url.replace("//", "//app@"), "hidden")
        assert note.startswith("note: min-replicas-to-write of ")
        assert "was not checked" in note
        durable.cli("ACL", "DELUSER", "app")


async def test_a_cluster_must_not_need_all_masters(tmp_path: Path) -> None:
    with ExitStack() as running:
        store = running.enter_context(RedisClusterNode())
        store.cli("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        deadline = time.monotonic() + PATIENCE
        while "cluster_state:ok" not in store.cli("CLUSTER", "INFO"):
            assert time.monotonic() < deadline, "the cluster is complete"
            await asyncio.sleep(0.1)
        url = f"redis+cluster://127.0.0.1:{store.port}"
        store.cli("CONFIG", "SET", "cluster-require-full-coverage", "yes")
        [note] = [one for one in await doctor(tmp_path, url) if "coverage" in one]
        assert "cluster-require-full-coverage of " in note
        store.cli("CONFIG", "SET", "cluster-require-full-coverage", "no")
        assert not [one for one in await doctor(tmp_path, url) if "coverage" in one]


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("redis://localhost/0", None),
        ("redis://127.0.0.1/0", None),
        ("rediss://8.8.8.8/0", None),
        ("redis://10.0.0.5/0", "note"),
        ("redis://valkey/0", "note"),
        ("redis+cluster://[::1],8.8.8.8", "unsafe"),
    ],
)
def test_an_open_connection_through_a_network_is_found(url: str, level: str | None) -> None:
    findings: list[Finding] = list(network_findings(parse_url(url, "")))
    assert [one.level for one in findings] == ([level] if level else [])


def test_grace_periods_that_are_longer_than_the_lease_are_found() -> None:
    settings = Settings(backend="redis://localhost", cluster_lease=15, grace_lost=20, grace_going_away=5)
    [note] = lease_findings(settings)
    assert "grace_lost is 20 s" in note.what
