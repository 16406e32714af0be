"""The shell around the rules: feeds events in with the time, and performs what comes out.

One direction: a connection reports to the node, the node asks the directory, and a change goes to the broadcaster.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from math import inf

from presenced.auth.authenticator import Authenticator
from presenced.auth.gatekeeper import Arrival, Gatekeeper
from presenced.auth.grants import visibility_of
from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.errors import BadParameter, BadUserId, Close
from presenced.net.refusals import Refusal
from presenced.net.throttle import Throttle
from presenced.node.broadcaster import Broadcaster, Writers
from presenced.node.event_log import EventLog
from presenced.node.heartbeat import Heartbeat
from presenced.node.journal_followers import Followers
from presenced.node.refusals import Refusals
from presenced.node.requests import Requests
from presenced.node.shutdown import close_in_waves
from presenced.node.stats import Stats, statistics
from presenced.presence.directory import Directory
from presenced.presence.heartbeat import Beat
from presenced.presence.journal import Journal
from presenced.presence.model import Display, Ending, Own, Status
from presenced.presence.outcome import Outcome
from presenced.presence.rooms import Rooms, Thresholds
from presenced.presence.subscriptions import Watch
from presenced.presence.user import Grace
from presenced.presence.users import Limits
from presenced.presence.visibility import EVERYTHING, Visibility
from presenced.protocols.base import Connection, Event, mark_opened, unheard_age
from presenced.protocols.classic.codec import established_frame
from presenced.protocols.classic.feed import ClassicFeed
from presenced.protocols.framing import deflated
from presenced.protocols.ids import user_id_from_query
from presenced.protocols.v1 import codec as v1
from presenced.protocols.v1.connect import Hello, hello_from_query
from presenced.protocols.v1.digests import PERIOD
from presenced.protocols.v1.encoder import Encoding, new_epoch
from presenced.protocols.v1.feed import V1Feed
from presenced.protocols.v1.welcome import established
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.instant import Instant
from presenced.runtime.limits import Pace
from presenced.runtime.metrics import Metrics
from presenced.storage.write_behind import StorageWorker, WriteBehind


class Node:
    """Presence for the connections that report to it. All methods are plain calls on the loop's thread."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        max_connections: int,
        writers: Writers | None = None,
        authenticator: Authenticator | None = None,
        storage_worker: StorageWorker | None = None,
        epoch: str = "",
    ) -> None:
        self.settings = settings
        self.max_connections = max_connections
        self.clock = clock
        self.timer = Timer(clock)
        self.metrics = metrics
        self.throttle = Throttle(settings)
        self.draining = False
        """The server is stopping: ends of connections are told to nobody."""
        self._log = EventLog(clock, self.timer, settings.log_burst, settings.log_anonymous)
        self._refusals = Refusals(self._log, metrics)
        grace = Grace(settings.grace_going_away, settings.grace_lost)
        kept = settings.log_size, settings.log_age, settings.max_announced, settings.max_choices
        limits = Limits(*kept, settings.resume_window, status_pause=settings.status_pause)
        self.directory: Directory[Connection] = Directory(grace, limits)
        self.journal = Journal(settings.journal_size, self.directory.snapshot)
        self.followers = Followers(clock)
        self._heartbeat: Heartbeat[Connection] = Heartbeat(
            settings, clock, self.timer, metrics, self._log, self._end_graces
        )
        self._classic = ClassicFeed(self.directory)
        epoch = epoch or new_epoch()
        thresholds = Thresholds(settings.room_coalesced, settings.room_counts)
        self.rooms = Rooms(thresholds, settings.room_members, self.directory.take_position)
        self.encoding = Encoding(self.directory, self.rooms, epoch, settings.show_causes, settings.snapshot_page)
        self._v1 = V1Feed(self.encoding)
        deflate = deflated if settings.compression else None
        feeds = self._classic, self._v1
        self._broadcaster = Broadcaster(clock, self.timer, metrics, feeds, settings.behind_timeout, writers, deflate)
        self.gatekeeper: Gatekeeper[Connection] | None = None
        """None where anybody may claim any user id."""
        if authenticator is not None:
            doors = self._admit, self._refuse, self._look_anew, self.directory.sessions
            self.gatekeeper = Gatekeeper(settings, clock, self.timer, metrics, authenticator, *doors, self._revoked)
        self.recorder: WriteBehind | None = None
        """None if nothing is stored."""
        if storage_worker is not None:
            self.recorder = WriteBehind(
                settings=settings,
                clock=clock,
                timer=self.timer,
                metrics=metrics,
                worker=storage_worker,
                directory=self.directory,
                rooms=self.rooms,
                apply=self.apply,
                restore_revocations=self.gatekeeper.restore if self.gatekeeper else lambda _: None,
            )
        renew = self.gatekeeper.renew if self.gatekeeper else lambda _connection, _token, renewed: renewed(None)
        shared = settings, clock, metrics, self.directory
        self._requests = Requests(*shared, self._broadcaster, self._v1, self.apply, self._settle_rooms, renew)
        self._connections: dict[int, Connection] = {}
        self._serial = 0
        self._settled_at = 0.0
        self._pace = Pace()
        self._changes = {status: metrics.changes.labels(status) for status in Status}  # looking a label up takes 1 us
        gauge = metrics.gauge
        gauge("presenced_connections", "Open connections.", lambda: len(self._connections))
        gauge("presenced_max_connections", "Open connections at most.", lambda: self.max_connections)
        gauge("presenced_users_connected", "Users connected.", lambda: self.directory.connected_users)
        gauge("presenced_users_online", "Users shown online.", lambda: self.directory.online_users)
        gauge("presenced_rooms", "Rooms with a member.", lambda: len(self.rooms))
        gauge("presenced_slow_watchers", "Watchers that are behind.", lambda: self._broadcaster.behind)

    def start(self) -> None:
        """Begin the heartbeat and the statistics lines."""
        now = self.clock.monotonic()
        self._settled_at = now + self.settings.grace_lost
        self._heartbeat.start()
        if self.settings.stats_interval:
            self.timer.set(self._log_stats, now + self.settings.stats_interval)

    # What connections report.

    def opened(self, connection: Connection, query: bytes, response: bytes, subprotocol: str, token: str = "") -> None:
        """A WebSocket is accepted; `response` is the head that says so and goes out with the first frame.

        A browser shows its program nothing of an HTTP refusal, so a bad `userId` is accepted and closed with a code.
        """
        arrival = Arrival(query, response, subprotocol, token)
        if self.gatekeeper is not None:
            self.gatekeeper.opened(connection, arrival)
            return
        try:
            user_id = user_id_from_query(query, self.settings.placeholder_ids)
        except BadUserId as error:
            self._refuse(connection, arrival, Close.BAD_USER_ID, str(error))
            return
        self._enter(connection, arrival, user_id, EVERYTHING)

    def _admit(self, connection: Connection, arrival: Arrival, principal: Principal) -> None:
        self._enter(connection, arrival, principal.user_id, visibility_of(self.settings, principal), principal.display)

    def _enter(
        self,
        connection: Connection,
        arrival: Arrival,
        user_id: str,
        visibility: Visibility,
        display: Display | None = None,
    ) -> None:
        """Let it in; or not, when it asks for what can't be."""
        try:
            hello = hello_from_query(arrival.query) if arrival.subprotocol else None
        except BadParameter as error:
            self._refuse(connection, arrival, Close.BAD_PARAMETER, str(error))
            return
        replaces = hello is not None and self.directory.is_connected(hello.session_id, user_id)
        if self.directory.connected(user_id) - replaces >= (most := self.settings.user_connections):
            self._refuse(connection, arrival, Close.TOO_MANY_CONNECTIONS, f"the user has {most} connections open")
            return
        now = self.clock.now()
        self._pace.count(now.monotonic)
        self._serial += 1
        connection.user_id = user_id
        connection.serial = self._serial
        mark_opened(connection, now)
        self._connections[self._serial] = connection
        self._heartbeat.add(connection)
        self.metrics.opened.inc()
        self._log.connected(user_id)
        if hello is None:
            self._open_classic(connection, visibility, display, arrival.response, now)
        else:
            self._open_v1(connection, hello, visibility, display, arrival.response, now)

    def _look_anew(self, connection: Connection, principal: Principal) -> None:
        """What it showed last may allow more than before, or less, or give other display data."""
        if principal.display is not None:
            self.apply(self.directory.give_display(connection.user_id, principal.display, self.clock.now()))
        if (visibility := visibility_of(self.settings, principal)) != connection.session.visibility:
            self._requests.look_anew(connection, visibility)

    def _revoked(self, kind: str, subject: str, at: float, until: float) -> None:
        if self.recorder is not None:
            self.recorder.revoked(kind, subject, at, until)

    def _refuse(self, connection: Connection, arrival: Arrival, close: Close, reason: str, guess: bool = False) -> None:
        if arrival.response:
            connection.send(arrival.response)
        self.metrics.refused.labels(close.name).inc()
        self._log.refused(close.name, reason)
        if guess:
            self.throttle.failed(connection.address, self.clock.monotonic())
        connection.close(close, reason)

    def _open_classic(
        self, connection: Connection, visibility: Visibility, display: Display | None, response: bytes, now: Instant
    ) -> None:
        outcome = self.directory.open(connection.user_id, connection, now, display=display)
        assert outcome.session is not None, "it opened"
        connection.feed, connection.session = self._classic, outcome.session
        connection.session.visibility = visibility
        connection.connection_id = outcome.connection_id
        if self.recorder is not None:
            self.recorder.opened(connection)
        connection.send(response + established_frame(connection.user_id, outcome.connection_id, now))
        self.apply(outcome)
        self._broadcaster.add(connection)  # after its own change, which it is not told
        if connection.paused:  # it did not read while it was waited for
            self._broadcaster.pause(connection)

    def _open_v1(
        self,
        connection: Connection,
        hello: Hello,
        visibility: Visibility,
        display: Display | None,
        response: bytes,
        now: Instant,
    ) -> None:
        outcome = self.directory.resume(hello.session_id, connection.user_id, connection, now, display, hello.active)
        position = self.encoding.position_number(hello.position) if outcome else None
        if outcome and outcome.session and position is not None and position < outcome.session.whole_from:
            position = None  # a snapshot was lost on the way, or half of it
        self.metrics.sessions.labels("new" if not outcome else "told_again" if position is None else "resumed").inc()
        if outcome is None:
            new = secrets.token_urlsafe(16), hello.device, Watch(hello.everyone), hello.active is not False
            outcome = self.directory.open(connection.user_id, connection, now, *new, hello.choice, display)
        else:
            connection.opened_at = -inf  # a client that names its session has already read CONNECTION_ESTABLISHED
        assert outcome.session is not None, "it opened"
        connection.feed, connection.session = self._v1, outcome.session
        if outcome.replaced is not None:  # before anything of the session changes, by which its feed finds it
            outcome.replaced.close(Close.REPLACED, "another connection resumed this session")
        if visibility != connection.session.visibility:
            position = None  # it is told everything again
            self._requests.limit(connection, visibility)
        connection.connection_id = outcome.connection_id
        if self.recorder is not None:
            self.recorder.opened(connection)
        self._requests.opened(connection)
        encoding, resumed = self.encoding, position is not None
        connection.send(
            response
            + established(connection, outcome.connection_id, self.settings, encoding, resumed, self._settled_at, now)
        )
        self.apply(outcome)
        missed = self._v1.missed(connection, position) if position is not None else None
        self._broadcaster.catch_up(connection, missed or self._v1.all(connection))

    def turned_away(self, refusal: Refusal, origin: bytes) -> None:
        """Log and count a request that was refused before it became a WebSocket, or because of its page or host."""
        self._refusals.add(refusal, origin)

    def received(self, connection: Connection, message: str | bytes) -> None:
        """A message came. Classic clients have nothing to say, and whatever they say ends nothing."""
        self.metrics.received.inc()
        if self.gatekeeper is not None and self.gatekeeper.received(connection, message):
            return
        if connection.feed is self._v1:
            self._requests.received(connection, message)
        elif self.gatekeeper is not None and (token := v1.token_of(message)):
            self.gatekeeper.renew(connection, token, lambda _: None)

    def paused(self, connection: Connection) -> None:
        """The connection's transport is full."""
        if connection.serial:  # else it is not in yet
            self._broadcaster.pause(connection)

    def resumed(self, connection: Connection) -> None:
        """The connection's transport has drained, which takes a client that is there."""
        connection.heard_at = self.clock.monotonic()
        if connection.serial:
            self._requests.resumed(connection)
            self._broadcaster.resume(connection)

    def closed(self, connection: Connection, ending: Ending, reason: str) -> None:
        """A connection ended, or is being closed; no-op for one that never was a user's, or ended before.

        Args:
            reason: What the metrics count it as; one of a small fixed set.
        """
        if self.gatekeeper is not None:
            self.gatekeeper.closed(connection)
        if self._connections.pop(connection.serial, None) is None:
            return
        self._heartbeat.discard(connection)
        self._broadcaster.discard(connection)  # first: a status it was about to set is told to others only
        self._requests.closed(connection)
        self.metrics.closed.labels(reason).inc()
        self._log.disconnected(connection.user_id)
        now = self.clock.now()
        if self.recorder is not None:
            self.recorder.closed(connection, reason, now)
        silent = now.monotonic - connection.heard_at if ending is Ending.TIMED_OUT else 0.0
        unheard = unheard_age(connection, now)
        self.apply(self.directory.close(connection.user_id, connection, ending, now, silent, unheard))

    # Questions, and the end.

    def stats(self, limit: int = 100, after: int = 0) -> Stats:
        """Statistics of this moment with the `limit` (0 to `MAX_PAGE`) sessions that follow `after`."""
        return statistics(self.directory, self._connections, limit, after, self.clock.now())

    def beat(self, connection: Connection) -> Beat:
        """What the heartbeat does next about a connection that is open."""
        return self._heartbeat.of(connection)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @property
    def is_full(self) -> bool:
        """No connection more is taken."""
        return len(self._connections) >= self.max_connections

    @property
    def is_behind(self) -> bool:
        """The loop has more to do than it can: those who are connected go first."""
        return self._heartbeat.is_behind

    def drain(self) -> Iterator[float]:
        """The server stops: from now on nobody is told that anybody left; the connections are closed in waves.

        Returns:
            The waves: each item closes some and is the seconds to wait before the next.
        """
        self.draining = True
        return close_in_waves(list(self._connections.values()), self._v1, self._pace.best)

    def stop(self) -> None:
        """Let no timer fire any more."""
        self.timer.stop()

    def apply(self, outcome: Outcome[Connection]) -> None:
        """Tell whoever is concerned what an event came to, and be there when time alone goes on with it."""
        change = outcome.change
        if change and not self.draining:
            self._changes[change.status].inc()
            if change.is_turn:
                own = 1 if self.directory.connections(change.user_id) else 0
                self._log.changed(change.user_id, change.status, self.directory.connected_users - own)
            self.journal.append(change)
            self.followers.changed()
            self._publish(change)
        if self.recorder is not None:
            self.recorder.event(outcome, not self.draining)
        if outcome.own:
            self._tell_own(outcome.user_id, outcome.own)
        self._settle_rooms(outcome.user_id)
        if (deadline := self.directory.next_deadline()) is not None:
            self.timer.set(self._end_graces, deadline)

    def _publish(self, event: Event) -> None:
        self._broadcaster.publish(event)
        if self._v1.publish(event) and self._digest not in self.timer:
            self.timer.set(self._digest, self.clock.monotonic() + PERIOD)

    def _digest(self) -> None:
        self._broadcaster.flush()
        position = self.directory.take_position()
        self._broadcaster.send(tuple(self._v1.digests.due(position)), position)

    def _settle_rooms(self, user_id: str) -> None:
        """Have the rooms the user is seen in be those that the user's sessions are in."""
        wanted = self.directory.rooms_wanted(user_id)
        if wanted or self.rooms.of(user_id):
            now = self.clock.now()
            for change in self.rooms.settle(user_id, wanted, now):
                if not self.draining:
                    self._publish(change)
                    if self.recorder is not None:
                        self.recorder.room_changed(change, self.rooms.get(change.room), now)

    def _tell_own(self, user_id: str, own: Own) -> None:
        """Tell a user's own devices the truth; one that is behind hears it when it catches up."""
        frame = b""
        for connection in self.directory.connections(user_id):
            if self._v1.keeps_up(connection):
                frame = frame or v1.self_frame(own)
                connection.send(frame)
            elif connection.feed is self._v1:
                self._broadcaster.remind(connection)

    def _end_graces(self) -> None:
        for outcome in self.directory.expire(self.clock.now()):
            self.apply(outcome)
        if (deadline := self.directory.next_deadline()) is not None:
            self.timer.set(self._end_graces, deadline)

    def _log_stats(self) -> None:
        self._log.stats(self.directory.connected_users, len(self._connections))
        self.timer.set(self._log_stats, self.clock.monotonic() + self.settings.stats_interval)
