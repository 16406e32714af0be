"""What a node knows of a shard."""

from __future__ import annotations

from presenced.cluster.backend import Committed, Entry, Kind
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.replica.replica import ShardReplica, When
from presenced.presence.journal import Journal
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

WHEN = When(0.0, Instant(0.0, 0))


def test_a_number_counts_as_shown_only_when_the_log_has_been_read_up_to_it() -> None:
    """A reply to a commit may overtake earlier entries. The record of an unknown user must have a lower version."""
    shard = ShardReplica(SharedDirectory[str](Grace(0, 0), Limits(1000, 60, 10), Journal(100)), 15)
    shard.registered(3)
    shard.begin_load(WHEN)
    shard.loaded(None, 0, WHEN)
    shard.read_up_to(0, WHEN)
    shard.committed(Committed(1, 10, (), 0))
    assert (shard.floor, shard.shown_up_to) == (10, 0)
    shard.apply(Entry(9, 4, "other", 1, Kind.MARK, ()), WHEN)
    assert (shard.floor, shard.shown_up_to) == (10, 9)
    shard.read_up_to(12, WHEN)
    assert (shard.floor, shard.shown_up_to) == (12, 12)
