"""Several nodes in one process, on a fake clock and a store in memory, with clients that have no sockets."""

from __future__ import annotations

from typing import Any, cast

from msgspec.structs import replace
from tests.support.cluster_storage import FakeClusterWorker, FakeDatabase
from tests.support.fakes import FakeConnection
from tests.support.node_harness import NodeHarness

from presenced.auth.tickets import Tickets
from presenced.cluster.cluster import Cluster
from presenced.cluster.commands.commands import ClusterCommands
from presenced.cluster.commands.erasing_publisher import ErasingPublisher
from presenced.cluster.common_settings import figures_from
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.factory import join_history
from presenced.cluster.history.write_behind import SharedWriteBehind
from presenced.cluster.members import Figures
from presenced.cluster.memory.hub import MemoryHub
from presenced.cluster.metrics import ClusterMetrics
from presenced.cluster.names import SharedNames
from presenced.cluster.notices import Notices
from presenced.delivery.connection import Connection
from presenced.testing import FakeClock

LEASE_S = 15.0


class ClusterNode(NodeHarness):
    """One node of a cluster.

    Args:
        name: Name of its link to the store.
        called: Name that the other nodes see; empty for the same.
    """

    def __init__(
        self,
        name: str,
        hub: MemoryHub,
        clock: FakeClock,
        worker: FakeClusterWorker | None = None,
        called: str = "",
        **settings: Any,
    ) -> None:
        parts = {
            "directory_class": SharedDirectory,
            "names_class": SharedNames,
            "storage_class": SharedWriteBehind,
            "storage_worker": worker,
        }
        authenticator = Tickets(settings.get("api_keys", ())) if settings.get("auth") == "ticket" else None
        super().__init__(authenticator, clock=clock, parts=parts, **settings)
        self.name = name
        self.worker = worker
        self.backend = hub.backend(name)
        self._own = figures_from(self.node.settings)
        publisher = ErasingPublisher(self.node.publisher, self.service.erase_past)
        self.cluster = Cluster(
            lease_s=LEASE_S,
            settling_s=self.node.settings.settling,
            clock=clock,
            timer=self.node.timer,
            backend=self.backend,
            directory=cast("SharedDirectory[Connection]", self.node.directory),
            publisher=publisher,
            names=cast("SharedNames", self.node.encoder.names),
            figures=self._figures,
            resume_window=self.node.settings.resume_window,
            log_age=self.node.settings.log_age,
            metrics=ClusterMetrics(self.node.metrics),
            notices=Notices(called or name, "presenced", self._own),
        )
        self.node.peers = self.cluster
        if worker is not None:
            worker.write_behind = self.storage
            join_history(self.cluster, self.backend, self.storage, self.node)
            self.storage.start_above(0)
            self.storage.finish_restore(0)
        ClusterCommands(self.cluster, self.backend, publisher, self.node, self.service)
        self.cluster.on_certainty = self.node.certainty_changed
        self.cluster.start()

    @property
    def storage(self) -> SharedWriteBehind:
        """The write-behind."""
        assert isinstance(self.node.storage, SharedWriteBehind)
        return self.node.storage

    def _figures(self) -> Figures:
        if self.worker is None:
            return self._own
        storage = self.storage
        return replace(
            self._own, stored_n=storage.stored_n, has_database=storage.is_storing, stored_epoch=storage.stored_epoch
        )

    def kill(self) -> None:
        """End as with `kill -9`: nothing is sent or committed any more."""
        self.backend.kill()
        self.cluster.stop()
        self.node.timer.stop()
        if self.worker is not None:
            self.worker.is_dead = True

    def watch(self, *users: str, everyone: bool = False) -> FakeConnection:
        """Connect a client that watches these users, and read the first messages."""
        client = self.enter("userId=watcher&watch=none")
        self.send(client, "WATCH", id=1, users=list(users), everyone=everyone)
        return client


class ClusterHarness:
    """A store, and nodes that share it.

    Args:
        names: Names of the nodes, one character each.
        stores: Whether the nodes share a database, too.
    """

    def __init__(self, names: str = "ab", stores: bool = False, shards: int = 1, **settings: Any) -> None:
        self.clock = FakeClock()
        self.database = FakeDatabase() if stores else None
        self._starts = 0
        self.hub = MemoryHub(self.clock, shards=shards)
        self._settings = settings
        self.nodes = {name: self.start(name) for name in names}
        self.run(0.1)

    def start(self, name: str) -> ClusterNode:
        """Start a node."""
        self._starts += 1
        worker = None
        if self.database is not None:
            worker = FakeClusterWorker(self.database, self.clock, f"start{self._starts}")
        return ClusterNode(name, self.hub, self.clock, worker, **self._settings)

    def run(self, seconds: float = 0.05, step: float = 0.001) -> None:
        """Let time pass."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.clock.advance(min(step, end - self.clock.monotonic()))

    def restart(self, name: str) -> ClusterNode:
        """Start a node in place of another one, or a further one."""
        self.nodes[name] = self.start(name)
        self.run(3, step=0.05)
        return self.nodes[name]

    def statuses(self, user_id: str) -> dict[str, Any]:
        """Return the status of a user on each node."""
        return {name: node.node.directory.users.status(user_id).value for name, node in self.nodes.items()}
