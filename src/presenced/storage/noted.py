"""What was noted and waits to be given to the keeper, and in which portions it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

from presenced.presence.model import AS_DETECTED, Change, Choice, Status
from presenced.presence.user import User
from presenced.storage.records import Record, RoomOccupancy, StoredChoice, StoredClaim, StoredSession, StoredUser

PORTION = 400
"""Facts of one kind in one batch: to make and pack a batch takes some milliseconds at most."""

STATE_PERIOD = 0.25
"""Seconds for which users and sessions are collected, when some were given a moment ago: of these only the newest state
counts, and who comes and goes, or chooses, several times meanwhile is written down once. With the time that writing
takes it is below the second of last seen that may be lost."""

CROWDED = 5_000.0
"""Changes a second from which on they are merged; about half of what can be stored and delivered."""

CROWDED_PERIOD = 0.5
"""Seconds for which all is collected then."""

COUNT_PERIOD = 0.1
"""Seconds in which changes are counted, at least."""

MAX_WAITING = 100_000
"""Of each kind that wait while the keeper takes nothing, and what a second brings. At the bound: changes that a newer
one of the same user or room has made obsolete go, then the oldest; of users and sessions, those noted first."""

K = TypeVar("K")
V = TypeVar("V")


class Noted:
    """Users, sessions, changes and other facts.

    Users and sessions are given as they are then, at most once in a period. Changes are given all, and at once; but
    while very many come (`CROWDED`), those that a newer one of the same user or room follows within a period are left
    out. To write them down would take ever longer, and what it takes would be missing where they are told to those who
    watch.

    Bounds: `MAX_WAITING` of each kind, after `bound`.

    Args:
        merged: Called with the number of changes that were left out.
    """

    def __init__(self, merged: Callable[[int], None]) -> None:
        self.users: dict[str, User[Any]] = {}
        """Who may be another now. This and the three that follow are there to be put into."""
        self.sessions: dict[str, StoredSession] = {}
        self.changes: list[Change | RoomOccupancy] = []
        self.others: dict[tuple[str, str], Record] = {}
        self.since: float | None = None
        """Monotonic: when the first of what they hold was put into them; set by who does that. None: they are empty."""
        self._merged = merged
        # What is due, and goes portion by portion:
        self._due_users: dict[str, User[Any]] = {}
        self._due_sessions: dict[str, StoredSession] = {}
        self._due_changes: list[Change | RoomOccupancy] = []
        self._due_since: float | None = None
        self._next_due = 0.0
        self._ending = False
        self._taken = 0  # changes so far
        self._counted, self._counted_at = 0, 0.0
        self._crowded = False
        self._to_merge = False  # many came, and are there still

    def __len__(self) -> int:
        due = len(self._due_users) + len(self._due_sessions) + len(self._due_changes)
        return due + len(self.users) + len(self.sessions) + len(self.changes) + len(self.others)

    @property
    def waiting_since(self) -> float | None:
        """Monotonic: what waits longest, waits since then; None when nothing does."""
        return self.since if self._due_since is None else self._due_since

    def end(self) -> None:
        """All is due at once from now on."""
        self._ending, self._next_due = True, 0.0

    def portion(self, now: float) -> list[Record]:
        """Some of what is due; none when nothing is.

        Args:
            now: Monotonic.
        """
        self._count(now)
        facts: list[Record] = [self.others.pop(key) for key in list(islice(self.others, PORTION))]
        if not self._to_merge and not self._due_changes:
            facts += self._take(self.changes)
        if now >= self._next_due and not self._has_due:
            self._make_due(now)
        facts += [self._due_sessions.pop(key) for key in list(islice(self._due_sessions, PORTION))]
        facts += [_user_fact(self._due_users.pop(user_id)) for user_id in list(islice(self._due_users, PORTION))]
        facts += self._take(self._due_changes)
        if not self._has_due:
            self._due_since = None
        if not len(self):
            self.since = None
        return facts

    def waiting_of(self, user_ids: Iterable[str]) -> dict[str, StoredUser]:
        """Return the state of those of these users with waiting facts."""
        users, due = self.users, self._due_users
        found = ((user_id, users.get(user_id) or due.get(user_id)) for user_id in user_ids)
        return {user_id: _user_fact(user) for user_id, user in found if user is not None}

    def bound(self) -> int:
        """Leave out what is too much. How many that was."""
        dropped = _trim(self.users, len(self._due_users)) + _trim(self.sessions, len(self._due_sessions))
        dropped += _trim(self.others, 0)
        if len(self.changes) + len(self._due_changes) > MAX_WAITING:
            noted, due = len(self.changes), len(self._due_changes)
            self._due_changes, self.changes = [], _latest(self._due_changes + self.changes)[-MAX_WAITING // 2 :]
            self._taken += noted - len(self.changes)  # those due are in it already
            dropped += noted + due - len(self.changes)
        return dropped

    def forget(self, user_id: str) -> None:
        """Leave out what is of this user."""
        for users in (self.users, self._due_users):
            users.pop(user_id, None)
        self.sessions, self._due_sessions = (
            {key: fact for key, fact in sessions.items() if fact.user_id != user_id}
            for sessions in (self.sessions, self._due_sessions)
        )
        self.changes, self._due_changes = (
            [one for one in changes if isinstance(one, RoomOccupancy) or one.user_id != user_id]
            for changes in (self.changes, self._due_changes)
        )
        self.others = {
            key: fact for key, fact in self.others.items() if not isinstance(fact, StoredClaim) or key[0] != user_id
        }

    @property
    def _has_due(self) -> bool:
        return bool(self._due_users or self._due_sessions or self._due_changes)

    def _count(self, now: float) -> None:
        if (span := now - self._counted_at) >= COUNT_PERIOD:
            noted = self._taken + len(self.changes)
            self._crowded = noted - self._counted > CROWDED * span
            self._to_merge = self._to_merge or self._crowded
            self._counted, self._counted_at = noted, now

    def _make_due(self, now: float) -> None:
        if self._to_merge:
            latest = _latest(self.changes)
            self._merged(len(self.changes) - len(latest))
            self._taken += len(self.changes)
            self._due_changes, self.changes = latest, []
            self._to_merge = self._crowded
        self._due_users, self.users = self.users, {}
        self._due_sessions, self.sessions = self.sessions, {}
        self._due_since = self.since
        if not self.changes and not self.others:
            self.since = None
        if self._has_due:
            period = CROWDED_PERIOD if self._crowded else STATE_PERIOD
            self._next_due = now if self._ending else now + period

    def _take(self, changes: list[Change | RoomOccupancy]) -> list[Change | RoomOccupancy]:
        portion = changes[:PORTION]
        del changes[:PORTION]
        if changes is self.changes:
            self._taken += len(portion)
        return portion


def _latest(changes: list[Change | RoomOccupancy]) -> list[Change | RoomOccupancy]:
    """The newest of each user and room, in order."""
    latest = {one.user_id if isinstance(one, Change) else (one.room,): one for one in changes}
    return sorted(latest.values(), key=lambda one: one.position)


def _trim(waiting: dict[K, V], due: int) -> int:
    """Drop what is too much, the oldest first."""
    too_many = list(islice(waiting, max(0, len(waiting) + due - MAX_WAITING)))
    for key in too_many:
        del waiting[key]
    return len(too_many)


def _user_fact(user: User[Any]) -> StoredUser:
    """As others see the user: who is invisible was last seen, and active, when they became so."""
    change, seen_ms, active_ms = user.last_change, user.seen_ms, user.active_ms
    # The fact may have waited for so long that the change has left the log.
    since_ms, left_ms = (change.since_ms, change.seen_ms) if change else user.left
    if user.shown.status is Status.OFFLINE:
        seen_ms = left_ms
        active_ms = min(active_ms, seen_ms)
    return StoredUser(
        user.user_id,
        user.shown.status,
        user.version,
        since_ms,
        seen_ms,
        active_ms,
        None if user.chosen == AS_DETECTED else _choice_fact(user.chosen),
        _choice_fact(user.timed) if user.timed else None,
        user.display.data,
    )


def _choice_fact(choice: Choice) -> StoredChoice:
    custom = choice.custom
    return StoredChoice(choice.status or "", custom.text, custom.emoji, custom.data, custom.until_ms)
