"""All users: who is online, their versions, and the log of changes. Every answer is a value; nothing is sent."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from presenced.core.changelog import ChangeLog
from presenced.core.deadlines import Deadlines
from presenced.core.model import Cause, Change, Ending, Instant, Status
from presenced.core.presence import Grace, Presence
from presenced.errors import CapacityError

C = TypeVar("C", bound=Hashable)

_CAUSES = {
    Ending.CLOSED: Cause.CLOSE,
    Ending.GOING_AWAY: Cause.CLOSE,
    Ending.LOST: Cause.TIMEOUT,
    Ending.TIMED_OUT: Cause.TIMEOUT,
    Ending.DISCONNECTED: Cause.KICK,
}


class Opened(NamedTuple):
    """What opening a connection came to."""

    connection_id: str
    change: Change | None
    """The user came online by it; None when they were already."""


class Directory(Generic[C]):
    """Who is online. A connection is an opaque object, compared by identity.

    ONLINE is returned exactly when a user's first source of presence appears, OFFLINE exactly when the last is
    gone; a user with an open connection is never OFFLINE. Nothing here fails because of what a client did.

    Bounds: users with a connection, a grace or an announcement, plus offline users while their last change is in
    the log; announcements by `max_announced`; the log by its entries and age. Connections are the caller's to bound.
    """

    def __init__(self, grace: Grace, log_entries: int, log_age: float, max_announced: int) -> None:
        self._grace = grace
        self._max_announced = max_announced
        self._users: dict[str, Presence[C]] = {}
        self._graces: Deadlines[str] = Deadlines()
        self._log = ChangeLog(log_entries, log_age, self._is_latest, self._forget)
        self._announced = 0
        self.position = 0
        """The position of the newest change."""
        self.online_users = 0
        """Users shown online."""
        self.connected_users = 0
        """Users with at least one open connection."""

    def open(self, user_id: str, connection: C, now: Instant) -> Opened:
        """`connection` of `user_id` (as `core.identity` returns it) opened."""
        user = self._users.get(user_id)
        if user is None:
            # Positions grow at least as fast as any version: a user who was forgotten goes on above their old ones.
            user = self._users[user_id] = Presence(user_id, self.position)
        if not user.connections:
            self.connected_users += 1
        user.opened(connection)
        self._wait_for(user)
        connection_id = f"{user_id}-{user.next_id_ms(now.epoch_ms)}"
        return Opened(connection_id, self._settle(user, Cause.CONNECT, now))

    def close(self, user_id: str, connection: C, ending: Ending, now: Instant) -> Change | None:
        """`connection` ended. OFFLINE when nothing else keeps the user online; no-op for one that is not open."""
        user = self._users.get(user_id)
        grace = self._grace.after(ending)
        if user is None or not user.ended(connection, now.monotonic + grace if grace > 0 else None):
            return None
        if not user.connections:
            self.connected_users -= 1
        self._wait_for(user)
        return self._settle(user, _CAUSES[ending], now)

    def announce(self, user_id: str, online: bool, now: Instant) -> Change | None:
        """A backend says that a user it knows of from elsewhere is online, or is not.

        The announcement holds until the opposite is announced. It can add presence, never take it from an open
        connection: announcing offline a user who has one only withdraws the announcement. With no connection
        open it also ends any grace, for the backend knows better than a time-out.

        Raises:
            CapacityError: As many users are announced as may be.
        """
        user = self._users.get(user_id)
        if user is None:
            if not online:
                return None
            user = Presence(user_id, self.position)
        if online and not user.announced:
            if self._announced >= self._max_announced:
                raise CapacityError(f"{self._max_announced} users are announced online already; withdraw some first")
            self._users[user_id] = user
            self._announced += 1
        elif user.announced and not online:
            self._announced -= 1
        user.announced = online
        if not online and not user.connections:
            self._end_graces(user)
        return self._settle(user, Cause.ANNOUNCEMENT, now)

    def stop_waiting(self, user_id: str, now: Instant) -> Change | None:
        """End the user's graces at once: nobody is expected back. OFFLINE when nothing else keeps them online."""
        user = self._users.get(user_id)
        if user is None:
            return None
        self._end_graces(user)
        return self._settle(user, Cause.KICK, now)

    def expire(self, now: Instant) -> list[Change]:
        """End the graces that are over and drop what is too old. To be called when `next_deadline` has come."""
        changes: list[Change] = []
        while (user_id := self._graces.pop_due(now.monotonic)) is not None:
            user = self._users[user_id]
            user.graces = tuple(end for end in user.graces if end > now.monotonic)
            self._wait_for(user)
            if change := self._settle(user, Cause.GRACE, now):
                changes.append(change)
        self._log.trim(now.monotonic)
        return changes

    def next_deadline(self) -> float | None:
        """Monotonic seconds at which `expire` has something to do; None when never."""
        return self._graces.next()

    def since(self, position: int, limit: int) -> list[Change] | None:
        """What a watcher at `position` missed: `ChangeLog.since`."""
        return self._log.since(position, limit)

    def connections(self, user_id: str) -> tuple[C, ...]:
        """The user's open connections, oldest first."""
        user = self._users.get(user_id)
        return tuple(user.connections) if user else ()

    def status(self, user_id: str) -> Status:
        """What others see of the user now."""
        user = self._users.get(user_id)
        return user.status if user else Status.OFFLINE

    def _settle(self, user: Presence[C], cause: Cause, now: Instant) -> Change | None:
        """Bring what is shown of the user into line with what is; the change when the two differed."""
        status = Status.ONLINE if user.is_present() else Status.OFFLINE
        if status is user.status:
            return None
        user.status = status
        user.version += 1
        self.position += 1
        self.online_users += 1 if status is Status.ONLINE else -1
        change = Change(self.position, user.user_id, status, user.version, now, cause)
        user.last_change = change
        self._log.append(change)
        return change

    def _end_graces(self, user: Presence[C]) -> None:
        user.graces = ()
        self._graces.cancel(user.user_id)

    def _wait_for(self, user: Presence[C]) -> None:
        """Have the user looked at again when their next grace ends."""
        if user.graces:
            self._graces.set(user.user_id, min(user.graces))
        else:
            self._graces.cancel(user.user_id)

    def _is_latest(self, change: Change) -> bool:
        user = self._users.get(change.user_id)
        return user is not None and user.last_change is change

    def _forget(self, change: Change) -> None:
        """The last change of a user left the log: one who is offline is no longer kept either."""
        if change.status is Status.OFFLINE:
            del self._users[change.user_id]
