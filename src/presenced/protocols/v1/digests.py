"""Room digests of presenced.v1: changes of large rooms, and counts, both sent once a second.

In the modes `coalesced` and `counts` (`presence.rooms`) flushes do not contain the changes of a room. They are
collected, and a digest sends them together. Counts work in the same way:

    event --> `collect`: rooms, users and counts that changed --> timer, `ROOM_DIGEST_PERIOD_S` --> `due`: portions

A digest takes a position of its own, after a flush. Until the next digest, flushes give clients higher positions, but
the newest changes of the room are missing. So `complete_up_to` says up to which position a client has everything of a
room:

    position of the client           it has everything of the room up to
    above the last digest            the last digest
    above the digest before that     that digest
    lower                            unknown, so it receives the whole room

A client exactly at a digest may have received only a part of it, because a digest has a portion for each room.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Set
from functools import partial

from msgspec import Struct

from presenced.delivery.batch import Batch
from presenced.delivery.connection import Connection
from presenced.delivery.events import Event, Portion
from presenced.presence.model import Change
from presenced.presence.rooms import MembershipChanges, Mode, RoomChange
from presenced.presence.subscriptions import Selection, Subscription, SubscriptionIndex
from presenced.presence.visibility import NOBODY
from presenced.protocols.v1.encoder import V1Encoder

ROOM_DIGEST_PERIOD_S = 1.0
"""Seconds between two digests."""


class _Digest(Struct, eq=False):
    """Changes in one room since its last digest."""

    last_position: int
    """Position of the last digest."""
    previous_position: int
    """Position of the digest before the last one."""
    changed_users: set[str] = set()
    """Members whose presence has changed since the last digest."""


class Digests:
    """Collects changes, and returns the portions of each digest.

    Bounds: the rooms in a mode other than `full`, and their members; the subscriptions by count.

    Args:
        flush: Sends everything published so far (`Broadcaster.flush`).
        up_to_date: Connections that keep up. The digests include exactly these.
    """

    def __init__(
        self,
        encoder: V1Encoder,
        subscribers_of_room: Callable[[str], Collection[Connection]],
        flush: Callable[[], None],
        up_to_date: Set[Connection],
    ) -> None:
        self._encoder = encoder
        self._subscribers_of_room = subscribers_of_room
        self._flush = flush
        self._up_to_date = up_to_date
        self._rooms: dict[str, _Digest] = {}
        """Rooms in a mode other than `full`, now or at the last digest."""
        self._changed_rooms: set[str] = set()
        """Rooms with something to send."""
        self._counting: SubscriptionIndex[Connection] = SubscriptionIndex()
        self._recount_everyone: set[str] = set()
        """Users who went online or offline while a client subscribes to the count of everyone."""
        self._recount_rooms: dict[str, set[str]] = {}
        """Rooms whose count has subscribers, with the users who joined or left."""
        self._recount_connections: set[Connection] = set()
        """Connections that subscribe to a count of users that includes one who went online or offline.

        A connection that is excluded for a moment stays here. One that is behind at the digest, or closed, drops out.
        """

    def __len__(self) -> int:
        """Return the number of rooms whose changes are sent in digests."""
        return len(self._rooms)

    def include(self, connection: Connection) -> None:
        """Include a connection from now on."""
        self._counting.add(connection, connection.session.visibility.visible_part(subscription_of(connection).counted))

    def exclude(self, connection: Connection) -> None:
        """Exclude a connection."""
        self._counting.remove(
            connection, connection.session.visibility.visible_part(subscription_of(connection).counted)
        )

    def is_digested(self, room: str) -> bool:
        """Return whether changes of a room are sent in digests instead of immediately."""
        return room in self._rooms

    def collect(self, event: Event) -> bool:
        """Collect an event. Return whether the next digest has anything to send."""
        if isinstance(event, RoomChange):
            room = self._encoder.rooms.get(event.room)
            if event.room not in self._rooms and room and room.mode is not Mode.FULL:
                # The next flush leaves the room out, and its digest begins here. Earlier events would be in neither.
                self._flush()
                self._rooms[event.room] = _Digest(event.position - 1, event.position - 1)
            if event.room in self._rooms:
                self._changed_rooms.add(event.room)
            if self._counting.subscribers_of_room(event.room):
                self._recount_rooms.setdefault(event.room, set()).add(event.user_id)
        elif isinstance(event, Change):
            self._collect_change(event)
        return bool(self._changed_rooms or self._recount_everyone or self._recount_rooms or self._recount_connections)

    def _collect_change(self, change: Change) -> None:
        if change.went_online_or_offline:
            if self._counting.everyone:
                self._recount_everyone.add(change.user_id)
            self._recount_connections.update(self._counting.subscribers_of(change.user_id))
        if self._rooms:
            for name in self._encoder.rooms.of(change.user_id):
                if (digest := self._rooms.get(name)) is not None:
                    digest.changed_users.add(change.user_id)
                    self._changed_rooms.add(name)

    def due(self, position: int) -> Iterator[Portion]:
        """Return everything collected as the digest at `position`, for the connections that keep up."""
        for name in self._changed_rooms:
            yield from self._room_portions(name, position)
        self._changed_rooms.clear()
        encoder = self._encoder
        if self._recount_everyone:
            yield from _count_portions(self._counting.everyone, self._recount_everyone, encoder.count_everyone)
        for name, users in self._recount_rooms.items():
            yield from _count_portions(
                self._counting.subscribers_of_room(name), users, partial(encoder.count_room, name)
            )
        # The others are below `position`, so they receive their counts when they catch up.
        for connection in self._recount_connections & self._up_to_date:
            if counts := list(self._counts_of_users(connection, subscription_of(connection).counted)):
                yield Portion((connection,), Batch(counts), 1)
        self._recount_everyone.clear()
        self._recount_rooms.clear()
        self._recount_connections.clear()

    def counts(self, connection: Connection, counted: Selection) -> Iterator[bytes]:
        """Return the counts of `counted` for `connection`, as they are now."""
        visibility = connection.session.visibility
        if counted.everyone and visibility.everyone:
            yield self._encoder.count_everyone(visibility.blocked)
        yield from self._counts_of_users(connection, counted)
        for name in counted.rooms:
            yield self._encoder.count_room(name, visibility.blocked)

    def _counts_of_users(self, connection: Connection, counted: Selection) -> Iterator[bytes]:
        visibility = connection.session.visibility
        if counted.everyone and not visibility.everyone:
            yield self._encoder.count_everyone_among(visibility.users)
        if counted.users:
            yield self._encoder.count_users(visibility.among(counted.users))

    def complete_up_to(self, room: str, position: int) -> int | None:
        """Return the position up to which a connection at `position` has everything of a room; None if that is unknown.

        Digests may lag behind the position of what is sent immediately.
        """
        digest, known = self._rooms.get(room), self._encoder.rooms.get(room)
        if digest is None:
            return position if known is None or position > known.digested_until else None
        if position > digest.last_position:
            return digest.last_position
        return digest.previous_position if position > digest.previous_position else None

    def _room_portions(self, name: str, position: int) -> Iterator[Portion]:
        """Return the digest of a room, as one portion for each group of connections that may see the same of it."""
        encoder, digest = self._encoder, self._rooms[name]
        room = encoder.rooms.get(name)
        found = room.since(digest.last_position) if room else None
        # Without former members: subscribers may not see what they do after they have left.
        users, digest.changed_users = digest.changed_users & (room.members.keys() if room else set()), set()
        digest.previous_position, digest.last_position = digest.last_position, position
        if room is None or room.mode is Mode.FULL:
            del self._rooms[name]
        if room is not None:
            room.digested_until = position
        groups: dict[tuple[V1Encoder, frozenset[str]], list[Connection]] = {}
        for connection in self._subscribers_of_room(name):
            visibility = connection.session.visibility
            groups.setdefault((encoder.for_visibility(visibility), visibility.blocked), []).append(connection)
        for (group_encoder, blocked), connections in groups.items():
            visible, changed = found, users - blocked
            if blocked and found is not None:
                visible = MembershipChanges(
                    [member for member in found.joined if member.user_id not in blocked],
                    [user_id for user_id in found.left if user_id not in blocked],
                )
                if not (visible.joined or visible.left or changed):
                    continue  # a client does not notice a digest that is only about users it blocks
            yield from self._group_portions(group_encoder, name, connections, visible, changed, position, blocked)

    def _group_portions(
        self,
        encoder: V1Encoder,
        name: str,
        connections: Collection[Connection],
        found: MembershipChanges | None,
        users: set[str],
        position: int,
        blocked: frozenset[str],
    ) -> Iterator[Portion]:
        room = encoder.rooms.get(name)
        if encoder.rooms.mode(room, blocked) is Mode.COUNTS:
            messages, users = [encoder.room_changes(room, name, [], [], blocked)], set()
        elif found is not None:
            messages = [encoder.room_changes(room, name, *found, blocked)]
            users = users - {member.user_id for member in found.joined}
        else:  # the room is or was empty, or more members have left than it remembers
            messages, users = [page for page, _ in encoder.room_pages(name, blocked)], set()
        of_everyone = [connection for connection in connections if visible_full(connection).everyone]
        if of_everyone:
            yield Portion(of_everyone, Batch([*messages, encoder.changes(position, [])]), 1)
        others = [connection for connection in connections if not visible_full(connection).everyone]
        if others:
            seen = encoder.users.snapshot_of(users)
            yield Portion(others, Batch([*messages, encoder.changes_of(position, seen)]), 1 + len(seen))


def _count_portions(
    connections: Collection[Connection], users: set[str], count: Callable[[frozenset[str]], bytes]
) -> Iterator[Portion]:
    """Return a count for its subscribers, except those that block all of `users`, whose changes caused it."""
    if shared := [connection for connection in connections if not connection.session.visibility.blocked]:
        yield Portion(shared, Batch((count(NOBODY),)), 1)
    for connection in connections:
        if (blocked := connection.session.visibility.blocked) and not users <= blocked:
            yield Portion((connection,), Batch((count(blocked),)), 1)


def subscription_of(connection: Connection) -> Subscription:
    """Return the subscription of a connection. It may change only while no feed includes the connection."""
    subscription = connection.session.subscription
    assert subscription is not None, "a session of presenced.v1 has one"
    return subscription


def visible_full(connection: Connection) -> Selection:
    """Return the users and rooms that a connection receives by name, as far as it may see them."""
    return connection.session.visibility.visible_part(subscription_of(connection).full)
