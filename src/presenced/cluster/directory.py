"""Directory of a node in a cluster: all nodes agree on what is visible.

It has two kinds of sessions: those of this node, and those that other nodes contribute. The rule of presence is the
same for both. Only two things differ from the directory of a single node:

    an event here       _reconcile: marks the user as changed, and shows nothing (unless the store is out of reach)
    an item of the log  accept: shows what all nodes have agreed on, with its version

The user's own devices see the effect of an event immediately, in its `Outcome`. `take_outcomes` returns what becomes
visible later.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple, Protocol, TypeVar

from msgspec.structs import replace

from presenced.cluster.backend import MAX_SLOTS
from presenced.cluster.contribution import Contribution
from presenced.cluster.elsewhere import SharedUsers, UserElsewhere, sessions_of
from presenced.cluster.presence import UNKNOWN, Shown
from presenced.cluster.records import (
    TAG_BYTES,
    SharedMember,
    SharedSession,
    UserRecord,
    encode_rooms,
    encode_sessions,
    merged,
)
from presenced.cluster.shared_versions import SharedVersions
from presenced.cluster.stamps import Stamps, StampTable
from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import (
    AS_DETECTED,
    NO_DISPLAY,
    SEEN_OFFLINE,
    Cause,
    Change,
    Display,
    OwnState,
    Status,
)
from presenced.presence.outcome import NOTHING, Outcome
from presenced.presence.session import Grace, Session
from presenced.presence.status import TimedChoice
from presenced.presence.user import User
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

C = TypeVar("C", bound=Hashable)

RESTORED_MS = 1
"""Stamp of a choice from the database: any decision of a node is newer."""

OTHERS_END_S = 1.0
"""Seconds that the responsible node has to end a choice or claim that is over. After that, any other node ends it."""


class Agreement(Protocol):
    """Agreement with the other nodes (`cluster.cluster`)."""

    def user_changed(self, user_id: str, now: Instant) -> None:
        """Record that something about the user has changed on this node."""

    def contribution_changed(self, user_id: str) -> None:
        """Record that this node's contribution to the user has changed, and others see the user as before.

        For example, a session has joined or left a room, or has moved to another node.
        """

    def session_moved_here(self, user_id: str, tag: bytes) -> None:
        """Record that a session came from another node. If that node has stopped, it no longer drops the session."""

    @property
    def has_newcomers(self) -> bool:
        """Whether clients may have come from other nodes with changes that this node has not read yet."""

    @property
    def stale_since_ms(self) -> int:
        """Epoch milliseconds since which a shard has been out of reach, or not yet read again; 0 if no shard is."""

    @property
    def transitions(self) -> int:
        """Number of times that `stale_since_ms` has become 0, or has stopped being 0."""

    def is_out_of_reach(self, user_id: str) -> bool:
        """Return whether the shard of a user is out of reach, or has not been read again after that."""

    def ends_for_absent(self, user_id: str) -> bool:
        """Return whether this node ends the choice and the claims of a user who has no session."""


class _Cause(NamedTuple):
    """Cause of the next change of a user, and its time."""

    cause: Cause
    epoch_ms: int


class SharedDirectory(Directory[C]):
    """The users of all nodes, as this node sees them.

    Users who have something on this node are in `_by_id`, and the methods of `Directory` change only these. For these
    methods a user of other nodes is unknown, until `get_or_add` moves the user there (`cluster.elsewhere`).

    Bounds: as for `Directory`, and those of `StampTable` with `max_choices`.
    """

    def __init__(self, grace: Grace, limits: Limits, journal: Journal) -> None:
        self.versions = SharedVersions()
        """Version clock of this node."""
        self.users: SharedUsers[C] = SharedUsers(limits, journal, self.versions)
        super().__init__(grace, limits, journal, users=self.users)
        self.certainty = self  # it has the methods of `NodeCertainty`
        self.agreement: Agreement | None = None
        """Set before the first event."""
        self.slot = 0
        """Slot of this node."""
        self._outcomes: list[Outcome[C]] = []
        self._causes: dict[str, _Cause] = {}
        self._stamps = StampTable(limits.max_choices)
        # `_reconcile` may call `show_locally` through `agreement`, and returns the change that was made there.
        self._reconciled_id = ""  # user for whom `_reconcile` runs; empty outside of it
        self._made: Change | None = None
        self._is_restoring = False
        self.shown_locally: set[str] = set()
        """Users whose last change was shown without the store, and is not yet accepted."""
        self.users.on_evicted = self._forget_user

    @property
    def stale_since_ms(self) -> int:
        """Epoch milliseconds since when some users may have changed without this node knowing; 0 if none may have."""
        return self.agreement.stale_since_ms if self.agreement is not None else 0

    @property
    def transitions(self) -> int:
        """Number of times that this node became stale, or current again."""
        return self.agreement.transitions if self.agreement is not None else 0

    def is_stale(self, user_id: str, status: Status) -> bool:
        """Return whether a user who is shown with this status may have changed without this node knowing.

        A user with a session on this node cannot have left. But a user who is shown as offline is always stale.
        Otherwise an invisible user with a session here would look different from other offline users.
        """
        if self.agreement is None or not self.agreement.is_out_of_reach(user_id):
            return False
        user = self._by_id.get(user_id)
        is_here = user is not None and any(session.slot < 0 and session.is_present for session in user.sessions)
        return status is Status.OFFLINE or not is_here

    def take_outcomes(self) -> list[Outcome[C]]:
        """Return what became visible since the last call, in order."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    # Events of this node.

    def _reconcile(self, user: User[C], cause: Cause, now: Instant) -> Outcome[C]:
        """Propose what becomes visible, instead of deciding it."""
        assert self.agreement is not None
        self._stamp(user, now)
        view, own = user.states(cause)
        own_change = None
        if own is None or not own.looks_like(user.own):
            user.own = own_change = own
        if view != user.shown or user.user_id not in self._causes:
            self._causes[user.user_id] = _Cause(cause, now.epoch_ms)
        self._reconciled_id, self._made = user.user_id, None
        self.agreement.user_changed(user.user_id, now)
        self._reconciled_id, change = "", self._made
        self._remember_or_evict(user)
        return Outcome(user.user_id, change, own_change)

    def _expire(self, user: User[C], now: Instant) -> list[Outcome[C]]:
        """End everything of one user that is due. If another node is responsible, do so only if that node has not."""
        assert self.agreement is not None
        has_held = user.held is not None and user.held.deadline is not None
        ends = [claim.ends for claim in user.claims] + ([user.timed_until] if user.timed else [])
        if ends and not has_held and not any(session.slot < 0 for session in user.sessions):
            own_turn = min(ends) + OTHERS_END_S
            if now.monotonic < own_turn and (user.sessions or not self.agreement.ends_for_absent(user.user_id)):
                self._deadlines.set(user.user_id, own_turn)
                return []
        return super()._expire(user, now)

    def restore_choices(self, user_id: str, stored: tuple[TimedChoice, ...], now: Instant) -> Outcome[C]:
        """Restore a choice from before the start. It counts as older than all decisions of nodes."""
        self._is_restoring = True
        try:
            return super().restore_choices(user_id, stored, now)
        finally:
            self._is_restoring = False

    def on_rooms_changed(self, user_id: str) -> None:
        """Let other nodes know that a session of the user has joined or left a room."""
        if self.agreement is not None:
            self.agreement.contribution_changed(user_id)

    def _attach(self, user: User[C], session: Session[C], now: Instant) -> Outcome[C]:
        if not session.session_id and self.agreement is not None:
            self.agreement.session_moved_here(user.user_id, b"")  # without an id, it may be the return of a lost one
        outcome = super()._attach(user, session, now)
        # Several nodes may open connections of one user in the same millisecond. To make their ids differ, each node
        # uses only milliseconds whose remainder is its slot, and moves up to the next one.
        user.last_id_ms += (self.slot - user.last_id_ms) % MAX_SLOTS
        return replace(outcome, connection_id=f"{user.user_id}-{user.last_id_ms}")

    # Sessions that move to another node, or come from one.

    def adopt_session(self, session: Session[C]) -> None:
        """Add a session that another node has given away, so that its client can resume it until `forget_at`."""
        assert self.agreement is not None
        user = self.users.get_or_add(session.user_id)
        user.sessions.append(session)
        user.named_sessions += 1
        self.users.sessions[session.session_id] = session
        self._forget_surplus(user)
        self._schedule(user)
        self.agreement.session_moved_here(user.user_id, tag_of(session.session_id))

    def session_replaced(self, user_id: str, session_id: str) -> None:
        """Record that the client of another node's session continues here with a new one."""
        assert self.agreement is not None
        self.agreement.session_moved_here(user_id, tag_of(session_id))

    def give_away(self, session: Session[C], until: float) -> None:
        """Hand a session over to another node. Keep contributing it until that node does.

        Args:
            until: Monotonic time at which this node stops contributing it in any case.
        """
        user = self._by_id[session.user_id]
        del self.users.sessions[session.session_id]
        if session.connection is None:
            if session.grace_ends is not None:
                session.grace_ends = session.forget_at = until
            else:
                self._forget_session(user, session)  # its grace period is over, so it is no longer contributed
        else:
            user.detach(session, until, until)
            self.users.connected_users -= not user.connected
        self._schedule(user)
        self._remember_or_evict(user)

    def erase_display(self, user_id: str, now: Instant) -> Outcome[C]:
        """Erase the display data that the user's tokens have set, on all nodes.

        Unlike a single node, this one remembers when. Otherwise the data would return from a node that missed it.
        """
        self.users.displays.pop(user_id)
        user = self._by_id.get(user_id)
        if user is None or user.display == NO_DISPLAY:
            return NOTHING
        user.display = Display(b"", now.epoch_ms / 1000)
        return self._reconcile(user, Cause.DISPLAY, now)

    def restore_display(self, user_id: str, data: bytes, now: Instant) -> Outcome[C]:
        """Restore display data from before the start, as on a single node."""
        self.users.get_for_update(user_id)  # moves a user of other nodes to `_by_id`, where `super()` looks
        return super().restore_display(user_id, data, now)

    def display_erased(self, user_id: str, epoch_ms: int) -> None:
        """Erase display data from before `epoch_ms`, as another node has. An absent user may have no record of it."""
        if (self.users.displays.get(user_id) or NO_DISPLAY).issued < epoch_ms / 1000:
            self.users.displays.pop(user_id)
        user = self.users.get_for_update(user_id)
        if user is not None and user.display.issued < epoch_ms / 1000:
            user.display = Display(b"", epoch_ms / 1000)

    def join_times(self, user_id: str) -> Mapping[str, int]:
        """Return when the user joined rooms: the earliest time of the user's sessions there, in epoch milliseconds."""
        user, times = self.users.user(user_id), dict[str, int]()
        for session in user.sessions if user else ():
            for room, given in (session.rooms or {}).items():
                times[room] = min(given.joined_ms, times.get(room, given.joined_ms))
        return times

    # Methods of `cluster.presence.LocalPresence`.

    def own_contribution(self, user_id: str, slot: int) -> Contribution:
        """Return what this node, which is in this slot, contributes to the user."""
        user = self._by_id.get(user_id)
        mine = [s for s in user.sessions if s.slot < 0 and s.is_present] if user else []
        sessions = sorted(SharedSession(tag_of(s.session_id), s.device, s.active) for s in mine)
        rooms = sorted(
            SharedMember(tag_of(session.session_id), room, *given)
            for session in mine
            for room, given in (session.rooms or {}).items()
        )
        return Contribution(slot, encode_sessions(tuple(sessions)), encode_rooms(tuple(rooms)))

    def contributed_users(self) -> Iterable[str]:
        """Return the users to whom this node contributes: those who have a session here."""
        return [
            user_id
            for user_id, user in self._by_id.items()
            if any(session.slot < 0 and session.is_present for session in user.sessions)
        ]

    def shown_users(self) -> Iterable[str]:
        """Return the users who are not shown as offline."""
        return [change.user_id for change in self.users.snapshot()]

    def decided_users(self) -> Iterable[str]:
        """Return the users about whom something was chosen, claimed or announced, or cleared not long ago."""
        return self._stamps.users()

    def forget_cleared(self, user_id: str) -> None:
        """Forget when something about the user was cleared, because all nodes know it by now."""
        self._stamps.forget_cleared(user_id)

    def set_contribution(self, user_id: str, new: Contribution) -> None:
        """Set what another node contributes to the user. Nothing becomes visible, except in rooms."""
        user = self._by_id.get(user_id)
        if user is None and new.sessions and user_id in self.users.displays:
            user = self.users.get_or_add(user_id)
        differ = self._replace_sessions(user, new) if user else self.users.set_contribution_elsewhere(user_id, new)
        if differ:
            # Members of rooms come from contributions. If the record stays the same, nothing else updates the rooms.
            self._outcomes.append(Outcome(user_id, None, None))
        if user is not None:
            self._remember_or_evict(user)  # perhaps no item about the user follows
        elif (found := self.users.elsewhere.get(user_id)) is not None:
            self.users.evict_elsewhere_if_unneeded(found)

    def expect(self, user_id: str, cause: Cause, now: Instant) -> None:
        """Set the cause of the user's next change, because another node has ended. An earlier cause stays."""
        if self.users.known(user_id) is not None:
            self._causes.setdefault(user_id, _Cause(cause, now.epoch_ms))

    def record(self, user_id: str, now: Instant) -> UserRecord:
        """Return the record that follows from all contributions and from what was decided here."""
        user = self.users.known(user_id)
        if user is None:
            record = UserRecord(SEEN_OFFLINE, now.epoch_ms, 0, Cause.GRACE)
            stamps = self._stamps.of_evicted(user_id)
            return stamps.added_to(record) if stamps is not None else record
        active_ms = user.active_ms
        cause, at_ms = self._causes.get(user_id, _Cause(Cause.GRACE, now.epoch_ms))
        view = user.states(cause)[0] if isinstance(user, User) else user.view()
        shown, last = user.shown, user.last_change
        if view == shown and last is not None:
            details = last.since_ms, last.seen_ms, last.cause, last.was, last.was_version
            record = UserRecord(view, *details, active_ms)
        else:
            since = last.since_ms if last and view.status is shown.status else at_ms
            seen = 0 if view.status in (Status.ONLINE, Status.BUSY) else user.seen_ms
            record = UserRecord(view, since, seen, cause, shown.status, last.version if last else 0, active_ms)
        return self._with_stamped_fields(record, user)

    def shown(self, user_id: str) -> Shown:
        """Return what watchers saw last."""
        user = self.users.known(user_id)
        return Shown(user.version, user.shown) if user is not None else UNKNOWN

    def accept(self, user_id: str, record: UserRecord, version: int, now: Instant) -> None:
        """Show the user as in the record, with this version, and adopt its stamped fields."""
        user = self._by_id.get(user_id)
        if user is None:
            found = self.users.elsewhere.get(user_id)
            if found is None and not record.is_kept:
                return  # unknown, and shown as offline already
            is_plain = record.stamped is None and user_id not in self._stamps and user_id not in self.users.displays
            if is_plain and (record.is_kept or (found is not None and found.last_change is not None)):
                self._accept_elsewhere(found or self.users.add_elsewhere(user_id), record, version, now)
                return
            user = self.users.get_or_add(user_id)
        self._adopt(user, record, now)
        change, renumbered = self._show_record(user, record, version, now)
        user.version = max(user.version, version)
        view, own = user.states(record.cause)
        if view == user.shown:
            self._causes.pop(user_id, None)
        self._add_outcome(user, change, own, renumbered)

    def adopt(self, user_id: str, record: UserRecord, now: Instant) -> None:
        """Adopt the stamped fields of the record, and show nothing, because the user is unsettled."""
        user = self.users.get_or_add(user_id)
        self._adopt(user, record, now)
        self._add_outcome(user, None, user.states(record.cause)[1])

    def show_locally(self, user_id: str, version: int, now: Instant) -> None:
        """Show the user as the rule of presence says, without the store."""
        user = self.users.get_for_update(user_id)
        if user is None:
            return
        change = self._make_change(user, self.record(user_id, now), version, now)
        user.version = version
        self._causes.pop(user_id, None)
        self.shown_locally.add(user_id)
        if self._reconciled_id == user_id:
            self._made = change
        else:
            self._add_outcome(user, change, user.states(change.cause)[1])

    # Internal.

    def _accept_elsewhere(self, user: UserElsewhere[C], record: UserRecord, version: int, now: Instant) -> None:
        """Show a user who has nothing on this node as in the record."""
        user_id = user.user_id
        user.active_ms = max(user.active_ms, record.active_ms)
        change, renumbered = self._show_record(user, record, version, now)
        if user_id in self._causes and user.view() == user.shown:
            del self._causes[user_id]
        self._outcomes.append(Outcome(user_id, change, renumbered=renumbered))
        if self.users.evict_elsewhere_if_unneeded(user):
            self._causes.pop(user_id, None)

    def _show_record(
        self, user: User[C] | UserElsewhere[C], record: UserRecord, version: int, now: Instant
    ) -> tuple[Change | None, Change | None]:
        """Show the user as in a record, with this version.

        Return the change, if others see one, and what only followers of the journal receive (`Outcome.renumbered`).
        """
        self.shown_locally.discard(user.user_id)
        last = user.last_change
        is_raised = last is not None and version > last.version
        is_offline = record.view.status is Status.OFFLINE  # not in `Journal.digest`, so no follower needs it
        # A client from another node may have a change that this node never read, and then needs the newer version.
        must_notify = self.agreement is not None and self.agreement.has_newcomers
        if record.view != user.shown or (is_raised and not is_offline and must_notify):
            return self._make_change(user, record, version, now), None
        if last is None or not is_raised:
            return None, None
        user.last_change = replace(last, version=version)
        self.users.log.replace(user.last_change)
        if is_offline:
            return None, None
        details = {"position": self._journal.next_position(), "version": version, "at": now}
        return None, replace(last, was=last.status, was_version=last.version, **details)

    def _replace_sessions(self, user: User[C], new: Contribution) -> bool:
        """Replace the sessions of another node. Return whether their rooms changed."""
        self.users.set_contribution_here(user.user_id, new)
        before = [session for session in user.sessions if session.slot == new.slot]
        for session in before:
            user.sessions.remove(session)
            user.named_sessions -= bool(session.session_id)
        sessions: list[Session[C]] = sessions_of(user.user_id, new)
        user.sessions += sessions
        user.named_sessions += sum(bool(session.session_id) for session in sessions)
        self._drop_moved(user, new.slot, sum(not session.session_id for session in before))
        return [one.rooms for one in before if one.rooms] != [one.rooms for one in sessions if one.rooms]

    def _drop_moved(self, user: User[C], slot: int, classic_before: int) -> None:
        """Drop lost sessions of this node that are on another node now. The user stays present because of that node.

        Args:
            slot: Slot of the other node. A new classic connection there counts as the return of the one that was lost
                last here.
            classic_before: Number of classic connections that it contributed before.
        """
        lost = user.detached()
        if not lost:
            return
        there = [session.session_id for session in user.sessions if session.slot == slot]  # tags in hex
        moved = [s for s in lost if s.session_id and tag_of(s.session_id).hex() in there]
        returned = there.count("") - classic_before
        if returned > 0:
            moved += [s for s in lost if not s.session_id][-returned:]
        for session in moved:
            self._forget_session(user, session)
        if moved:
            self._schedule(user)
            self.on_rooms_changed(user.user_id)

    def _make_change(self, user: User[C] | UserElsewhere[C], record: UserRecord, version: int, now: Instant) -> Change:
        """Make the state in a record visible: log and return a change."""
        users, was, last = self.users, user.shown.status, user.last_change
        users.online_users += (was is Status.OFFLINE) - (record.view.status is Status.OFFLINE)
        user.seen_ms = max(user.seen_ms, record.seen_ms or now.epoch_ms)
        position, before = self._journal.next_position(), last.version if last else 0
        details = version, now, record.since_ms, record.seen_ms, record.cause, before
        change = Change(position, user.user_id, record.view, was, *details)
        user.last_change = change
        users.log.append(change)
        return change

    def _add_outcome(
        self, user: User[C], change: Change | None, own: OwnState | None, renumbered: Change | None = None
    ) -> None:
        """Add the outcome for watchers and the user's own devices to `take_outcomes`."""
        own_change = None
        if own is None or not own.looks_like(user.own):
            user.own = own_change = own
        self._outcomes.append(Outcome(user.user_id, change, own_change, renumbered=renumbered))
        self._remember_or_evict(user)

    def _remember(self, user: User[C]) -> None:
        super()._remember(user)
        if user.timed is None and (stamps := self._stamps.get(user.user_id)) is not None:
            stamps.end_timed()  # a temporary `auto` without anything to return to has ended with the presence

    def _remember_or_evict(self, user: User[C]) -> None:
        super()._remember_or_evict(user)
        if user.user_id in self._by_id and not user.connected and user.is_present and self._is_elsewhere(user):
            self.users.compact(user)

    def _lose(self, user: User[C], is_choice: bool) -> None:
        """Forget an absent user's choice or claims, because of a bound. All nodes do so at about the same time."""
        super()._lose(user, is_choice)
        stamps = self._stamps.get(user.user_id)
        if stamps is not None and self.agreement is not None:
            if is_choice:
                stamps.lose_choice()
            else:
                stamps.lose_claims()
            self.agreement.contribution_changed(user.user_id)

    def _forget_user(self, user_id: str) -> None:
        """Forget what belongs to an evicted user."""
        self.shown_locally.discard(user_id)
        self._causes.pop(user_id, None)
        self._stamps.evict(user_id)

    def _is_elsewhere(self, user: User[C]) -> bool:
        """Return whether a user who is present and not connected here has nothing on this node."""
        user_id, change = user.user_id, user.last_change
        has_state = user_id in self._stamps or user.display != NO_DISPLAY or user_id in self._causes
        if has_state or change is None or change.view.status is Status.OFFLINE or change.version != user.version:
            return False
        is_held = user.held is not None and user.held.deadline is not None
        return not is_held and all(session.slot >= 0 for session in user.sessions)

    # Stamped fields.

    def _stamp(self, user: User[C], now: Instant) -> None:
        """Stamp what this node has just decided about the user, if anything."""
        self._stamps.recall(user.user_id)
        is_plain = user.chosen == AS_DETECTED and user.timed is None and not user.claims and not user.announced
        if is_plain and self._stamps.get(user.user_id) is None:
            return
        self._stamps.get_or_add(user.user_id).note(user, now, RESTORED_MS if self._is_restoring else now.epoch_ms)

    def announce(self, user_id: str, online: bool, now: Instant) -> Outcome[C]:
        """Announce a user, or withdraw the announcement. A repetition also overrides decisions of other nodes."""
        outcome = super().announce(user_id, online, now)
        stamps = self._stamps.find(user_id)
        # A withdrawal that changes nothing is not a decision, because backends withdraw for every user who goes
        # offline. Without the store, it may change something that this node does not know.
        if stamps is None and self.agreement is not None and self.agreement.is_out_of_reach(user_id):
            stamps = self._add_stamps(user_id)
        if stamps is not None:
            stamps.renew_announcement(now.epoch_ms)
        return outcome

    def _choose(self, user: User[C], choices: tuple[TimedChoice, ...], now: Instant) -> Outcome[C]:
        outcome = super()._choose(user, choices, now)
        # Even a choice that changes nothing here is newer than what other nodes have decided.
        stamps = self._stamps.find(user.user_id) or self._add_stamps(user.user_id)
        stamps.renew_choice(now.epoch_ms, any(one.is_permanent for one in choices))
        return outcome

    def _add_stamps(self, user_id: str) -> Stamps:
        if self.agreement is not None:
            self.agreement.contribution_changed(user_id)
        return self._stamps.add(user_id, is_known=user_id in self._by_id)

    def _with_stamped_fields(self, record: UserRecord, user: User[C] | UserElsewhere[C]) -> UserRecord:
        display = user.display if isinstance(user, User) else NO_DISPLAY
        if display != NO_DISPLAY:
            record = replace(record, display=display.data, display_issued=display.issued)
        stamps = self._stamps.get(user.user_id)
        return stamps.added_to(record) if stamps is not None else record

    def _adopt(self, user: User[C], record: UserRecord, now: Instant) -> None:
        """Adopt the stamped fields of a record, except those that this node has set later."""
        user.active_ms = max(user.active_ms, record.active_ms)
        self._stamps.recall(user.user_id)
        mine = self._with_stamped_fields(record_of(user), user)
        if mine.stamped == record.stamped:
            return
        result = merged(mine, record)
        if result.decided != record.decided and self.agreement is not None:
            self.agreement.contribution_changed(user.user_id)  # the store has lost what this node knows
        self._announced += result.announced - user.announced
        self._stamps.get_or_add(user.user_id).apply(user, result, now)
        self._schedule(user)


def tag_of(session_id: str) -> bytes:
    """Return the tag that stands for a session in the store: a digest, because the session's id is a secret."""
    return blake2b(session_id.encode(), digest_size=TAG_BYTES).digest() if session_id else b""


def record_of(user: User[C]) -> UserRecord:
    """Return what is shown of a user as a record, without stamped fields."""
    last = user.last_change
    if last is None:
        return UserRecord(SEEN_OFFLINE, 0, 0, Cause.GRACE)
    return UserRecord(last.view, last.since_ms, last.seen_ms, last.cause, last.was, last.was_version)
