"""What one node knows of one shard, and what it proposes: pure rules, without a clock, a socket or a presence rule.

A user has a record, on which all nodes agree, and contributions, one of each node where the user has sessions. The rule
of presence (`Presence`) makes the record out of the contributions. The node where something happens does that, and
proposes the result:

    touched --> dirty --due--> in flight --committed--> (read back) --entries--> record, shown
                  ^                |
                  '---- refused, unknown, fenced: compare again ----'

Nothing becomes visible before it is read back from the log, so that all nodes show the same changes in the same order.
Without the store the node is *local*: it shows its own changes at once, with numbers above all that it has seen, and
proposes what differs when the store is back.

**Lost writes.** A store that failed over may have forgotten what nodes have read, and shown. A user is *unsettled* if
record, contributions and what is shown do not fit together. Others see them as before, until a newer item arrives, or
until all nodes that might know better have had their time: `RECOVERY_S` if they live, else the lease and `RECOVERY_S`.
Contributions that the store has lost are *retained* for as long: their node proposes them again, or is gone.

Time is *contact time* throughout (`cluster.members`): it passes only while this node reads the store.

Bounds: users as for the directory; one batch in flight; retained contributions end after the lease and `RECOVERY_S`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from presenced.cluster.backend import (
    MAX_BATCH_BYTES,
    MAX_ITEMS,
    Batch,
    Committed,
    Entry,
    EntryKey,
    Item,
    Kind,
    Member,
    Part,
    Proposal,
    State,
    StoredUser,
)
from presenced.cluster.presence import Presence
from presenced.cluster.records import (
    SharedSession,
    UserRecord,
    decode_record,
    decode_rooms,
    decode_sessions,
    encode_record,
    encode_rooms,
    encode_sessions,
)
from presenced.cluster.replica.digest import Checkpoint, StateDigest
from presenced.cluster.replica.outbox import Outbox
from presenced.presence.model import SEEN_OFFLINE, Cause, Status
from presenced.runtime.instant import Instant

RECOVERY_S = 2.0
"""Seconds of contact in which a live node proposes again what the store has lost."""


MAX_CAME_BACK = 100_000
"""Maximum number of users with sessions that came from other nodes within `CAME_BACK_S`. At the bound, the oldest are
forgotten: what a stopped node has left of them ends with the node's other sessions."""

CAME_BACK_S = 3.0
"""Seconds of contact for which a session counts as having come from another node. Within that time, this node knows
whether the other one has stopped."""


class When(NamedTuple):
    """The present moment."""

    contact: float
    """Contact time in seconds."""
    now: Instant


class Stored(NamedTuple):
    """A record as the store has it."""

    n: int
    version: int
    record: UserRecord


class _Returned(NamedTuple):
    """Sessions of a user that came from other nodes."""

    tags: tuple[bytes, ...]
    contact: float
    """Contact time at which the last one came."""


class ShardReplica:
    """One shard on one node.

    Args:
        lease_s: Seconds of contact without a heartbeat after which a node is declared dead.
        has_user: Returns whether a user is in this shard. `presence` has those of all shards.
    """

    def __init__(self, presence: Presence, lease_s: float, has_user: Callable[[str], bool] = lambda _: True) -> None:
        self._presence = presence
        self._lease_s, self._has_user = lease_s, has_user
        self.slot = -1
        """This node's number; -1 before it has registered."""
        self.floor = 0
        """Highest number seen or shown. The store continues above it."""
        self.shown_up_to = 0
        """Number up to which everything was applied. No later change has a version that is not above it."""
        self.applied: EntryKey | None = None
        """Entry applied last; None before everything was loaded."""
        self.changed_at = 0
        """Number of the entry that changed something last, or of the last load."""
        self.is_local = True
        """Whether the store is out of reach, and this node shows its own changes at once."""
        # What the store has.
        self.records: dict[str, Stored] = {}
        self._digest = StateDigest()  # of the records
        self._parts: dict[str, dict[int, tuple[bytes, bytes]]] = {}  # user -> slot -> sessions, rooms; own ones too
        # What this node wants to change.
        self._outbox = Outbox()
        self._dirty: OrderedDict[str, None] = OrderedDict()  # a plain dict is slow to take the first key from
        self._came_back: OrderedDict[str, _Returned] = OrderedDict()  # users with sessions of other nodes, which moved
        self._stopped: set[int] = set()  # slots of nodes that have stopped
        self.removing: Member | None = None
        """Dead node whose contributions this node takes out of the records."""
        self._to_remove: OrderedDict[str, None] = OrderedDict()  # its users who have not been proposed yet
        self._removed_at = 0  # number up to which the log must be applied before all of them have been taken out
        # Lost writes: contact time since when a user does not fit, or a contribution is retained.
        self._unsettled: dict[str, float] = {}
        self._retained: dict[tuple[str, int], float] = {}
        # A load.
        self._loading: tuple[dict[str, Stored], dict[str, dict[int, tuple[bytes, bytes]]]] | None = None
        self._check_at = -1  # number up to which the log must be applied before a load is checked; -1: no check is due

    @property
    def is_loaded(self) -> bool:
        """Whether everything was loaded, so that the node may take connections."""
        return self._loading is None and self.applied is not None and self._check_at < 0

    @property
    def unsettled(self) -> int:
        """Number of unsettled users."""
        return len(self._unsettled)

    @property
    def retained(self) -> int:
        """Number of contributions that the store has lost, and that this node still counts."""
        return len(self._retained)

    @property
    def in_flight(self) -> int:
        """Number of users in the batch in flight."""
        batch = self._outbox.in_flight
        return len(batch.proposals) if batch is not None else 0

    def digests(self) -> tuple[Checkpoint, ...]:
        """Return digests of the records, which all nodes have after the same entries; none while not all is loaded."""
        return self._digest.report(self.applied.n) if self.applied is not None and self.is_loaded else ()

    # Events of this node.

    def touched(self, user_id: str, now: Instant) -> None:
        """Something about the user has changed on this node."""
        self._dirty[user_id] = None
        if self.is_local:
            self._show_locally(user_id, now)

    def contribution_changed(self, user_id: str) -> None:
        """What this node contributes to the user has changed, and nothing that others see here."""
        self._dirty[user_id] = None

    def came_back(self, user_id: str, tag: bytes, contact: float) -> None:
        """A session has come here from another node, at this contact time.

        If that one has stopped, this node takes the session out of the contribution that is left.
        """
        before = self._came_back.pop(user_id, None)
        self._came_back[user_id] = _Returned((*(before.tags if before else ()), tag), contact)
        if len(self._came_back) > MAX_CAME_BACK:
            self._came_back.popitem(last=False)

    def control(self, kind: Kind, body: bytes) -> bool:
        """Log something that concerns all nodes, after what is in flight. Return False if too much waits already."""
        return self._outbox.control(kind, body)

    def pending(self, user_ids: Iterable[str]) -> set[str]:
        """Return those of some users about whom something that was decided here has not been read back yet.

        They are all users while control entries of this node are on their way, except marks.
        """
        kinds, sent = self._outbox.unread()
        if kinds - {Kind.ITEMS, Kind.MARK}:
            return set(user_ids)
        return {user_id for user_id in user_ids if user_id in sent or user_id in self._dirty}

    # Proposing.

    def due(self, members: Iterable[Member], when: When) -> Batch | None:
        """Return the next batch; None if nothing is due, or one is in flight. Then call `committed` or `unknown`."""
        if self._outbox.in_flight is not None or self.is_local or not self.is_loaded:
            return None
        members = tuple(members)
        alive = {member.slot for member in members}
        stopped = {member.slot for member in members if member.state in (State.LEAVING, State.DEAD)}
        self._expire(alive, when)
        if stopped - self._stopped:
            self._dirty.update(dict.fromkeys(self._came_back))
        self._stopped = stopped
        if (batch := self._outbox.send_control()) is not None:
            return batch
        proposals = self._proposals(alive, stopped, when) or self._removals(when)
        return self._outbox.send(tuple(proposals)) if proposals else None

    def committed(self, result: Committed) -> None:
        """The store has processed the batch in flight."""
        answer = self._outbox.committed(result, self.applied.n if self.applied is not None else 0)
        if answer is not None:
            for proposal in answer.accepted:
                if len(proposal.parts) > 1:
                    self._came_back.pop(proposal.user_id, None)
            self._propose_again(answer.refused)
            self._removed_at = result.n if answer.accepted else self._removed_at
        self.floor = max(self.floor, result.n)

    def unknown(self) -> None:
        """Nothing is known of the batch in flight: compare everything in it again."""
        self._propose_again(self._outbox.lost())

    # Reading.

    def apply(self, entry: Entry, when: When) -> None:
        """Apply the next entry of the log."""
        before = self.applied.n if self.applied else 0
        for item in entry.items:
            self._apply(item, when)
        if entry.kind is Kind.REMOVED:
            self.removed(int(entry.body.split()[0]), when)
        if entry.items or entry.kind is Kind.REMOVED:
            self.changed_at = entry.n
        self._applied_up_to(entry.key)
        self.floor = max(self.floor, entry.n)
        self.shown_up_to = max(self.shown_up_to, entry.n)
        if 0 <= self._check_at <= entry.n:
            self._check_all(when)
        if self.is_loaded:  # otherwise the records may be ahead of the log
            self._digest.applied(before, entry.n)

    def read_up_to(self, n: int, when: When) -> None:
        """The log has been read to its end, and the store has given numbers up to `n`."""
        self.floor = max(self.floor, n)
        self.shown_up_to = max(self.shown_up_to, n)
        self._outbox.read_up_to(n)
        if self._check_at >= 0:
            self._check_all(when)

    # Loading.

    def begin_load(self) -> None:
        """Read everything again: the log does not continue where this node is, or this node has just registered."""
        self._loading = {}, {}

    def page(self, users: Sequence[StoredUser], parts: Sequence[tuple[str, Part]]) -> None:
        """Take a page of a load. A user may be in several pages: the newest one counts."""
        if self._loading is None:
            return
        records, loaded = self._loading
        for user_id, n, version, data in users:
            if user_id not in records or records[user_id].n < n:
                records[user_id] = Stored(n, version, decode_record(data))
        for user_id, part in parts:
            before = loaded.setdefault(user_id, {}).get(part.slot, (b"", b""))
            loaded[user_id][part.slot] = _changed(before, part)

    def loaded(self, last: EntryKey | None, n: int, when: When) -> None:
        """Replace what is known by the pages. The log continues after `last`, and its numbers up to `n` are in them."""
        if self._loading is None:
            return
        records, parts = self._loading
        self._loading = None
        before, self._parts = self._parts, parts
        for user_id in before.keys() | parts.keys():
            self._reload_parts(user_id, before.get(user_id, {}), when)
        known, self.records = self.records, {}
        self._digest.clear()
        for user_id in known.keys() | records.keys():
            if user_id in records:
                self._set_record(user_id, records[user_id], when)
        self._applied_up_to(last or EntryKey(0, -1, "", 0))
        self.changed_at = max(n, last.n if last else 0)
        self.floor = max(self.floor, n)
        self._check_at = n
        if self.applied is not None and self.applied.n >= n:
            self._check_all(when)

    def verify(self) -> None:
        """The store may have lost writes: find what this node has contributed, and the store no longer has."""
        self._outbox.read_all()
        for user_id in {*filter(self._has_user, self._presence.contributing()), *self._contributed_by(self.slot)}:
            mine = self._presence.part(user_id)
            if mine != self._stored_part(user_id) or (mine != (b"", b"") and user_id not in self.records):
                self._dirty[user_id] = None

    # With and without the store.

    def registered(self, slot: int) -> None:
        """The node has this number from now on."""
        self.slot = slot

    def disconnected(self, now: Instant) -> None:
        """The store has been out of reach for a while: show what is happening here."""
        self.unknown()
        self.is_local = True
        for user_id in list(self._dirty):
            self._show_locally(user_id, now)

    def reconnected(self) -> None:
        """The store is in reach again, and the log has been read."""
        self.is_local = False

    # Dead nodes.

    def remove(self, member: Member, cause: Cause, now: Instant) -> None:
        """Take the contributions of a dead node out of the records. `is_removed` says when that is done.

        Args:
            cause: Why its users leave.
        """
        self.removing, self._removed_at = member, 0
        self._to_remove = OrderedDict.fromkeys(self._contributed_by(member.slot))
        for user_id in self._to_remove:
            self._presence.contributed(user_id, member.slot, b"", b"")
            self._presence.expect(user_id, cause, now)

    def is_removed(self, member: Member) -> bool:
        """Whether no contribution of this node is left, so that the store may forget it."""
        is_proposed = self.removing == member and self._outbox.in_flight is None and not self._to_remove
        return is_proposed and self.applied is not None and self.applied.n >= self._removed_at

    def removed(self, slot: int, when: When) -> None:
        """A dead node was removed: contributions that the store had lost may be left."""
        if self.removing is not None and self.removing.slot == slot:
            self.removing = None
            self._to_remove.clear()
        for user_id in self._contributed_by(slot):
            self._parts[user_id].pop(slot)
            self._retained.pop((user_id, slot), None)
            self._presence.contributed(user_id, slot, b"", b"")
            self._check(user_id, when, compares=True)

    # Parts of proposing.

    def _propose_again(self, proposals: Iterable[Proposal]) -> None:
        for proposal in proposals:
            is_own = proposal.parts[0].slot == self.slot
            (self._dirty if is_own else self._to_remove)[proposal.user_id] = None

    def _proposals(self, alive: set[int], stopped: set[int], when: When) -> list[Proposal]:
        """Take users out of `_dirty`, and propose those whose state differs from the store's."""
        proposals: list[Proposal] = []
        waiting: dict[str, None] = {}
        _, unread = self._outbox.unread()
        while self._dirty and not _is_full(proposals):
            user_id, _ = self._dirty.popitem(last=False)
            if user_id in unread:
                # The store has more than this node knows. A user who has left since would seem to need no change.
                waiting[user_id] = None
                continue
            stored = self.records.get(user_id)
            wanted, mine = self._wanted(user_id, when), self._presence.part(user_id)
            has_settled = user_id not in self._unsettled or self._may_settle(user_id, alive, when)
            if not wanted.is_kept and not has_settled:
                # A node that started after the loss does not know all contributions. So it must not commit the user as
                # offline, even if its own contribution has just ended.
                waiting[user_id] = None
                continue
            left = self._left_behind(user_id, stopped) if stopped else []
            differs = self._differs(stored, wanted) or mine != self._stored_part(user_id) or left
            if differs or wanted.view != self._presence.shown(user_id).view or user_id in self._unsettled:
                proposals.append(self._proposal(user_id, stored, wanted, Part(self.slot, *mine), *left))
        self._dirty.update(waiting)
        return proposals

    def _left_behind(self, user_id: str, stopped: set[int]) -> list[Part]:
        """Return what stopped nodes contribute to the user, without the sessions that have come here."""
        returned, parts = self._came_back.get(user_id), list[Part]()
        tags = list(returned.tags) if returned else []
        for slot, (sessions, rooms) in self._parts.get(user_id, {}).items() if tags else ():
            if slot not in stopped:
                continue
            kept = list(decode_sessions(sessions))
            before, tags = len(kept), _take_out(tags, kept)
            if len(kept) < before:
                there = {session.tag for session in kept}
                members = tuple(member for member in decode_rooms(rooms) if member.tag in there)
                parts.append(Part(slot, encode_sessions(tuple(kept)), encode_rooms(members)))
        return parts

    def _removals(self, when: When) -> list[Proposal]:
        """Propose the records without the contributions of the node that is being removed."""
        proposals: list[Proposal] = []
        slot = self.removing.slot if self.removing else -1
        while self._to_remove and not _is_full(proposals):
            user_id, _ = self._to_remove.popitem(last=False)
            if slot in self._parts.get(user_id, {}):
                wanted, part = self._wanted(user_id, when), Part(slot, b"", b"")
                proposals.append(self._proposal(user_id, self.records.get(user_id), wanted, part))
        return proposals

    def _proposal(self, user_id: str, stored: Stored | None, wanted: UserRecord, *parts: Part) -> Proposal:
        shown = self._presence.shown(user_id)
        is_visible = wanted.view != (stored.record.view if stored else SEEN_OFFLINE) or wanted.view != shown.view
        # What was shown may be newer than the record, if the store has lost writes: then a new version is needed, too.
        is_visible = is_visible or shown.version > (stored.version if stored else 0)
        data = encode_record(wanted)
        return Proposal(user_id, stored.n if stored else 0, data, wanted.is_kept, is_visible, parts)

    def _wanted(self, user_id: str, when: When) -> UserRecord:
        record = self._presence.record(user_id, when.now)
        rests = any((user_id, slot) in self._retained for slot in self._parts.get(user_id, ()))
        return replace(record, rests_on_retained=rests) if rests else record

    @staticmethod
    def _differs(stored: Stored | None, wanted: UserRecord) -> bool:
        return stored.record.state != wanted.state if stored else wanted.is_kept

    def _stored_part(self, user_id: str) -> tuple[bytes, bytes]:
        return self._parts.get(user_id, {}).get(self.slot, (b"", b""))

    def _contributed_by(self, slot: int) -> list[str]:
        return [user_id for user_id, parts in self._parts.items() if slot in parts]

    # Parts of reading.

    def _applied_up_to(self, key: EntryKey) -> None:
        self.applied = key
        self._outbox.read_up_to(key.n)

    def _apply(self, item: Item, when: When) -> None:
        stored = self.records.get(item.user_id)
        if stored is not None and item.n <= stored.n:
            return  # a load has read it already
        for part in item.parts:
            self._set_part(item.user_id, part)
        record = decode_record(item.record)
        self._set_record(item.user_id, Stored(item.n, item.version, record), when, item.is_kept)
        self._check(item.user_id, when)

    def _set_part(self, user_id: str, part: Part) -> None:
        parts = self._parts.setdefault(user_id, {})
        value = parts[part.slot] = _changed(parts.get(part.slot, (b"", b"")), part)
        if value == (b"", b""):
            del parts[part.slot]
        if not parts:
            del self._parts[user_id]
        self._retained.pop((user_id, part.slot), None)
        if part.slot != self.slot:
            self._presence.contributed(user_id, part.slot, *value)

    def _set_record(self, user_id: str, stored: Stored, when: When, is_kept: bool = True) -> None:
        if (before := self.records.get(user_id)) is not None:
            self._digest.remove(user_id, before.record.view.status, before.version)
        if is_kept:
            self.records[user_id] = stored
            self._digest.add(user_id, stored.record.view.status, stored.version)
        else:
            self.records.pop(user_id, None)
        shown = self._presence.shown(user_id)
        if stored.record.view == shown.view or stored.version > shown.version:
            self._presence.accept(user_id, stored.record, max(stored.version, shown.version), when.now)
            self._unsettled.pop(user_id, None)
        else:
            self._presence.adopt(user_id, stored.record, when.now)
            self._mark_unsettled(user_id, when.contact)  # older than what was shown: writes were lost

    # Parts of lost writes.

    def _reload_parts(self, user_id: str, before: dict[int, tuple[bytes, bytes]], when: When) -> None:
        """Adopt the loaded contributions to a user, and retain those that the store has lost."""
        parts = self._parts.setdefault(user_id, {})
        for slot, value in parts.items():
            self._retained.pop((user_id, slot), None)
            if slot != self.slot and value != before.get(slot):
                self._presence.contributed(user_id, slot, *value)
        for slot, value in before.items():
            if slot != self.slot and slot not in parts:
                parts[slot] = value  # its node commits it again within the lease, or is gone
                self._retained.setdefault((user_id, slot), when.contact)
        if not parts:
            del self._parts[user_id]

    def _check_all(self, when: When) -> None:
        """Check every user, after a load. They include users who are shown and unknown to the store."""
        self._check_at = -1
        self._outbox.read_all()
        here = *self._presence.contributing(), *self._presence.shown_users()
        for user_id in {*self.records, *self._parts, *filter(self._has_user, here)}:
            self._check(user_id, when, compares=True)

    def _check(self, user_id: str, when: When, compares: bool = False) -> None:
        """Mark a user as unsettled if record, contributions and what is shown do not fit together.

        Args:
            compares: The record must also be what the rule says. Only after a load or a removal, because nodes of
                another release may have another rule.
        """
        stored = self.records.get(user_id)
        record = stored.record if stored else None
        view = record.view if record else SEEN_OFFLINE
        # Traces of lost writes: a status without a contribution, contributions without a record, and something that is
        # shown without a record. What is chosen or claimed keeps a record without a contribution.
        has_parts = user_id in self._parts
        fits = self._presence.shown(user_id).view == view and (record is not None or not has_parts)
        fits = fits and (has_parts or record is None or view.status is Status.OFFLINE or record.announced)
        if not fits or (compares and self._differs(stored, self._wanted(user_id, when))):
            self._mark_unsettled(user_id, when.contact)
        if record is not None and record.rests_on_retained:
            # If its author dies before the contribution ends, nobody else would correct this record.
            self._unsettled[user_id] = when.contact + self._lease_s  # also if it does not fit

    def _mark_unsettled(self, user_id: str, since: float) -> None:
        self._unsettled.setdefault(user_id, since)

    def _may_settle(self, user_id: str, alive: set[int], when: When) -> bool:
        """Return whether all nodes that might know better of an unsettled user have had enough time."""
        owners = self._parts.get(user_id, {}).keys() - {self.slot}
        wait = RECOVERY_S if owners <= alive else self._lease_s + RECOVERY_S
        return when.contact - self._unsettled[user_id] > wait

    def _expire(self, alive: set[int], when: When) -> None:
        """Settle users, and drop retained contributions, once their time is over."""
        while self._came_back and when.contact - next(iter(self._came_back.values())).contact > CAME_BACK_S:
            self._came_back.popitem(last=False)
        for user_id in self._unsettled:
            if self._may_settle(user_id, alive, when):
                self._dirty[user_id] = None
        for (user_id, slot), since in list(self._retained.items()):
            if when.contact - since > self._lease_s + RECOVERY_S:
                del self._retained[user_id, slot]
                self._parts.get(user_id, {}).pop(slot, None)
                self._presence.contributed(user_id, slot, b"", b"")
                self._dirty[user_id] = None

    def _show_locally(self, user_id: str, now: Instant) -> None:
        if self._presence.record(user_id, now).view != self._presence.shown(user_id).view:
            self.floor = max(self.floor, self._presence.shown(user_id).version) + 1
            self._presence.show_locally(user_id, self.floor, now)


def _is_full(proposals: Sequence[Proposal]) -> bool:
    """Return whether a batch must not have more. Proposals are much smaller than half a batch."""
    if len(proposals) < MAX_ITEMS // 4:
        return False
    size = sum(
        len(one.record) + sum(len(part.sessions or b"") + len(part.rooms or b"") for part in one.parts)
        for one in proposals
    )
    return len(proposals) >= MAX_ITEMS or size >= MAX_BATCH_BYTES // 2


def _take_out(tags: Iterable[bytes], sessions: list[SharedSession]) -> list[bytes]:
    """Take one session of each tag out of the list, and return the tags that it does not have."""
    missing = []
    for tag in tags:
        found = next((session for session in sessions if session.tag == tag), None)
        if found is None:
            missing.append(tag)
        else:
            sessions.remove(found)
    return missing


def _changed(before: tuple[bytes, bytes], part: Part) -> tuple[bytes, bytes]:
    sessions = before[0] if part.sessions is None else part.sessions
    return sessions, before[1] if part.rooms is None else part.rooms
