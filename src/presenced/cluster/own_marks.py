"""The position marks that this node logs, and where clients of other nodes continue on this one (`cluster.marks`).

Some changes on this node are visible here before the other nodes know of them: members of rooms always, and users
while the store is out of reach. These changes have a position, but no number in the log yet. A client that comes from
another node may lack them, even if it has everything in the log. So this node remembers its own marks with the position
before the first change that has not been read back:

    position   ... 340    341    342    343            a mark is due
    change         read   room   read   room           the one at 341 has not been read back:
                                                       logged: 343, kept for translations: 340
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from msgspec.structs import replace

from presenced.cluster.marks import Mark, Marks
from presenced.cluster.names import SharedNames
from presenced.cluster.node_shard import NodeShard
from presenced.cluster.sharding import shard_of
from presenced.presence.journal import Cursor, Journal

NEVER = Cursor(2**62)
"""Cursor that no client reaches."""


class OwnMarks:
    """The marks of this node.

    Bounds: the users with a change on this node that has not been read back.
    """

    def __init__(self, marks: Marks, names: SharedNames, journal: Journal, shards: Sequence[NodeShard]) -> None:
        self._marks = marks
        self._names = names
        self._journal = journal
        self._shards = shards
        self._last = Mark("", -1, ())
        self._logged_at = -inf
        self._known: frozenset[str] = frozenset()  # incarnations of the nodes that were ready at the last mark
        self._before: dict[str, int] = {}  # position before the first change of a user that was not read back
        self._is_agreed = True
        # Monotonic time at which the last client came from another node; None once everything from before was read.
        self._arrived_at: float | None = None
        self._agreed_from = 0
        self._has_lost = False  # the store may have lost changes that are visible here, until all were read back

    def changed(self, user_id: str) -> None:
        """Record that something about a user is about to change on this node."""
        self._before.setdefault(user_id, self._journal.position)

    def lost(self) -> None:
        """Record that the store may have lost changes that are visible here. Clients of other nodes lack them, too."""
        self._marks.forget(self._names.home)
        self._has_lost = True

    def published(self) -> None:
        """Record whether everything that was published is what the nodes have agreed on."""
        is_agreed = not any(one.stale_since_ms or one.replica.unsettled or one.replica.retained for one in self._shards)
        if is_agreed and not self._is_agreed:
            self._agreed_from = self._journal.position
        self._is_agreed = is_agreed
        at = self._arrived_at
        if is_agreed and at is not None and all(shard.has_all_since(at) for shard in self._shards):
            self._arrived_at = None

    def arrived(self, now: float) -> None:
        """Record that a client has come from another node, perhaps with changes that this node has not read yet."""
        self._arrived_at = now

    @property
    def has_newcomers(self) -> bool:
        """Whether a client has come from another node, perhaps with changes that this node has not read yet."""
        return self._arrived_at is not None

    @property
    def agreed_from(self) -> Cursor:
        """Cursor from which on clients know only what the nodes have agreed on.

        A client with an earlier cursor may have received something that this node has corrected since. If the client
        moves to another node, that node has nothing to correct, so the client must receive everything again.
        """
        return Cursor(self._agreed_from) if self._is_agreed else NEVER

    def due(self, ready: frozenset[str], now: float) -> Mark | None:
        """Return the mark to log now: if the node has moved, another node has joined, or the last mark is old.

        Args:
            ready: Incarnations of the nodes that have loaded everything.
        """
        position, home = self._journal.position, self._names.home
        is_due = now - self._logged_at >= self._marks.gap_s or not ready <= self._known
        if position == self._last.position and home == self._last.home and not is_due:
            return None
        applied = (shard.replica.applied for shard in self._shards)
        return Mark(home, position, tuple(key.n for key in applied if key is not None))

    def logged(self, mark: Mark, ready: frozenset[str], now: float) -> None:
        """Record that a mark is being logged."""
        self._last, self._logged_at, self._known = mark, now, ready
        unread = [shard.replica.unread_users() for shard in self._shards]
        self._before = {user: at for user, at in self._before.items() if user in unread[shard_of(user, len(unread))]}
        if self._has_lost and (any(unread) or any(shard.must_verify for shard in self._shards)):
            return
        self._has_lost = False
        changed_at = tuple(shard.replica.changed_at for shard in self._shards)
        position = min([mark.position, *self._before.values()])
        self._marks.add(replace(mark, position=position, applied=changed_at), now)
