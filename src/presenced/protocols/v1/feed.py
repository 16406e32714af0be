"""The feed of presenced.v1: the users and rooms of a subscription, each user once per message, in the latest state.

A flush is cut into portions by content. Connections that receive the same users, rooms and events of modules share one
portion, which is encoded once. Most often that is one portion for all subscribers to everyone. An index leads from the
users and rooms of the batch to the other subscribers. The cost of a change therefore depends on the number of its
subscribers, and not on the number of connections.

A connection that receives less than others, because it blocks a user or joined during the batch, has a portion of its
own. If only some connections may see causes, they share portions from a second encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from msgspec import Raw

from presenced.delivery.batch import EMPTY, Batch
from presenced.delivery.connection import Connection
from presenced.delivery.events import Event, Missed, Portion
from presenced.presence.journal import Cursor
from presenced.presence.model import Change
from presenced.presence.rooms import Mode, RoomMember
from presenced.presence.subscriptions import Selection, SubscriptionIndex
from presenced.protocols.v1.batch import Content, EventBatch
from presenced.protocols.v1.digests import Digests, subscription_of, visible_full
from presenced.protocols.v1.encoder import V1Encoder
from presenced.protocols.v1.parts import FeedPart
from presenced.protocols.v1.snapshots import Snapshots

CATCH_UP = 256
"""Maximum number of users or members in one message to a connection that catches up: some 30 KB."""


class V1Feed:
    """The feed of presenced.v1 (`delivery.events.Feed`).

    Args:
        schedule_digest: Function called when the next digest, due within `PERIOD_S` seconds, is no longer empty.
        parts: Parts that modules add to the feed.
    """

    def __init__(self, encoder: V1Encoder, schedule_digest: Callable[[], None], parts: Sequence[FeedPart] = ()) -> None:
        self._schedule_digest = schedule_digest
        self._parts = {part.topic: part for part in parts}
        self.encoder = encoder
        self._users = encoder.users
        self._rooms = encoder.rooms
        self._snapshots = {one: Snapshots(one) for one in (encoder, encoder.with_causes)}
        self._index: SubscriptionIndex[Connection] = SubscriptionIndex()
        self._up_to_date: set[Connection] = set()
        self._blockers: set[Connection] = set()
        """Connections up to date that block some users."""
        self._blocking: SubscriptionIndex[Connection] = SubscriptionIndex()
        """The same connections, by the users that they block."""
        self._shown_causes: set[Connection] = set()
        """Connections up to date that receive causes, if not all do."""
        self.digests = Digests(encoder, self._index.subscribers_of_room)

    # The interface `Feed`.

    def published(self, event: Event) -> None:
        """Pass an event to the digests, which are sent once a second."""
        if (self._up_to_date or len(self.digests)) and self.digests.collect(event):
            self._schedule_digest()

    def join(self, connection: Connection) -> None:
        """Include a connection in the portions from now on."""
        self._up_to_date.add(connection)
        self._index.add(connection, visible_full(connection))
        self.digests.join(connection)
        if self.encoder.for_visibility(connection.session.visibility) is not self.encoder:
            self._shown_causes.add(connection)
        if blocked := connection.session.visibility.blocked:
            self._blockers.add(connection)
            self._blocking.add(connection, Selection(users=set(blocked)))

    def leave(self, connection: Connection) -> bool:
        """Exclude a connection. Return whether it was included."""
        if connection not in self._up_to_date:
            return False
        self._up_to_date.discard(connection)
        self._index.remove(connection, visible_full(connection))
        self.digests.leave(connection)
        self._shown_causes.discard(connection)
        if blocked := connection.session.visibility.blocked:
            self._blockers.discard(connection)
            self._blocking.remove(connection, Selection(users=set(blocked)))
        return True

    def portions(self, events: Sequence[Event], joined: Mapping[Connection, int]) -> Iterable[Portion]:
        """Return a portion for each content that some connections receive."""
        if not self._up_to_date:
            return
        batch = EventBatch(events, self.encoder, self._parts)
        if self._blockers:
            joined = {**dict.fromkeys(self._separate(batch), 0), **joined}
        by_content = self._by_content(batch, joined)
        if self._shown_causes:
            entitled = {content: [c for c in some if c in self._shown_causes] for content, some in by_content.items()}
            yield from EventBatch(events, self.encoder.with_causes, self._parts).portions(entitled)
            by_content = {
                content: [c for c in some if c not in self._shown_causes] for content, some in by_content.items()
            }
        yield from batch.portions(by_content)
        for connection, start in joined.items():
            if connection in self._up_to_date and start < len(events):
                part = self.part(connection, events[start:])
                if part.batch:
                    yield part

    def part(self, connection: Connection, events: Sequence[Event]) -> Portion:
        """Return the part of some events that one connection receives; perhaps nothing."""
        selection, visibility = visible_full(connection), connection.session.visibility
        if selection.is_empty and not self._parts:  # in a storm of connections most subscribe to nothing yet
            return Portion((connection,), EMPTY, 0)
        batch = EventBatch(events, self.encoder.for_visibility(visibility), self._parts, visibility)
        others = tuple(i for i, event in enumerate(batch.others) if connection in batch.connections_of(event))
        if selection.is_empty:
            return batch.portion((connection,), Content(others=others))
        users = tuple(
            user_id for user_id in batch.users if selection.everyone or self._is_subscribed(user_id, selection, batch)
        )
        rooms = tuple(name for name in batch.rooms if name in selection.rooms and not self.digests.is_digested(name))
        return batch.portion((connection,), Content(users, rooms, others))

    def missed(self, connection: Connection, position: int) -> Missed | None:
        """Return the user's own state and the changes since `position`, or snapshots if the log has moved on."""
        selection, blocked = visible_full(connection), connection.session.visibility.blocked
        reached = self._users.journal.position
        unknown: list[str] = []
        if selection.everyone:
            changes = self._users.log.since(position, CATCH_UP)
            if changes is None:
                return self.all(connection)
            reached = changes[-1].position if len(changes) == CATCH_UP else reached
            changes = [change for change in changes if change.user_id not in blocked]
        else:
            changes, unknown = self._users.since_of(position, selection.users)
            # Hidden users are reported as unknown in the same case as unknown users. Otherwise their absence from the
            # answer would reveal that they exist.
            if self._users.log.since(position, 1) is None:
                unknown += subscription_of(connection).full.users - selection.users
        portions: list[Iterator[Portion]] = [iter([self._self(connection)])]
        for name in sorted(selection.rooms):
            # A client that blocks users receives the whole room. A blocked member may be the only reason why the room
            # was never empty, and the shorter answer would reveal that.
            complete_to = None if blocked else self.digests.complete_up_to(name, position)
            found = self._missed_of_room(name, complete_to, selection)
            if found is None:
                portions.append(self._snapshots_for(connection).room(name, connection))
            else:
                joined, left, seen = found
                portions.append(self._news_of_room(connection, name, joined, left))
                changes = changes + seen
        portions += [self._missed_of(part, connection, position) for part in self._parts.values()]
        # By user: one who is in two rooms, or subscribed to by name as well, occurs more than once.
        by_user = {change.user_id: change for change in changes}
        version = self._users.versions.of_unknown()  # read now, because the portions are encoded later
        gone = [self.encoder.unknown(user_id, version(user_id)) for user_id in unknown]
        cursors = _cursor(connection, max(0, position)), _cursor(connection, reached)
        portions.append(self._news_of_users(connection, *cursors, list(by_user.values()), gone))
        return Missed(chain(*portions), reached)

    # For the protocol.

    def keeps_up(self, connection: Connection) -> bool:
        """Return whether a connection is sent events now. Otherwise it receives them when it catches up."""
        return connection in self._up_to_date

    def all(self, connection: Connection) -> Missed:
        """Return the user's own state, and snapshots of everything that a connection subscribes to."""
        full, session, snapshots = subscription_of(connection).full, connection.session, self._snapshots_for(connection)
        parts = [iter([self._self(connection)])]
        position = self._users.journal.position
        may_be_older = session.snapshots == 0 and not full.rooms
        for snapshot in snapshots.make(full.everyone, full.users, session.visibility, may_be_older):
            parts.append(snapshot.portions(connection))
            position = min(position, snapshot.position)
        parts += [snapshots.room(name, connection) for name in sorted(full.rooms)]
        parts += [self._missed_of(part, connection, None) for part in self._parts.values()]
        return self._confirmed(connection, parts, position)

    def news(self, connection: Connection, everyone: bool, users: Sequence[str], rooms: Iterable[str]) -> Missed:
        """Return snapshots of new subscriptions.

        A connection that is behind is not at their position afterwards: it has not received what it missed before.
        """
        position, snapshots = self._users.journal.position, self._snapshots_for(connection)
        parts = [snapshots.room(name, connection) for name in sorted(rooms)]
        parts += [one.portions(connection) for one in snapshots.make(everyone, users, connection.session.visibility)]
        if self.keeps_up(connection):
            return self._confirmed(connection, parts, position)
        self._count_snapshot(connection, position)
        return Missed(chain(*parts), position)

    def _snapshots_for(self, connection: Connection) -> Snapshots:
        return self._snapshots[self.encoder.for_visibility(connection.session.visibility)]

    def _confirmed(self, connection: Connection, parts: Iterable[Iterable[Portion]], position: int) -> Missed:
        """Return snapshots, followed by the position that confirms them all."""
        number = self._count_snapshot(connection, position)
        last = Portion((connection,), Batch((self.encoder.changes(position, [], number),)), 0)
        return Missed(chain(*parts, [last]), position)

    def _count_snapshot(self, connection: Connection, position: int) -> int:
        """Return the number of the session's snapshot that ends at `position`."""
        session = connection.session
        session.snapshots += 1
        session.whole_from = Cursor(position, session.snapshots)
        return session.snapshots

    def _missed_of(self, part: FeedPart, connection: Connection, position: int | None) -> Iterator[Portion]:
        for batch in part.missed(connection, position):
            yield Portion((connection,), batch, len(batch))

    def _self(self, connection: Connection) -> Portion:
        """Return the state of the user for their own device, and the current counts that it subscribes to."""
        counts = self.digests.counts(connection, subscription_of(connection).counted)
        messages = [self.encoder.own(connection.session.user_id), *counts]
        return Portion((connection,), Batch([message for message in messages if message]), 0)

    def _by_content(self, batch: EventBatch, joined: Container[Connection]) -> dict[Content, list[Connection]]:
        """Return connections that have received nothing of the batch, by the content that they receive."""
        everyone, all_users = self._index.everyone, tuple(batch.users)
        users: dict[Connection, list[str]] = {}
        for user_id in batch.users:
            for connection in self._subscribers_by_name(user_id, batch):
                users.setdefault(connection, []).append(user_id)
        rooms: dict[Connection, list[str]] = {}
        for name in [name for name in batch.rooms if not self.digests.is_digested(name)]:
            for connection in self._index.subscribers_of_room(name):
                rooms.setdefault(connection, []).append(name)
        others: dict[Connection, list[int]] = {}
        for index, event in enumerate(batch.others):
            for connection in self._up_to_date.intersection(batch.connections_of(event)):
                others.setdefault(connection, []).append(index)
        more = rooms.keys() | others.keys()
        found: dict[Content, list[Connection]] = {}
        found[Content(all_users)] = [c for c in everyone if c not in joined and c not in more]
        for connection in users.keys() | more:
            if connection in joined or (connection in everyone and connection not in more):
                continue
            content = Content(
                all_users if connection in everyone else tuple(users.get(connection, ())),
                tuple(rooms.get(connection, ())),
                tuple(others.get(connection, ())),
            )
            found.setdefault(content, []).append(connection)
        return found

    def _separate(self, batch: EventBatch) -> set[Connection]:
        """Return connections that block a user of the batch, or may block a member of its rooms or an author."""
        found: set[Connection] = set()
        for user_id in batch.users:
            found.update(self._blocking.subscribers_of(user_id))
        for name in batch.rooms:
            found.update(self._blockers.intersection(self._index.subscribers_of_room(name)))
        for event in batch.others:
            found.update(self._blockers.intersection(batch.connections_of(event)))
        return found

    def _subscribers_by_name(self, user_id: str, batch: EventBatch) -> Collection[Connection]:
        """Return connections that subscribe to a user by id, or to a room that the user is in and did not just join."""
        found = self._index.subscribers_of(user_id)
        for name in self._rooms.of(user_id):
            if not self.digests.is_digested(name) and not batch.has_joined(user_id, name):
                found = {*found, *self._index.subscribers_of_room(name)}
        return found

    def _is_subscribed(self, user_id: str, selection: Selection, batch: EventBatch) -> bool:
        """Return whether a subscription has the user by id or room, as in `_subscribers_by_name`."""
        return user_id in selection.users or any(
            name in selection.rooms and not self.digests.is_digested(name) and not batch.has_joined(user_id, name)
            for name in self._rooms.of(user_id)
        )

    def _missed_of_room(
        self, name: str, position: int | None, selection: Selection
    ) -> tuple[list[RoomMember], list[str], list[Change]] | None:
        """Return members who joined, users who left and members who changed after `position`.

        None if the whole room must be sent.
        """
        room = self._rooms.get(name)
        if room is None or position is None or room.mode is Mode.COUNTS:
            return None
        found = room.since(position)
        if found is None:
            return None
        joined, left = found
        changes: list[Change] = []
        if not selection.everyone:
            new = {member.user_id for member in joined} | selection.users
            changes = self._users.since_of(position, [user for user in room.members if user not in new])[0]
        return joined, left, changes

    def _news_of_room(
        self, connection: Connection, name: str, joined: Sequence[RoomMember], left: Sequence[str]
    ) -> Iterator[Portion]:
        for start in range(0, max(len(joined), len(left)), CATCH_UP):
            some = joined[start : start + CATCH_UP], left[start : start + CATCH_UP]
            encoder = self.encoder.for_visibility(connection.session.visibility)
            message = encoder.room_changes(self._rooms.get(name), name, *some)
            yield Portion((connection,), Batch((message,)), len(some[0]) + len(some[1]))

    def _news_of_users(
        self, connection: Connection, before: Cursor, now: Cursor, changes: Sequence[Change], unknown: Sequence[Raw]
    ) -> Iterator[Portion]:
        """Return the changes in messages. Only the last message has the new position.

        A client that loses its connection before the last message resumes from the old position.
        """
        encoder = self.encoder.for_visibility(connection.session.visibility)
        last = max(0, len(changes) - 1) // CATCH_UP * CATCH_UP
        for start in range(0, last, CATCH_UP):
            some = list(map(encoder.record, changes[start : start + CATCH_UP]))
            message = encoder.changes(before.position, some, before.snapshot)
            yield Portion((connection,), Batch((message,)), len(some))
        rest = [*map(encoder.record, changes[last:]), *unknown]
        message = encoder.changes(now.position, rest, now.snapshot)
        yield Portion((connection,), Batch((message,)), len(changes) - last + len(unknown))


def _cursor(connection: Connection, position: int) -> Cursor:
    """Return the cursor of a session that is at `position` and has received all its snapshots."""
    whole = connection.session.whole_from
    return whole if whole.position == position else Cursor(position)
