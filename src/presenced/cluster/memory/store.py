"""Shard of the store in memory: the scripts of `cluster/redis/lua`, as methods.

Each method is atomic, as a script is. Every write is recorded in `Undo`, so that a test can take back the last ones, as
a failover does.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from presenced.cluster.backend import (
    LOST_WRITES_JUMP,
    MAX_SLOTS,
    Applicant,
    CommitBatch,
    Committed,
    ContributionUpdate,
    Counts,
    Entry,
    Excerpt,
    Item,
    Kind,
    Member,
    Proposal,
    Registration,
    State,
    StoreRecord,
)
from presenced.cluster.log import LastKnown, LoggedEntry, Position, next_position

K = TypeVar("K")
V = TypeVar("V")

LOSABLE_WRITES = 64
"""Number of newest writes that `Undo.take_back` can reach."""


class Fenced(Exception):
    """The caller's incarnation may not write."""


class Waiting(Exception):
    """The caller cannot register yet. Its former incarnation is still being removed, or its slot is taken."""


class NoFreeSlot(Exception):
    """All slots are taken."""


class ShardHead(NamedTuple):
    """State of a shard apart from its users and nodes."""

    n: int
    """Highest number of the shard so far."""
    generation: int
    """Number of times that the store may have lost writes."""
    run_id: int
    """Id of the store's process that wrote last."""
    epoch: str
    """As in `Registration`."""
    registrations: int = 0
    """Number of registrations so far."""
    last: int = 0
    """Number of the last entry of the log, even if that was trimmed."""


class Undo:
    """Newest writes, each as the actions that take it back.

    Bounds: `LOSABLE_WRITES`.
    """

    def __init__(self) -> None:
        self._writes: deque[list[Callable[[], None]]] = deque(maxlen=LOSABLE_WRITES)
        self.count = 0
        """Number of writes so far."""

    @contextmanager
    def write(self) -> Iterator[list[Callable[[], None]]]:
        """Collect the actions that take one write back."""
        actions: list[Callable[[], None]] = []
        try:
            yield actions
        finally:  # a refused registration may have set the head, too
            if actions:
                self._writes.append(actions)
                self.count += 1

    def take_back(self, count: int) -> None:
        """Take the newest writes back, as far as they are remembered, and forget all others."""
        for _ in range(min(count, len(self._writes))):
            for action in reversed(self._writes.pop()):
                action()
        self._writes.clear()


class MemoryShard:
    """One shard of the store."""

    def __init__(self, undo: Undo, log_items: int) -> None:
        self.head: ShardHead | None = None
        self.users: dict[str, StoreRecord] = {}
        self.sessions: dict[tuple[int, str], bytes] = {}
        """Contributions: the sessions of a user on a node, by slot and user."""
        self.rooms: dict[tuple[int, str], bytes] = {}
        self.nodes: dict[int, Member] = {}
        self.log: list[LoggedEntry] = []
        self._undo = undo
        self._log_items = log_items
        self._logged_items = 0  # items in the log; numbers of entries cannot count them, because they jump

    # Scripts.

    def register(
        self, applicant: Applicant, exact: bool, run_id: int, known: LastKnown, nonce: str
    ) -> tuple[Registration, bool]:
        """Register the applicant. Return the registration, and whether the applicant keeps its incarnation.

        Args:
            exact: Whether only the preferred slot is accepted.
            run_id: Id of the store's process. If another process wrote last, writes may have been lost.
            nonce: Makes the incarnation unique, and is the epoch of a new cluster.

        Raises:
            Waiting: The applicant's former incarnation is being removed, or the slot is taken.
            NoFreeSlot: All slots are taken.
        """
        with self._undo.write() as undo:
            head = self._current_head(undo, run_id, known, nonce)
            for earlier in self.nodes.values():
                if earlier.incarnation.endswith(nonce):  # the reply to an earlier attempt was lost
                    return self._registration(undo, earlier, known), False
            member = self.nodes.get(applicant.slot)
            if applicant.incarnation and member and member.incarnation == applicant.incarnation:
                if member.state is State.DEAD:
                    raise Waiting
                return self._registration(undo, member, known), True
            slot = self._free_slot(applicant.slot, exact)
            head = self._set_head(undo, head._replace(registrations=head.registrations + 1))
            incarnation = f"{head.registrations:x}{nonce}"
            member = Member(slot, applicant.name, incarnation, 0, State.LOADING)
            self._put(undo, self.nodes, slot, member)
            return self._registration(undo, member, known), False

    def heartbeat(self, slot: int, incarnation: str, state: State, figures: bytes) -> None:
        """Increment the heartbeat counter."""
        with self._undo.write() as undo:
            member = self._live(slot, incarnation)
            member = member._replace(heartbeat=member.heartbeat + 1, state=state, figures=figures)
            self._put(undo, self.nodes, slot, member)

    def commit(
        self, slot: int, incarnation: str, run_id: int, known: LastKnown, batch: CommitBatch, now_ms: int
    ) -> Committed:
        """Accept the proposals whose expected number is that of the record."""
        with self._undo.write() as undo:
            self._live(slot, incarnation)
            head = self._current_head(undo, run_id, known, "")
            if 0 < batch.until_ms < now_ms:
                return Committed(batch.serial, head.n, (), now_ms, is_late=True)
            refused, items = [], []
            n = head.n
            for proposal in batch.proposals:
                stored = self.users.get(proposal.user_id)
                if (stored.n if stored else 0) != proposal.expected:
                    refused.append(proposal.user_id)
                    continue
                n += 1
                items.append(self._accept(undo, n, proposal, stored))
            if items or batch.kind is not Kind.ITEMS:
                n = n if items else n + 1
                head = head._replace(n=n)
                entry = Entry(n, slot, incarnation, batch.serial, batch.kind, tuple(items), batch.body)
                head = self._append(undo, head, entry)
            self._set_head(undo, head)
            return Committed(batch.serial, n, tuple(refused), now_ms)

    def counts(self, slot: int) -> Counts:
        """Return how many users have a record, and to how many the node in a slot contributes sessions and rooms."""
        sessions, rooms = (sum(key[0] == slot for key in table) for table in (self.sessions, self.rooms))
        return Counts(len(self.users), sessions, rooms)

    def declare_dead(self, slot: int, incarnation: str, target: Member) -> None:
        """Fence `target` if it is still as the caller saw it. The first caller becomes the remover."""
        with self._undo.write() as undo:
            self._live(slot, incarnation)
            member = self.nodes.get(target.slot)
            if member is None or (member.incarnation, member.heartbeat) != (target.incarnation, target.heartbeat):
                return
            if member.state is State.DEAD and self._can_remove(member.remover):
                return
            self._put(undo, self.nodes, target.slot, member._replace(state=State.DEAD, remover=incarnation))

    def remove(self, slot: int, incarnation: str, run_id: int, known: LastKnown, target: Member) -> None:
        """Remove a dead node with its contributions, if the caller is its remover."""
        with self._undo.write() as undo:
            self._live(slot, incarnation)
            member = self.nodes.get(target.slot)
            if member is None or (member.incarnation, member.remover) != (target.incarnation, incarnation):
                return
            head = self._current_head(undo, run_id, known, "")
            self._put(undo, self.nodes, target.slot, None)
            for table in (self.sessions, self.rooms):
                for key in [key for key in table if key[0] == target.slot]:
                    self._put(undo, table, key, None)
            head = head._replace(n=head.n + 1)
            body = f"{target.slot} {target.incarnation}".encode()
            entry = Entry(head.n, slot, incarnation, 0, Kind.REMOVED, (), body)
            self._set_head(undo, self._append(undo, head, entry))

    # Reading.

    @property
    def end(self) -> Position:
        """End of the log."""
        return Position(self.log[-1].entry.key if self.log else None, self.head.n if self.head else 0)

    def entries_after(self, position: Position, count: int) -> list[Entry] | None:
        """Return the next entries, up to `count`; None if entries after the position are missing."""
        start = bisect_right(self.log, position.last_n or position.n, key=_number)
        found = self.log[start : start + count]
        if next_position(position, found) is None:
            return None
        return [logged.entry for logged in found]

    def excerpt(self, after: int, count: int) -> Excerpt:
        """Return the first entries after a number, up to `count`."""
        start = bisect_right(self.log, after, key=_number)
        found = self.log[start : start + count]
        before = found[0].previous if found else self.head.last if self.head else 0
        return Excerpt(tuple(logged.entry for logged in found), before <= after)

    def continues(self, position: Position) -> bool:
        """Return whether the log still has the entry that the reader has read last.

        If the log was empty then, return whether nothing was trimmed since.
        """
        if position.last is None:
            return not self.log or (self.log[0].previous == 0 and self.log[0].entry.n > position.n)
        index = bisect_left(self.log, position.last.n, key=_number)
        return index < len(self.log) and self.log[index].entry.key == position.last

    def contributions(self) -> list[tuple[str, ContributionUpdate]]:
        """Return all contributions."""
        sessions = [
            (user_id, ContributionUpdate(slot, sessions=value)) for (slot, user_id), value in self.sessions.items()
        ]
        return sessions + [
            (user_id, ContributionUpdate(slot, rooms=value)) for (slot, user_id), value in self.rooms.items()
        ]

    # Steps.

    def _registration(self, undo: list[Callable[[], None]], member: Member, known: LastKnown) -> Registration:
        head = self.head
        assert head is not None, "checked by the caller"
        if known.epoch and (head.epoch != known.epoch or head.generation < known.generation):
            # The store had lost everything, and a node that did not know the cluster created the head, or a failover
            # took the head back to an earlier generation.
            head = self._set_head(undo, head._replace(generation=max(head.generation, known.generation) + 1))
        return Registration(member.slot, member.incarnation, head.n, head.generation, head.epoch)

    def _live(self, slot: int, incarnation: str) -> Member:
        """Return the node that calls a script.

        Raises:
            Fenced: Its incarnation may not write.
        """
        member = self.nodes.get(slot)
        if self.head is None or member is None or member.incarnation != incarnation or member.state is State.DEAD:
            raise Fenced
        return member

    def _can_remove(self, incarnation: str) -> bool:
        unable = State.DEAD, State.LEAVING
        return any(one.incarnation == incarnation and one.state not in unable for one in self.nodes.values())

    def _current_head(self, undo: list[Callable[[], None]], run_id: int, known: LastKnown, epoch: str) -> ShardHead:
        """Update the head and return it. Its number is at least the floor, and above everything that was lost."""
        head = self.head
        if head is None:
            n = known.floor + LOST_WRITES_JUMP if known.floor else 0
            head = ShardHead(n, known.generation + 1, run_id, known.epoch or epoch)
        elif head.run_id != run_id:
            n = max(head.n, known.floor) + LOST_WRITES_JUMP
            head = head._replace(n=n, generation=max(head.generation, known.generation) + 1, run_id=run_id)
        return self._set_head(undo, head._replace(n=max(head.n, known.floor)))

    def _free_slot(self, preferred: int, exact: bool) -> int:
        for offset in range(MAX_SLOTS):
            slot = (preferred + offset) % MAX_SLOTS
            if slot not in self.nodes:
                return slot
            if exact:
                raise Waiting
        raise NoFreeSlot

    def _accept(self, undo: list[Callable[[], None]], n: int, proposal: Proposal, stored: StoreRecord | None) -> Item:
        version = n if proposal.is_visible else stored.version if stored else 0
        user = StoreRecord(proposal.user_id, n, version, proposal.record) if proposal.is_kept else None
        self._put(undo, self.users, proposal.user_id, user)
        for update in proposal.contributions:
            for table, value in ((self.sessions, update.sessions), (self.rooms, update.rooms)):
                if value is not None:
                    self._put(undo, table, (update.slot, proposal.user_id), value or None)
        return Item(proposal.user_id, n, version, proposal.record, proposal.is_kept, proposal.contributions)

    def _append(self, undo: list[Callable[[], None]], head: ShardHead, entry: Entry) -> ShardHead:
        self.log.append(LoggedEntry(entry, head.last))
        self._logged_items += _size(entry)
        oldest = 0
        while self._logged_items - _size(self.log[oldest].entry) >= self._log_items:
            self._logged_items -= _size(self.log[oldest].entry)
            oldest += 1
        trimmed = self.log[:oldest]
        del self.log[:oldest]
        undo.append(lambda: self._take_entry_back(trimmed))
        return head._replace(last=entry.n)

    def _take_entry_back(self, trimmed: list[LoggedEntry]) -> None:
        """Take the newest entry back, and restore those that were trimmed when it was appended."""
        self._logged_items += sum(_size(logged.entry) for logged in trimmed) - _size(self.log.pop().entry)
        self.log[:0] = trimmed

    def _set_head(self, undo: list[Callable[[], None]], head: ShardHead) -> ShardHead:
        if head != self.head:
            undo.append(lambda before=self.head: setattr(self, "head", before))  # type: ignore[misc]  # the default binds it now
            self.head = head
        return head

    @staticmethod
    def _put(undo: list[Callable[[], None]], mapping: dict[K, V], key: K, value: V | None) -> None:
        """Set the value, or delete the key if the value is None."""
        before = mapping.get(key)
        undo.append(lambda: _restore(mapping, key, before))
        _restore(mapping, key, value)

    def clear(self) -> None:
        """Lose everything."""
        self.head = None
        self.log = []
        self._logged_items = 0
        self.users.clear()
        self.sessions.clear()
        self.rooms.clear()
        self.nodes.clear()


def _number(logged: LoggedEntry) -> int:
    return logged.entry.n


def _restore(mapping: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def _size(entry: Entry) -> int:
    return max(len(entry.items), 1)
