"""All users: who is online, their versions, and the log of changes. Every answer is a value; nothing is sent."""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import TypeVar

from msgspec.structs import replace

from presenced.errors import CapacityError
from presenced.presence.journal import Journal
from presenced.presence.model import Cause, Choice, Display, Ending
from presenced.presence.outcome import NOTHING, Outcome
from presenced.presence.statuses import Statuses
from presenced.presence.subscriptions import Watch
from presenced.presence.user import MAX_DETACHED, Given, Grace, Session, User
from presenced.presence.users import Limits
from presenced.presence.versions import VersionClock
from presenced.runtime.instant import Instant

C = TypeVar("C", bound=Hashable)

_CAUSES = {
    Ending.CLOSED: Cause.CLOSE,
    Ending.GOING_AWAY: Cause.CLOSE,
    Ending.KEEP_SESSION: Cause.CLOSE,
    Ending.LOST: Cause.TIMEOUT,
    Ending.TIMED_OUT: Cause.TIMEOUT,
    Ending.DISCONNECTED: Cause.KICK,
}


class Directory(Statuses[C]):
    """Who is online. A connection is an opaque object.

    OFFLINE turns into another status exactly when a user's first source of presence appears, and back when the last is
    gone; a user with an open connection is never OFFLINE, unless they chose to be invisible. Nothing here fails
    because of what a client did.

    Bounds: users who are there, plus those with a session to resume, with a choice (`max_choices`) or with their last
    change in the log; sessions without a connection by `MAX_DETACHED` per user; announcements by `max_announced`; the
    log by its entries and age. Connections are the caller's to bound.

    Args:
        journal: Gives positions to changes. The caller appends the changes to it.
        versions: Gives versions to changes; by default a counter of its own.
    """

    def __init__(self, grace: Grace, limits: Limits, journal: Journal, versions: VersionClock | None = None) -> None:
        super().__init__(limits, journal, versions)
        self._grace = grace
        self._announced = 0
        self._given = 0  # times that data was given with a room

    # Events.

    def open(
        self,
        user_id: str,
        connection: C,
        now: Instant,
        session_id: str = "",
        device: str = "",
        watch: Watch | None = None,
        active: bool = True,
        brought: Choice | None = None,
        display: Display | None = None,
    ) -> Outcome[C]:
        """Add `connection` of `user_id` (as `presence.identity` returns it), which opened.

        Args:
            session_id: A new id for a session that can be resumed; empty for a classic connection, which counts as the
                return of the classic connection lost last.
            device: Kind of device; empty if unknown.
            watch: Users and rooms that a resumable session watches.
            active: Whether the person is active at this device.
            brought: The user's choice as the client remembers it. It counts if the server knows nothing of the user.
            display: Display data of its token; None if the token says nothing about it.
        """
        user = self._get_or_make(user_id)
        if active:
            user.active_ms = now.epoch_ms
        if brought and user.last_change is None and not user.sessions and not user.has_chosen:
            user.bring(brought, now)
        if display is not None:
            user.give_display(display, now)
        lost = [s for s in user.detached() if not s.session_id]
        if lost and not session_id:
            user.remove(lost[-1])
        session = Session(user_id, connection, session_id, device, watch)
        session.active = active
        if session_id:
            self.sessions[session_id] = session
        return self._attached(user, session, now)

    def resume(
        self,
        session_id: str,
        user_id: str,
        connection: C,
        now: Instant,
        display: Display | None = None,
        active: bool | None = None,
    ) -> Outcome[C] | None:
        """Resume a session with a new connection. If the old connection is not known to be dead, the new one replaces
        it.

        `active` is whether the person is active at this device; None leaves it unchanged. Returns None if this user has
        no such session (any more).
        """
        session = self.sessions.get(session_id)
        if session is None or session.user_id != user_id:
            return None
        user = self._users[user_id]
        if display is not None:
            user.give_display(display, now)
        replaced = session.connection
        user.remove(session)
        if replaced is not None and not user.connected:
            self.connected_users -= 1  # for a moment
        session.connection, session.grace_ends = connection, None
        if active is not None:
            session.active = active
            user.active_ms = now.epoch_ms if active else user.active_ms
            if user.held is not None:
                user.held.activities.pop(session, None)  # the client sent this before it chose the URL's value
        return replace(self._attached(user, session, now), replaced=replaced)

    def close(
        self, user_id: str, connection: C, ending: Ending, now: Instant, silent: float = 0.0, unheard_age: float = inf
    ) -> Outcome[C]:
        """End `connection`, which had been silent for `silent` seconds. No-op if it is not open.

        `unheard_age` is that of `Grace.after`.
        """
        user = self._users.get(user_id)
        session = user.session_of(connection) if user else None
        if user is None or session is None:
            return NOTHING
        grace = self._grace.after(ending, unheard_age)
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
        """Set whether the client's person is active or idle. During the user's pause the request waits (`Held`)."""
        user = self._users.get(user_id)
        session = user.session_of(connection) if user else None
        if user is None or session is None:
            return NOTHING
        held = user.held
        if session.active is active:
            if held is not None and held.activities.pop(session, None) is not None:
                self._wait_for(user)
            return NOTHING
        user.seen_ms = now.epoch_ms
        if active:
            user.active_ms = now.epoch_ms
        if held is not None and held.must_wait(now.monotonic):
            held.activities[session] = active
            self._wait_for(user)
            return Outcome(user_id)
        session.active = active
        self._pause(user, now)
        return self._settle(user, Cause.IDLE, now)

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
            if user.claims and any(c.ends <= now.monotonic for c in user.claims):
                user.claims = tuple(c for c in user.claims if c.ends > now.monotonic)
                cause = Cause.EXPIRY
            self._wait_for(user)
            outcomes.append(self._settle(user, cause, now))
            if (held := user.held) is not None and held.deadline is not None and held.until <= now.monotonic:
                outcomes += self._release(user, held, now)
        self._log.trim(now.monotonic)
        return outcomes

    def next_deadline(self) -> float | None:
        """Monotonic seconds at which `expire` has something to do; None when never."""
        return self._deadlines.next()

    def give(self, session: Session[C], room: str, data: bytes) -> None:
        """A session joins a room, or gives other data; which rooms the user is in is settled elsewhere."""
        self._given += 1
        session.rooms = (session.rooms or {}) | {room: Given(self._given, data)}

    # How.

    def _attached(self, user: User[C], session: Session[C], now: Instant) -> Outcome[C]:
        if not user.connected:
            self.connected_users += 1
        user.add(session)
        user.seen_ms = now.epoch_ms
        self._wait_for(user)
        outcome = self._settle(user, Cause.CONNECT, now)
        connection_id = f"{user.user_id}-{user.next_id_ms(now.epoch_ms)}"
        return Outcome(user.user_id, outcome.change, outcome.own, session, connection_id)

    def _forget_session(self, user: User[C], session: Session[C]) -> None:
        user.remove(session)
        self.sessions.pop(session.session_id, None)
        if user.held is not None:
            user.held.activities.pop(session, None)

    def _end_graces(self, user: User[C]) -> None:
        for session in user.detached():
            self._forget_session(user, session)
        self._wait_for(user)
