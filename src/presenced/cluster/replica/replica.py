"""Replica of one shard on one node, and the changes that it proposes: no clock, no socket, no rule of presence.

A user has a record, on which all nodes agree, and contributions, one of each node where the user has sessions. The rule
of presence (`LocalPresence`) makes the record out of the contributions. The node where something happens does that, and
proposes the result:

    user_changed --> dirty --next_batch--> in flight --committed--> (read back) --entries--> record, shown
                       ^                       |
                       '------ refused, unknown, fenced: compare again ------'

Nothing becomes visible before it is read back from the log, so that all nodes show the same changes in the same order.
Without the store the node is *local*: it shows its own changes immediately, with numbers above all that it has seen. It
proposes the differences when the store is back.

The store may lose writes when it fails over. `LostWrites` explains what happens to the users concerned.

Time is *contact time* throughout (`cluster.members`): it passes only while this node reads the store.

Bounds: users as for the directory; one batch in flight; those of `Outbox`, `MovedSessions` and `LostWrites`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import NamedTuple

from msgspec.structs import replace

from presenced.cluster.backend import (
    CommitBatch,
    Committed,
    ContributionUpdate,
    Counts,
    Entry,
    EntryKey,
    Item,
    Kind,
    Member,
    Proposal,
    StoreRecord,
)
from presenced.cluster.contribution import Contribution
from presenced.cluster.presence import LocalPresence
from presenced.cluster.records import UserRecord, decode_record
from presenced.cluster.replica.agreed_state import AgreedState
from presenced.cluster.replica.cleared_records import ClearedRecords
from presenced.cluster.replica.contributions import Contributions
from presenced.cluster.replica.digest import Checkpoint, StateDigest
from presenced.cluster.replica.load import Load, VersionedRecord
from presenced.cluster.replica.lost_writes import LostWrites
from presenced.cluster.replica.moved_sessions import MovedSessions
from presenced.cluster.replica.node_states import NodeStates, states_of
from presenced.cluster.replica.outbox import Outbox
from presenced.cluster.replica.proposals import Proposals
from presenced.cluster.replica.removal import Removal
from presenced.presence.model import SEEN_OFFLINE, Cause, Status
from presenced.runtime.instant import Instant

USERS_PER_TURN = 1_000
"""Maximum number of users adopted from a load, or checked after it, in one turn of the event loop: 10 to 20 ms."""


class When(NamedTuple):
    """The present moment."""

    contact: float
    """Contact time in seconds."""
    now: Instant


class ShardReplica:
    """One shard on one node.

    Args:
        lease_s: Seconds of contact without a heartbeat after which a node is declared dead.
        has_user: Returns whether a user is in this shard. `presence` has those of all shards.
    """

    def __init__(
        self, presence: LocalPresence, lease_s: float, has_user: Callable[[str], bool] = lambda _: True
    ) -> None:
        self._presence = presence
        self._has_user = has_user
        self.slot = -1
        """Slot of this node; -1 before it has registered."""
        self.floor = 0
        """Highest number seen or shown. The store continues above it."""
        self.shown_up_to = 0
        """Number up to which everything was applied. All later changes have higher versions."""
        self.applied: EntryKey | None = None
        """Entry applied last; None before everything was loaded."""
        self.changed_at = 0
        """Number of the entry that changed something last, or of the last load."""
        self.is_local = True
        """Whether the store is out of reach, and this node shows its own changes immediately."""
        # Content of the store.
        self.records: dict[str, AgreedState] = {}
        self._digest = StateDigest()  # of the records
        self._cleared = ClearedRecords()
        self._contributions = Contributions()  # of this node, too
        # Changes that this node wants to make.
        self._dirty: OrderedDict[str, None] = OrderedDict()  # a plain dict is slow to take the first key from
        self.ends_for_absent = False
        """Whether this node ends choices and claims of absent users, and deletes records about cleared ones."""
        self._outbox = Outbox()
        self._moved = MovedSessions()
        self._stopped: frozenset[int] = frozenset()  # slots of nodes that had stopped at the last `next_batch`
        self._removal: Removal | None = None
        # Inconsistencies.
        self._lost = LostWrites(lease_s)
        self._load: Load | None = None
        self._unchecked: list[str] = []  # users who are still to be checked after a load
        self._check_at = -1  # number up to which the log must be applied before a load is checked; -1: no check is due
        self._reused: set[int] = set()  # slots freed by removals during a load, which other nodes may have now

    @property
    def is_loaded(self) -> bool:
        """Whether everything was loaded and checked. The node may accept connections then."""
        return self._is_read and not self._unchecked

    @property
    def _is_read(self) -> bool:
        """Whether everything was loaded, and what was logged meanwhile was applied."""
        return self._load is None and self.applied is not None and self._check_at < 0

    @property
    def unsettled(self) -> int:
        """Number of unsettled users."""
        return len(self._lost.unsettled)

    @property
    def retained(self) -> int:
        """Number of contributions that the store has lost, and that this node still counts."""
        return self._lost.retained

    @property
    def users_in_flight(self) -> int:
        """Number of users in the batch in flight."""
        batch = self._outbox.in_flight
        return len(batch.proposals) if batch is not None else 0

    @property
    def in_flight_expires_at(self) -> float:
        """Monotonic time after which the batch in flight must not be accepted any more; infinity if always allowed."""
        return self._outbox.in_flight_expires_at

    def digests(self) -> tuple[Checkpoint, ...]:
        """Return digests of the records, which all nodes have after the same entries; none while not all is loaded."""
        return self._digest.report(self.applied.n) if self.applied is not None and self.is_loaded else ()

    # Events of this node.

    def registered(self, slot: int) -> None:
        """Take the slot that this node has from now on. The node that had it before is gone, perhaps unnoticed."""
        for user_id in self._contributions.users_of(slot) if slot != self.slot else ():
            self._drop_contribution(user_id, slot)
        self.slot = slot

    def user_changed(self, user_id: str, now: Instant) -> None:
        """Record that something about the user has changed on this node."""
        self._dirty[user_id] = None
        if self.is_local:
            self._show_locally(user_id, now)

    def contribution_changed(self, user_id: str) -> None:
        """Record that this node's contribution to the user has changed. Others see the user as before."""
        self._dirty[user_id] = None

    def session_moved_here(self, user_id: str, tag: bytes, contact: float) -> None:
        """Record that a session has come from another node, at this contact time in seconds.

        If that node has stopped, this one takes the session out of the contribution that is left.
        """
        self._moved.add(user_id, tag, contact)

    def add_control(self, kind: Kind, body: bytes, expires_at: float = inf) -> bool:
        """Log a control entry, after the batch in flight. Return False if too many wait already.

        Args:
            expires_at: Monotonic time after which it is not logged any more.
        """
        return self._outbox.add_control(kind, body, expires_at)

    def pending(self, user_ids: Iterable[str]) -> set[str]:
        """Return those of the users for whom a decision of this node has not been read back yet.

        All are returned while a control entry of this node, other than a mark, is on its way: it may concern any user.
        """
        unread = self._outbox.unread()
        if unread.kinds - {Kind.ITEMS, Kind.MARK}:
            return set(user_ids)
        return {user_id for user_id in user_ids if user_id in unread.users or user_id in self._dirty}

    def has_only_cleared(self, user_id: str) -> bool:
        """Return whether the store has nothing about a user except that something was cleared."""
        return self._cleared.has(user_id)

    def unread_users(self) -> set[str]:
        """Return all users about whom something that was decided here has not been read back yet."""
        return {*self._dirty, *self._outbox.unread().users}

    # With and without the store.

    def disconnected(self, now: Instant) -> None:
        """Become local, because the store is out of reach or full: show what is happening here."""
        self.is_local = True
        for user_id in [*self._dirty, *self._outbox.users_in_flight]:  # a full store may still answer
            self._show_locally(user_id, now)

    def reconnected(self) -> None:
        """End being local, because the store is in reach again and the log has been read."""
        self.is_local = False

    def verify(self) -> None:
        """Propose again what this node contributes and the store no longer has, because it may have lost writes."""
        contributed = filter(self._has_user, self._presence.contributed_users())
        for user_id in {*contributed, *self._contributions.users_of(self.slot)}:
            own = self._presence.own_contribution(user_id, self.slot)
            is_stored = own == self._contributions.get(user_id, self.slot)
            if not is_stored or (not own.is_empty and user_id not in self.records):
                self._dirty[user_id] = None

    # Proposing.

    def next_batch(self, members: Iterable[Member], when: When, is_full: bool = False) -> CommitBatch | None:
        """Return the next batch; None if nothing is due, or one is in flight. Then call `committed` or `unknown`.

        Args:
            is_full: Whether the store has had no memory for the last batch. Then a batch is returned even if this node
                is local or nothing is due: its result shows whether there is memory again.
        """
        self._check_some(when)
        if self._outbox.in_flight is not None or (self.is_local and not is_full) or not self.is_loaded:
            return None
        nodes = states_of(members)
        self._expire(nodes, when)
        if nodes.stopped - self._stopped:
            self._dirty.update(dict.fromkeys(self._moved.users()))
        self._stopped = nodes.stopped
        if (batch := self._outbox.send_control(when.now.monotonic)) is not None:
            return batch
        found = self._proposals(nodes, when)
        self._add_removal_proposals(found, when)
        return self._outbox.send(tuple(found.proposals)) if found.proposals or is_full else None

    def committed(self, result: Committed) -> None:
        """Process the store's answer to the batch in flight."""
        answer = self._outbox.committed(result, self._applied_n)
        if answer is not None:
            for proposal in answer.accepted:
                if len(proposal.contributions) > 1:
                    self._moved.forget(proposal.user_id)
            self._propose_again(answer.refused)
            if self._removal is not None and any(map(self._removal.has, answer.accepted)):
                self._removal.committed(result.n)
        self.floor = max(self.floor, result.n)

    def unknown(self) -> None:
        """Compare everything in the batch in flight again, because its result is unknown."""
        self._propose_again(self._outbox.lost())

    def _propose_again(self, proposals: Iterable[Proposal]) -> None:
        for proposal in proposals:
            if proposal.contributions[0].slot == self.slot:  # not of a removal
                self._dirty[proposal.user_id] = None
            elif self._removal is not None:
                self._removal.waiting[proposal.user_id] = None

    def _expire(self, nodes: NodeStates, when: When) -> None:
        """Propose users who have been unsettled for long enough, and drop what is over."""
        self._moved.expire(when.contact)
        for user_id in self._cleared.expired(when.contact, self.ends_for_absent):
            self._presence.forget_cleared(user_id)
            self._dirty[user_id] = None
        for user_id in self._lost.unsettled:
            if self._has_waited(user_id, nodes, when):
                self._dirty[user_id] = None
        for user_id, slot in self._lost.expired(when.contact):
            self._drop_contribution(user_id, slot)
            self._dirty[user_id] = None

    def _has_waited(self, user_id: str, nodes: NodeStates, when: When) -> bool:
        """Return whether all nodes that might know more about an unsettled user have had enough time."""
        contributions = self._contributions.of(user_id)
        are_registered = all(one.slot in nodes.registered for one in contributions if one.slot != self.slot)
        return self._lost.has_waited(user_id, are_registered, when.contact)

    def _proposals(self, nodes: NodeStates, when: When) -> Proposals:
        """Take users out of `_dirty`, and propose those whose state differs from the store's."""
        found = Proposals()
        waiting: dict[str, None] = {}
        unread = self._outbox.unread().users
        while self._dirty and not found.is_full:
            user_id, _ = self._dirty.popitem(last=False)
            if user_id in unread:
                # The store has more than this node knows. A user who has left since would seem to need no change.
                waiting[user_id] = None
                continue
            wanted = self._wanted(user_id, when)
            own = self._presence.own_contribution(user_id, self.slot)
            is_unsettled = user_id in self._lost.unsettled
            contributions = self._contributions.of(user_id)
            is_anywhere = not own.is_empty or any(one.slot != self.slot for one in contributions)
            is_offline = wanted.view.status is Status.OFFLINE and not is_anywhere
            if is_offline and is_unsettled and not self._has_waited(user_id, nodes, when):
                # A node that started after the loss does not know all contributions. So it must not commit the user as
                # offline, even if its own contribution has just ended.
                waiting[user_id] = None
                continue
            left = self._moved.left_behind(user_id, contributions, nodes.stopped)
            differs = self._differs(user_id, wanted) or own != self._contributions.get(user_id, self.slot) or left
            shown, stored = self._presence.shown(user_id), self.records.get(user_id)
            # A node that was local may have shown a change and taken it back: the others must get beyond its version.
            is_ahead = stored is not None and shown.version > stored.version
            if differs or wanted.view != shown.view or is_unsettled or is_ahead:
                update = ContributionUpdate(self.slot, own.sessions, own.rooms)
                found.add(user_id, wanted, stored, shown, update, *left)
        self._dirty.update(waiting)
        return found

    def _wanted(self, user_id: str, when: When) -> UserRecord:
        """Return the record that the user should have, as this node sees it."""
        record, stored = self._presence.record(user_id, when.now), self.records.get(user_id)
        if stored is not None and stored.later:
            record = replace(record, later=stored.later)
        if record.is_only_cleared and self._cleared.has(user_id):
            record = replace(record, since_ms=0)  # the user was offline before: the database knows since when
        is_any_retained = self._lost.is_any_retained(user_id, self._contributions.of(user_id))
        return replace(record, rests_on_retained=True) if is_any_retained else record

    def _differs(self, user_id: str, wanted: UserRecord) -> bool:
        stored = self.records.get(user_id)
        return stored.differs(wanted) if stored is not None else wanted.is_kept

    # Removal of a dead node.

    def begin_removal(self, member: Member, cause: Cause, now: Instant) -> None:
        """Take the contributions of a dead node out of the records. `removable` returns the node when that is done.

        Args:
            cause: Why its users leave.
        """
        self._removal = Removal(member, self._contributions.users_of(member.slot))
        for user_id in self._removal.waiting:
            self._presence.set_contribution(user_id, Contribution(member.slot))
            self._presence.expect(user_id, cause, now)

    def check_removal(self, members: Iterable[Member], incarnation: str) -> bool:
        """End the removal of a node unless the store says that it is dead, and that this incarnation is its remover.

        The node may be removed already, or the store may have lost that it was declared dead. Return whether the
        removal ended. Otherwise this node would try it again and again.
        """
        if self._removal is None or self._removal.is_current(members, incarnation):
            return False
        slot, self._removal = self._removal.member.slot, None
        for user_id in self._contributions.users_of(slot):
            self._presence.set_contribution(user_id, self._contributions.get(user_id, slot))
        return True

    def removable(self) -> Member | None:
        """Return the dead node if none of its contributions is left, and the store may remove it; else None."""
        removal, batch = self._removal, self._outbox.in_flight
        if removal is None or self.applied is None or (batch is not None and any(map(removal.has, batch.proposals))):
            return None
        return removal.member if removal.is_complete(self.applied.n) else None

    def _add_removal_proposals(self, found: Proposals, when: When) -> None:
        """Fill a batch with the records without the contributions of the node that is being removed."""
        removal, proposed = self._removal, {proposal.user_id for proposal in found.proposals}
        delayed: list[str] = []
        while removal is not None and removal.waiting and not found.is_full:
            user_id, _ = removal.waiting.popitem(last=False)
            if user_id in proposed:
                delayed.append(user_id)
            elif not self._contributions.get(user_id, removal.member.slot).is_empty:
                update = ContributionUpdate(removal.member.slot, b"", b"")
                stored, shown = self.records.get(user_id), self._presence.shown(user_id)
                found.add(user_id, self._wanted(user_id, when), stored, shown, update)
        if removal is not None:
            removal.waiting.update(dict.fromkeys(delayed))

    def _apply_removal(self, slot: int, when: When) -> None:
        """Drop what is left of a removed node: contributions that the store had lost."""
        if self._check_at >= 0:
            self._reused.add(slot)
        if self._removal is not None and self._removal.member.slot == slot:
            self._removal = None
        for user_id in self._contributions.users_of(slot):
            self._drop_contribution(user_id, slot)
            if slot not in self._reused:  # otherwise all users are checked soon
                self._check(user_id, when, compares=True)

    def _drop_contribution(self, user_id: str, slot: int) -> None:
        self._lost.end_retained(user_id, slot)
        self._contributions.set(user_id, Contribution(slot))
        self._presence.set_contribution(user_id, Contribution(slot))

    # Reading.

    def apply(self, entry: Entry, when: When) -> None:
        """Apply the next entry of the log."""
        before = self._applied_n
        for item in entry.items:
            self._apply(item, when, is_own=entry.slot == self.slot)
        if entry.kind is Kind.REMOVED:
            self._apply_removal(int(entry.body.split()[0]), when)
        if entry.items or entry.kind is Kind.REMOVED:
            self.changed_at = entry.n
        self._applied_up_to(entry.key)
        self.floor = max(self.floor, entry.n)
        self.shown_up_to = max(self.shown_up_to, entry.n)
        if 0 <= self._check_at <= entry.n:
            self._check_all(when)
        if self._is_read:  # otherwise the records may be ahead of the log
            self._digest.applied(before, entry.n)

    def read_up_to(self, n: int, when: When) -> None:
        """Record that the log has been read to its end, and the store has given numbers up to `n`."""
        self.floor = max(self.floor, n)
        self.shown_up_to = max(self.shown_up_to, n)
        self._outbox.read_up_to(n)
        if self._check_at >= 0:
            self._check_all(when)

    @property
    def _applied_n(self) -> int:
        return self.applied.n if self.applied is not None else 0

    def _applied_up_to(self, key: EntryKey) -> None:
        self.applied = key
        self._outbox.read_up_to(key.n)

    def _apply(self, item: Item, when: When, is_own: bool) -> None:
        stored = self.records.get(item.user_id)
        if stored is not None and item.n <= stored.n:  # a load has read it already
            for update in item.contributions:
                if update.slot in self._reused:
                    self._update_contribution(item.user_id, update)
            return
        for update in item.contributions:
            self._update_contribution(item.user_id, update)
            if update.slot == self.slot:
                if not is_own:  # another node declared this one dead, and the store has lost that
                    self._dirty[item.user_id] = None
            elif is_own and (self._removal is None or self._removal.member.slot != update.slot):
                self._dirty[item.user_id] = None  # the record still counts the old copy on a stopped node
        record = VersionedRecord(item.n, item.version, decode_record(item.record))
        self._set_record(item.user_id, record, when, item.is_kept)
        self._check(item.user_id, when)

    def _update_contribution(self, user_id: str, update: ContributionUpdate) -> None:
        contribution = self._contributions.update(user_id, update)
        self._lost.end_retained(user_id, update.slot)
        if update.slot != self.slot:
            self._presence.set_contribution(user_id, contribution)

    def _set_record(self, user_id: str, new: VersionedRecord, when: When, is_kept: bool = True) -> None:
        if (before := self.records.get(user_id)) is not None:
            self._digest.remove(user_id, before.view.status, before.version)
        n, version, record = new
        was_only_cleared = self._cleared.remove(user_id)
        if is_kept:
            stamped, rests, later = record.stamped, record.rests_on_retained, record.later or None
            self.records[user_id] = AgreedState(n, version, record.view, stamped, rests, later)
            self._digest.add(user_id, record.view.status, version)
            if record.is_only_cleared:
                self._cleared.add(user_id, when.contact)
        else:
            self.records.pop(user_id, None)
            if was_only_cleared:
                self._presence.forget_cleared(user_id)
        shown = self._presence.shown(user_id)
        if record.view == shown.view or version > shown.version:
            self._presence.accept(user_id, record, max(version, shown.version), when.now)
            self._lost.end_unsettled(user_id)
            if is_kept and shown.version > version:
                self._dirty[user_id] = None  # the others must get beyond that version
        else:
            self._presence.adopt(user_id, record, when.now)
            self._lost.mark_unsettled(user_id, when.contact)  # older than what was shown: writes were lost

    # Loading.

    def begin_load(self, when: When) -> None:
        """Read everything again: the log does not continue where this node is, or this node has just registered."""
        while not self._adopt_some(when):
            pass  # finish a load that was adopted in part: the next one compares itself with the result
        self._load = Load()

    def page(self, users: Sequence[StoreRecord], updates: Sequence[tuple[str, ContributionUpdate]]) -> None:
        """Take a page of a load."""
        if self._load is not None:
            self._load.add(users, updates)

    def loaded(self, last: EntryKey | None, n: int, when: When) -> bool:
        """Replace what is known by the pages. The log continues after `last`, and its numbers up to `n` are in them.

        Return whether that is done. Otherwise call this again in a later turn: one call adopts `USERS_PER_TURN`.
        """
        load = self._load
        if load is None:
            return True
        if load.before is None:
            load.before, self._contributions = self._contributions, load.contributions
            load.users = list(load.before.users() | load.contributions.users())
            self.records = {}
            self._digest.clear()
            self._cleared.clear()
            self._unchecked.clear()
            self._reused.clear()
        if not self._adopt_some(when):
            return False
        self._load = None
        self._applied_up_to(last or EntryKey(0, -1, "", 0))
        self.changed_at = max(n, self._applied_n)
        self.floor = max(self.floor, n)
        self._check_at = n
        if self._applied_n >= n:
            self._check_all(when)
        return True

    def _adopt_some(self, when: When) -> bool:
        """Adopt the next users of a load whose pages have all been read. Return whether none is left."""
        load = self._load
        if load is None or load.before is None:
            return True
        for _ in range(USERS_PER_TURN):
            if load.users:
                user_id = load.users.pop()
                self._reload_contributions(user_id, load.before.of(user_id), when)
            elif load.records:
                self._set_record(*load.records.popitem(), when)
        return not load.users and not load.records

    def _reload_contributions(self, user_id: str, before: Sequence[Contribution], when: When) -> None:
        """Adopt the loaded contributions to a user, and retain those that the store has lost."""
        loaded = self._contributions.of(user_id)
        for one in loaded:
            self._lost.end_retained(user_id, one.slot)
            if one.slot != self.slot and one not in before:
                self._presence.set_contribution(user_id, one)
        slots = {one.slot for one in loaded}
        for one in before:
            if one.slot != self.slot and one.slot not in slots:
                self._contributions.set(user_id, one)  # its node commits it again, or is gone
                self._lost.retain(user_id, one.slot, when.contact)

    # Checking for lost writes.

    def counts(self) -> Counts:
        """Return what the store should have, after the entry that was applied last."""
        return Counts(len(self.records), *self._contributions.count(self.slot))

    def _check_all(self, when: When) -> None:
        """Check every user, after a load. They include users who are shown and unknown to the store."""
        self._outbox.read_up_to(max(self._check_at, self._applied_n))
        self._check_at = -1
        self._reused.clear()
        presence = self._presence
        here = *presence.contributed_users(), *presence.shown_users(), *presence.decided_users()
        self._unchecked = list({*self.records, *self._contributions.users(), *filter(self._has_user, here)})
        self._check_some(when)

    @property
    def has_unchecked(self) -> bool:
        """Whether `next_batch` has users to check. It should be called again in a later turn then."""
        return bool(self._unchecked)

    def _check_some(self, when: When) -> None:
        for _ in range(min(USERS_PER_TURN, len(self._unchecked))):
            self._check(self._unchecked.pop(), when, compares=True)

    def _check(self, user_id: str, when: When, compares: bool = False) -> None:
        """Mark a user as unsettled if its record, its contributions and its shown state do not match.

        Args:
            compares: The record must also be what the rule says. Only after a load or a removal, because nodes of
                another release may have another rule.
        """
        stored = self.records.get(user_id)
        view = stored.view if stored is not None else SEEN_OFFLINE
        # Traces of lost writes: a status without a contribution, contributions without a record, and something that is
        # shown without a record. A choice or a claim keeps a record without a contribution.
        is_contributed = user_id in self._contributions
        fits = self._presence.shown(user_id).view == view and (stored is not None or not is_contributed)
        if not is_contributed and stored is not None and view.status is not Status.OFFLINE:
            fits = fits and stored.stamped is not None and stored.stamped.announced
        if not fits or (compares and self._differs(user_id, self._wanted(user_id, when))):
            self._lost.mark_unsettled(user_id, when.contact)
        if stored is not None and stored.rests_on_retained:
            # If its author dies before the contribution ends, no other node would correct this record.
            self._lost.mark_unsettled_after_lease(user_id, when.contact)  # also if it does not fit

    def _show_locally(self, user_id: str, now: Instant) -> None:
        if self._presence.record(user_id, now).view != self._presence.shown(user_id).view:
            self.floor = max(self.floor, self._presence.shown(user_id).version) + 1
            self._presence.show_locally(user_id, self.floor, now)
