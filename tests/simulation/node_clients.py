"""Clients of several nodes, which reconnect to other nodes, and a clock of a node that may be frozen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tests.support.cluster_harness import ClusterNode
from tests.support.fakes import FakeConnection
from tests.support.v1_replica import V1Replica

from presenced.errors import Close
from presenced.presence.model import Ending
from presenced.runtime.clock import Action
from presenced.runtime.instant import Instant
from presenced.testing import FakeClock
from presenced.testing.clock import _Entry as Entry

STEADY = "steady"
"""User who is connected to the first node throughout."""

GHOST_S = 10.0
"""Seconds until a node notices that a client has gone without a word: its heartbeat, in short."""


class NodeClock(FakeClock):
    """The clock of the world, as one node sees it: a frozen node does nothing until it is thawed."""

    def __init__(self, world: FakeClock) -> None:
        super().__init__()
        self._world = world
        self._frozen: list[Action] | None = None

    @property
    def is_frozen(self) -> bool:
        """Whether the node is frozen."""
        return self._frozen is not None

    def freeze(self) -> None:
        """Suspend the node."""
        self._frozen = []

    def thaw(self) -> None:
        """End `freeze`: do everything that has become due."""
        waiting, self._frozen = self._frozen or [], None
        for action in waiting:
            self.call_soon(action)

    def monotonic(self) -> float:
        return self._world.monotonic()

    def now(self) -> Instant:
        return self._world.now()

    def call_soon(self, action: Action) -> None:
        self._world.call_soon(lambda: self._run(action))

    def call_at(self, at: float, action: Action) -> Entry:
        return self._world.call_at(at, lambda: self._run(action))

    def run_soon(self) -> None:
        self._world.run_soon()

    def _run(self, action: Action) -> None:
        if self._frozen is None:
            action()
        else:
            self._frozen.append(action)


class SimulatedNode(ClusterNode):
    """A node that may be frozen."""

    clock: NodeClock

    @property
    def is_frozen(self) -> bool:
        """Whether it is frozen."""
        return self.clock.is_frozen

    @property
    def takes_connections(self) -> bool:
        """Whether a load balancer sends clients to it."""
        return self.cluster.is_ready and not self.is_frozen and not self.node.is_draining

    def has_committed(self, user_ids: Iterable[str]) -> bool:
        """Return whether all nodes have what was decided on this one."""
        if self.cluster.is_local or not self.cluster.is_in_reach or not self.cluster.is_ready:
            return False
        return not any(self.cluster.replica_of(user_id).pending([user_id]) for user_id in user_ids)

    def freeze(self) -> None:
        """Suspend the node, as SIGSTOP does."""
        self.clock.freeze()
        self.backend.freeze()

    def thaw(self) -> None:
        """End `freeze`."""
        self.clock.thaw()
        self.backend.thaw()


class SimulatedClient:
    """One client instance. It watches everyone. If it loses its connection, it resumes its session on some node.

    Args:
        watches: Users that it watches by id; none to watch everyone without naming anyone.
    """

    def __init__(self, node: SimulatedNode, user_id: str, device: str, watches: Sequence[str] = ()) -> None:
        self.user_id = user_id
        self.device = device
        self.rooms: dict[str, Any] = {}
        """Data of the rooms that it is in."""
        self.replica = V1Replica()
        self.returns_at: float | None = None
        """Monotonic time at which it reconnects; None while it has a connection."""
        self.resumed = 0
        """Number of times that it has resumed its session."""
        self._watches = watches
        self._is_new = False  # it has a new session, which does not know yet what it watches and joins
        self._connect(node, "")

    def _connect(self, node: SimulatedNode, more: str) -> None:
        self.node = node
        self.returns_at = None
        self._taken = 0
        self._is_established = False
        watch = "&watch=none" if self._watches else ""
        self.connection = node.open(f"userId={self.user_id}&device={self.device}{watch}{more}")

    @property
    def name(self) -> str:
        """Name in messages of failed checks."""
        return f"{self.user_id} on {self.node.name}"

    @property
    def is_open(self) -> bool:
        """Whether its connection is open."""
        return self.returns_at is None and self.connection.closed_with is None

    @property
    def is_behind(self) -> bool:
        """Whether it was closed because it did not read."""
        closed = self.connection.closed_with
        return self.returns_at is None and closed is not None and closed[0] is Close.FELL_BEHIND

    @property
    def reads(self) -> bool:
        """Whether it reads what the server sends."""
        return not self.connection.paused

    @property
    def can_send(self) -> bool:
        """Whether it may send a request now."""
        return self.is_open and self.reads and self._is_established and not self.node.is_frozen

    def send(self, type_: str, **fields: object) -> None:
        """Send a request."""
        self.node.send(self.connection, type_, **fields)

    def pause(self) -> None:
        """Read nothing for a while."""
        self.connection.paused = True
        self.node.node.paused(self.connection)

    def resume(self) -> None:
        """Read again."""
        if self.is_open and not self.reads:
            self.connection.paused = False
            self.node.node.resumed(self.connection)

    def lose(self, at: float, clock: FakeClock, is_noticed: bool) -> None:
        """Lose the connection, and reconnect at a time.

        Args:
            is_noticed: The node notices the loss at once.
        """
        self.returns_at = at
        node, connection = self.node, self.connection
        if is_noticed:
            node.end(connection, Ending.LOST)
        else:
            clock.call_at(clock.monotonic() + GHOST_S, lambda: _time_out(node, connection))

    def come_back(self, node: SimulatedNode) -> None:
        """Reconnect to a node, with the session and the last position."""
        session, position = self.replica.session_id, self.replica.position
        self._connect(node, f"&session={session}&position={position}" if session else "")

    def read(self) -> None:
        """Apply what has arrived. Watch and join again what a new session does not know."""
        for message in self.connection.messages[self._taken :]:
            self._check(message)
            self.replica.take(message)
            if message["type"] == "CONNECTION_ESTABLISHED":
                self._is_established = True
                self.resumed += self.replica.resumed
                self._is_new = self._is_new or not self.replica.resumed
        self._taken = len(self.connection.messages)
        if self._is_new and self.can_send:
            self._is_new = False
            if self._watches:
                self.send("WATCH", id=1, users=list(self._watches))
            for room, data in self.rooms.items():
                self.send("JOIN", id=1, room=room, data=data)

    def _check(self, message: dict[str, Any]) -> None:
        for record in message.get("users", ()):
            is_steady = record["userId"] == STEADY and self.user_id != STEADY
            assert not (is_steady and record["status"] == "offline"), f"{self.user_id} is told that {STEADY} is gone"


def _time_out(node: SimulatedNode, connection: FakeConnection) -> None:
    if connection.closed_with is None and not node.backend.is_stopped:
        connection.answers = False
        node.node.closed(connection, Ending.TIMED_OUT, "timed_out")
