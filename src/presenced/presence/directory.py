"""The directory: the events that can happen to users, and the visible changes that follow.

Each event is one call with the time as an argument. It changes the sessions, choices or claims of one user, and then
calls `_reconcile`, which compares the state that others should see with the one they saw last. Only if these differ,
`_show` makes a `Change`. Every result is a value (`Outcome`). Nothing is sent, and nothing here reads a clock.

    event --> session, choice or claim of the user --> _reconcile --> nothing visible: Outcome without a change
                                                                '--> visible: _show --> Change with position and version

The passing of time is an event, too: the caller calls `expire` at `next_deadline`. It ends grace periods, sessions,
temporary choices, claims and the pause after a client's change.

The pause (`status_pause`) protects subscribers from a client that changes its status in a loop. After a change by one
of the user's clients, further requests are held (`HeldRequests`). At the end of the pause they take effect together,
in the order of arrival, and the next pause begins. A backend's decisions do not wait.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import inf
from typing import Generic, TypeVar

from msgspec.structs import replace

from presenced.errors import CapacityError
from presenced.presence.certainty import NodeCertainty
from presenced.presence.held_requests import HeldRequests
from presenced.presence.journal import Journal
from presenced.presence.model import (
    AS_DETECTED,
    NO_DISPLAY,
    Cause,
    Change,
    Choice,
    Display,
    Ending,
    Status,
    View,
)
from presenced.presence.outcome import NOTHING, Outcome
from presenced.presence.restore import DecisionsSinceStart
from presenced.presence.rooms import NO_EARLIER_JOINS
from presenced.presence.session import Grace, Session
from presenced.presence.status import (
    MAX_SOURCES,
    Claim,
    TimedChoice,
    choices_in_force,
    timed_choice,
    without_source,
)
from presenced.presence.subscriptions import Subscription
from presenced.presence.user import MAX_DETACHED_SESSIONS, User
from presenced.presence.users import Limits, Users
from presenced.presence.versions import VersionClock, VersionCounter
from presenced.runtime.deadlines import Deadlines
from presenced.runtime.instant import Instant

C = TypeVar("C", bound=Hashable)

_CAUSES = {
    Ending.CLOSED: Cause.CLOSE,
    Ending.GOING_AWAY: Cause.CLOSE,
    Ending.KEEP_SESSION: Cause.CLOSE,
    Ending.LOST: Cause.TIMEOUT,
    Ending.TIMED_OUT: Cause.TIMEOUT,
    Ending.DISCONNECTED: Cause.KICK,
    # REPLACED causes nothing: the session has the new connection by then, so `close` is a no-op for the old one.
}

_SEEN_NOW = Status.ONLINE, Status.BUSY
"""Statuses of users who are there now, so their changes carry no time last seen."""


class Directory(Generic[C]):
    """The users, and the events that change them. A connection is an opaque object.

    A source of presence is a connection, a grace period or an announcement. A user is OFFLINE to others exactly while
    they have no source or have chosen to be invisible. Nothing that a client does makes a method fail.

    A cluster subclasses this, which is the one planned use of inheritance. It overrides `_reconcile`, because all nodes
    decide together what becomes visible; `_expire`, because one node ends things for all; and `_lose`, because all
    nodes have to forget the same.

    Bounds: those of `Users`, and announcements by `max_announced`. The caller bounds the connections.

    Args:
        journal: Gives positions to changes. The caller appends the changes to it.
        versions: Gives versions to changes; by default a counter of its own.
        users: Table of users; by default one made from `limits`, `journal` and `versions`.
    """

    def __init__(
        self,
        grace: Grace,
        limits: Limits,
        journal: Journal,
        versions: VersionClock | None = None,
        users: Users[C] | None = None,
    ) -> None:
        self.users: Users[C] = users if users is not None else Users(limits, journal, versions or VersionCounter())
        """Read access to all users."""
        self.certainty: NodeCertainty | None = None
        """Certainty about users of other nodes; None for a single node, which decides everything itself."""
        self.since_start: DecisionsSinceStart | None = None
        """Decisions made since the start, while stored data is being restored; None at other times."""
        self._grace = grace
        self._limits = limits
        self._journal = journal
        self._versions = self.users.versions
        self._by_id = self.users.by_id  # one attribute look-up less on the hot path
        self._deadlines: Deadlines[str] = Deadlines()
        self._announced = 0

    def begin_restore(self) -> None:
        """Record decisions from now on, because older stored data is restored later and must not override them."""
        self.since_start = DecisionsSinceStart()

    def end_restore(self) -> None:
        """Stop recording decisions."""
        self.since_start = None

    def begin_above(self, number: int) -> None:
        """Assign only positions and versions above `number` from now on. An earlier start may have used lower ones."""
        self._journal.advance(number)
        self._versions.advance(number)

    # Connections.

    def open(
        self,
        user_id: str,
        connection: C,
        now: Instant,
        session_id: str = "",
        device: str = "",
        subscription: Subscription | None = None,
        active: bool = True,
        client_choice: Choice | None = None,
        display: Display | None = None,
    ) -> Outcome[C]:
        """Open a connection of `user_id` (as `presence.identity` returns it).

        Args:
            session_id: A new id for a session that can be resumed; empty for a classic connection, which counts as the
                return of the classic connection lost last.
            device: Kind of device; empty if unknown.
            subscription: Subscription of a session that can be resumed.
            active: Whether the person is active at this device.
            client_choice: The user's choice as the client remembers it. It counts if the server knows nothing of the
                user.
            display: Display data from the token; None if the token does not mention any.
        """
        user = self.users.get_or_add(user_id)
        if active:
            user.active_ms = now.epoch_ms
        if client_choice and user.last_change is None and not user.sessions and not user.has_chosen:
            user.restore_from_client(client_choice, now)
        if display is not None:
            user.update_display(display, now)
        lost = [s for s in user.detached() if not s.session_id]
        # Classic connections of a user cannot be distinguished, so the one lost last counts as returned.
        if lost and not session_id:
            user.remove(lost[-1])
        session = Session(user_id, connection, session_id, device, subscription, active)
        if session_id:
            self.users.sessions[session_id] = session
        return self._attach(user, session, now)

    def resume(
        self,
        session_id: str,
        user_id: str,
        connection: C,
        now: Instant,
        display: Display | None = None,
        active: bool | None = None,
    ) -> Outcome[C] | None:
        """Resume a session with a new connection, which replaces the old one if that is still open.

        The old connection may be dead without the server knowing. The client must not have to wait until it times out.

        Args:
            display: As for `open`.
            active: Whether the person is active at this device; None leaves it unchanged.

        Returns:
            None if the user does not have this session, or no longer.
        """
        session = self.users.sessions.get(session_id)
        if session is None or session.user_id != user_id:
            return None
        user = self._by_id[user_id]
        if display is not None:
            user.update_display(display, now)
        replaced = session.connection
        user.remove(session)
        if replaced is not None and not user.connected:
            self.users.connected_users -= 1  # `_attach` counts the user again
        session.connection, session.grace_ends = connection, None
        if active is not None:
            session.active = active
            user.active_ms = now.epoch_ms if active else user.active_ms
            if user.held is not None:
                # The held request is older than `active`, which comes from the URL of the new connection.
                user.held.activities.pop(session, None)
        return replace(self._attach(user, session, now), replaced=replaced)

    def close(
        self, user_id: str, connection: C, ending: Ending, now: Instant, silent: float = 0.0, unheard_age: float = inf
    ) -> Outcome[C]:
        """Close a connection. No-op if it is not open.

        Args:
            silent: Seconds since the client last sent anything, after a timeout: the user was last seen then. 0 if the
                client was there until now.
            unheard_age: As for `Grace.after`.
        """
        user = self._by_id.get(user_id)
        session = user.session_of(connection) if user else None
        if user is None or session is None:
            return NOTHING
        grace = self._grace.after(ending, unheard_age)
        is_final = not session.session_id or ending in (Ending.CLOSED, Ending.DISCONNECTED)
        window = 0.0 if is_final else self._limits.resume_window
        user.seen_ms = max(user.seen_ms, now.epoch_ms - int(silent * 1000)) if silent else now.epoch_ms
        user.detach(session, now.monotonic + grace if grace > 0 else None, now.monotonic + max(grace, window))
        if max(grace, window) <= 0:
            self._forget_session(user, session)
        else:
            self._forget_surplus(user)
        if not user.connected:
            self.users.connected_users -= 1
        self._schedule(user)
        return self._reconcile(user, _CAUSES[ending], now)

    def set_active(self, user_id: str, connection: C, active: bool, now: Instant) -> Outcome[C]:
        """Set whether the client's person is active or idle. During the user's pause the request is held."""
        user = self._by_id.get(user_id)
        session = user.session_of(connection) if user else None
        if user is None or session is None:
            return NOTHING
        held = user.held
        if session.active is active:
            if held is not None and held.activities.pop(session, None) is not None:
                self._schedule(user)
            return NOTHING
        user.seen_ms = now.epoch_ms
        if active:
            user.active_ms = now.epoch_ms
        if held is not None and held.must_wait(now.monotonic):
            held.activities[session] = active
            self._schedule(user)
            return Outcome(user_id)
        session.active = active
        self._pause(user, now)
        return self._reconcile(user, Cause.IDLE, now)

    def on_rooms_changed(self, user_id: str) -> None:
        """Do nothing. A cluster overrides this, because other nodes have to know the rooms of sessions."""

    def join_times(self, user_id: str) -> Mapping[str, int]:
        """Return earlier times at which the user joined rooms, in epoch milliseconds. A cluster overrides this."""
        return NO_EARLIER_JOINS

    # Announcements, and time.

    def announce(self, user_id: str, online: bool, now: Instant) -> Outcome[C]:
        """Announce on behalf of a backend that a user is online elsewhere, or withdraw the announcement.

        It holds until it is withdrawn. It can add presence, but never take it from an open connection. If the user has
        no connection, a withdrawal also ends the user's grace periods and sessions, because the backend knows better
        than a timeout.

        Raises:
            CapacityError: The maximum number of users is announced.
        """
        user = self._by_id.get(user_id)
        if online:
            if (user is None or not user.announced) and self._announced >= self._limits.max_announced:
                raise CapacityError(
                    f"{self._limits.max_announced} users are announced online already; withdraw some first"
                )
            user = self.users.get_or_add(user_id)
        elif user is None:
            return NOTHING
        if user.announced:
            user.seen_ms = now.epoch_ms
        self._announced += online - user.announced
        user.announced = online
        if not online and not user.connected:
            self._forget_detached(user)
        return self._reconcile(user, Cause.ANNOUNCEMENT, now)

    def end_grace_periods(self, user_id: str, now: Instant) -> Outcome[C]:
        """End the user's grace periods now. Sessions without a connection can no longer be resumed."""
        user = self._by_id.get(user_id)
        if user is None:
            return NOTHING
        self._forget_detached(user)
        return self._reconcile(user, Cause.KICK, now)

    def expire(self, now: Instant) -> list[Outcome[C]]:
        """End everything that is due, and drop changes that are too old from the log. Call this at `next_deadline`."""
        outcomes: list[Outcome[C]] = []
        while (user_id := self._deadlines.pop_due(now.monotonic)) is not None:
            outcomes += self._expire(self._by_id[user_id], now)
        self.users.log.trim(now.monotonic)
        return outcomes

    def _expire(self, user: User[C], now: Instant) -> list[Outcome[C]]:
        """End everything of one user that is due, together, so that others see one change. A cluster overrides this."""
        cause = Cause.GRACE
        for session in user.detached():
            if session.grace_ends is not None and session.grace_ends <= now.monotonic:
                session.grace_ends = None
            if session.grace_ends is None and session.forget_at <= now.monotonic:
                self._forget_session(user, session)
        if user.timed and user.timed_until <= now.monotonic:  # the permanent choice returns
            user.timed, cause = None, Cause.EXPIRY
        if user.claims and any(c.ends <= now.monotonic for c in user.claims):
            user.claims = tuple(c for c in user.claims if c.ends > now.monotonic)
            cause = Cause.EXPIRY
        self._schedule(user)
        outcomes = [self._reconcile(user, cause, now)]
        if (held := user.held) is not None and held.deadline is not None and held.until <= now.monotonic:
            outcomes += self._apply_held(user, held, now)
        return outcomes

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which `expire` has something to do; None if never."""
        return self._deadlines.next()

    # Choices.

    def choose(
        self, user_id: str, choice: Choice, now: Instant, lasts: float | None = None, by_user: bool = True
    ) -> Outcome[C]:
        """Apply a user's choice of status: for `lasts` seconds from now, or permanently (`status.choices_in_force`).

        During the user's pause the choice waits, unless a later choice replaces it before the pause is over. A
        backend's choice takes effect immediately, after all waiting ones. The choice of an absent user is remembered.

        Args:
            by_user: The choice comes from a client of the user, not from a backend.
        """
        user, latest = self.users.get_or_add(user_id), timed_choice(choice, lasts, now)
        held = user.held
        if not by_user:
            return self._choose(user, (*(held.take_choices() if held else ()), latest), now)
        user.seen_ms = user.active_ms = now.epoch_ms
        if held is not None and held.must_wait(now.monotonic):
            held.choices = choices_in_force(held.choices, latest)
            self._schedule(user)
            return Outcome(user_id)
        self._pause(user, now)
        return self._choose(user, (latest,), now)

    def apply_held_requests(self, user_id: str, connection: C, now: Instant) -> list[Outcome[C]]:
        """Apply all waiting requests if `connection`, which is about to end, is the user's last one.

        A user without a connection makes no more requests, so there is nothing to wait for.
        """
        user = self._by_id.get(user_id)
        if user is None or user.held is None or user.connected > 1 or user.session_of(connection) is None:
            return []
        return self._apply_held(user, user.held, now)

    def restore_choices(self, user_id: str, stored: tuple[TimedChoice, ...], now: Instant) -> Outcome[C]:
        """Restore a choice from before the start: a permanent one, a temporary one, or both in this order.

        The result is the same as if it had arrived before everything since. No-op if a client of the user has already
        provided the choice that it remembers (`open`).
        """
        user, since = self._by_id.get(user_id), self.since_start
        if since is not None and since.has_chosen(user_id):
            stored = () if since.has_chosen_permanently(user_id) else tuple(one for one in stored if one.is_permanent)
            if user is not None and user.timed is not None:
                stored = *stored, TimedChoice(user.timed, user.timed_until)
        elif user is not None and user.has_chosen:
            return NOTHING
        if not stored:
            return NOTHING
        user = self.users.get_or_add(user_id)
        for one in stored:
            user.choose(one, now)
        self._schedule(user)
        return self._reconcile(user, Cause.CHOICE, now)

    def forget_stored(self, user_id: str) -> None:
        """Prevent the restore of data that was stored about the user. No-op if everything is restored."""
        if self.since_start is not None:
            self.since_start.forgot(user_id)

    # Claims.

    def set_claim(self, user_id: str, claim: Claim, now: Instant) -> Outcome[C]:
        """Set a backend's claim about a user. It replaces the previous claim of the same source.

        Raises:
            CapacityError: The user already has claims of the maximum number of other sources.
        """
        user = self._by_id.get(user_id)
        others = without_source(user.claims, claim.source) if user else ()
        if len(others) >= MAX_SOURCES:
            raise CapacityError(f"{MAX_SOURCES} sources claim something of this user already; clear one first")
        user = self.users.get_or_add(user_id)
        user.claims = (*others, claim)
        if self.since_start is not None:
            self.since_start.claimed(user_id, claim.source)
        self._schedule(user)
        return self._reconcile(user, Cause.CLAIM, now)

    def clear_claim(self, user_id: str, source: str, now: Instant) -> Outcome[C] | None:
        """Clear the claim of a source. Return None if there was none."""
        if self.since_start is not None:
            self.since_start.claimed(user_id, source)
        user = self._by_id.get(user_id)
        if user is None or len(others := without_source(user.claims, source)) == len(user.claims):
            return None
        user.claims = others
        self._schedule(user)
        return self._reconcile(user, Cause.CLAIM, now)

    # Display data.

    def update_display(self, user_id: str, display: Display, now: Instant) -> Outcome[C]:
        """Set the display data from the token of one of the user's connections.

        No-op if a newer token has set some.
        """
        user = self._by_id.get(user_id)
        if user is None or not user.update_display(display, now):
            return NOTHING
        return self._reconcile(user, Cause.DISPLAY, now)

    def restore_display(self, user_id: str, data: bytes, now: Instant) -> Outcome[C]:
        """Restore display data from before the start. No-op if a token has set some since, or the user was erased."""
        display, user = Display(data, 0.0), self._by_id.get(user_id)
        if self.since_start is not None and self.since_start.is_forgotten(user_id):
            return NOTHING
        if user is not None and user.display == NO_DISPLAY:
            user.display = display
            return self._reconcile(user, Cause.DISPLAY, now)
        if user is None and user_id not in self.users.displays:
            self.users.displays.set(user_id, display)
        return NOTHING

    def erase_display(self, user_id: str, now: Instant) -> Outcome[C]:
        """Erase the display data that the user's tokens have set."""
        self.users.displays.pop(user_id)
        user = self._by_id.get(user_id)
        if user is None:
            return NOTHING
        user.display = NO_DISPLAY
        return self._reconcile(user, Cause.DISPLAY, now)

    def erase_seen(self, user_id: str) -> None:
        """Erase when the user was last seen and last active."""
        self.users.erase_seen(user_id)

    # Internal.

    def _attach(self, user: User[C], session: Session[C], now: Instant) -> Outcome[C]:
        if not user.connected:
            self.users.connected_users += 1
        user.add(session)
        user.seen_ms = now.epoch_ms
        self._schedule(user)
        outcome = self._reconcile(user, Cause.CONNECT, now)
        connection_id = f"{user.user_id}-{user.next_id_ms(now.epoch_ms)}"
        return Outcome(user.user_id, outcome.change, outcome.own, session, connection_id)

    def _forget_session(self, user: User[C], session: Session[C]) -> None:
        user.remove(session)
        self.users.sessions.pop(session.session_id, None)
        if user.held is not None:
            user.held.activities.pop(session, None)

    def _forget_surplus(self, user: User[C]) -> None:
        """Forget a session without a connection if there are too many."""
        if len(detached := user.detached()) > MAX_DETACHED_SESSIONS:
            # Sessions beyond their grace period first, because their end is not visible.
            surplus = min(detached, key=lambda s: (s.grace_ends is not None, s.grace_ends or s.forget_at))
            self._forget_session(user, surplus)

    def _forget_detached(self, user: User[C]) -> None:
        for session in user.detached():
            self._forget_session(user, session)
        self._schedule(user)

    def _choose(self, user: User[C], choices: tuple[TimedChoice, ...], now: Instant) -> Outcome[C]:
        """Apply these choices in order. Others see only the combined result."""
        for one in choices:
            user.choose(one, now)
            if self.since_start is not None:
                self.since_start.chose(user.user_id, one.is_permanent)
        self._schedule(user)
        return self._reconcile(user, Cause.CHOICE, now)

    def _pause(self, user: User[C], now: Instant) -> None:
        """Start the pause after a change by one of the user's clients, during which further requests wait."""
        if self._limits.status_pause > 0:
            user.held = user.held or HeldRequests()
            user.held.until = now.monotonic + self._limits.status_pause

    def _apply_held(self, user: User[C], held: HeldRequests[C], now: Instant) -> list[Outcome[C]]:
        """Apply all waiting requests and start the next pause."""
        activities, choices = held.activities, held.choices
        if not activities and not choices:
            return []
        user.held = None
        self._pause(user, now)
        outcomes = []
        for session, active in activities.items():
            session.active = active
        if activities:
            outcomes.append(self._reconcile(user, Cause.IDLE, now))
        if choices:
            outcomes.append(self._choose(user, choices, now))
        self._schedule(user)
        return outcomes

    def _reconcile(self, user: User[C], cause: Cause, now: Instant) -> Outcome[C]:
        """Decide whether something about the user becomes visible. Every event ends here. A cluster overrides this."""
        view, own = user.states(cause)  # hot: once per event, also when nothing changes
        own_change = None
        if own is None or not own.looks_like(user.own):  # None: all sessions of presenced.v1 are gone
            user.own = own_change = own
        change = self._show(user, view, cause, now) if view != user.shown else None
        self._remember_or_evict(user)
        return Outcome(user.user_id, change, own_change)

    def _show(self, user: User[C], view: View, cause: Cause, now: Instant) -> Change:
        """Make a view visible: log and return a change with the next version and position."""
        users = self.users
        last, was = user.last_change, user.shown.status
        since = last.since_ms if last and view.status is was else now.epoch_ms
        is_seen_now = view.status in _SEEN_NOW
        before = last.version if last else 0
        user.version = version = self._versions.next(user.version)
        users.online_users += (was is Status.OFFLINE) - (view.status is Status.OFFLINE)
        if not is_seen_now and (user.connected or user.announced):
            user.seen_ms = now.epoch_ms  # the user became invisible, which looks like a close, or away
        seen = 0 if is_seen_now else user.seen_ms
        position = self._journal.next_position()
        change = Change(position, user.user_id, view, was, version, now, since, seen, cause, before)
        user.last_change = change
        users.log.append(change)
        return change

    def _schedule(self, user: User[C]) -> None:
        """Schedule the next time at which something about the user ends by itself."""
        if (deadline := user.next_deadline()) is not None:
            self._deadlines.set(user.user_id, deadline)
        else:
            self._deadlines.cancel(user.user_id)

    def _remember_or_evict(self, user: User[C]) -> None:
        """Remember an absent user's choice and claims, or evict the user if nothing is left to remember."""
        users = self.users
        if not user.is_present:
            # The condition skips the call in the common case: nothing to remember, and no old entry to remove.
            if user.timed or user.has_chosen or user.claims or users.with_choice or users.with_claim:
                self._remember(user)
            users.evict_if_unneeded(user)
        else:
            if users.with_choice:
                users.with_choice.pop(user.user_id)
            if users.with_claim:
                users.with_claim.pop(user.user_id)

    def _remember(self, user: User[C]) -> None:
        """Remember an absent user's choice and claims. At the bounds the users absent longest lose theirs."""
        has_chosen = user.has_chosen
        if user.timed is not None and not has_chosen:  # temporary `auto`, with no permanent choice to return to
            if self.since_start is not None:
                has_chosen = True  # it takes precedence over a permanent choice that is still to be restored
            else:
                user.timed = None
                self._schedule(user)
        users, user_id = self.users, user.user_id
        for absent, is_needed in ((users.with_choice, has_chosen), (users.with_claim, bool(user.claims))):
            if not is_needed:
                absent.pop(user_id)
            # An entry that exists is not set again, because that would renew its place in the order of leaving.
            elif user_id not in absent and (evicted := absent.set(user_id, None)):
                absent_longest = self._by_id[evicted[0]]
                self._lose(absent_longest, is_choice=absent is users.with_choice)
                self._schedule(absent_longest)
                users.evict_if_unneeded(absent_longest)

    def _lose(self, user: User[C], is_choice: bool) -> None:
        """Forget the choice or the claims of an absent user, because of a bound. A cluster overrides this."""
        if is_choice:
            user.chosen, user.timed = AS_DETECTED, None
        else:
            user.claims = ()
