"""Failures of a real Redis, and settings with which it can't be used."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.ports import free_port
from tests.support.services import Redis, TlsRedis
from tests.support.store_proxy import StoreProxy

from presenced.cluster.backend import Applicant, Committed, Entry, Proposal, State
from presenced.cluster.redis.backend import RedisBackend, open_backend
from presenced.cluster.redis.connection import Address, StoreAccess
from presenced.cluster.redis.discovery import SingleServer
from presenced.errors import BackendError
from presenced.testing.backend_peers import Peer, Recorder
from presenced.testing.backend_suite import items_reach_every_node_in_one_order

pytestmark = pytest.mark.anyio

OPEN = StoreAccess()

PAGE = (Path(__file__).parents[2] / "docs/how-to/operate/several-nodes.md").read_text("utf-8")
COMMANDS = re.findall(r"\+(\w+)", PAGE.partition("ACL SETUSER app on")[2].partition("```")[0])
PERMISSIONS = ["~t:*", *(f"+{command}" for command in COMMANDS)]
"""Permissions that the user of the store needs, according to the documentation."""


@pytest.fixture
def anyio_backend() -> str:
    """Event loop of the tests."""
    return "asyncio"


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[Redis]:
    with Redis("--maxmemory-policy", "noeviction") as server:
        yield server


@pytest.fixture
def redis(shared_redis: Redis) -> Iterator[Redis]:
    """Empty server with its default settings."""
    shared_redis.forget()
    yield shared_redis
    shared_redis.cli("CONFIG", "SET", "maxmemory", "0")
    shared_redis.cli("CONFIG", "SET", "maxmemory-policy", "noeviction")


class Direct:
    """Stage without faults of the network."""

    def __init__(self, port: int, access: StoreAccess = OPEN, shards: int = 1) -> None:
        self._port = port
        self._access = access
        self._shards = shards

    def backend(self, name: str) -> RedisBackend:
        address = Address("127.0.0.1", self._port)
        return RedisBackend(SingleServer(address), self._access, cluster_name="t", shards=self._shards)

    async def _never(self, name: str = "") -> None:
        raise AssertionError("not used")

    lose_reply = cut = heal = save = fail_over = flush = _never


@asynccontextmanager
async def peers(port: int, *names: str) -> AsyncIterator[list[Peer]]:
    """Nodes that are connected to a server."""
    started = [Peer(Direct(port), name, slot) for slot, name in enumerate(names, 3)]
    for peer in started:
        await peer.start()
    yield started
    for peer in started:
        await peer.backend.stop()


class Committer:
    """Node that changes a few users all the time, as it knows them."""

    def __init__(self, peer: Peer, expected: dict[tuple[int, str, int], dict[str, int]]) -> None:
        self.peer = peer
        self._expected = expected
        self.results: dict[tuple[int, str, int], Committed | str] = {}

    async def run(self, until: float) -> None:
        random_users = random.Random(self.peer.name)
        while time.monotonic() < until:
            users = random_users.sample([f"u{i}" for i in range(6)], 3)
            proposals = [self.peer.set(user, b"%d" % random_users.randrange(1000)) for user in users]
            serial = self.peer.send(*proposals)
            key = self.peer.slot, self.peer.incarnation, serial
            self._expected[key] = {proposal.user_id: proposal.expected for proposal in proposals}
            result = self.results[key] = await self.peer.result(serial)
            if not isinstance(result, Committed):
                await asyncio.sleep(0.05)
            elif self.peer.recorder.events[-1] == "interrupted":
                await self.peer.load()
            await asyncio.sleep(0.001)


def check_log(entries: list[Entry], expected: dict[tuple[int, str, int], dict[str, int]]) -> None:
    """Check that no batch was accepted twice, and that each item has replaced the record it expected."""
    keys = [(entry.slot, entry.incarnation, entry.serial) for entry in entries]
    assert len(keys) == len(set(keys)), "a batch was accepted twice"
    current: dict[str, int] = {}
    for key, entry in zip(keys, entries, strict=True):
        for item in entry.items:
            assert expected[key][item.user_id] == current.get(item.user_id, 0)
            current[item.user_id] = item.n


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_nothing_is_accepted_twice_when_the_store_is(fault: str) -> None:
    """Four nodes commit during three faults. Every acknowledged batch is in the log, once."""
    with Redis("--appendonly", "yes", "--appendfsync", "always") as server:
        async with peers(server.port, "a", "b", "c", "d", "reader") as [*nodes, reader]:
            expected: dict[tuple[int, str, int], dict[str, int]] = {}
            committers = [Committer(node, expected) for node in nodes]
            until = time.monotonic() + 12
            running = [asyncio.create_task(committer.run(until)) for committer in committers]
            for _ in range(3):
                await asyncio.sleep(1)
                if fault == "killed":
                    server.kill()
                    await asyncio.sleep(0.3)
                    await asyncio.to_thread(server.start)
                else:
                    server.pause()
                    await asyncio.sleep(1.5)
                    server.resume()
            await asyncio.gather(*running)
            last: Committed | str = "unknown"  # a reply may take more than a second on a busy machine
            attempt = 0
            while not isinstance(last, Committed):
                attempt += 1
                serial = nodes[0].send(Proposal(f"last{attempt}", 0, b"", True, True))
                expected[nodes[0].slot, nodes[0].incarnation, serial] = {f"last{attempt}": 0}
                last = await nodes[0].result(serial)
                await asyncio.sleep(0.1)
            await reader.reads(last.n)
            entries = reader.recorder.entries_read
            check_log(entries, expected)
            logged = {(entry.slot, entry.incarnation, entry.serial): len(entry.items) for entry in entries}
            results = {key: result for one in committers for key, result in one.results.items()}
            for key, result in results.items():
                if isinstance(result, Committed):
                    assert logged.get(key, 0) == 3 - len(result.refused), (key, result)
            assert "unknown" in results.values()
            assert sum(isinstance(result, Committed) for result in results.values()) > 100
            assert "interrupted" not in reader.recorder.events


async def test_a_late_commit_is_refused(redis: Redis) -> None:
    """A batch that arrives after its node has given it up changes nothing if the record has changed since."""
    proxy = StoreProxy(redis.port)
    await proxy.start()
    late = Peer(Direct(proxy.port), "late", 9)
    await late.start()
    async with peers(redis.port, "b") as [b]:
        n = (await b.commit(b.set("ada", b"1"))).n
        await b.reads(n)
        await late.reads(n)
        proxy.hold()
        serial = late.send(late.set("ada", b"late"), late.set("bob", b"late"))
        assert await late.result(serial) == "unknown"
        await b.reads((await b.commit(b.set("ada", b"2"), b.set("bob", b"2"))).n)
        proxy.release()
        await late.happens("reconnected")
        n = (await late.commit(late.set("cem", b"3"))).n
        await b.reads(n)
        assert [(entry.slot, entry.serial) for entry in b.recorder.entries_read] == [
            (b.slot, 1),
            (b.slot, 2),
            (late.slot, serial + 1),
        ]
        await b.load()
        assert b.recorder.users["ada"].record == b"2"
    await late.backend.stop()
    await proxy.stop()


async def test_a_full_store_refuses_commits_and_keeps_its_nodes(redis: Redis) -> None:
    async with peers(redis.port, "a", "b") as [a, b]:
        await b.reads((await a.commit(a.set("ada", b"1"))).n)
        redis.cli("CONFIG", "SET", "maxmemory", "1mb")
        assert await a.result(a.send(a.set("ada", b"2"))) == "unknown"
        a.backend.heartbeat(0, State.READY, b"")
        await b.sees(lambda nodes: nodes[a.slot].heartbeat == 1, "the heartbeat")
        redis.cli("CONFIG", "SET", "maxmemory", "0")
        await b.reads((await a.commit(a.set("bob", b"3"))).n)
        assert [entry.serial for entry in b.recorder.entries_read] == [1, 3]
        assert "disconnected" not in a.recorder.events
        assert a.recorder.events.count("full") == 1


async def test_a_store_that_forgets_its_scripts_gets_them_again(redis: Redis) -> None:
    async with peers(redis.port, "a") as [a]:
        await a.commit(a.set("ada", b"1"))
        redis.cli("SCRIPT", "FLUSH")
        assert (await a.commit(a.set("bob", b"1"))).refused == ()
        assert a.recorder.events == ["registered", "loaded"]


async def test_a_node_has_one_slot_in_all_shards(redis: Redis) -> None:
    """Also if a newcomer has taken its slot while the store was empty."""
    stage = Direct(redis.port, shards=4)
    first, second = Recorder(), Recorder()
    one, other = stage.backend("one"), stage.backend("other")
    one.start(Applicant("one", 5), first)
    await first.until(lambda: len(first.registrations) == 4)
    redis.cli("FLUSHALL")
    other.start(Applicant("other", 5), second)
    await second.until(lambda: len(second.registrations) == 4)
    for shard in range(4):
        one.heartbeat(shard, State.READY, b"")
    await first.until(lambda: len(first.registrations) == 8)
    assert [registration.slot for registration in second.registrations] == [5] * 4
    assert [registration.slot for registration in first.registrations[4:]] == [6] * 4
    await one.stop()
    await other.stop()


async def test_a_node_with_another_number_of_shards_is_rejected(redis: Redis) -> None:
    async with peers(redis.port, "a"):
        recorder = Recorder()
        backend = Direct(redis.port, shards=2).backend("b")
        backend.start(Applicant("b", 0), recorder)
        await recorder.until(lambda: recorder.rejections)
        assert "has layout 1 and 1 shards" in recorder.rejections[0]
        await backend.stop()


# Stores that can't be used.


async def refusal(port: int, access: StoreAccess = OPEN) -> str:
    with pytest.raises(BackendError) as caught:
        await Direct(port, access).backend("a").check()
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_store_that_can_be_used_is_accepted(redis: Redis) -> None:
    await Direct(redis.port).backend("a").check()
    assert redis.cli("DBSIZE") == "0"


async def test_a_store_that_does_not_respond_is_not_refused() -> None:
    port = free_port()
    assert f"127.0.0.1:{port}" in await Direct(port).backend("a").check()


@pytest.mark.parametrize("kind", ["redis", "redis+sentinel", "redis+cluster"])
async def test_a_host_that_does_not_exist_is_named(kind: str) -> None:
    url = f"{kind}://store.invalid:6379{'/mymaster' if kind == 'redis+sentinel' else ''}"
    said = await open_backend(url, "", cluster_name="t", shards=1).check()
    assert "store.invalid:6379: the host name can't be resolved" in said


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_an_eviction_policy_is_refused(redis: Redis, policy: str) -> None:
    redis.cli("CONFIG", "SET", "maxmemory-policy", policy)
    assert f"maxmemory-policy {policy}" in await refusal(redis.port)


async def test_a_wrong_password_is_refused(redis: Redis) -> None:
    redis.cli("ACL", "SETUSER", "app", "on", ">right", *PERMISSIONS)
    said = await refusal(redis.port, StoreAccess("app", "wrong"))
    assert said.startswith(f"127.0.0.1:{redis.port}: the store refuses the user or the password")
    redis.cli("CONFIG", "SET", "requirepass", "right")
    try:
        said = await refusal(redis.port)
    finally:
        redis.cli("-a", "right", "--no-auth-warning", "CONFIG", "SET", "requirepass", "")
    assert said.startswith(f"127.0.0.1:{redis.port}: the store refuses the user or the password")
    redis.cli("ACL", "DELUSER", "app")


async def test_the_documented_permissions_suffice_and_each_is_needed(redis: Redis) -> None:
    redis.cli("ACL", "SETUSER", "app", "on", ">right", *PERMISSIONS)
    access = StoreAccess("app", "right")
    await Direct(redis.port, access).backend("a").check()
    await items_reach_every_node_in_one_order(Direct(redis.port, access))
    assert len(COMMANDS) > 15
    for command in COMMANDS:
        redis.cli("ACL", "SETUSER", "app", f"-{command}")
        assert "lacks a permission" in await refusal(redis.port, access)
        redis.cli("ACL", "SETUSER", "app", f"+{command}")
    redis.cli("ACL", "DELUSER", "app")


async def test_a_missing_database_is_refused(redis: Redis) -> None:
    assert "no such database" in await refusal(redis.port, StoreAccess(database=99))


async def test_tls_needs_a_certificate_of_a_known_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    with TlsRedis() as server:
        access = StoreAccess(uses_tls=True)
        assert "TLS fails" in await refusal(server.tls_port, access)
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        await Direct(server.tls_port, access).backend("a").check()
        await items_reach_every_node_in_one_order(Direct(server.tls_port, access))
