"""Operations of a running node for applications, which the HTTP API and the Python interface use.

Commands and queries take and return records, never bytes. User ids are texts as `presence.identity.parse_user_id`
returns them. All methods except `ViewerScope.count_online` are plain calls on the loop's thread.

A command is one event, so it happens at one moment. A caller that has already read the clock passes that moment as
`now`. Otherwise the command reads the clock once, and passes the moment to everything that it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct, structs

from presenced.auth.grants import visibility_of
from presenced.auth.principal import Principal
from presenced.config.settings import is_loopback
from presenced.delivery.connection import Connection
from presenced.errors import Close
from presenced.net.origins import ANY, FILES
from presenced.net.refusals import Refusal
from presenced.node.node import Node
from presenced.node.stats import Stats
from presenced.presence.explain import MAX_CHANGES, Explanation, Viewer, explain
from presenced.presence.journal import Digest
from presenced.presence.model import AS_DETECTED, Change, Choice, Status
from presenced.presence.rooms import Mode, Room, Rooms
from presenced.presence.session import Session
from presenced.presence.status import Claim, check_claim
from presenced.presence.users import Users
from presenced.presence.visibility import EVERYTHING, Visibility
from presenced.protocols.v1.encoder import V1Encoder
from presenced.runtime.instant import Instant


class Counts(Struct, frozen=True):
    """Numbers of users, connections and rooms."""

    online_users: int
    """Users shown as anything but offline."""
    connected_users: int
    """Users with at least one open connection."""
    connections: int
    """Open connections."""
    rooms: int
    """Rooms with at least one member."""


class PresenceService:
    """The live state of one server, as an application sees it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._directory = node.directory
        self._on_disconnect: list[Callable[[str], int]] = []

    # Commands.

    def announce(self, user_id: str, online: bool, now: Instant | None = None) -> bool:
        """Announce a user known from elsewhere (`Directory.announce`) and return whether others see a change.

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
        connections = self._directory.users.connections(user_id)
        for connection in connections:
            connection.close(Close.DISCONNECTED, "the application closed this user's connections")
        now = now or self._node.clock.now()
        self._node.publisher.apply(self._directory.stop_waiting(user_id, now), now)
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
            CapacityError: The user has claims of the maximum number of sources.
        """
        check_claim(claim)
        now = now or self._node.clock.now()
        claim = structs.replace(claim, set_ms=now.epoch_ms)
        if lasts is not None:
            custom = structs.replace(claim.custom, until_ms=now.epoch_ms + int(lasts * 1000))
            claim = structs.replace(claim, ends=now.monotonic + lasts, custom=custom)
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

        That is the announcement, the choice, the claims, the display data, and the details of past changes. O(journal).
        """
        now = now or self._node.clock.now()
        self._directory.forget_stored(user_id)
        closed = self.disconnect(user_id, now)
        self.announce(user_id, online=False, now=now)
        self.set_status(user_id, None, now=now)
        for claim in self.claims_of(user_id):
            self.clear_claim(user_id, claim.source, now)
        self.forget_display(user_id, now)
        self._directory.users.journal.blank(user_id)
        return closed

    # Queries.

    def claims_of(self, user_id: str) -> tuple[Claim, ...]:
        """Return the claims about a user, in the order in which they were set."""
        return user.claims if (user := self._directory.users.user(user_id)) else ()

    def seen(self, user_ids: Iterable[str]) -> list[Change | None]:
        """Return the last change of each user, as permitted viewers see it; None for unknown users."""
        return self._directory.users.changes_of(user_ids)

    def online(self, after: int = 0, limit: int = 100) -> list[tuple[int, Change]]:
        """Return users shown as anything but offline, each with a number to pass as `after` for the next page.

        A user who stays online while the pages are read appears exactly once. A user who comes online during that
        time may appear. O(users), regardless of the limit.
        """
        return self._directory.users.online_after(after, limit)

    def counts(self) -> Counts:
        """Return the numbers of users, connections and rooms."""
        users = self._directory.users
        return Counts(users.online_users, users.connected_users, len(self._node.connections), len(self._node.rooms))

    def stats(self, limit: int, after: int, now: Instant | None = None) -> Stats:
        """Return statistics with the `limit` sessions that follow `after` (`node.stats.statistics`)."""
        return self._node.stats(limit, after, now)

    def room(self, name: str) -> Room | None:
        """Return a room with its members, to read and not to change; None if it has no members."""
        return self._node.rooms.get(name)

    def sessions_of(self, user_id: str) -> list[Session[Connection]]:
        """Return the user's sessions that have a connection or are in their grace period, to read and not to change."""
        user = self._directory.users.user(user_id)
        return [session for session in user.sessions if session.is_present] if user else []

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
        return explain(user_id, user, rooms, explained_viewer, changes, now, node.heartbeat.next_beat)

    def scope_of(self, viewer: str | None) -> ViewerScope:
        """Return the users and rooms that a viewer may see; everything if `viewer` is None, for a backend.

        The next token of a viewer without a session is unknown. Such a viewer sees what the setting `visibility` grants
        to a token that names no user.
        """
        node = self._node
        if viewer is None:
            return ViewerScope("", [EVERYTHING], self._directory.users, node.rooms, with_causes=True)
        sessions = self.sessions_of(viewer)
        parts = [session.visibility for session in sessions] or [visibility_of(node.settings, Principal(viewer))]
        return ViewerScope(viewer, parts, self._directory.users, node.rooms, node.settings.show_causes)

    # Following changes.

    @property
    def position(self) -> int:
        """Position of the newest event."""
        return self._directory.users.journal.position

    @property
    def newest_version(self) -> int:
        """Newest version that any user has. The records of unknown users carry it (`presence.versions`)."""
        return self._directory.users.versions.newest

    def position_text(self, position: int) -> str:
        """Return the opaque text by which clients name a position: the cursor."""
        return self._node.encoder.position_text(position)

    def parse_cursor(self, text: str) -> int | None:
        """Return the position of a cursor; None if this server has not issued it since its start."""
        return self._node.encoder.position_number(text)

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

    def encoder_for(self, visibility: Visibility) -> V1Encoder:
        """Return the encoder of user records for a viewer.

        It shares its cache with the WebSocket clients that may see the same, so a change is encoded once for all.
        """
        return self._node.encoder.for_visibility(visibility)

    # Operation.

    def not_ready(self) -> list[str]:
        """Return the reasons why a load balancer should send no new connection here; empty if there are none."""
        reasons = []
        if self._node.draining:
            reasons.append("the server is stopping")
        if len(self._node.connections) >= self._node.max_connections:
            reasons.append(f"all {self._node.max_connections} connections are taken")
        return reasons

    def warnings(self) -> list[str]:
        """Return warnings for an operator about a server that works."""
        node, origins = self._node, self._node.settings.origins
        found = [node.storage.warning] if node.storage is not None else []
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


class ViewerScope:
    """The users and rooms that one viewer may see, through all of the viewer's sessions together.

    A viewer sees a user that any of the sessions may see, and everyone who is in a room with the viewer. A user that
    all sessions block is invisible to the viewer everywhere, in rooms, too.

    Args:
        viewer: User id; empty for a backend, which sees everything.
        parts: Visibility of each session; at least one.
    """

    def __init__(
        self, viewer: str, parts: Sequence[Visibility], users: Users[Connection], rooms: Rooms, with_causes: bool
    ) -> None:
        self._viewer = viewer
        self._parts = parts
        self._users = users
        self._rooms = rooms
        self.with_causes = with_causes or any(part.causes for part in parts)
        """Whether the viewer may see why users changed."""
        self.blocked = _blocked_by_all(parts)
        """Users that all sessions block."""

    def sees(self, user_id: str) -> bool:
        """Return whether the viewer may see the user, be it only in a room that both are in."""
        if any(part.sees(user_id) for part in self._parts) or user_id == self._viewer:
            return True
        rooms = self._rooms
        return user_id not in self.blocked and not set(rooms.of(self._viewer)).isdisjoint(rooms.of(user_id))

    def seen(self, user_ids: Iterable[str]) -> list[Change | None]:
        """Return the last change of each user; None for users who are unknown or hidden from the viewer.

        The two cases look the same on purpose, so that a viewer cannot learn whether a hidden user exists.
        """
        changes = self._users.changes_of(user_ids)
        return [change if change is not None and self.sees(change.user_id) else None for change in changes]

    def room(self, name: str) -> Room | None:
        """Return a room, to read and not to change; None if it has no members or the viewer may not enter it."""
        return self._rooms.get(name) if any(part.may_enter(name) for part in self._parts) else None

    def room_mode(self, room: Room) -> Mode:
        """Return the mode in which the viewer is notified about a room. It depends on the members that the viewer sees,
        because the mode would otherwise reveal hidden members."""
        return self._rooms.mode(room, self.blocked)

    async def count_online(self) -> int:
        """Return the number of online users that the viewer sees.

        It takes constant time for a viewer who sees everyone and blocks few users. Otherwise it is O(users named by the
        rules + members of the viewer's rooms).
        """
        if widest := [part for part in self._parts if part.everyone]:
            hidden = [user_id for user_id in _blocked_by_all(widest) if not self.sees(user_id)]
            return self._users.online_users - self._online(hidden)
        members: set[str] = set()
        for name in tuple(self._rooms.of(self._viewer)):
            if room := self._rooms.get(name):
                members.update(room.members)
            await asyncio.sleep(0)  # each room may have 100,000 members, so the loop gets a turn between two of them
        members -= self.blocked
        named = {self._viewer}.union(*(part.users for part in self._parts))
        return len(members) + self._online(named - members)

    def _online(self, user_ids: Iterable[str]) -> int:
        changes = self._users.changes_of(user_ids)
        return sum(change is not None and change.status is not Status.OFFLINE for change in changes)


def _blocked_by_all(parts: Sequence[Visibility]) -> frozenset[str]:
    return frozenset.intersection(*(part.blocked for part in parts))
