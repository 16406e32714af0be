"""A real store, and real servers that share it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from tests.support.clients import CALM
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.services import Redis
from tests.support.store_proxy import StoreProxy

LEASE_S = 3.0
"""Seconds of the lease in these tests: a fifth of the default."""


@pytest.fixture
def anyio_backend() -> str:
    """One event loop for the clients: another one would not change the servers."""
    return "asyncio"


@pytest.fixture(scope="session")
def running_store() -> Iterator[Redis]:
    with Redis() as store:
        yield store


@pytest.fixture
def store(running_store: Redis) -> Redis:
    """Return an empty store."""
    running_store.forget()
    return running_store


async def metric(server: ServerProcess, sample: str) -> float:
    """Return the value of a sample of a node, such as `presenced_cluster_records`; 0 if there is none."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        lines = (await http.get(f"{server.url}metrics")).text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == sample), 0.0)


class Nodes:
    """Servers with one store."""

    def __init__(self, store: Redis, running: ExitStack) -> None:
        self._store = store
        self._running = running
        self._count = 0

    def start(self, environ: Mapping[str, str] | None = None, **settings: Any) -> ServerProcess:
        """Start a node, and wait until it takes connections."""
        self._count += 1
        options = {
            **CALM,
            "node": f"node{self._count}",  # the default would be the same for all, because their port is 0
            "grace_lost": 1,
            "grace_going_away": 1,
            "cluster_lease": LEASE_S,
            "backend": self._store.url("0"),
            **settings,
        }
        return self._running.enter_context(ServerProcess(environ, **options))

    async def start_several(self, number: int, **settings: Any) -> list[ServerProcess]:
        """Start nodes, two at a time."""
        free = asyncio.Semaphore(2)

        async def start() -> ServerProcess:
            async with free:
                return await asyncio.to_thread(self.start, **settings)

        return await asyncio.gather(*(start() for _ in range(number)))


@pytest.fixture
def nodes(store: Redis) -> Iterator[Nodes]:
    with ExitStack() as running:
        yield Nodes(store, running)


NewProxy = Callable[[], Awaitable[StoreProxy]]


@pytest.fixture
async def new_proxy(store: Redis) -> AsyncIterator[NewProxy]:
    """Function that starts a proxy in front of the store."""
    proxies: list[StoreProxy] = []

    async def new() -> StoreProxy:
        proxies.append(StoreProxy(store.port))
        await proxies[-1].start()
        return proxies[-1]

    yield new
    for proxy in proxies:
        await proxy.stop()
