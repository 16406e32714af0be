"""The other nodes: which are alive, which are dead, and which node removes a dead one. Pure, without a clock.

A node increments its heartbeat counter every fifth of the *lease*. All other nodes watch the counter. If it stays the
same for the lease, they declare the node dead. The store accepts the first of them, which becomes the *remover*.

Time is *contact time*: each look at the store advances it by at most `MAX_STEP_S`, and only while reads succeed.
Otherwise a node that was frozen, or had no contact, would declare live nodes dead.

    look   look   look                                    look   look
     |--1 s--|--1 s--|--- frozen for an hour: counts as 1 s ---|--1 s--|      contact time: 4 s

No clock of another machine is involved, and nothing expires in the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple

from msgspec import DecodeError, Struct, msgpack

from presenced.cluster.backend import Member, State
from presenced.cluster.replica.digest import Checkpoint

MAX_STEP_S = 1.0
"""Maximum number of seconds that one look adds to the contact time."""

HEARTBEATS_PER_LEASE = 5
"""Number of heartbeats that a node sends in the time of one lease."""


class Figures(Struct, frozen=True, array_like=True):
    """Figures that a node reports about itself with its heartbeat."""

    release: str = ""
    """Release of the software."""
    connections: int = 0
    """Number of open connections."""
    users: int = 0
    """Number of users with a connection."""
    stored_n: int = 0
    """Number up to which its database has the log of shard 0; 0 if it is not the designated writer."""
    has_database: bool = False
    """Whether it has a working database. Only such a node may be a designated writer."""
    leave_grace_s: float = 0.0
    """Seconds that the users of a leaving node have to return to other nodes; 0 for a node that does not leave."""
    stored_epoch: str = ""
    """Epoch of its rows in the database; empty without one."""
    started_ms: int = 0
    """When it started, in epoch milliseconds."""
    lag_s: float = 0.0
    """Seconds since it last reached the end of the log, in the shard that is furthest behind."""
    unsettled: int = 0
    """Number of unsettled users of the shard (`cluster.replica.lost_writes`)."""
    digests: tuple[Checkpoint, ...] = ()
    """Digests of its records in the shard (`cluster.replica.digest`)."""
    auth: str = ""
    """Its setting `auth`; empty if it is of a release that does not report it."""
    settings: tuple[int, ...] = ()
    """Digests of the settings that all nodes must have in common (`cluster.common_settings`)."""


_decoder = msgpack.Decoder(Figures)


class DutyKind(Enum):
    """Kind of an action that one node takes on another."""

    DECLARE_DEAD = "declare dead"
    REMOVE = "remove"


class Duty(NamedTuple):
    """Action that this node has to take on another."""

    kind: DutyKind
    member: Member


class _Sign(NamedTuple):
    """Last sign of life of a node."""

    incarnation: str
    heartbeat: int
    seen_at: float
    """Contact time of the first look that saw it."""
    has_risen: bool
    """Whether the counter has risen since the first look. A counter alone proves nothing: a node that was killed before
    the first look still has one."""


class Members:
    """The registered nodes in one shard, as this node sees them.

    Bounds: one entry for each slot, so `MAX_SLOTS`.

    Args:
        lease_s: Seconds of contact time without a heartbeat after which a node is declared dead.
        settling_s: The same, if it is longer, for nodes of which this one has seen nothing but an old heartbeat since
            its start. If all nodes have stopped, their users have this time to return.
    """

    def __init__(self, lease_s: float, settling_s: float = 0.0) -> None:
        self._lease_s = lease_s
        self._settling_s = settling_s
        self.incarnation = ""
        """Incarnation of this node; empty before it has registered."""
        self.contact = 0.0
        """Contact time in seconds."""
        self.members: tuple[Member, ...] = ()
        self._looked_at: float | None = None
        self._signs: dict[int, _Sign] = {}
        self._never_heard: set[str] | None = None
        """Incarnations that this node found at its start, and has not heard of since; None before it looked."""

    def look(self, now: float) -> None:
        """Record that a read has succeeded at `now` (monotonic seconds)."""
        if self._looked_at is not None:
            self.contact += min(MAX_STEP_S, max(0.0, now - self._looked_at))
        self._looked_at = now

    def lost(self) -> None:
        """Record that reads fail, and forget the signs of life. The silence of all nodes begins with the next look."""
        self._looked_at = None
        self._signs.clear()

    def observe(self, members: Iterable[Member]) -> list[Duty]:
        """Take the registered nodes, as read just now, and return what this node has to do."""
        self.members = tuple(members)
        if self._never_heard is None:
            self._never_heard = {member.incarnation for member in self.members}
        self._signs = {slot: sign for slot, sign in self._signs.items() if any(m.slot == slot for m in self.members)}
        duties = []
        alive = {one.incarnation for one in self.members if one.state not in (State.DEAD, State.LEAVING)}
        for member in self.members:
            if member.incarnation == self.incarnation:
                continue
            if member.state is State.DEAD and member.remover == self.incarnation:
                duties.append(Duty(DutyKind.REMOVE, member))
            # If the remover of a dead node is gone as well, the dead node needs another one.
            elif self._record_heartbeat(member) and (member.state is not State.DEAD or member.remover not in alive):
                duties.append(Duty(DutyKind.DECLARE_DEAD, member))
        return duties

    def is_silent(self, slot: int) -> bool:
        """Return whether two heartbeats of a node are late. It may be dead. False if no heartbeat was seen yet."""
        sign = self._signs.get(slot)
        return sign is not None and self.contact - sign.seen_at > 2 * self._lease_s / HEARTBEATS_PER_LEASE

    def heartbeat_has_risen(self, member: Member) -> bool:
        """Return whether this node has seen the heartbeat counter of another one rise."""
        sign = self._signs.get(member.slot)
        return sign is not None and sign.incarnation == member.incarnation and sign.has_risen

    def _record_heartbeat(self, member: Member) -> bool:
        """Record the node's heartbeat, if it is new. Return whether the node has been silent for too long."""
        sign = self._signs.get(member.slot)
        if sign is None or (sign.incarnation, sign.heartbeat) != (member.incarnation, member.heartbeat):
            has_risen = sign is not None and sign.incarnation == member.incarnation
            if has_risen and self._never_heard is not None:
                self._never_heard.discard(member.incarnation)
            self._signs[member.slot] = _Sign(member.incarnation, member.heartbeat, self.contact, has_risen)
            return False
        return self.contact - sign.seen_at >= self._max_silence_s(member)

    def _max_silence_s(self, member: Member) -> float:
        """Return the seconds of silence after which a node is declared dead.

        For a leaving node, this is the time that it has announced for its users to return. Its last heartbeat may be
        the one with the announcement, and its users must not go offline before that time has passed. If this release
        cannot decode the announcement, the lease applies.
        """
        announced_s = figures_of(member).leave_grace_s if member.state is State.LEAVING else 0.0
        is_unheard = self._never_heard is not None and member.incarnation in self._never_heard
        return max(announced_s or self._lease_s, self._settling_s if is_unheard else 0.0)


def figures_of(member: Member) -> Figures:
    """Return the figures of a node; the defaults if this release cannot decode them."""
    try:
        return _decoder.decode(member.figures) if member.figures else Figures()
    except DecodeError:
        return Figures()


def writer_of(shard: int, members: Iterable[tuple[Member, Figures]]) -> Member | None:
    """Return the designated writer of a shard: the node that writes its history and creates its webhooks.

    It is the ready node with a working database that has the highest rendezvous hash. If a node comes or goes, only its
    own shards change their writer.
    """
    return _highest(shard, [member for member, figures in members if figures.has_database])


def expirer_of(shard: int, members: Iterable[tuple[Member, Figures]]) -> Member | None:
    """Return the node that ends expired choices and claims of absent users: the designated writer.

    If no node has a database, it is the ready node with the highest rendezvous hash.
    """
    known = list(members)
    return writer_of(shard, known) or _highest(shard, [member for member, _ in known])


def _highest(shard: int, members: Iterable[Member]) -> Member | None:
    def rank(member: Member) -> bytes:
        return blake2b(f"{shard}:{member.incarnation}".encode(), digest_size=8).digest()

    return max((member for member in members if member.state is State.READY), key=rank, default=None)
