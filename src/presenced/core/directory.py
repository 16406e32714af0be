"""All users: who is online, their versions, and the log of changes. Every answer is a value; nothing is sent."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

from presenced.core.changelog import ChangeLog
from presenced.core.deadlines import Deadlines
from presenced.core.model import (
    AS_DETECTED,
    SEEN_OFFLINE,
    Cause,
    Change,
    Choice,
    Ending,
    Instant,
    Own,
    Status,
    View,
)
from presenced.core.outcome import NOTHING, Outcome
from presenced.core.presence import MAX_DETACHED, Given, Grace, Presence, Session
from presenced.core.watch import Watch
from presenced.errors import CapacityError

C = TypeVar("C", bound=Hashable)

_CAUSES = {
    Ending.CLOSED: Cause.CLOSE,
    Ending.GOING_AWAY: Cause.CLOSE,
    Ending.LOST: Cause.TIMEOUT,
    Ending.TIMED_OUT: Cause.TIMEOUT,
    Ending.DISCONNECTED: Cause.KICK,
}


class Limits(NamedTuple):
    """How much is kept."""

    log_entries: int
    log_age: float
    """Seconds."""
    max_announced: int
    max_choices: int = 100_000
    """Users who are not there and whose choice is remembered."""
    resume_window: float = 0.0
    """Seconds in which a session without a connection can be resumed."""


class Directory(Generic[C]):
    """Who is online. A connection is an opaque object.

    OFFLINE turns into another status exactly when a user's first source of presence appears, and back when the last is
    gone; a user with an open connection is never OFFLINE, unless they chose to be invisible. Nothing here fails
    because of what a client did.

    Bounds: users who are there, plus those with a session to resume, with a choice (`max_choices`) or with their last
    change in the log; sessions without a connection by `MAX_DETACHED` per user; announcements by `max_announced`; the
    log by its entries and age. Connections are the caller's to bound.
    """

    def __init__(self, grace: Grace, limits: Limits) -> None:
        self._grace = grace
        self._limits = limits
        self._users: dict[str, Presence[C]] = {}
        self.sessions: dict[str, Session[C]] = {}  # by their ids; those that can be resumed
        self._deadlines: Deadlines[str] = Deadlines()
        self._absent_with_choice: dict[str, None] = {}  # in the order of their leaving
        self._log = ChangeLog(limits.log_entries, limits.log_age, self._is_latest, self._left_the_log)
        self._announced = 0
        self._given = 0  # times that data was given with a room
        self.position = 0
        """The position of the newest change."""
        self.online_users = 0
        """Users shown as anything but offline."""
        self.connected_users = 0
        """Users with at least one open connection."""

    # Events.

    def open(
        self,
        user_id: str,
        connection: C,
        now: Instant,
        session_id: str = "",
        device: str = "",
        watch: Watch | None = None,
        status: Status | None = None,
        until_ms: int = 0,
    ) -> Outcome[C]:
        """`connection` of `user_id` (as `core.identity` returns it) opened.

        Args:
            session_id: A new one, for a session that may be resumed; empty for a classic connection, which is taken for
                the return of the classic one lost last.
            device: Kind of device, empty when not known.
            watch: Whom a session that may be resumed watches.
            status: What the user had chosen as far as the client knows; it counts when nothing is known here.
            until_ms: When that ends, in epoch milliseconds; 0 when it lasts.
        """
        user = self._get_or_make(user_id)
        if status and user.last_change is None and not user.sessions and not user.has_chosen:
            user.bring(status, until_ms, now)
        lost = [s for s in user.detached() if not s.session_id]
        if lost and not session_id:
            user.remove(lost[-1])
        session = Session(user_id, connection, session_id, device, watch)
        if session_id:
            self.sessions[session_id] = session
        return self._attached(user, session, now)

    def resume(self, session_id: str, user_id: str, connection: C, now: Instant) -> Outcome[C] | None:
        """A session came back by a new connection, which replaces the one it had, if that was not known to be dead.

        None when there is no such session of this user (any more).
        """
        session = self.sessions.get(session_id)
        if session is None or session.user_id != user_id:
            return None
        user = self._users[user_id]
        replaced = session.connection
        user.remove(session)
        if replaced is not None and not user.connected:
            self.connected_users -= 1  # for a moment
        session.connection, session.grace_ends = connection, None
        return self._attached(user, session, now)._replace(replaced=replaced)

    def close(self, user_id: str, connection: C, ending: Ending, now: Instant, silent: float = 0.0) -> Outcome[C]:
        """`connection`, which had been silent for so many seconds, ended. No-op for one that is not open."""
        user = self._users.get(user_id)
        session = user.session_of(connection) if user else None
        if user is None or session is None:
            return NOTHING
        grace = self._grace.after(ending)
        window = self._limits.resume_window if session.session_id and ending is not Ending.CLOSED else 0.0
        if ending is Ending.DISCONNECTED:
            window = 0.0
        user.seen_ms = max(user.seen_ms, now.epoch_ms - int(silent * 1000)) if silent else now.epoch_ms
        user.detach(session, now.monotonic + grace if grace > 0 else None, now.monotonic + max(grace, window))
        if max(grace, window) <= 0:
            self._forget_session(user, session)
        elif len(detached := user.detached()) > MAX_DETACHED:
            # Those that are not waited for first: of them nobody sees anything.
            first = min(detached, key=lambda s: (s.grace_ends is not None, s.grace_ends or s.forget_at))
            self._forget_session(user, first)
        if not user.connected:
            self.connected_users -= 1
        self._wait_for(user)
        return self._settle(user, _CAUSES[ending], now)

    def set_active(self, user_id: str, connection: C, active: bool, now: Instant) -> Outcome[C]:
        """The client says that its person is active, or idle."""
        user = self._users.get(user_id)
        session = user.session_of(connection) if user else None
        if user is None or session is None or session.active is active:
            return NOTHING
        session.active = active
        user.seen_ms = now.epoch_ms
        return self._settle(user, Cause.IDLE, now)

    def choose(self, user_id: str, choice: Choice, now: Instant, lasts: float | None = None) -> Outcome[C]:
        """A user who is there chose a status: for `lasts` seconds, after which the earlier one returns, or for good.

        Choosing for good ends what was chosen for a time.
        """
        user = self._users.get(user_id)
        if user is None:
            return NOTHING
        user.seen_ms = now.epoch_ms
        if lasts is None:
            user.chosen, user.timed = choice, None
        else:
            user.timed, user.timed_until = choice, now.monotonic + lasts
        self._wait_for(user)
        return self._settle(user, Cause.CHOICE, now)

    def announce(self, user_id: str, online: bool, now: Instant) -> Outcome[C]:
        """A backend says that a user it knows of from elsewhere is online, or is not.

        The announcement holds until the opposite is announced. It can add presence, never take it from an open
        connection: announcing offline a user who has one only withdraws the announcement. With no connection
        open it also ends any grace, for the backend knows better than a time-out.

        Raises:
            CapacityError: As many users are announced as may be.
        """
        user = self._users.get(user_id)
        if online:
            if (user is None or not user.announced) and self._announced >= self._limits.max_announced:
                raise CapacityError(
                    f"{self._limits.max_announced} users are announced online already; withdraw some first"
                )
            user = self._get_or_make(user_id)
        elif user is None:
            return NOTHING
        self._announced += online - user.announced
        user.announced = online
        if not online and not user.connected:
            self._end_graces(user)
        return self._settle(user, Cause.ANNOUNCEMENT, now)

    def stop_waiting(self, user_id: str, now: Instant) -> Outcome[C]:
        """End the user's graces at once: nobody is expected back."""
        user = self._users.get(user_id)
        if user is None:
            return NOTHING
        self._end_graces(user)
        return self._settle(user, Cause.KICK, now)

    def expire(self, now: Instant) -> list[Outcome[C]]:
        """Let end what is over, and drop what is too old; to be called when `next_deadline` has come."""
        outcomes: list[Outcome[C]] = []
        while (user_id := self._deadlines.pop_due(now.monotonic)) is not None:
            user = self._users[user_id]
            cause = Cause.GRACE
            for session in user.detached():
                if session.grace_ends is not None and session.grace_ends <= now.monotonic:
                    session.grace_ends = None
                if session.grace_ends is None and session.forget_at <= now.monotonic:
                    self._forget_session(user, session)
            if user.timed and user.timed_until <= now.monotonic:
                user.timed, cause = None, Cause.EXPIRY
            self._wait_for(user)
            outcomes.append(self._settle(user, cause, now))
        self._log.trim(now.monotonic)
        return outcomes

    def give(self, session: Session[C], room: str, data: bytes) -> None:
        """A session joins a room, or gives other data; which rooms the user is in is settled elsewhere."""
        self._given += 1
        session.rooms = (session.rooms or {}) | {room: Given(self._given, data)}

    def take_position(self) -> int:
        """The next place in the order of all changes, for one that is not a user's (`core.rooms`)."""
        self.position += 1
        return self.position

    # Questions.

    def next_deadline(self) -> float | None:
        """Monotonic seconds at which `expire` has something to do; None when never."""
        return self._deadlines.next()

    def since(self, position: int, limit: int) -> list[Change] | None:
        """What a watcher of everyone at `position` missed: `ChangeLog.since`."""
        return self._log.since(position, limit)

    def since_of(self, position: int, user_ids: Iterable[str]) -> tuple[list[Change], list[str]]:
        """What a watcher of these users at `position` missed: their last changes, and those who may have gone for good.

        A user who left the log after `position` was offline then, and nothing more is known of them.
        """
        changes: list[Change] = []
        unknown: list[str] = []
        for user_id in user_ids:
            user = self._users.get(user_id)
            if user is None or user.last_change is None:
                if position < self._log.floor:
                    unknown.append(user_id)
            elif user.last_change.position > position:
                changes.append(user.last_change)
        return changes, unknown

    def snapshot(self) -> list[Change]:
        """What is seen of everyone who is not offline. O(users)."""
        return [u.last_change for u in self._users.values() if u.last_change and u.last_change.view is not SEEN_OFFLINE]

    def snapshot_of(self, user_ids: Iterable[str]) -> list[Change]:
        """What is seen of these users, as far as anything is known of them."""
        known = (self._users.get(user_id) for user_id in user_ids)
        return [user.last_change for user in known if user and user.last_change]

    def connections(self, user_id: str) -> tuple[C, ...]:
        """The user's open connections, oldest first."""
        user = self._users.get(user_id)
        return tuple(user.connections()) if user else ()

    def connected(self, user_id: str) -> int:
        """How many open connections the user has."""
        return user.connected if (user := self._users.get(user_id)) else 0

    def is_connected(self, session_id: str, user_id: str) -> bool:
        """Whether there is such a session of this user, and it has a connection, which resuming it would replace."""
        session = self.sessions.get(session_id)
        return session is not None and session.user_id == user_id and session.connection is not None

    def rooms_wanted(self, user_id: str) -> dict[str, bytes]:
        """The rooms the user is to be seen in, with the data of the session that joined or gave it last."""
        user = self._users.get(user_id)
        if user is None or not user.named or user.shown.status is Status.OFFLINE:
            return {}
        return user.rooms()

    def own(self, user_id: str) -> Own | None:
        """What the user's own devices see; None when the user has no session that is told."""
        user = self._users.get(user_id)
        return user.own if user else None

    def status(self, user_id: str) -> Status:
        """What others see of the user now."""
        return user.shown.status if (user := self._users.get(user_id)) else Status.OFFLINE

    # How.

    def _get_or_make(self, user_id: str) -> Presence[C]:
        user = self._users.get(user_id)
        if user is None:
            # Positions grow at least as fast as any version: who was forgotten goes on above their old ones.
            user = self._users[user_id] = Presence(user_id, self.position)
        return user

    def _attached(self, user: Presence[C], session: Session[C], now: Instant) -> Outcome[C]:
        if not user.connected:
            self.connected_users += 1
        user.add(session)
        user.seen_ms = now.epoch_ms
        self._wait_for(user)
        outcome = self._settle(user, Cause.CONNECT, now)
        connection_id = f"{user.user_id}-{user.next_id_ms(now.epoch_ms)}"
        return Outcome(user.user_id, outcome.change, outcome.own, session, connection_id)

    def _settle(self, user: Presence[C], cause: Cause, now: Instant) -> Outcome[C]:
        """Bring what is seen of the user into line with what is: the only place where that changes."""
        view, own = user.look(cause)
        news = None
        if own is None or not own.looks_like(user.own):
            user.own = news = own
        change = self._show(user, view, cause, now) if view != user.shown else None
        if not user.is_present:
            self._remember_choice(user)
            self._drop_if_unneeded(user)
        elif self._absent_with_choice:
            self._absent_with_choice.pop(user.user_id, None)
        return Outcome(user.user_id, change, news)

    def _show(self, user: Presence[C], view: View, cause: Cause, now: Instant) -> Change:
        last, was = user.last_change, user.shown.status
        since = last.since_ms if last and view.status is was else now.epoch_ms
        here = view.status in (Status.ONLINE, Status.BUSY)
        # Above what was said of a user of whom nothing was known: the position then (`wire.v1.unknown_record`).
        user.version = (user.version if last else max(user.version, self.position)) + 1
        self.position += 1
        self.online_users += (was is Status.OFFLINE) - (view.status is Status.OFFLINE)
        if view.status is Status.OFFLINE and user.connected:
            user.seen_ms = now.epoch_ms  # invisible, which looks like a close
        seen = 0 if here else user.seen_ms
        change = Change(self.position, user.user_id, view, was, user.version, now, since, seen, cause)
        user.last_change = change
        self._log.append(change)
        return change

    def _forget_session(self, user: Presence[C], session: Session[C]) -> None:
        user.remove(session)
        self.sessions.pop(session.session_id, None)

    def _end_graces(self, user: Presence[C]) -> None:
        for session in user.detached():
            self._forget_session(user, session)
        self._wait_for(user)

    def _wait_for(self, user: Presence[C]) -> None:
        """Have the user looked at again when time alone changes something."""
        if (deadline := user.next_deadline()) is not None:
            self._deadlines.set(user.user_id, deadline)
        else:
            self._deadlines.cancel(user.user_id)

    def _remember_choice(self, user: Presence[C]) -> None:
        """Keep what an absent user chose, as long as there is room; the one away longest makes it."""
        if not user.has_chosen:
            self._absent_with_choice.pop(user.user_id, None)  # it came to its end meanwhile
            return
        self._absent_with_choice[user.user_id] = None
        if len(self._absent_with_choice) > self._limits.max_choices:
            forgotten = self._users[next(iter(self._absent_with_choice))]
            del self._absent_with_choice[forgotten.user_id]
            forgotten.chosen, forgotten.timed = AS_DETECTED, None
            self._wait_for(forgotten)
            self._drop_if_unneeded(forgotten)

    def _is_latest(self, change: Change) -> bool:
        user = self._users.get(change.user_id)
        return user is not None and user.last_change is change

    def _left_the_log(self, change: Change) -> None:
        """The last change of a user left the log: of who is offline nothing is known then, whyever they are kept."""
        user = self._users[change.user_id]
        if change.view.status is Status.OFFLINE:
            user.last_change = None
        self._drop_if_unneeded(user)

    def _drop_if_unneeded(self, user: Presence[C]) -> None:
        """Forget a user of whom nothing is left to know."""
        in_log = user.last_change is not None and user.last_change.position > self._log.floor
        if not (in_log or user.sessions or user.announced or user.user_id in self._absent_with_choice):
            self._users.pop(user.user_id, None)
