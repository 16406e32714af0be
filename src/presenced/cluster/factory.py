"""Construction of a node of a cluster from the settings."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import cast

from presenced.cluster import NO_LIBRARY
from presenced.cluster.backend import Backend
from presenced.cluster.cluster import Cluster
from presenced.cluster.commands.commands import ClusterCommands
from presenced.cluster.commands.erasing_publisher import ErasingPublisher
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.history.write_behind import SharedWriteBehind
from presenced.cluster.members import Figures
from presenced.cluster.metrics import ClusterMetrics
from presenced.cluster.names import SharedNames
from presenced.config.settings import Settings
from presenced.delivery.connection import Connection
from presenced.errors import ConfigError
from presenced.node.node import Node
from presenced.node.service import PresenceService
from presenced.runtime.clock import Clock
from presenced.runtime.logs import logger
from presenced.version import __version__

try:
    from presenced.cluster.redis.backend import RedisBackend
    from presenced.cluster.redis.discovery import parse_url
except ImportError as error:
    raise ConfigError(NO_LIBRARY) from error


class ClusterNode:
    """Node of a cluster, from its start to its stop."""

    def __init__(self, cluster: Cluster, backend: RedisBackend, node: Node) -> None:
        self.cluster = cluster
        self._node = node
        self._backend = backend
        self._ready = asyncio.Event()
        cluster.on_ready = self._ready.set

    async def join(self) -> None:
        """Join the other nodes, and wait until everything is loaded. If the store is out of reach, wait for it.

        Raises:
            BackendError: The store cannot be used: wrong password, version, or permissions.
        """
        missing = await self._backend.check()
        if missing:
            logger.warning("waiting for the store: %s", missing, extra={"event": "cluster_waits"})
        self.cluster.start()
        await self._ready.wait()
        if missing:
            logger.warning("the store is in reach, and this node has joined", extra={"event": "cluster_joined"})

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

    def figures() -> Figures:
        return Figures(
            version=__version__,
            connections=len(node.connections),
            users=node.directory.users.connected_users,
            stored_n=storage.stored_n if storage is not None else 0,
            stores=storage is not None and storage.is_storing,
            stored_as=storage.stored_as if storage is not None else "",
        )

    publisher = ErasingPublisher(node.publisher, service.erase_past)
    cluster = Cluster(
        name=settings.node or f"{socket.gethostname()[:58]}:{settings.port}",
        lease_s=settings.cluster_lease,
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
    )
    node.peers = cluster
    cluster.on_drain = _terminate
    ClusterCommands(cluster, backend, publisher, node, service)
    cluster.on_certainty = node.certainty_changed
    if storage is not None:
        join_history(cluster, backend, storage, node)
    return ClusterNode(cluster, backend, node)


class _Log:
    """The log of the cluster (`SharedLog`)."""

    def __init__(self, cluster: Cluster, backend: Backend) -> None:
        self._cluster = cluster
        self.read_log = backend.read_log

    def applied(self, shard: int) -> int:
        """Return the number of the entry of the log that was applied last; 0 if there is none."""
        applied = self._cluster.replicas[shard].applied
        return applied.n if applied is not None else 0

    def continue_above(self, number: int) -> None:
        """Have the store give only numbers above this one, because the database has numbers up to it."""
        for replica in self._cluster.replicas:
            replica.floor = max(replica.floor, number)


def join_history(cluster: Cluster, backend: Backend, storage: SharedWriteBehind, node: Node) -> None:
    """Have the node store what the cluster reports."""
    storage.join(_Log(cluster, backend), backend.shards)
    cluster.history = storage
    cluster.on_rejoined = lambda: storage.reopen_later(lambda: node.connections.by_serial.values())


def _backend(settings: Settings, metrics: ClusterMetrics) -> RedisBackend:
    url = parse_url(settings.backend, settings.backend_password.get_secret_value())
    return RedisBackend(
        url.finder(),
        url.access,
        cluster_name=settings.cluster_name,
        shards=url.default_shards,
        on_round_trip=metrics.store_rtt_seconds.observe,
    )


def _terminate() -> None:
    """Stop this process as a service manager does."""
    os.kill(os.getpid(), signal.SIGTERM)
