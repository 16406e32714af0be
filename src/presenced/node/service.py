"""What applications ask and tell: the HTTP API and the Python interface call it. Answers are records, never bytes.

Ids are texts as `presence.identity.parse_user_id` returns them. All methods are plain calls on the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct, structs

from presenced.errors import Close
from presenced.node.node import Node
from presenced.presence.explain import MAX_CHANGES, Explanation, Viewer, explain
from presenced.presence.journal import Digest
from presenced.presence.model import AS_DETECTED, Change, Choice, Custom
from presenced.presence.rooms import Room
from presenced.presence.session import Session
from presenced.presence.status import Claim, check_claim
from presenced.presence.visibility import EVERYTHING, Visibility
from presenced.protocols.base import Connection
from presenced.runtime.instant import Instant


class Counts(Struct, frozen=True):
    """How many there are of what."""

    online_users: int
    """Users shown as anything but offline."""
    connected_users: int
    connections: int
    rooms: int
    """With a member."""


class PresenceService:
    """The live state of one server, as an application sees it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._directory = node.directory
        self._on_disconnect: list[Callable[[str], int]] = []

    # What it tells.

    def announce(self, user_id: str, online: bool) -> bool:
        """Announce a user known from elsewhere: `Directory.announce`. True when others are told of a change.

        Raises:
            CapacityError: `max_announced` users are announced already.
        """
        outcome = self._directory.announce(user_id, online, self._node.clock.now())
        self._node.apply(outcome)
        return outcome.change is not None

    def disconnect(self, user_id: str) -> int:
        """Close all connections of a user, who goes offline immediately unless announced. Return the number of
        connections.

        Event streams that the user watches through count, too.
        """
        connections = self._directory.users.connections(user_id)
        for connection in connections:
            connection.close(Close.DISCONNECTED, "the application closed this user's connections")
        self._node.apply(self._directory.stop_waiting(user_id, self._node.clock.now()))
        return len(connections) + sum(end(user_id) for end in self._on_disconnect)

    def on_disconnect(self, end: Callable[[str], int]) -> None:
        """Register `end`, to be called with the id of each user whose connections are closed.

        Args:
            end: Function that ends the user's other connections and returns their number.
        """
        self._on_disconnect.append(end)

    def set_status(self, user_id: str, choice: Choice | None, lasts: float | None = None) -> None:
        """Choose a status for a user, as their own devices can. The choice of an absent user is remembered.

        Args:
            choice: The choice, whose end is filled in; None for the status as detected, the same as `AS_DETECTED`.
            lasts: Seconds after which the previous permanent choice returns; None for a permanent choice.
        """
        now = self._node.clock.now()
        self._node.apply(self._directory.choose(user_id, choice or AS_DETECTED, now, lasts, by_user=False))

    def set_claim(self, user_id: str, claim: Claim, lasts: float | None = None) -> None:
        """Claim something of a user, in place of what this source claimed before; of one who is not there, too.

        Args:
            claim: When it was set and when it ends are filled in here.
            lasts: Seconds after which it ends; None: when it is cleared.

        Raises:
            BadClaim: Its source, status or priority can't be used.
            CapacityError: As many sources claim something of the user already as may.
        """
        check_claim(claim)
        now = self._node.clock.now()
        claim = structs.replace(claim, set_ms=now.epoch_ms)
        if lasts is not None:
            claim = structs.replace(claim, ends=now.monotonic + lasts, custom=_ending(claim.custom, now, lasts))
        self._node.apply(self._directory.set_claim(user_id, claim, now))
        if self._node.recorder is not None:
            self._node.recorder.claimed(user_id, claim)

    def forget_display(self, user_id: str) -> None:
        """Forget what tokens of the user gave for others to see; the next one gives it again."""
        self._node.apply(self._directory.erase_display(user_id, self._node.clock.now()))

    def clear_claim(self, user_id: str, source: str) -> bool:
        """Claim it no longer. Whether there was such a claim."""
        outcome = self._directory.clear_claim(user_id, source, self._node.clock.now())
        recorder = self._node.recorder
        if outcome is not None:
            self._node.apply(outcome)
        if recorder is not None and (outcome is not None or recorder.is_restoring):
            recorder.unclaimed(user_id, source)  # it may be stored and not yet restored
        return outcome is not None

    def forget(self, user_id: str) -> int:
        """Close a user's connections, and forget what was announced, chosen and claimed of them, their display data,
        and what their changes said. How many connections there were. O(journal)."""
        self._directory.forget_stored(user_id)
        closed = self.disconnect(user_id)
        self.announce(user_id, online=False)
        self.set_status(user_id, None)
        for claim in self.claims_of(user_id):
            self.clear_claim(user_id, claim.source)
        self.forget_display(user_id)
        self._node.journal.blank(user_id)
        return closed

    # What it asks.

    def claims_of(self, user_id: str) -> tuple[Claim, ...]:
        """What is claimed of the user, in the order in which it was set."""
        return user.claims if (user := self._directory.users.user(user_id)) else ()

    def seen(self, user_ids: Iterable[str], visibility: Visibility = EVERYTHING) -> list[Change | None]:
        """What is seen of each of these users by who has this visibility; None: nothing is known, or may not be seen.

        That members of a room see each other is not looked at.
        """
        return visibility.changes(self._directory.users.changes_of(user_ids))

    def online(self, after: int = 0, limit: int = 100) -> list[tuple[int, Change]]:
        """Users shown as anything but offline, each with a number to give as `after` for those who follow.

        Who is there all the while is listed once; who comes meanwhile may be. O(users), whatever the limit.
        """
        return self._directory.users.online_after(after, limit)

    def counts(self) -> Counts:
        """How many there are of what."""
        node = self._node
        return Counts(
            self._directory.users.online_users, self._directory.users.connected_users, node.connections, len(node.rooms)
        )

    def room(self, name: str) -> Room | None:
        """The room with its members; None while it has none. To be read, not changed."""
        return self._node.rooms.get(name)

    def sessions_of(self, user_id: str) -> list[Session[Connection]]:
        """The user's sessions that have a connection, or are waited for. To be read, not changed."""
        user = self._directory.users.user(user_id)
        return [session for session in user.sessions if session.is_present] if user else []

    def explain(self, user_id: str, viewer: str | None = None) -> Explanation:
        """Why the user looks as they do: to everyone who may see them, or to the user `viewer`."""
        node = self._node
        watching = None
        if viewer is not None:
            sessions = self.sessions_of(viewer)
            roles = node.gatekeeper.roles(self._directory.users.connections(viewer)) if node.gatekeeper else ()
            watching = Viewer(viewer, sessions, node.settings.visibility == "everyone", roles)
        changes = node.journal.last_of(user_id, MAX_CHANGES)
        user, rooms = self._directory.users.user(user_id), node.rooms.of(user_id)
        return explain(user_id, user, frozenset(rooms), watching, changes, node.clock.now(), node.beat)

    # Following.

    @property
    def position(self) -> int:
        """Position of the newest event."""
        return self._node.journal.position

    @property
    def newest_version(self) -> int:
        """Newest version that any user was given. Users without known presence have it."""
        return self._directory.users.versions.newest

    def position_text(self, position: int) -> str:
        """A position as followers are told it: their cursor."""
        return self._node.encoding.position_text(position)

    def parse_cursor(self, text: str) -> int | None:
        """The position a follower says it is at; None when it is not one of this server's, since its start."""
        return self._node.encoding.position_number(text)

    def changes_since(self, position: int, limit: int) -> list[Change] | None:
        """The first `limit` changes after `position`, all of them; None when some have been forgotten."""
        return self._node.journal.since(position, limit)

    def digest(self) -> Digest | None:
        """The state as one number, at the position of the newest change. None: a part of the work has been done; ask
        again in another turn of the loop (`Journal.digest`)."""
        return self._node.journal.digest(self._directory.users.snapshot)

    def on_change(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called in the turn of the loop after one in which something changed.

        Returns:
            What ends it.

        Raises:
            CapacityError: As many follow as may.
        """
        return self._node.followers.add(wake)


def _ending(custom: Custom, now: Instant, lasts: float) -> Custom:
    return structs.replace(custom, until_ms=now.epoch_ms + int(lasts * 1000))
