"""Promises of `presenced.cluster.backend`, on each implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from tests.support.services import Redis, Valkey
from tests.support.store_proxy import StoreProxy

from presenced.cluster.memory.hub import MemoryBackend, MemoryHub
from presenced.cluster.redis.backend import RedisBackend
from presenced.cluster.redis.connection import Access, Address
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
        self.hub.fail_over(lost_commits=self.hub.writes - self._saved)

    async def flush(self) -> None:
        self.hub.flush()


class RedisStage:
    """`Stage` in Redis. Each node connects through a proxy of its own."""

    def __init__(self, server: Redis) -> None:
        self._server = server
        self._proxies: dict[str, StoreProxy] = {}
        self.backends: list[RedisBackend] = []

    def backend(self, name: str) -> RedisBackend:
        proxy = self._proxies[name] = StoreProxy(self._server.port)
        backend = RedisBackend(_Through(proxy), Access(), cluster_name="t", shards=1, log_items=STAGE_LOG_ITEMS)
        self.backends.append(backend)
        return backend

    async def lose_reply(self, name: str) -> None:
        self._proxies[name].replies_to_lose += 1

    async def cut(self, name: str) -> None:
        self._proxies[name].cut()

    async def heal(self, name: str) -> None:
        self._proxies[name].heal()

    async def save(self) -> None:
        self._server.cli("SAVE")

    async def fail_over(self) -> None:
        self._server.restart()

    async def flush(self) -> None:
        self._server.cli("FLUSHALL")

    async def stop(self) -> None:
        for backend in self.backends:
            await backend.stop()
        for proxy in self._proxies.values():
            if proxy.port:
                await proxy.stop()


class _Through:
    """`Finder` of a server behind a proxy."""

    masters = 1

    def __init__(self, proxy: StoreProxy) -> None:
        self._proxy = proxy
        self._lock = asyncio.Lock()

    async def find(self, key: bytes) -> Address:
        async with self._lock:
            if not self._proxy.port:
                await self._proxy.start()
        return Address("127.0.0.1", self._proxy.port)

    def lost(self) -> None:
        pass


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture(params=["memory", "redis", "valkey"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    if request.param == "memory":
        yield MemoryStage()
        return
    server: Redis = request.getfixturevalue(request.param)
    server.forget()
    running = RedisStage(server)
    yield running
    await running.stop()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_promise(check: Check, stage: Stage) -> None:
    await check(stage)
