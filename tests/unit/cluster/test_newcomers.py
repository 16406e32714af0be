"""How long a node counts on clients of other nodes that may know more than it does."""

from __future__ import annotations

import pytest

from presenced.cluster.backend import Registration
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.node_shard import NodeShard
from presenced.cluster.replica.lost_writes import RECOVERY_S
from presenced.delivery.connection import Connection
from presenced.presence.journal import Journal
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

LEASE_S = 15.0


class ReadingShard:
    """A shard that a node reads once a second."""

    def __init__(self) -> None:
        directory = SharedDirectory[Connection](Grace(0, 0), Limits(1000, 60, 10), Journal(100))
        self.shard = NodeShard(directory, LEASE_S, 0, 1)
        self.seconds = 0.0
        self.shard.registered(Registration(3, "incarnation", 0, 1, "epoch"))
        self.shard.begin_load(self.now())
        self.shard.replica.loaded(None, 0, self.shard.when(self.now()))
        self.read(1)

    def now(self) -> Instant:
        return Instant(self.seconds, int(1000 * self.seconds))

    def read(self, times: int) -> None:
        for _ in range(times):
            self.seconds += 1
            self.shard.reached(self.seconds)
            self.shard.caught_up(0, self.now())


def test_after_a_read_this_node_knows_what_another_one_knew_before() -> None:
    reader = ReadingShard()
    at = reader.seconds
    assert not reader.shard.has_all_since(at)
    reader.read(1)
    assert reader.shard.has_all_since(at)


@pytest.mark.parametrize(("generation", "seconds"), [(1, 0), (2, int(LEASE_S + RECOVERY_S))])
def test_after_lost_writes_the_nodes_have_their_time_to_commit_them_again(generation: int, seconds: int) -> None:
    """Until then this node lacks what another node has read, and a client that came from there knows.

    If only the connection was lost, the generation is the same, and one read is enough.
    """
    reader = ReadingShard()
    reader.shard.lost(reader.seconds)
    reader.shard.reconnected(generation)
    at = reader.seconds
    reader.read(seconds)
    assert not reader.shard.has_all_since(at)
    reader.read(2)
    assert reader.shard.has_all_since(at)
