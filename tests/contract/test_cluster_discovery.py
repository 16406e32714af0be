"""Real sentinels, and a real Redis Cluster with three masters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.services import Service
from tests.support.stores import ClusterStore, SentinelStore

from presenced.cluster.backend import Applicant, CommitBatch, Committed, ContributionUpdate, Proposal, Registration
from presenced.cluster.redis.backend import RedisBackend, open_backend
from presenced.errors import BackendError
from presenced.testing.backend_peers import STAGE_LOG_ITEMS, Peer, Recorder

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Event loop of the tests."""
    return "asyncio"


class UrlStage:
    """Stage of a URL, without faults. Each has a cluster name of its own."""

    count = 0

    def __init__(self, url: str) -> None:
        UrlStage.count += 1
        self._url = url
        self._name = f"t{UrlStage.count}"

    def backend(self, name: str) -> RedisBackend:
        backend = open_backend(self._url, "", cluster_name=self._name, shards=1)
        backend.log_items = STAGE_LOG_ITEMS
        return backend

    async def _never(self, name: str = "") -> None:
        raise AssertionError("not used")

    lose_reply = cut = heal = save = fail_over = flush = _never


@pytest.fixture
def watched() -> Iterator[SentinelStore]:
    with contextlib.ExitStack() as running:
        yield SentinelStore(running)


@pytest.mark.parametrize("fault", [Service.kill, Service.pause], ids=["killed", "frozen"])
async def test_sentinels_name_another_master(watched: SentinelStore, fault: object) -> None:
    """Nodes find the new master. The generation differs, and numbers are above those that may be lost."""
    stage = UrlStage(watched.url)
    a, b = Peer(stage, "a", 3), Peer(stage, "b", 4)
    for peer in (a, b):
        await peer.backend.check()  # type: ignore[attr-defined]  # only this backend has it
        await peer.start()
    n = (await a.commit(a.set("ada", b"1"))).n
    await b.reads(n)
    fault(watched.master)  # type: ignore[operator]  # a parameter of the test
    for peer in (a, b):
        await peer.happens("reconnected")
        assert peer.recorder.generations[-1] > peer.recorder.registrations[0].generation
        await peer.load()
    after = await a.commit(a.set("bob", b"2"))
    assert after.n > n + 1000
    await b.reads(after.n)
    assert watched.has_failed_over
    for peer in (a, b):
        await peer.backend.stop()


async def test_sentinels_without_the_master_are_asked_again(watched: SentinelStore) -> None:
    url = watched.url.replace("mymaster", "other")
    backend = open_backend(url, "", cluster_name="t", shards=1)
    await backend.check()  # a store that does not respond is not refused
    with contextlib.suppress(BackendError):  # the store does not respond
        await backend.stop()


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterStore]:
    with contextlib.ExitStack() as running:
        yield ClusterStore(running)


class ShardRecorder(Recorder):
    """Receiver of several shards."""

    def __init__(self) -> None:
        super().__init__()
        self.by_shard: dict[int, Registration] = {}
        self.lost: set[int] = set()
        self.done: dict[int, Committed | str] = {}

    def registered(self, shard: int, registration: Registration) -> None:
        self.by_shard[shard] = registration
        super().registered(shard, registration)

    def disconnected(self, shard: int) -> None:
        self.lost.add(shard)
        super().disconnected(shard)

    def reconnected(self, shard: int, generation: int) -> None:
        self.lost.discard(shard)
        super().reconnected(shard, generation)

    def committed(self, shard: int, result: Committed) -> None:
        self.done[shard] = result

    def unknown(self, shard: int, serial: int) -> None:
        self.done[shard] = "unknown"


@pytest.fixture
async def node(cluster: ClusterStore) -> AsyncIterator[tuple[RedisBackend, ShardRecorder]]:
    backend = open_backend(cluster.url, "", cluster_name="eight", shards=0)
    recorder = ShardRecorder()
    backend.start(Applicant("a", 11), recorder)
    yield backend, recorder
    await backend.stop()


async def commit_everywhere(backend: RedisBackend, recorder: ShardRecorder, serial: int) -> dict[int, Committed | str]:
    """Commit in all shards, and return the results."""
    recorder.done = {}
    for shard in range(backend.shards):
        slot = recorder.by_shard[shard].slot
        proposal = Proposal(f"u{serial}", 0, b"r", True, True, (ContributionUpdate(slot, b"s"),))
        backend.commit(shard, CommitBatch(serial, (proposal,)), 0)
    await recorder.until(lambda: len(recorder.done) == backend.shards)
    return recorder.done


async def test_users_of_a_lost_master_are_lost_and_others_are_not(
    cluster: ClusterStore, node: tuple[RedisBackend, ShardRecorder]
) -> None:
    backend, recorder = node
    await recorder.until(lambda: len(recorder.by_shard) == 8)
    assert {registration.slot for registration in recorder.by_shard.values()} == {11}
    results = await commit_everywhere(backend, recorder, 1)
    assert all(isinstance(result, Committed) for result in results.values())
    cluster.masters[2].kill()
    await recorder.until(lambda: len(recorder.lost) >= 2)
    await asyncio.sleep(1)
    lost = set(recorder.lost)
    assert len(lost) in (2, 3)
    results = await commit_everywhere(backend, recorder, 2)
    assert {shard for shard, result in results.items() if result == "unknown"} == lost
    await asyncio.to_thread(cluster.masters[2].start)
    await recorder.until(lambda: not recorder.lost)
    results = await commit_everywhere(backend, recorder, 3)
    assert all(isinstance(result, Committed) for result in results.values())
