"""Read access to all users. `presence.statuses` and `presence.directory` change them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from presenced.presence.absent import Absent
from presenced.presence.change_log import ChangeLog
from presenced.presence.claims import MAX_CLAIMED
from presenced.presence.journal import Journal
from presenced.presence.model import NO_DISPLAY, Change, Display, Own, Status
from presenced.presence.user import Session, User
from presenced.presence.versions import VersionClock, VersionCounter

C = TypeVar("C", bound=Hashable)

_OFFLINE = Status.OFFLINE  # attribute access on an enum is slow


class Limits(NamedTuple):
    """How much is kept."""

    log_entries: int
    log_age: float
    """Seconds."""
    max_announced: int
    max_choices: int = 100_000
    """Users who are not there and whose choice is remembered; as many of whom nothing but the display data is."""
    resume_window: float = 0.0
    """Seconds in which a session without a connection can be resumed."""
    max_claimed: int = MAX_CLAIMED
    """Users who are not there and of whom something is claimed."""
    status_pause: float = 0.0
    """Seconds after a client's change during which further requests of the user's clients wait."""


class Users(Generic[C]):
    """Every user of whom anything is known."""

    def __init__(self, limits: Limits, journal: Journal, versions: VersionClock | None) -> None:
        self._limits = limits
        self.journal = journal
        self.versions: VersionClock = versions or VersionCounter()
        self._users: dict[str, User[C]] = {}
        self.sessions: dict[str, Session[C]] = {}
        """By their ids; those that can be resumed."""
        self._made = 0
        self._with_choice = Absent(limits.max_choices)
        self._claimed = Absent(limits.max_claimed)
        self._displays: OrderedDict[str, Display] = OrderedDict()
        """Of those of whom nothing else is known; those away longest first."""
        self._log = ChangeLog(limits.log_entries, limits.log_age, self._is_latest, self._left_the_log)
        self.online_users = 0
        """Users shown as anything but offline."""
        self.connected_users = 0
        """Users with at least one open connection."""

    def begin_above(self, number: int) -> None:
        """Give only positions and versions above `number`, which an earlier start may have used, from now on."""
        self.journal.advance(number)
        self.versions.advance(number)

    def user(self, user_id: str) -> User[C] | None:
        """What is known of the user. To be read, not changed."""
        return self._users.get(user_id)

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
        found = (user.last_change for user in self._users.values())
        return [change for change in found if change and change.view.status is not _OFFLINE]

    def snapshot_of(self, user_ids: Iterable[str]) -> list[Change]:
        """What is seen of these users, as far as anything is known of them."""
        known = (self._users.get(user_id) for user_id in user_ids)
        return [user.last_change for user in known if user and user.last_change]

    def changes_of(self, user_ids: Iterable[str]) -> list[Change | None]:
        """What is seen of each of these users; None of whom nothing is known."""
        known = map(self._users.get, user_ids)
        return [user.last_change if user else None for user in known]

    def online_after(self, serial: int, limit: int) -> list[tuple[int, Change]]:
        """Who is not offline, `limit` of them at most, in the order in which they became known, from the one after the
        one who became known as the `serial`-th. O(users)."""
        found = ((u.serial, u.last_change) for u in self._users.values() if u.serial > serial and u.last_change)
        return list(islice(((n, change) for n, change in found if change.view.status is not _OFFLINE), limit))

    def connections(self, user_id: str) -> list[C]:
        """The user's open connections, oldest first."""
        user = self._users.get(user_id)
        return user.connections() if user else []

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

    # What is kept.

    def _get_or_make(self, user_id: str) -> User[C]:
        user = self._users.get(user_id)
        if user is None:
            self._made += 1
            user = self._users[user_id] = User(user_id, self._made)
            if self._displays:
                user.display = self._displays.pop(user_id, NO_DISPLAY)
        return user

    def _keep_display(self, user_id: str, display: Display) -> None:
        """Nothing else is known of the user."""
        self._displays[user_id] = display
        if len(self._displays) > self._limits.max_choices:
            self._displays.popitem(last=False)

    def _is_latest(self, change: Change) -> bool:
        user = self._users.get(change.user_id)
        return user is not None and user.last_change is change

    def _left_the_log(self, change: Change) -> None:
        """The last change of a user left the log: of who is offline nothing is known then, whyever they are kept."""
        user = self._users[change.user_id]
        if change.view.status is Status.OFFLINE:
            user.last_change, user.left = None, (change.since_ms, change.seen_ms)
        self._drop_if_unneeded(user)

    def _drop_if_unneeded(self, user: User[C]) -> None:
        """Forget a user of whom nothing is left to know."""
        if user.sessions or user.announced or (user.last_change and user.last_change.position > self._log.floor):
            return
        if user.user_id in self._with_choice or user.user_id in self._claimed:
            return
        if user.held is not None and user.held.deadline is not None:
            return
        if self._users.pop(user.user_id, None) and user.display != NO_DISPLAY:
            self._keep_display(user.user_id, user.display)
