"""Operations of a running node for applications, which the HTTP API and the Python interface use.

Commands and queries take and return records, never bytes. User ids are strings as `presence.identity.parse_user_id`
returns them. All methods that are not coroutines are plain calls on the loop's thread.

A command is one event, so it happens at one moment. A caller that has already read the clock passes that moment as
`now`. Otherwise the command reads the clock once, and passes the moment to everything that it does.

In a cluster, the nodes have to agree before something becomes visible. A command returns before that. `when_agreed`
reports when they have agreed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from msgspec import structs

from presenced.auth.grants import visibility_of
from presenced.auth.principal import Principal
from presenced.auth.tickets import Tickets
from presenced.config.settings import is_loopback
from presenced.delivery.connection import Connection
from presenced.errors import BadParameter, ChangesLost, Close, ConfigError
from presenced.net.origins import ANY, FILES
from presenced.net.refusals import Refusal
from presenced.node.node import Node
from presenced.node.stats import Stats
from presenced.node.viewer_scope import ViewerScope
from presenced.presence.explain import MAX_CHANGES, Explanation, Viewer, explain
from presenced.presence.journal import Digest
from presenced.presence.model import AS_DETECTED, SEEN_OFFLINE, Change, Choice, Status, View
from presenced.presence.rooms import Room
from presenced.presence.session import Session
from presenced.presence.status import Claim, check_claim
from presenced.presence.users import NumberedChange, SessionPage
from presenced.presence.visibility import EVERYTHING, Visibility
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1.encoder import V1Encoder
from presenced.runtime.instant import Instant
from presenced.storage.answers import LastSeen, StoredLastSeen
from presenced.worker.calls import StorageCalls

_CURSOR = re.compile(r"[0-9a-z]{1,40}-([0-9a-z]{1,40}\.)?[0-9]{1,19}")


class ClusterSummary(NamedTuple):
    """Place of this node in its cluster."""

    name: str
    """Name of this node."""
    live_nodes: int
    """Number of live nodes, this one included."""
    lag_s: float
    """Age in seconds of what this node knows about the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Numbers of users, connections and rooms."""

    online_users: int
    """Users shown as anything but offline."""
    connected_users: int
    """Users with at least one open connection."""
    connections: int
    """Open connections."""
    rooms: int
    """Rooms with at least one member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """Result of erasing a user."""

    closed: int
    """Number of connections that are being closed."""
    stored: int
    """Number of rows deleted from the database."""


class PresenceService:
    """One server, as an application sees it.

    Args:
        tickets: Tickets that clients of this server connect with.
        storage: Calls to the storage worker; None if there is no database.
    """

    def __init__(self, node: Node, tickets: Tickets | None = None, storage: StorageCalls | None = None) -> None:
        self._node = node
        self.tickets = Tickets() if tickets is None else tickets
        """Tickets that were issued and not used yet."""
        self._storage = storage
        self._directory = node.directory
        self._on_disconnect: list[Callable[[str], int]] = []

    # Commands.

    def announce(self, user_id: str, online: bool, now: Instant | None = None) -> bool:
        """Announce a user (`Directory.announce`), or withdraw that. Return whether others see a change already.

        Raises:
            CapacityError: `max_announced` users are announced already.
        """
        now = now or self._node.clock.now()
        outcome = self._directory.announce(user_id, online, now)
        self._node.publisher.apply(outcome, now)
        return outcome.change is not None

    def disconnect(self, user_id: str, now: Instant | None = None) -> int:
        """Close all connections of a user, and return their number.

        The user goes offline immediately unless a backend announces the user. Event streams through which the user
        follows changes are closed and counted, too (`on_disconnect`).
        """
        elsewhere = self._node.other_nodes.kick(user_id) if self._node.other_nodes is not None else 0
        return elsewhere + self.disconnect_here(user_id, now)

    def disconnect_here(self, user_id: str, now: Instant | None = None) -> int:
        """Do the part of `disconnect` that concerns this node."""
        connections = self._directory.users.connections(user_id)
        for connection in connections:
            connection.close(Close.DISCONNECTED, "the application closed this user's connections")
        now = now or self._node.clock.now()
        self._node.publisher.apply(self._directory.end_grace_periods(user_id, now), now)
        return len(connections) + sum(end(user_id) for end in self._on_disconnect)

    def on_disconnect(self, end: Callable[[str], int]) -> None:
        """Register `end`, to be called with the id of each user whose connections are closed.

        Args:
            end: Function that ends the user's other connections and returns their number.
        """
        self._on_disconnect.append(end)

    def set_status(
        self, user_id: str, choice: Choice | None, lasts: float | None = None, now: Instant | None = None
    ) -> None:
        """Choose a status for a user, as their own devices can. The choice of an absent user is remembered.

        Args:
            choice: The choice, whose end is filled in; None for the status as detected, the same as `AS_DETECTED`.
            lasts: Seconds after which the previous permanent choice returns; None for a permanent choice.
        """
        now = now or self._node.clock.now()
        outcome = self._directory.choose(user_id, choice or AS_DETECTED, now, lasts, by_user=False)
        self._node.publisher.apply(outcome, now)

    def set_claim(self, user_id: str, claim: Claim, lasts: float | None = None, now: Instant | None = None) -> None:
        """Set a claim, which replaces the previous claim of its source. The user may be absent.

        Args:
            claim: The claim, whose times are filled in.
            lasts: Seconds after which the claim ends; None until it is cleared.

        Raises:
            BadClaim: The source, the status or the priority is invalid.
            CapacityError: The user already has claims from the maximum number of sources.
        """
        check_claim(claim)
        now = now or self._node.clock.now()
        claim = structs.replace(claim, set_ms=now.epoch_ms)
        if lasts is not None:
            details = structs.replace(claim.details, until_ms=now.epoch_ms + int(lasts * 1000))
            claim = structs.replace(claim, ends=now.monotonic + lasts, details=details)
        self._node.publisher.apply(self._directory.set_claim(user_id, claim, now), now)
        if self._node.storage is not None:
            self._node.storage.claimed(user_id, claim)

    def clear_claim(self, user_id: str, source: str, now: Instant | None = None) -> bool:
        """Clear the claim of a source and return whether there was one."""
        now = now or self._node.clock.now()
        outcome = self._directory.clear_claim(user_id, source, now)
        storage = self._node.storage
        if outcome is not None:
            self._node.publisher.apply(outcome, now)
        if storage is not None and (outcome is not None or storage.is_restoring):
            storage.unclaimed(user_id, source)  # the claim may be stored and not yet restored
        return outcome is not None

    def forget_display(self, user_id: str, now: Instant | None = None) -> None:
        """Forget the display data from the user's tokens. The user's next token provides it again."""
        now = now or self._node.clock.now()
        self._node.publisher.apply(self._directory.erase_display(user_id, now), now)

    def forget(self, user_id: str, now: Instant | None = None) -> int:
        """Close a user's connections, and forget everything about the user. Return the number of connections.

        This includes the announcement, the choice, the claims, the display data, the time last seen, and the details of
        past changes. O(journal).
        """
        now, other_nodes = now or self._node.clock.now(), self._node.other_nodes
        self._directory.forget_stored(user_id)
        closed = other_nodes.forget(user_id, now) if other_nodes is not None else 0
        closed += self.disconnect_here(user_id, now)
        self.forget_decisions(user_id, now)
        self.erase_past(user_id)
        return closed

    def forget_decisions(self, user_id: str, now: Instant) -> None:
        """Forget the announcement, the choice, the claims and the display data of a user."""
        self.announce(user_id, online=False, now=now)
        self.set_status(user_id, None, now=now)
        for claim in self.claims_of(user_id):
            self.clear_claim(user_id, claim.source, now)
        self.forget_display(user_id, now)

    def erase_past(self, user_id: str) -> None:
        """Forget when a user was last seen, and the details of past changes. O(journal)."""
        self._directory.erase_seen(user_id)
        self._directory.users.journal.erase_details(user_id)

    async def erase(self, user_id: str, now: Instant | None = None) -> Erasure:
        """Revoke a user's tokens, forget everything about the user (`forget`), and delete it from the database.

        Raises:
            CapacityError: Too many revocations are remembered already.
            StorageUnavailable: The database does not respond. The rest is done.
        """
        now, gatekeeper = now or self._node.clock.now(), self._node.gatekeeper
        closed = 0
        if gatekeeper is not None:
            closed = gatekeeper.revoke("user", user_id, now)
            if self._node.other_nodes is not None:
                self._node.other_nodes.revoked(user_id, "user", user_id)  # `forget` counts their connections
        closed += self.forget(user_id, now)
        if self._node.other_nodes is not None:
            self._node.other_nodes.erase(user_id)
        stored = 0 if self._storage is None else _number(await self._storage.erase(user_id), "stored")
        self._node.log.erased(closed, stored)
        return Erasure(closed=closed, stored=stored)

    def revoke(self, user_id: str, session_id: str = "", token_id: str = "", now: Instant | None = None) -> int:
        """Close the connections that a user's tokens opened, and refuse the tokens from now on, on all nodes.

        Args:
            session_id: Revoke only the token that opened this session.
            token_id: Revoke only the token with this `jti`.

        Returns:
            Number of connections that are being closed. Of those on other nodes, only the ones of a user or a session
            are known, and not those of a token.

        Raises:
            BadParameter: Both a session and a token are given.
            CapacityError: Too many revocations are remembered already.
            ConfigError: Authentication is off.
        """
        now, gatekeeper = now or self._node.clock.now(), self._node.gatekeeper
        if gatekeeper is None:
            raise ConfigError("there are no tokens to revoke: the setting auth is none")
        if session_id and token_id:
            raise BadParameter("name a session or a token, not both")
        other_nodes = self._node.other_nodes
        if session_id:
            token_id = gatekeeper.token_of(user_id, session_id)
            if not token_id:
                closed = other_nodes.revoke_session(user_id, session_id) if other_nodes is not None else 0
                if closed:
                    self._node.log.revoked(user_id, "session", closed)
                return closed
        closed = gatekeeper.revoke("token", token_id, now) if token_id else gatekeeper.revoke("user", user_id, now)
        if other_nodes is not None:
            closed += other_nodes.revoked(user_id, *(("token", token_id) if token_id else ("user", user_id)))
        self._node.log.revoked(user_id, "session" if session_id else "token" if token_id else "user", closed)
        return closed

    def issue_ticket(self, user_id: str, lasts: float | None, grants: Any = None, now: Instant | None = None) -> str:
        """Issue a ticket with which a client of the user can connect once.

        Args:
            lasts: Maximum number of seconds for the connection; None for no limit.
            grants: As for `Tickets.issue`.

        Raises:
            BadParameter: `lasts` or `grants` is invalid.
            CapacityError: Too many tickets are unused.
            ConfigError: The server accepts no tickets.
        """
        now, settings = now or self._node.clock.now(), self._node.settings
        if settings.auth != "ticket":
            raise ConfigError(f"this server accepts no tickets: the setting auth is {settings.auth}, not ticket")
        if lasts is not None and not 0 < lasts <= settings.token_lifetime:
            raise BadParameter(f"lasts must be above 0 and at most {settings.token_lifetime:g}")
        try:
            return self.tickets.issue(user_id, now, lasts, grants)
        except ValueError as error:
            raise BadParameter(f"presence: {error}") from None

    # Other nodes.

    def when_agreed(self, user_id: str, answered: Callable[[bool], None]) -> Callable[[], None] | None:
        """Call `answered` when all nodes have what this one has decided about a user so far, immediately or later.

        Its argument is False if the store of the nodes is out of reach. The others then learn of it only later.

        Returns:
            Function that ends the wait. None if this node is alone: `answered` is not called then.

        Raises:
            CapacityError: Too many callers wait.
        """
        other_nodes = self._node.other_nodes
        return None if other_nodes is None else other_nodes.when_agreed(user_id, answered)

    # Queries.

    def claims_of(self, user_id: str) -> tuple[Claim, ...]:
        """Return the claims about a user, in the order in which they were set."""
        return user.claims if (user := self._directory.users.user(user_id)) else ()

    def last_changes(self, user_ids: Iterable[str]) -> list[Change | None]:
        """Return the last change of each user, without restriction to a viewer; None for unknown users."""
        return self._directory.users.changes_of(user_ids)

    def view_of(self, user_id: str) -> View:
        """Return the state of a user that others see."""
        user = self._directory.users.user(user_id)
        return user.shown if user else SEEN_OFFLINE

    def online(self, after: int = 0, limit: int = 100) -> list[NumberedChange]:
        """Return users shown as anything but offline, each with a number to pass as `after` for the next page.

        A user who stays online while the pages are read appears exactly once. A user who comes online during that
        time may appear. The time is proportional to the size of the page (`Users.online_after`).
        """
        return self._directory.users.online_after(after, limit)

    def counts(self) -> Counts:
        """Return the numbers of users, connections and rooms."""
        users = self._directory.users
        return Counts(
            online_users=users.online_users,
            connected_users=users.connected_users,
            connections=len(self._node.connections),
            rooms=len(self._node.rooms),
        )

    def stats(self, limit: int, after: int, now: Instant | None = None) -> Stats:
        """Return statistics with the `limit` sessions that follow `after` (`node.stats.statistics`)."""
        return self._node.stats(limit, after, now)

    def room(self, name: str) -> Room | None:
        """Return a room with its members (read-only); None if it has no members."""
        return self._node.rooms.get(name)

    def rooms(self, after: int, limit: int) -> list[Room]:
        """Return the `limit` rooms that follow the one with the number `after` (`Rooms.after`)."""
        return self._node.rooms.after(after, limit)

    def sessions(self, after: int, limit: int) -> SessionPage[Connection]:
        """Return a page of all current sessions (`Users.present_after`)."""
        return self._directory.users.present_after(after, limit)

    def sessions_of(self, user_id: str) -> list[Session[Connection]]:
        """Return the user's sessions that have a connection or are in their grace period (read-only)."""
        user = self._directory.users.user(user_id)
        return [session for session in user.sessions if session.is_present] if user else []

    def node_of(self, session: Session[Connection]) -> str:
        """Return the name of the node that has a session; empty for this one."""
        return self._node.peers.name_of(session.slot) if self._node.peers is not None and session.slot >= 0 else ""

    def explain(self, user_id: str, viewer: str | None = None, now: Instant | None = None) -> Explanation:
        """Explain the status of a user, as seen by everyone who may see the user, or by the user `viewer`."""
        node = self._node
        explained_viewer = None
        if viewer is not None:
            sessions = self.sessions_of(viewer)
            roles = node.gatekeeper.roles(self._directory.users.connections(viewer)) if node.gatekeeper else ()
            explained_viewer = Viewer(viewer, sessions, node.settings.visibility == "everyone", roles)
        changes = self._directory.users.journal.last_of(user_id, MAX_CHANGES)
        user, rooms = self._directory.users.user(user_id), frozenset(node.rooms.of(user_id))
        now = now or node.clock.now()
        return explain(user_id, user, rooms, explained_viewer, changes, now, node.heartbeat.next_heartbeat)

    def scope_of(self, viewer: str | None) -> ViewerScope:
        """Return the users and rooms that a viewer may see; everything if `viewer` is None, for a backend.

        The next token of a viewer without a session is unknown. The viewer then sees what the setting
        `visibility` grants to a token that names no user.
        """
        node, users, certainty = self._node, self._directory.users, self._directory.certainty
        if viewer is None:
            return ViewerScope("", [EVERYTHING], users, node.rooms, with_causes=True, certainty=certainty)
        sessions = self.sessions_of(viewer)
        granted = [session.visibility for session in sessions] or [visibility_of(node.settings, Principal(viewer))]
        return ViewerScope(viewer, granted, users, node.rooms, node.settings.show_causes, certainty)

    # Stored data.

    @property
    def database(self) -> StorageCalls:
        """Calls to the storage worker.

        Raises:
            ConfigError: There is no database.
        """
        if self._storage is None:
            raise ConfigError("nothing is stored: set database")
        return self._storage

    @property
    def webhooks(self) -> StorageCalls:
        """Calls to the storage worker, for webhooks.

        Raises:
            ConfigError: No webhooks are sent.
        """
        if self._storage is None or not self._node.settings.webhook_urls:
            raise ConfigError("no webhooks are sent: set webhook_urls")
        return self._storage

    async def last_seen(self, user_ids: Sequence[str], now: Instant | None = None) -> list[LastSeen]:
        """Return when users were last seen.

        The newest of three sources counts: the stored row, the records waiting to be stored, and the live state.

        Raises:
            ConfigError: There is no database.
            StorageUnavailable: The database does not respond.
        """
        now, storage = now or self._node.clock.now(), self.database
        waiting = storage.unstored(user_ids)  # before the rows, so that a record stored meanwhile is in one of them
        rows = msgspec.json.decode(await storage.last_seen(user_ids), type=list[StoredLastSeen])
        stored = {str(row.user_id): row for row in rows}
        found = []
        for user_id, change in zip(user_ids, self.last_changes(user_ids), strict=True):
            row, record = stored.get(user_id), waiting.get(user_id)
            seen, active = (row.last_seen, row.last_active) if row else (0, 0)
            if record is not None:
                seen, active = max(seen, record.seen_ms), max(active, record.active_ms)
            if change is not None:
                seen = max(seen, change.seen_ms or (now.epoch_ms if change.status is not Status.OFFLINE else 0))
            status = change.status if change else Status.OFFLINE
            found.append(LastSeen(wire_user_id(user_id), status.value, seen, active))
        return found

    async def retry_dead_letters(self, ids: Sequence[str] | None) -> int:
        """Send dead letters again, all of them if `ids` is None. Return their number.

        Raises:
            ConfigError: No webhooks are sent.
            StorageUnavailable: The database does not respond.
        """
        return _number(await self.webhooks.retry_dead(ids), "retried")

    # Following changes.

    @property
    def position(self) -> int:
        """Position of the newest event."""
        return self._directory.users.journal.position

    @property
    def erasures(self) -> int:
        """Number of users whose details were erased from the journal, without an event."""
        return self._directory.users.journal.erasures

    def unknown_version(self, user_id: str) -> int:
        """Return the version in the record of a user without known presence (`presence.versions`)."""
        return self._directory.users.versions.of_unknown()(user_id)

    def position_text(self, position: int) -> str:
        """Return the opaque string by which clients name a position: the cursor."""
        return self._node.encoder.names.position(position)

    def parse_cursor(self, text: str) -> int | None:
        """Return the position of a cursor; None if this server has not issued it since its start."""
        cursor = self._node.encoder.names.cursor(text)
        return cursor.position if cursor is not None and not cursor.snapshot else None

    def position_of(self, cursor: str) -> int:
        """Return the position of a cursor from which changes are to follow; the current position if it is empty.

        Raises:
            BadParameter: The text is not a cursor.
            ChangesLost: The journal no longer has all changes after the cursor, or the cursor is from an earlier start.
        """
        if not cursor:
            return self.position
        position = self.parse_cursor(cursor)
        if position is None and not _CURSOR.fullmatch(cursor):
            raise BadParameter("this is not a cursor: pass it on exactly as received")
        if position is None or self.changes_since(position, 1) is None:
            raise ChangesLost
        return position

    def changes_since(self, position: int, limit: int) -> list[Change] | None:
        """Return the first `limit` changes after `position`; None if the journal has evicted some of them."""
        return self._directory.users.journal.since(position, limit)

    def digest(self) -> Digest | None:
        """Return the state of all users as one number, at the position of the newest change.

        Return None if work remains. Call again in another turn of the loop then (`Journal.digest`).
        """
        return self._directory.users.journal.digest(self._directory.users.snapshot)

    def on_change(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` in the turn of the loop after one in which something changed.

        Returns:
            Function that ends the calls.

        Raises:
            CapacityError: The maximum number of followers is reached.
        """
        return self._node.followers.add(wake)

    @property
    def stale_since_ms(self) -> int:
        """When this node became stale, in epoch milliseconds: users may have changed since. 0 if it is not stale."""
        certainty = self._directory.certainty
        return certainty.stale_since_ms if certainty is not None else 0

    @property
    def certainty_transitions(self) -> int:
        """Number of times that this node became stale, or current again."""
        certainty = self._directory.certainty
        return certainty.transitions if certainty is not None else 0

    def encoder_for(self, visibility: Visibility) -> V1Encoder:
        """Return the encoder of user records for a viewer.

        It shares its cache with the WebSocket clients that may see the same, so a change is encoded once for all.
        """
        return self._node.encoder.for_visibility(visibility)

    # Operation.

    def not_ready(self) -> list[str]:
        """Return the reasons why a load balancer should send no new connection here; empty if there are none."""
        reasons = []
        if self._node.is_draining:
            reasons.append("the server is stopping")
        if self._node.peers is not None and self._node.peers.not_ready:
            reasons.append(self._node.peers.not_ready)
        if len(self._node.connections) >= self._node.max_connections:
            reasons.append(f"all {self._node.max_connections} connections are taken")
        return reasons

    def cluster(self) -> ClusterSummary | None:
        """Return this node's place in its cluster; None if this server is alone."""
        peers = self._node.peers
        return ClusterSummary(peers.name, peers.live_nodes, peers.lag_s) if peers is not None else None

    def warnings(self) -> list[str]:
        """Return warnings for an operator about a server that works."""
        node, origins = self._node, self._node.settings.origins
        found = [node.storage.warning] if node.storage is not None else []
        found += node.peers.warnings if node.peers is not None else []
        if node.gatekeeper is None and not is_loopback(node.settings.host):
            found.append("authentication is off and other machines may connect, so every client may claim any user id")
        if ANY in origins:
            found.append(
                "pages of every origin may connect, because the setting origins contains *: list your own origins"
            )
        if FILES in origins:
            found.append(
                "pages of every origin may connect from a sandboxed frame, because the setting origins contains file://"
            )
        return [warning for warning in found if warning]

    def report_refusal(self, refusal: Refusal, origin: bytes) -> None:
        """Log and count an HTTP refusal.

        Args:
            origin: The request's `Origin` header; empty if absent.
        """
        self._node.turned_away(refusal, origin)


def _number(answer: bytes, name: str) -> int:
    """Return the number in a JSON object of the storage worker."""
    return msgspec.json.decode(answer, type=dict[str, int])[name]
