"""Broken rules of the cluster: each of them is one that the design needs, taken out of the code.

`python -m tests.simulation.mutations --seeds 50` shows for each the first seed whose world fails. A rule that can be
taken out unnoticed is not needed, or the simulation lacks something.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.simulation.node_world import NodeWorld

from presenced.cluster.cluster import Cluster
from presenced.cluster.marks import Marks
from presenced.cluster.members import Members
from presenced.cluster.memory import store as memory_store
from presenced.cluster.memory.store import MemoryShard
from presenced.cluster.records import UserRecord
from presenced.cluster.replica.lost_writes import LostWrites
from presenced.cluster.replica.replica import ShardReplica
from presenced.cluster.stamps import StampTable

Patch = tuple[object, str, Any]


def _accept_everything(shard: Any, *arguments: Any) -> Any:
    """Commit as if all proposals had expected the right number."""
    *first, batch, now_ms = arguments
    users = shard.users
    proposals = tuple(
        proposal._replace(expected=users[proposal.user_id].n if proposal.user_id in users else 0)
        for proposal in batch.proposals
    )
    return _commit(shard, *first, batch._replace(proposals=proposals), now_ms)


_commit: Any = MemoryShard.commit


def _always_accept(replica: ShardReplica, user_id: str, new: Any, when: Any, is_kept: bool = True) -> None:
    """Show each record that is read, also an older one than what is shown."""
    shown = replica._presence.shown(user_id)
    _set_record(replica, user_id, new._replace(version=max(new.version, shown.version + 1)), when, is_kept)


_set_record = ShardReplica._set_record


def _look_at_all_times(members: Members, now: float) -> None:
    """Count the time in which this node was frozen, or had no contact."""
    if members._looked_at is not None:
        members.contact += now - members._looked_at
    members._looked_at = now


MUTATIONS: dict[str, tuple[Patch, ...]] = {
    "no comparison": ((MemoryShard, "commit", _accept_everything),),
    "no verification": ((ShardReplica, "verify", lambda replica: replica._outbox.read_all()),),
    "versions not compared": ((ShardReplica, "_set_record", _always_accept),),
    "serving before loading": ((Cluster, "is_ready", property(lambda _: True)),),
    "no continuity check": (
        (MemoryShard, "continues", lambda *_: True),
        (memory_store, "next_position", lambda position, found: position),
    ),
    "frozen time counted": ((Members, "look", _look_at_all_times), (Members, "lost", lambda _: None)),
    "nothing retained": ((LostWrites, "retain", lambda *_: None),),
    "unsettled users committed at once": ((LostWrites, "has_waited", lambda *_: True),),
    "cleared decisions forgotten": (
        (UserRecord, "is_kept", property(lambda record: record.view.status.value != "offline" or record.is_set)),
        (StampTable, "of_evicted", lambda *_: None),
        (StampTable, "recall", lambda *_: None),
    ),
    "marks are not translated down": ((Marks, "translate", lambda marks, home, position, to: _newest(marks, to)),),
}
"""Names of the broken rules, with what replaces the code."""


def _newest(marks: Marks, home: str) -> int | None:
    found = marks._by_node.get(home)
    return found[-1].position if found else None


@contextmanager
def mutated(patches: tuple[Patch, ...]) -> Iterator[None]:
    """Replace code while a block runs."""
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in patches]
    for owner, name, value in patches:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def first_failure(
    patches: tuple[Patch, ...], seeds: range, world: Callable[[int], NodeWorld] = NodeWorld
) -> int | None:
    """Return the first seed whose world fails with the broken rule; None if all worlds hold."""
    with mutated(patches):
        for seed in seeds:
            try:
                world(seed).run()
            except Exception:
                return seed
    return None


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Show that the simulation finds broken rules.")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("names", nargs="*", default=list(MUTATIONS))
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    missed = 0
    for name in arguments.names:
        found = first_failure(MUTATIONS[name], range(arguments.first, arguments.first + arguments.seeds))
        missed += found is None
        sys.stdout.write(f"{name}: {'not found' if found is None else f'seed {found}'}\n")
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
