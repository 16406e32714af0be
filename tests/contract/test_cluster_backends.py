"""Promises of `presenced.cluster.backend`, on each implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest
from tests.support.services import Redis, Valkey
from tests.support.store_proxy import StoreProxy
from tests.support.stores import ClusterStore, SentinelStore, soon

from presenced.cluster.memory.hub import MemoryBackend, MemoryHub
from presenced.cluster.redis.backend import RedisBackend
from presenced.cluster.redis.connection import Address
from presenced.cluster.redis.discovery import Finder, parse_url
from presenced.runtime.clock import SystemClock
from presenced.testing.backend_peers import STAGE_LOG_ITEMS, Stage
from presenced.testing.backend_suite import CHECKS

pytestmark = pytest.mark.anyio

Check = Callable[[Stage], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> str:
    """Event loop of the checks."""
    return "asyncio"


class MemoryStage:
    """`Stage` in memory."""

    def __init__(self) -> None:
        self.hub = MemoryHub(SystemClock(asyncio.get_running_loop()), log_items=STAGE_LOG_ITEMS, page_size=100)
        self._saved = 0

    def backend(self, name: str) -> MemoryBackend:
        return self.hub.backend(name)

    async def lose_reply(self, name: str) -> None:
        self.hub.lose_replies(name)

    async def cut(self, name: str) -> None:
        self.hub.cut(name)

    async def heal(self, name: str) -> None:
        self.hub.heal(name)

    async def save(self) -> None:
        self._saved = self.hub.writes

    async def fail_over(self) -> None:
        self.hub.fail_over(lost_writes=self.hub.writes - self._saved)

    async def flush(self) -> None:
        self.hub.flush()


class Servers(Protocol):
    """Real servers that are one store."""

    url: str

    def all(self) -> list[Redis]:
        """Return the servers that accept writes."""

    def save(self) -> None:
        """Keep the current state for `fail_over`."""

    def fail_over(self) -> None:
        """Lose what was written since `save`, in a process with another run id."""


class Restarted:
    """`Servers` that are killed, and started with their snapshots."""

    def __init__(self, url: str, *servers: Redis) -> None:
        self.url = url
        self._servers = list(servers)

    def all(self) -> list[Redis]:
        return self._servers

    def save(self) -> None:
        for server in self._servers:
            server.cli("SAVE")

    def fail_over(self) -> None:
        for server in self._servers:
            server.restart()


class Watched:
    """`Servers` whose sentinels replace the master by its replica."""

    def __init__(self, store: SentinelStore) -> None:
        self.url = store.url
        self._store = store

    def all(self) -> list[Redis]:
        return [self._store.replica if self._store.has_failed_over else self._store.master]

    def save(self) -> None:
        self._store.replicate()
        self._store.isolation.lose_replicas()

    def fail_over(self) -> None:
        self._store.master.kill()
        soon(lambda: self._store.has_failed_over, "the replica becomes the master")


class RedisStage:
    """`Stage` in real servers. Each node connects to each server through a proxy of its own."""

    count = 0

    def __init__(self, servers: Servers) -> None:
        RedisStage.count += 1
        self._servers = servers
        self._name = f"t{RedisStage.count}"
        self._networks: dict[str, Network] = {}
        self._backends: list[RedisBackend] = []

    def backend(self, name: str) -> RedisBackend:
        url = parse_url(self._servers.url, "")
        network = self._networks[name] = Network(url.finder())
        backend = RedisBackend(network, url.access, cluster_name=self._name, shards=1, log_items=STAGE_LOG_ITEMS)
        self._backends.append(backend)
        return backend

    async def lose_reply(self, name: str) -> None:
        for proxy in self._networks[name].proxies.values():
            proxy.replies_to_lose += 1

    async def cut(self, name: str) -> None:
        self._networks[name].cut()

    async def heal(self, name: str) -> None:
        self._networks[name].heal()

    async def save(self) -> None:
        await asyncio.to_thread(self._servers.save)

    async def fail_over(self) -> None:
        await asyncio.to_thread(self._servers.fail_over)

    async def flush(self) -> None:
        for server in self._servers.all():
            server.cli("FLUSHALL")

    async def stop(self) -> None:
        for backend in self._backends:
            await backend.stop()
        for network in self._networks.values():
            for proxy in network.proxies.values():
                await proxy.stop()


class Network:
    """`Finder` of servers behind proxies."""

    def __init__(self, finder: Finder) -> None:
        self.proxies: dict[int, StoreProxy] = {}
        self._finder = finder
        self._is_cut = False
        self._lock = asyncio.Lock()
        self.masters = 1

    async def find(self, key: bytes) -> Address:
        found = await self._finder.find(key)
        self.masters = self._finder.masters
        async with self._lock:
            proxy = self.proxies.get(found.port)
            if proxy is None:
                proxy = self.proxies[found.port] = StoreProxy(found.port)
                proxy.is_cut = self._is_cut
                await proxy.start()
        return Address("127.0.0.1", proxy.port)

    def lost(self) -> None:
        self._finder.lost()

    def cut(self) -> None:
        self._is_cut = True
        for proxy in self.proxies.values():
            proxy.cut()

    def heal(self) -> None:
        self._is_cut = False
        for proxy in self.proxies.values():
            proxy.heal()


@pytest.fixture(scope="module")
def redis() -> Iterator[Servers]:
    with Redis() as server:
        yield Restarted(server.url("0"), server)


@pytest.fixture(scope="module")
def valkey() -> Iterator[Servers]:
    with Valkey() as server:
        yield Restarted(server.url("0"), server)


@pytest.fixture(scope="module")
def sentinel() -> Iterator[Servers]:
    with ExitStack() as running:
        yield Watched(SentinelStore(running))


@pytest.fixture
def own_sentinel() -> Iterator[Servers]:
    """Servers of one check, which changes which of them is the master."""
    with ExitStack() as running:
        yield Watched(SentinelStore(running))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Servers]:
    with ExitStack() as running:
        store = ClusterStore(running)
        yield Restarted(store.url, *store.masters)


@pytest.fixture(params=["memory", "redis", "valkey", "sentinel", "cluster"])
async def stage(request: pytest.FixtureRequest, check: Check) -> AsyncIterator[Stage]:
    if request.param == "memory":
        yield MemoryStage()
        return
    fails_over = "fail_over" in check.__code__.co_names
    name = "own_sentinel" if request.param == "sentinel" and fails_over else request.param
    servers: Servers = request.getfixturevalue(name)
    running = RedisStage(servers)
    yield running
    await running.stop()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_promise(check: Check, stage: Stage) -> None:
    await check(stage)
