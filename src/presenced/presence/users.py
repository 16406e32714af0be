"""The table of users: the known state of each, read access to it, and the eviction of users.

`presence.directory` changes users. Everything else only reads them here.

A user is in the table as long as one of these reasons holds. Otherwise the user is evicted:

    reason                                        bound
    a session, connected or resumable             connections by the caller, others by `MAX_DETACHED_SESSIONS` per user
    an announcement                               `max_announced`
    the last change is still in the log           `log_entries`, `log_age`
    not shown as offline, without a session       in a cluster, until the nodes agree that the user is offline
    absent, with a choice                         `max_choices`; at the bound the user absent longest loses it
    absent, with a claim                          `max_claimed`; at the bound the user absent longest loses theirs
    a held request                                ends with `status_pause`

An evicted user looks like one who was never there: offline, without details, and without a pause after the last change.
Only the display data of evicted users is remembered, of up to `max_choices` users, in a map that takes less memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from msgspec.structs import replace

from presenced.presence.journal import Journal, RecentChanges
from presenced.presence.model import NO_DISPLAY, Change, Display, OwnState, Status
from presenced.presence.session import Session
from presenced.presence.status import MAX_USERS_WITH_CLAIMS
from presenced.presence.user import NO_DEPARTURE, Departure, User
from presenced.presence.versions import VersionClock
from presenced.runtime.limits import BoundedMap
from presenced.runtime.numbered import NumberedItems

C = TypeVar("C", bound=Hashable)

_OFFLINE = Status.OFFLINE  # attribute access on an enum is slow


class Limits(NamedTuple):
    """Bounds of the table."""

    log_entries: int
    """Changes in the log of recent changes."""
    log_age: float
    """Age in seconds of the oldest change in this log."""
    max_announced: int
    """Announced users. One more is refused."""
    max_choices: int = 100_000
    """Absent users with a choice, and as many evicted users with display data."""
    resume_window: float = 0.0
    """Seconds in which a session without a connection can be resumed."""
    max_claimed: int = MAX_USERS_WITH_CLAIMS
    """Absent users with claims."""
    status_pause: float = 0.0
    """Seconds after a client's change during which further requests of the user's clients wait."""


class MissedChanges(NamedTuple):
    """Changes that a subscriber to some users missed."""

    changes: list[Change]
    """The last change of each user who changed."""
    unknown: list[str]
    """Users without known presence. They may have gone offline in a change that the log has dropped."""


class NumberedChange(NamedTuple):
    """The last change of a user, and the user's number in the order in which users became known."""

    serial: int
    change: Change


class SessionPage(NamedTuple, Generic[C]):
    """One page of all current sessions."""

    sessions: list[Session[C]]
    next: int | None
    """Serial number for the next page; None if this is the last page."""


class ListedUser(Protocol[C]):
    """A user as it appears in lists: `User`, or its replacement in a cluster."""

    @property
    def serial(self) -> int:
        """As in `User`."""

    @property
    def last_change(self) -> Change | None:
        """As in `User`."""

    @property
    def sessions(self) -> Sequence[Session[C]]:
        """As in `User`."""


class Users(Generic[C]):
    """All known users.

    Args:
        journal: Journal of the server, whose positions the changes have.
        versions: Version clock, for the records of unknown users.
    """

    def __init__(self, limits: Limits, journal: Journal, versions: VersionClock) -> None:
        self.journal = journal
        self.versions = versions
        self.by_id: dict[str, User[C]] = {}
        """Users by id (read-only). `get_or_add` adds a user."""
        self.sessions: dict[str, Session[C]] = {}
        """Sessions that can be resumed, by their ids."""
        self.online_users = 0
        """Number of users who are shown as anything but offline."""
        self.connected_users = 0
        """Number of users with at least one open connection."""
        self.with_choice: BoundedMap[str, None] = BoundedMap(limits.max_choices)
        """Absent users with a choice, in the order of leaving."""
        self.with_claim: BoundedMap[str, None] = BoundedMap(limits.max_claimed)
        """Absent users with a claim, in the order of leaving."""
        self.displays: BoundedMap[str, Display] = BoundedMap(limits.max_choices)
        """Display data of evicted users."""
        self.log = RecentChanges(limits.log_entries, limits.log_age, self._is_latest, self._dropped_from_log)
        """Recent changes, for subscribers to everyone. Append one after setting the user's `last_change`."""
        self.on_evicted: Callable[[str], None] = lambda _: None
        """Called with each user who was evicted."""
        self._numbered: NumberedItems[ListedUser[C]] = NumberedItems()

    # Users.

    def user(self, user_id: str) -> User[C] | None:
        """Return the user (read-only); None if unknown."""
        return self.by_id.get(user_id)

    def status(self, user_id: str) -> Status:
        """Return the status that others see."""
        return user.shown.status if (user := self.by_id.get(user_id)) else Status.OFFLINE

    def own(self, user_id: str) -> OwnState | None:
        """Return the state that the user's own devices see; None if the user has no session of presenced.v1."""
        user = self.by_id.get(user_id)
        return user.own if user else None

    def connections(self, user_id: str) -> list[C]:
        """Return the user's open connections, oldest first."""
        user = self.by_id.get(user_id)
        return user.connections() if user else []

    def connection_count(self, user_id: str) -> int:
        """Return the number of open connections of the user."""
        return user.connected if (user := self.by_id.get(user_id)) else 0

    def connection_count_on_all_nodes(self, user_id: str) -> int:
        """Return the number of the user's connections on all nodes. Without a cluster there is one node."""
        user = self.by_id.get(user_id)
        return user.connected if user is not None else 0

    def rooms_wanted(self, user_id: str) -> dict[str, bytes]:
        """Return the rooms in which others should see the user, with the data that was set last."""
        user = self.by_id.get(user_id)
        if user is None or not user.named_sessions or user.shown.status is Status.OFFLINE:
            return {}
        return user.rooms()

    # Changes.

    def missed_changes(self, position: int, user_ids: Iterable[str]) -> MissedChanges:
        """Return the changes that a subscriber to these users at `position` missed."""
        changes: list[Change] = []
        unknown: list[str] = []
        user_ids = tuple(user_ids)
        for user_id, change in zip(user_ids, self.changes_of(user_ids), strict=True):
            if change is None:
                if position < self.log.floor:
                    unknown.append(user_id)
            elif change.position > position:
                changes.append(change)
        return MissedChanges(changes, unknown)

    def snapshot(self) -> list[Change]:
        """Return the last change of everyone who is not offline. O(users)."""
        found = (user.last_change for user in self.by_id.values())
        return [change for change in found if change and change.view.status is not _OFFLINE]

    def snapshot_of(self, user_ids: Iterable[str]) -> list[Change]:
        """Return the last changes of these users, without users who have none."""
        return [change for change in self.changes_of(user_ids) if change is not None]

    def changes_of(self, user_ids: Iterable[str]) -> list[Change | None]:
        """Return the last change of each of these users; None for unknown users."""
        known = map(self.by_id.get, user_ids)
        return [user.last_change if user else None for user in known]

    def online_after(self, serial: int, limit: int) -> list[NumberedChange]:
        """Return one page of the users who are not offline, in the order in which they became known.

        The time is proportional to the size of the page and the offline users between its users.

        Args:
            serial: `serial` of the last user on the previous page; 0 for the first page.
        """
        known = self._numbered.after(serial)
        changes = (NumberedChange(user.serial, user.last_change) for user in known if user.last_change)
        return list(islice((one for one in changes if one.change.view.status is not _OFFLINE), limit))

    def present_after(self, serial: int, limit: int) -> SessionPage[C]:
        """Return one page of the sessions that are connected or in their grace period, by user.

        The sessions of one user are never divided, so the page may have more than `limit` of them if they all belong to
        one user. The time is proportional to the size of the page and the absent users between its users.

        Args:
            serial: `SessionPage.next` of the previous page; 0 for the first page.
        """
        found: list[Session[C]] = []
        last = serial
        for user in self._numbered.after(serial):
            present = [session for session in user.sessions if session.is_present]
            if present and found and len(found) + len(present) > limit:
                return SessionPage(found, last)
            if present:
                found += present
                last = user.serial
        return SessionPage(found, None)

    # Changes of the table, for `presence.directory` only.

    def get_or_add(self, user_id: str) -> User[C]:
        """Return the user, after adding them if unknown."""
        user = self.by_id.get(user_id)
        if user is None:
            user = self.by_id[user_id] = User(user_id)
            user.serial = self._numbered.add(user)
            if self.displays:
                user.display = self.displays.pop(user_id) or NO_DISPLAY
        return user

    def erase_seen(self, user_id: str) -> None:
        """Erase when the user was last seen and last active. No-op if the user is unknown."""
        user = self.by_id.get(user_id)
        if user is None:
            return
        user.seen_ms = user.active_ms = 0
        user.departure = NO_DEPARTURE
        if user.last_change is not None:
            user.last_change = replace(user.last_change, seen_ms=0)
            self.log.replace(user.last_change)  # otherwise the log would hold a change that is not the latest

    def evict_if_unneeded(self, user: User[C]) -> None:
        """Evict a user if no reason is left to remember them (see the head of this file)."""
        if user.sessions or user.announced:
            return
        last = user.last_change
        if last is not None and (last.position > self.log.floor or last.view.status is not _OFFLINE):
            return
        if user.user_id in self.with_choice or user.user_id in self.with_claim:
            return
        if user.held is not None and user.held.deadline is not None:
            return
        if self.by_id.pop(user.user_id, None) is None:
            return
        self._numbered.remove(user.serial)
        if user.display != NO_DISPLAY:
            self.displays.set(user.user_id, user.display)
        self.on_evicted(user.user_id)

    def _is_latest(self, change: Change) -> bool:
        user = self.by_id.get(change.user_id)
        return user is not None and user.last_change is change

    def _dropped_from_log(self, change: Change) -> None:
        """Update a user whose last change was dropped. An offline user is unknown from now on, even if in the table."""
        user = self.by_id[change.user_id]
        if change.view.status is Status.OFFLINE:
            user.last_change, user.departure = None, Departure(change.since_ms, change.seen_ms)
        self.evict_if_unneeded(user)
