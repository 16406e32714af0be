"""The publisher: notifies everyone affected by the result of an event.

The directory decides what an event means and returns an `Outcome`, a value. The publisher is the one place that acts on
outcomes, in this order:

    the change, if others see one    metrics, log lines, journal, followers of the journal, broadcaster
    storage                          the user's state, and the change
    the user's own devices           the user's true state, if it changed
    rooms                            the user is a member of exactly the rooms of their sessions
    the timer                        for the next end of a grace period, a choice, a claim or a status pause

In a cluster, a user may get a new version without looking different (`Outcome.renumbered`): only the journal and its
followers receive that version.

While the server stops, connections end because of the server and not because their users leave. No other user is
notified of changes then, and none is stored, because the users will reconnect to the next server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from presenced.delivery.broadcaster import Broadcaster
from presenced.delivery.connection import Connection
from presenced.node.event_log import EventLog
from presenced.node.journal_followers import JournalFollowers
from presenced.presence.directory import Directory
from presenced.presence.model import Status
from presenced.presence.outcome import Outcome
from presenced.presence.rooms import Rooms
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.instant import Instant
from presenced.runtime.metrics import Metrics
from presenced.storage.write_behind import WriteBehind


@dataclass(kw_only=True, eq=False, repr=False)
class NodePublisher:
    """The publisher of one node (`protocols.base.Publisher`)."""

    clock: Clock
    timer: Timer
    metrics: Metrics
    log: EventLog
    directory: Directory[Connection]
    rooms: Rooms
    followers: JournalFollowers
    broadcaster: Broadcaster
    storage: WriteBehind | None
    """Stores results; None if the server stores nothing."""
    is_draining: bool = False
    """Whether the node is stopping. Others are no longer notified then."""
    is_loading: bool = False
    """Whether the node is joining a cluster. It reads changes that other nodes made, so it neither logs nor counts."""

    def __post_init__(self) -> None:
        # Looked up once, because a look-up at each change would take 1 us.
        self._change_counters = {status: self.metrics.changes.labels(status) for status in Status}

    def apply(self, outcome: Outcome[Connection], now: Instant) -> None:
        """Notify everyone affected by the result of an event, and schedule what time alone will change."""
        self._notify(outcome)
        self.update_rooms(outcome.user_id, now)
        self._set_timer()

    def apply_all(self, outcomes: Sequence[Outcome[Connection]], now: Instant) -> None:
        """Do the same for several results that were computed before the first of them is applied."""
        for outcome in outcomes:
            self._notify(outcome)
        # After all changes, because the rooms take higher positions. If a flush between them sent such a position, a
        # connection at it would never receive the changes of the other users.
        for outcome in outcomes:
            self.update_rooms(outcome.user_id, now)
        self._set_timer()

    def _notify(self, outcome: Outcome[Connection]) -> None:
        """Publish and store the change of a result, and notify the user's own devices."""
        change = outcome.change
        if change and not self.is_draining:
            if not self.is_loading:
                self._change_counters[change.status].inc()
            if change.went_online_or_offline and not self.is_loading:
                users = self.directory.users
                others = users.connected_users - (1 if users.connection_count(change.user_id) else 0)
                self.log.changed(change.user_id, change.status, others)
            self.directory.users.journal.append(change)
            self.followers.changed()
            self.broadcaster.publish(change)
        if outcome.renumbered and not self.is_draining:
            self.directory.users.journal.append(outcome.renumbered)
            self.followers.changed()
        if self.storage is not None:
            self.storage.store_outcome(outcome, self.is_draining)
        if outcome.own:
            for connection in self.directory.users.connections(outcome.user_id):
                connection.protocol.self_changed(connection, outcome.own)

    def update_rooms(self, user_id: str, now: Instant) -> None:
        """Make the user a member of exactly the rooms of their sessions, and notify others of the changes."""
        wanted = self.directory.users.rooms_wanted(user_id)
        if not wanted and not self.rooms.of(user_id):
            return
        for change in self.rooms.update(user_id, wanted, now, self.directory.join_times(user_id)):
            if not self.is_draining:
                self.broadcaster.publish(change)
                if self.storage is not None:
                    self.storage.room_changed(change, now)

    def session_opened(self, connection: Connection) -> None:
        """Record that the session of a connection opened, or was resumed."""
        if self.storage is not None:
            self.storage.opened(connection)

    def expire(self) -> None:
        """Apply what time alone has changed: ended grace periods, choices, claims and status pauses."""
        now = self.clock.now()
        self.apply_all(self.directory.expire(now), now)

    def _set_timer(self) -> None:
        if (deadline := self.directory.next_deadline()) is not None:
            self.timer.set(self.expire, deadline)
