"""Statuses of users: their choices, the claims about them, and the single place where a visible status changes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

from presenced.errors import CapacityError
from presenced.presence.choices import Held, Made, in_force, made
from presenced.presence.claims import MAX_SOURCES, Claim, without
from presenced.presence.journal import Journal
from presenced.presence.model import AS_DETECTED, NO_DISPLAY, Cause, Change, Choice, Display, Status, View
from presenced.presence.outcome import NOTHING, Outcome
from presenced.presence.since import Since
from presenced.presence.user import User
from presenced.presence.users import Limits, Users
from presenced.presence.versions import VersionClock
from presenced.runtime.deadlines import Deadlines
from presenced.runtime.instant import Instant

C = TypeVar("C", bound=Hashable)

_HERE = Status.ONLINE, Status.BUSY


class Statuses(Users[C]):
    """Decisions of users and backends about a user's status. `presence.directory` adds sessions."""

    def __init__(self, limits: Limits, journal: Journal, versions: VersionClock | None) -> None:
        super().__init__(limits, journal, versions)
        self._deadlines: Deadlines[str] = Deadlines()
        self.since_start: Since | None = None
        """Decisions made since the start; None once everything is restored."""

    # Choices.

    def choose(
        self, user_id: str, choice: Choice, now: Instant, lasts: float | None = None, by_user: bool = True
    ) -> Outcome[C]:
        """Apply a user's choice of status: for `lasts` seconds from now, or permanently (`choices.in_force`).

        During the user's pause the choice waits, unless a later choice replaces it before the pause is over. A
        backend's choice takes effect immediately, after all waiting ones. The choice of an absent user is remembered.

        Args:
            by_user: The choice comes from a client of the user, not from a backend.
        """
        user, latest = self._get_or_make(user_id), made(choice, lasts, now)
        held = user.held
        if not by_user:
            return self._choose(user, (*(held.take_choices() if held else ()), latest), now)
        user.seen_ms = user.active_ms = now.epoch_ms
        if held is not None and held.must_wait(now.monotonic):
            held.choices = in_force(held.choices, latest)
            self._wait_for(user)
            return Outcome(user_id)
        self._pause(user, now)
        return self._choose(user, (latest,), now)

    def release(self, user_id: str, connection: C, now: Instant) -> list[Outcome[C]]:
        """Apply all waiting requests if `connection`, which is about to end, is the user's last one.

        A user without a connection makes no more requests, so there is nothing to wait for.
        """
        user = self._users.get(user_id)
        if user is None or user.held is None or user.connected > 1 or user.session_of(connection) is None:
            return []
        return self._release(user, user.held, now)

    def restore_choices(self, user_id: str, stored: tuple[Made, ...], now: Instant) -> Outcome[C]:
        """Restore a choice from before the start: a permanent one, a temporary one, or both in this order.

        The result is the same as if it had arrived before everything since. No-op if the user's client sent a choice,
        too.
        """
        user, since = self._users.get(user_id), self.since_start
        if since is not None and since.has_chosen(user_id):
            stored = () if since.has_chosen_for_good(user_id) else tuple(one for one in stored if one.is_for_good)
            if user is not None and user.timed is not None:
                stored = *stored, Made(user.timed, user.timed_until)
        elif user is not None and user.has_chosen:
            return NOTHING
        if not stored:
            return NOTHING
        user = self._get_or_make(user_id)
        for one in stored:
            user.choose(one, now)
        self._wait_for(user)
        return self._settle(user, Cause.CHOICE, now)

    def forget_stored(self, user_id: str) -> None:
        """Prevent the restore of stored data about the user."""
        if self.since_start is not None:
            self.since_start.forgot(user_id)

    # Claims.

    def set_claim(self, user_id: str, claim: Claim, now: Instant) -> Outcome[C]:
        """Set a backend's claim about a user. It replaces the previous claim of the same source.

        Raises:
            CapacityError: The user already has claims of the maximum number of other sources.
        """
        user = self._users.get(user_id)
        others = without(user.claims, claim.source) if user else ()
        if len(others) >= MAX_SOURCES:
            raise CapacityError(f"{MAX_SOURCES} sources claim something of this user already; clear one first")
        user = self._get_or_make(user_id)
        user.claims = (*others, claim)
        if self.since_start is not None:
            self.since_start.claimed(user_id, claim.source)
        self._wait_for(user)
        return self._settle(user, Cause.CLAIM, now)

    def clear_claim(self, user_id: str, source: str, now: Instant) -> Outcome[C] | None:
        """Clear the claim of a source. Return None if there was none."""
        if self.since_start is not None:
            self.since_start.claimed(user_id, source)
        user = self._users.get(user_id)
        if user is None or len(others := without(user.claims, source)) == len(user.claims):
            return None
        user.claims = others
        self._wait_for(user)
        return self._settle(user, Cause.CLAIM, now)

    # Display data.

    def give_display(self, user_id: str, display: Display, now: Instant) -> Outcome[C]:
        """Set the display data from the token of one of the user's connections.

        No-op if a newer token has set some.
        """
        user = self._users.get(user_id)
        if user is None or not user.give_display(display, now):
            return NOTHING
        return self._settle(user, Cause.DISPLAY, now)

    def restore_display(self, user_id: str, data: bytes, now: Instant) -> Outcome[C]:
        """Restore display data from before the start. No-op if a token has set some since, or the user was erased."""
        display, user = Display(data, 0.0), self._users.get(user_id)
        if self.since_start is not None and self.since_start.is_forgotten(user_id):
            return NOTHING
        if user is not None and user.display == NO_DISPLAY:
            user.display = display
            return self._settle(user, Cause.DISPLAY, now)
        if user is None and user_id not in self._displays:
            self._keep_display(user_id, display)
        return NOTHING

    def erase_display(self, user_id: str, now: Instant) -> Outcome[C]:
        """Erase the display data that the user's tokens have set."""
        self._displays.pop(user_id, None)
        user = self._users.get(user_id)
        if user is None:
            return NOTHING
        user.display = NO_DISPLAY
        return self._settle(user, Cause.DISPLAY, now)

    # How.

    def _choose(self, user: User[C], choices: tuple[Made, ...], now: Instant) -> Outcome[C]:
        """Apply these choices in order. Others see only the combined result."""
        for one in choices:
            user.choose(one, now)
            if self.since_start is not None:
                self.since_start.chose(user.user_id, one.is_for_good)
        self._wait_for(user)
        return self._settle(user, Cause.CHOICE, now)

    def _pause(self, user: User[C], now: Instant) -> None:
        """Start the pause after a change by one of the user's clients, during which further requests wait."""
        if self._limits.status_pause > 0:
            user.held = user.held or Held()
            user.held.until = now.monotonic + self._limits.status_pause

    def _release(self, user: User[C], held: Held, now: Instant) -> list[Outcome[C]]:
        """Apply all waiting requests and start the next pause."""
        activities, choices = held.take_activities(), held.take_choices()
        if not activities and not choices:
            return []
        self._pause(user, now)
        outcomes = []
        for session, active in activities.items():
            session.active = active
        if activities:
            outcomes.append(self._settle(user, Cause.IDLE, now))
        if choices:
            outcomes.append(self._choose(user, choices, now))
        self._wait_for(user)
        return outcomes

    def _settle(self, user: User[C], cause: Cause, now: Instant) -> Outcome[C]:
        """Bring the visible state of the user up to date: the only place where it changes."""
        view, own = user.look(cause)
        news = None
        if own is None or not own.looks_like(user.own):
            user.own = news = own
        change = self._show(user, view, cause, now) if view != user.shown else None
        if not user.is_present:
            if user.timed or user.has_chosen or user.claims or self._with_choice or self._claimed:
                self._remember(user)
            self._drop_if_unneeded(user)
        else:
            if self._with_choice:
                self._with_choice.discard(user.user_id)
            if self._claimed:
                self._claimed.discard(user.user_id)
        return Outcome(user.user_id, change, news)

    def _show(self, user: User[C], view: View, cause: Cause, now: Instant) -> Change:
        last, was = user.last_change, user.shown.status
        since = last.since_ms if last and view.status is was else now.epoch_ms
        here = view.status in _HERE
        before = last.version if last else 0
        user.version = version = self.versions.next(user.version)
        self.online_users += (was is Status.OFFLINE) - (view.status is Status.OFFLINE)
        if not here and user.connected:
            user.seen_ms = now.epoch_ms  # invisible, which looks like a close, or away by a claim
        seen = 0 if here else user.seen_ms
        position = self.journal.next_position()
        change = Change(position, user.user_id, view, was, version, now, since, seen, cause, before)
        user.last_change = change
        self._log.append(change)
        return change

    def _wait_for(self, user: User[C]) -> None:
        """Schedule the next time at which the user's status changes without an event."""
        if (deadline := user.next_deadline()) is not None:
            self._deadlines.set(user.user_id, deadline)
        else:
            self._deadlines.cancel(user.user_id)

    def _remember(self, user: User[C]) -> None:
        """Remember an absent user's choice and claims while there is room. At the bound the users away longest are
        evicted."""
        has_chosen = user.has_chosen
        if user.timed is not None and not has_chosen:  # auto for a time, and nothing after it
            if self.since_start is not None:
                has_chosen = True  # it takes precedence over a permanent choice that is still to be restored
            else:
                user.timed = None
                self._wait_for(user)
        if gone := self._with_choice.keep(user.user_id, has_chosen):
            forgotten = self._users[gone]
            forgotten.chosen, forgotten.timed = AS_DETECTED, None
            self._let_go(forgotten)
        if gone := self._claimed.keep(user.user_id, bool(user.claims)):
            forgotten = self._users[gone]
            forgotten.claims = ()
            self._let_go(forgotten)

    def _let_go(self, user: User[C]) -> None:
        self._wait_for(user)
        self._drop_if_unneeded(user)
