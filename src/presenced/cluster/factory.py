"""Construction of a node of a cluster from the settings."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import cast

from msgspec.structs import replace

from presenced.cluster import NO_LIBRARY
from presenced.cluster.backend import Backend
from presenced.cluster.cluster import Cluster
from presenced.cluster.commands.commands import ClusterCommands
from presenced.cluster.commands.erasing_publisher import ErasingPublisher
from presenced.cluster.common_settings import conflict, figures_from
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.history.write_behind import SharedWriteBehind
from presenced.cluster.members import Figures
from presenced.cluster.metrics import ClusterMetrics
from presenced.cluster.names import SharedNames
from presenced.cluster.notices import Notices
from presenced.config.settings import Settings
from presenced.delivery.connection import Connection
from presenced.errors import BackendError, ConfigError
from presenced.node.node import Node
from presenced.node.service import PresenceService
from presenced.runtime.clock import Clock

try:
    from presenced.cluster.redis.backend import RedisBackend
    from presenced.cluster.redis.connection import StoreLost
    from presenced.cluster.redis.discovery import parse_url
except ImportError as error:
    raise ConfigError(NO_LIBRARY) from error


RETRY_S = 0.5
"""Seconds between two attempts to reach the store at the start, and between two looks at what a node waits for."""


class ClusterNode:
    """Node of a cluster, from its start to its stop."""

    def __init__(self, cluster: Cluster, backend: RedisBackend, node: Node, notices: Notices) -> None:
        self.cluster = cluster
        self._node = node
        self._backend = backend
        self._notices = notices
        self._ready = asyncio.Event()
        node.publisher.is_loading = True
        cluster.on_ready = self._accept_connections

    async def join(self) -> None:
        """Join the other nodes, and wait until everything is loaded. If the store is out of reach, wait for it.

        Raises:
            BackendError: The store cannot be used (wrong password, version, or permissions), or the settings of this
                node do not match those of the others.
        """
        problem = await self._check()
        if problem:
            self._notices.waits(problem)
            while await self._check():  # noqa: ASYNC110 -- nothing signals that the store is reachable
                await asyncio.sleep(RETRY_S)
        self.cluster.start()
        while not self._ready.is_set():
            with suppress(TimeoutError):  # then look at the backend, and wait again
                await asyncio.wait_for(self._ready.wait(), RETRY_S)
            if self._backend.conflict:
                raise BackendError(f"cannot join the cluster {self._backend.cluster_name}: {self._backend.conflict}")
            if not problem and not self._ready.is_set() and (problem := self._backend.trouble):
                self._notices.waits(problem)  # the store was lost after the check

    async def _check(self) -> str:
        """Check the store and the nodes in it. Return why the store does not respond; empty if it does."""
        if problem := await self._backend.check():
            return problem
        try:
            members = await self._backend.members()
        except StoreLost as error:
            return str(error)
        if reason := conflict(self._node.settings, members):
            raise BackendError(f"cannot join the cluster {self._backend.cluster_name}: {reason}")
        return ""

    def _accept_connections(self) -> None:
        self._node.publisher.is_loading = False
        self._ready.set()

    def leave(self) -> None:
        """Announce that this node stops, and commit nothing more. Its users have time to reconnect elsewhere."""
        self.cluster.leave(self._node.return_spread + self._node.settings.grace_lost)

    async def flush(self) -> None:
        """Wait until the saved sessions are in the store, or have failed."""
        await self._backend.flush()

    async def stop(self) -> None:
        """Disconnect from the backend."""
        self.cluster.stop()
        await self._backend.stop()


def make_cluster_node(settings: Settings, node: Node, service: PresenceService, clock: Clock) -> ClusterNode:
    """Return a node of the cluster that is not started.

    Raises:
        ConfigError: The URL of the backend is invalid.
    """
    storage = node.storage if isinstance(node.storage, SharedWriteBehind) else None
    metrics = ClusterMetrics(node.metrics)
    backend = _backend(settings, metrics)
    own = figures_from(settings)
    notices = Notices(settings.node_name, settings.cluster_name, own)

    def figures() -> Figures:
        return replace(
            own,
            connections=len(node.connections),
            users=node.directory.users.connected_users,
            stored_n=storage.stored_n if storage is not None else 0,
            has_database=storage is not None and storage.is_storing,
            stored_epoch=storage.stored_epoch if storage is not None else "",
        )

    publisher = ErasingPublisher(node.publisher, service.erase_past)
    cluster = Cluster(
        lease_s=settings.cluster_lease,
        settling_s=settings.settling,
        clock=clock,
        timer=node.timer,
        backend=backend,
        directory=cast("SharedDirectory[Connection]", node.directory),
        publisher=publisher,
        names=cast("SharedNames", node.encoder.names),
        figures=figures,
        resume_window=settings.resume_window,
        log_age=settings.log_age,
        metrics=metrics,
        notices=notices,
    )
    node.peers = cluster
    cluster.on_drain = _terminate  # an operator's `presenced cluster drain` acts like SIGTERM
    # The constructor registers the commands as handlers of the cluster, which keep the object alive.
    ClusterCommands(cluster, backend, publisher, node, service)
    cluster.on_certainty = node.certainty_changed
    if storage is not None:
        join_history(cluster, backend, storage, node)
    return ClusterNode(cluster, backend, node, notices)


class _Log:
    """The log of the cluster (`cluster.history.write_behind.SharedLog`)."""

    def __init__(self, cluster: Cluster, backend: Backend) -> None:
        self._cluster = cluster
        self.read_log = backend.read_log

    def applied(self, shard: int) -> int:
        """Return the number of the entry of the log that was applied last; 0 if there is none."""
        applied = self._cluster.shards[shard].replica.applied
        return applied.n if applied is not None else 0

    def continue_above(self, number: int) -> None:
        """Make the store number the next items above this number, the highest one in the database."""
        for shard in self._cluster.shards:
            shard.replica.floor = max(shard.replica.floor, number)


def join_history(cluster: Cluster, backend: Backend, storage: SharedWriteBehind, node: Node) -> None:
    """Let the node store the history that the cluster reports."""
    storage.join(_Log(cluster, backend), backend.shards)
    cluster.history = storage
    cluster.on_rejoined = lambda: storage.reopen_later(lambda: node.connections.by_serial.values())


def _backend(settings: Settings, metrics: ClusterMetrics) -> RedisBackend:
    url = parse_url(settings.backend, settings.backend_password.get_secret_value())
    return RedisBackend(
        url.finder(),
        url.access,
        cluster_name=settings.cluster_name,
        shards=url.shards(settings.cluster_shards),
        on_round_trip=metrics.store_rtt_seconds.observe,
    )


def _terminate() -> None:
    """Stop this process as a service manager does."""
    os.kill(os.getpid(), signal.SIGTERM)
