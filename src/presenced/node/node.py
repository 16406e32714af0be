"""A node: the parts of one running server, and the events that its connections report.

An event enters here with the time, which is read once and passed down. The node decides whether it admits a
connection, and the protocol of the connection processes its messages (`protocols.base` has the table). The directory
decides what an event means, and the publisher notifies everyone that it concerns. All methods are plain calls on the
loop's thread: there is no task, queue or coroutine per connection or per message.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from presenced.auth.gatekeeper import Gatekeeper
from presenced.auth.grants import visibility_of
from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.delivery.broadcaster import Broadcaster
from presenced.delivery.connection import Connection
from presenced.errors import BadParameter, BadUserId, Close, Problem
from presenced.net.refusals import Refusal
from presenced.net.throttle import Throttle
from presenced.node.connections import Connections, unheard_age
from presenced.node.event_log import EventLog
from presenced.node.heartbeat import Heartbeat
from presenced.node.journal_followers import JournalFollowers
from presenced.node.placeholder_protocol import PlaceholderProtocol
from presenced.node.publisher import NodePublisher
from presenced.node.shutdown import MAX_DRAIN_S, close_in_waves, return_spread
from presenced.node.stats import Stats, statistics
from presenced.presence.directory import Directory
from presenced.presence.journal import Cursor
from presenced.presence.model import Ending
from presenced.presence.rooms import Rooms
from presenced.presence.session import Session
from presenced.protocols.base import Admitted, ConnectRequest, Protocols, Resumption
from presenced.protocols.v1.encoder import V1Encoder
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.instant import Instant
from presenced.runtime.metrics import Metrics
from presenced.storage.write_behind import WriteBehind


class Peers(Protocol):
    """The other nodes of a cluster."""

    @property
    def name(self) -> str:
        """Name of this node."""

    def fetch_session(
        self, session_id: str, position: str, user_id: str, done: Callable[[Cursor | None], None]
    ) -> bool:
        """Move a session of the user from another node to this one.

        Args:
            position: Last position that its client has received; empty if none.
            done: Called with the cursor from which the client continues, once the session is in the directory. Called
                with None if the other node cannot give it.

        Returns:
            False if there is nothing to wait for; then `done` is not called.
        """

    def save_session(self, session: Session[Connection]) -> None:
        """Save a session for the other nodes, because this node is about to stop."""

    def name_of(self, slot: int) -> str:
        """Return the name of the node in this slot."""

    @property
    def others(self) -> int:
        """Number of other nodes that take connections."""

    @property
    def warnings(self) -> list[str]:
        """Warnings for operators: the store is out of reach, or other nodes have other settings or the same name."""

    @property
    def has_joined_running_cluster(self) -> bool:
        """Whether the cluster had users or ready nodes before. Then nobody has to return, so there is no settling."""

    @property
    def not_ready(self) -> str:
        """Reason why this node takes no connections; empty if it does."""

    @property
    def live_nodes(self) -> int:
        """Number of registered nodes that are not dead, this one included."""

    @property
    def lag_s(self) -> float:
        """Age in seconds of what this node knows about the others."""


class OtherNodes(Protocol):
    """Commands for the other nodes of a cluster, after a decision on this one (`cluster.commands.commands`)."""

    def kick(self, user_id: str) -> int:
        """Have all other nodes close the connections of a user. Return the number of sessions there, if known."""

    def forget(self, user_id: str, now: Instant) -> int:
        """Have all other nodes do the same as for `kick`, and forget what only they know about the user."""

    def erase(self, user_id: str) -> None:
        """Have the database forget a user, after the user's last changes."""

    def revoked(self, user_id: str, kind: str, subject: str) -> int:
        """Have all other nodes reject tokens of a user that this node rejects from now on.

        Args:
            kind: As for `Gatekeeper.revoke`.
            subject: As for `Gatekeeper.revoke`.

        Returns:
            Number of sessions that they close, if known.
        """

    def revoke_session(self, user_id: str, session_id: str) -> int:
        """Have the node that has a session of the user revoke the session's token. The result is as for `revoked`."""

    def when_agreed(self, user_id: str, answered: Callable[[bool], None]) -> Callable[[], None]:
        """Call `answered` when all nodes have what this one has decided about a user so far, immediately or later.

        Its argument is False if the store is out of reach. The other nodes then learn of the decision only later.

        Returns:
            Function that ends the wait. `answered` is not called afterwards.

        Raises:
            CapacityError: Too many callers wait.
        """


@dataclass(kw_only=True, eq=False, repr=False)
class Node:
    """Presence for the connections that report to it (`transports.base.ConnectionHandler`).

    `node.build.build_node` makes the parts and connects them.
    """

    settings: Settings
    clock: Clock
    timer: Timer
    metrics: Metrics
    log: EventLog
    throttle: Throttle
    directory: Directory[Connection]
    rooms: Rooms
    followers: JournalFollowers
    connections: Connections
    heartbeat: Heartbeat
    broadcaster: Broadcaster
    publisher: NodePublisher
    protocols: Protocols
    encoder: V1Encoder
    gatekeeper: Gatekeeper | None
    """None if the server does not authenticate: a client may claim any user id."""
    storage: WriteBehind | None
    """None if the server stores nothing."""
    peers: Peers | None = None
    """None if this node is alone."""
    other_nodes: OtherNodes | None = None
    """None if this node is alone."""

    def __post_init__(self) -> None:
        self._awaiting_session: set[Connection] = set()  # connections that wait for their sessions from other nodes
        if self.gatekeeper is not None:
            self.gatekeeper.listen(self)

    def start(self) -> None:
        """Start the protocols, the heartbeat and the statistics lines."""
        now = self.clock.now()
        settling_s = 0.0 if self.peers is not None and self.peers.has_joined_running_cluster else self.settings.settling
        for protocol in self.protocols.all:
            protocol.started(now, settling_s)
        self.heartbeat.start()
        if self.settings.stats_interval:
            self.timer.set(self._log_stats, now.monotonic + self.settings.stats_interval)

    # Events that connections report.

    def opened(self, connection: Connection, request: ConnectRequest) -> None:
        """Handle an accepted handshake: authenticate the client, or admit it.

        A browser hides the reason for an HTTP refusal from its page, so a request with a bad `userId` is accepted and
        then closed with a code.
        """
        now = self.clock.now()
        connection.protocol = self.protocols.find(request.path, request.subprotocol)
        if self.gatekeeper is not None:
            self.gatekeeper.opened(connection, request, now)
            return
        try:
            user_id = connection.protocol.user_id(request, self.settings.placeholder_ids)
        except BadUserId as error:
            self.refused(connection, Close.BAD_USER_ID, str(error), now)
            return
        self._enter(connection, request, Admitted(user_id), now)

    def received(self, connection: Connection, message: str | bytes) -> None:
        """Process a complete message of a client."""
        self.metrics.messages_received.inc()
        now = self.clock.now()
        if self.gatekeeper is None or not self.gatekeeper.received(connection, message, now):
            connection.protocol.received(connection, message, now)

    def paused(self, connection: Connection) -> None:
        """Handle a connection whose transport is full."""
        if connection.serial:  # otherwise it has not been admitted
            self.broadcaster.pause(connection)

    def resumed(self, connection: Connection) -> None:
        """Handle a connection whose transport has drained, which proves that its client is alive."""
        connection.heard_at = self.clock.monotonic()
        if connection.serial:
            connection.protocol.drained(connection)
            self.broadcaster.resume(connection)

    def closed(self, connection: Connection, ending: Ending, reason: str) -> None:
        """Handle the end of a connection. No-op if it was never admitted, or has ended already.

        Args:
            reason: Label in the metrics; one of a small fixed set.
        """
        if self.gatekeeper is not None:
            self.gatekeeper.closed(connection)
        self._awaiting_session.discard(connection)
        if not self.connections.remove(connection):
            return
        now = self.clock.now()
        self.heartbeat.discard(connection)
        self.broadcaster.discard(connection)  # first, because only others receive the events that follow
        connection.protocol.closed(connection)
        self.publisher.apply_all(self.directory.apply_held_requests(connection.user_id, connection, now), now)
        self.metrics.connections_closed.labels(reason).inc()
        self.log.disconnected(connection.user_id)
        if self.storage is not None:
            self.storage.closed(connection, reason, now)
        silent = now.monotonic - connection.heard_at if ending is Ending.TIMED_OUT else 0.0
        unheard = unheard_age(connection, now)
        self.publisher.apply(self.directory.close(connection.user_id, connection, ending, now, silent, unheard), now)

    def turned_away(self, refusal: Refusal, origin: bytes) -> None:
        """Log and count a request that was refused before it became a WebSocket, or because of its page or host.

        Args:
            origin: Its `Origin` header; empty if absent.
        """
        self.metrics.connections_refused.labels(refusal.reason).inc()
        if refusal.problem is not Problem.REQUEST_TIMEOUT:  # browsers open spare connections and let them time out
            self.log.turned_away(refusal, origin)

    # Events that the gatekeeper reports.

    def admitted(self, connection: Connection, request: ConnectRequest, principal: Principal, now: Instant) -> None:
        """Admit a connection whose client has authenticated."""
        visibility = visibility_of(self.settings, principal)
        user = Admitted(principal.user_id, visibility, principal.display, principal.token_id)
        self._enter(connection, request, user, now)

    def refused(
        self, connection: Connection, close: Close, reason: str, now: Instant, *, is_guess: bool = False
    ) -> None:
        """Close a connection that is not admitted."""
        self.metrics.handshakes_refused.labels(close.name).inc()
        self.log.refused(close.name, reason, connection.throttle_key if is_guess else "")
        if is_guess:
            self.throttle.count_failure(connection.throttle_key, now.monotonic)
        connection.close(close, reason)

    def renewed(self, connection: Connection, principal: Principal, now: Instant) -> None:
        """Apply a newer token, which may allow more or less than before, or have other display data."""
        if principal.display is not None:
            outcome = self.directory.update_display(connection.user_id, principal.display, now)
            self.publisher.apply(outcome, now)
        if (visibility := visibility_of(self.settings, principal)) != connection.session.visibility:
            connection.protocol.visibility_changed(connection, visibility, now)

    def _enter(self, connection: Connection, request: ConnectRequest, user: Admitted, now: Instant) -> None:
        """Admit a connection with valid parameters. Fetch its session first if another node may have that."""
        protocol = connection.protocol
        try:
            parameters = protocol.parse_parameters(request)
        except BadParameter as error:
            self.refused(connection, Close.BAD_PARAMETER, str(error), now)
            return
        wanted = protocol.resumption(parameters) if self.peers is not None else None
        if wanted is None or not self._fetch(connection, user, parameters, wanted):
            self._admit(connection, user, parameters, now)

    def _fetch(self, connection: Connection, user: Admitted, parameters: Any, wanted: Resumption) -> bool:
        """Have a connection wait for its session, and return True, if another node may have it."""
        assert self.peers is not None, "the caller has checked"
        protocol = connection.protocol

        def done(cursor: Cursor | None) -> None:
            if connection in self._awaiting_session:  # otherwise it has closed meanwhile
                self._awaiting_session.discard(connection)
                connection.protocol = protocol
                continued = parameters if cursor is None else protocol.with_cursor(parameters, cursor)
                self._admit(connection, user, continued, self.clock.now())

        if not self.peers.fetch_session(*wanted, user.user_id, done):
            return False
        connection.protocol = PlaceholderProtocol(protocol)
        self._awaiting_session.add(connection)
        connection.accept()
        return True

    def _admit(self, connection: Connection, user: Admitted, parameters: Any, now: Instant) -> None:
        """Adopt a connection, unless its user has too many connections, or the server has begun to stop."""
        protocol = connection.protocol
        if self.is_draining:
            connection.close(Close.GOING_AWAY, "the server is stopping")
            return
        count = self.directory.users.connection_count_on_all_nodes(user.user_id)
        others = count - protocol.replaces(user.user_id, parameters)
        if others >= (most := self.settings.user_connections):
            self.refused(connection, Close.TOO_MANY_CONNECTIONS, f"the user has {most} connections open", now)
            return
        self.connections.adopt(connection, user.user_id, now)
        self.heartbeat.add(connection)
        self.metrics.connections_opened.inc()
        self.log.connected(user.user_id)
        protocol.opened(connection, user, parameters, now)
        connection.session.token_id = user.token_id

    def certainty_changed(self) -> None:
        """Notify clients and followers that the store of the cluster is out of reach, or has been read again."""
        for protocol in self.protocols.all:
            protocol.certainty_changed()
        self.followers.changed()

    # Answers for transports.

    @property
    def is_draining(self) -> bool:
        """Whether the server is stopping: it accepts no connections, and notifies nobody that they end."""
        return self.publisher.is_draining

    @property
    def is_behind(self) -> bool:
        """Whether the loop is overloaded. Then no new connection is accepted, in favour of the open ones."""
        return self.heartbeat.is_behind

    @property
    def max_connections(self) -> int:
        """Maximum number of open connections, HTTP ones included."""
        return self.connections.max_connections

    @property
    def subprotocols(self) -> Mapping[bytes, Sequence[str]]:
        """Paths of WebSockets, each with its subprotocols, the preferred one first."""
        return self.protocols.subprotocols

    @property
    def compressed(self) -> Collection[str]:
        """Subprotocols whose messages are worth compressing."""
        return self.protocols.compressed

    # Queries, and the shutdown.

    def stats(self, limit: int = 100, after: int = 0, now: Instant | None = None) -> Stats:
        """Return statistics, with a page of the sessions.

        Args:
            limit: Maximum number of sessions, 0 to `MAX_PAGE_SESSIONS`.
            after: Serial number after which the page starts.
        """
        return statistics(self.directory.users, self.connections.by_serial, limit, after, now or self.clock.now())

    def drain(self) -> Iterator[float]:
        """Stop notifying others of disconnects, and close the connections in waves.

        Returns:
            The waves (`node.shutdown`). Each step closes some connections, and yields the seconds to wait before the
            next one.
        """
        self.publisher.is_draining = True
        save = self.peers.save_session if self.peers is not None else None
        return close_in_waves(list(self.connections.by_serial.values()), self._return_pace, save)

    @property
    def return_spread(self) -> float:
        """Seconds until all clients have returned, if this server stops now.

        They return to the other nodes, or to the next server.
        """
        return MAX_DRAIN_S + return_spread(len(self.connections), self._return_pace)

    @property
    def _return_pace(self) -> float:
        """Connections per second that the other nodes together, or the next server, are known to accept."""
        return self.connections.pace.best * max(1, self.peers.others if self.peers is not None else 1)

    def stop(self) -> None:
        """Cancel all timers."""
        self.timer.stop()

    def _log_stats(self) -> None:
        self.log.stats(self.directory.users.connected_users, len(self.connections))
        self.timer.set(self._log_stats, self.clock.monotonic() + self.settings.stats_interval)
