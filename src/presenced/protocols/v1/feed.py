"""What connections of presenced.v1 are sent: what they subscribe to, each user once per message, in the latest state.

A flush is cut into portions by content: connections that are to hear of the same users, rooms and events of modules
share one, encoded once. Most often that is one portion for all that subscribe to everyone. The others are found from
the users and rooms of the batch, by an index, so a change costs what its subscribers cost, not what the connected do.

A connection that sees less than others, because it blocks somebody or joined during the batch, has a portion of its
own. One that is told causes where others are not shares a portion with its like, from a second encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from msgspec import Raw

from presenced.delivery.connection import Connection
from presenced.delivery.events import EMPTY, Batch, Event, Missed, Portion
from presenced.presence.journal import Cursor
from presenced.presence.model import Change
from presenced.presence.rooms import Member, Mode
from presenced.presence.subscriptions import Selection as Watched
from presenced.presence.subscriptions import SubscriptionIndex
from presenced.presence.visibility import unblocked
from presenced.protocols.v1.batch import Content, EventBatch
from presenced.protocols.v1.digests import Digests, full_of, watch_of
from presenced.protocols.v1.encoder import Encoding
from presenced.protocols.v1.parts import FeedPart
from presenced.protocols.v1.snapshots import Snapshots

CATCH_UP = 256
"""Maximum number of users or members in one message to a connection that catches up: some 30 KB."""


class V1Feed:
    """The feed of presenced.v1 (`delivery.events.Feed`).

    Args:
        schedule_digest: Function called when there is something to tell in the next digest, which is due within
            `PERIOD` seconds.
        parts: Parts of modules.
    """

    def __init__(self, encoding: Encoding, schedule_digest: Callable[[], None], parts: Sequence[FeedPart] = ()) -> None:
        self._schedule_digest = schedule_digest
        self._parts = {part.topic: part for part in parts}
        self.encoding = encoding
        self._users = encoding.users
        self._rooms = encoding.rooms
        self._snapshots = {one: Snapshots(one) for one in (encoding, encoding.with_causes)}
        self._index: SubscriptionIndex[Connection] = SubscriptionIndex()
        self._live: set[Connection] = set()
        self._blockers: set[Connection] = set()
        """Live connections that block some users."""
        self._blocking: SubscriptionIndex[Connection] = SubscriptionIndex()
        """The same connections, by the users that they block."""
        self._entitled: set[Connection] = set()
        """Live connections that are sent causes, if not all are."""
        self.digests = Digests(encoding, self._index.watchers_of_room)

    # The interface `Feed`.

    def join(self, connection: Connection) -> None:
        """Include a connection in the portions from now on."""
        self._live.add(connection)
        self._index.add(connection, full_of(connection))
        self.digests.join(connection)
        if self.encoding.of(connection.session.visibility) is not self.encoding:
            self._entitled.add(connection)
        if blocked := connection.session.visibility.blocked:
            self._blockers.add(connection)
            self._blocking.add(connection, Watched(users=blocked))

    def leave(self, connection: Connection) -> bool:
        """Exclude a connection. Return whether it was included."""
        if connection not in self._live:
            return False
        self._live.discard(connection)
        self._index.remove(connection, full_of(connection))
        self.digests.leave(connection)
        self._entitled.discard(connection)
        if blocked := connection.session.visibility.blocked:
            self._blockers.discard(connection)
            self._blocking.remove(connection, Watched(users=blocked))
        return True

    def portions(self, events: Sequence[Event], joined: Mapping[Connection, int]) -> Iterable[Portion]:
        """Return a portion for each content that some connections receive."""
        if not self._live:
            return
        batch = EventBatch(events, self.encoding, self._parts)
        if self._blockers:
            joined = {**dict.fromkeys(self._apart(batch), 0), **joined}
        by_content = self._by_content(batch, joined)
        if self._entitled:
            entitled = {content: [c for c in some if c in self._entitled] for content, some in by_content.items()}
            yield from EventBatch(events, self.encoding.with_causes, self._parts).portions(entitled)
            by_content = {content: [c for c in some if c not in self._entitled] for content, some in by_content.items()}
        yield from batch.portions(by_content)
        for connection, start in joined.items():
            if connection in self._live and start < len(events):
                part = self.part(connection, events[start:])
                if part.batch:
                    yield part

    def part(self, connection: Connection, events: Sequence[Event]) -> Portion:
        """Return what one connection is sent of some events; perhaps nothing."""
        watched, visibility = full_of(connection), connection.session.visibility
        if watched.is_empty and not self._parts:  # in a storm of connections most subscribe to nothing yet
            return Portion((connection,), EMPTY, 0)
        batch = EventBatch(events, self.encoding.of(visibility), self._parts, visibility)
        others = tuple(i for i, event in enumerate(batch.others) if connection in batch.connections_of(event))
        if watched.is_empty:
            return batch.portion((connection,), Content(others=others))
        users = tuple(
            user_id for user_id in batch.users if watched.everyone or self._is_watched(user_id, watched, batch)
        )
        rooms = tuple(name for name in batch.rooms if name in watched.rooms and not self.digests.is_digested(name))
        return batch.portion((connection,), Content(users, rooms, others))

    def missed(self, connection: Connection, position: int) -> Missed | None:
        """Return the user's own state and the changes since `position`, or snapshots if the log has moved on."""
        watched, blocked, now = full_of(connection), connection.session.visibility.blocked, self._users.journal.position
        unknown: list[str] = []
        if watched.everyone:
            changes = self._users.since(position, CATCH_UP)
            if changes is None:
                return self.all(connection)
            now = changes[-1].position if len(changes) == CATCH_UP else now
            changes = list(unblocked(changes, blocked))
        else:
            changes, unknown = self._users.since_of(position, watched.users)
            if self._users.since(position, 1) is None:  # a hidden user looks like an unknown one
                unknown += watch_of(connection).full.users - watched.users
        parts: list[Iterator[Portion]] = [iter([self._own(connection)])]
        for name in sorted(watched.rooms):
            # A client that blocks somebody is sent the whole room: that it was never empty may be due to them alone.
            had = None if blocked else self.digests.surely_had(name, position)
            found = self._missed_of_room(name, had, watched)
            if found is None:
                parts.append(self._snapshots_for(connection).room(name, connection))
            else:
                came, left, seen = found
                parts.append(self._news_of_room(connection, name, came, left))
                changes = changes + seen
        parts += [self._missed_of(part, connection, position) for part in self._parts.values()]
        once = {
            change.user_id: change for change in changes
        }  # a user may be in two rooms, or subscribed to by name as well
        newest = self._users.versions.newest  # now, not when they are encoded
        gone = [self.encoding.unknown(user_id, newest) for user_id in unknown]
        cursors = _cursor(connection, max(0, position)), _cursor(connection, now)
        parts.append(self._news_of_users(connection, *cursors, list(once.values()), gone))
        return Missed(chain(*parts), now)

    # For the protocol.

    def published(self, event: Event) -> None:
        """Take note of an event for the digests, which are sent once a second."""
        if (self._live or len(self.digests)) and self.digests.note(event):
            self._schedule_digest()

    def keeps_up(self, connection: Connection) -> bool:
        """Return whether a connection is sent events now. Otherwise it receives them when it catches up."""
        return connection in self._live

    def all(self, connection: Connection) -> Missed:
        """Return the user's own state, and snapshots of everything that a connection subscribes to."""
        watch, visibility, snapshots = (
            watch_of(connection),
            connection.session.visibility,
            self._snapshots_for(connection),
        )
        parts = [iter([self._own(connection)])]
        is_new = connection.session.snapshots == 0
        position = self._users.journal.position
        if watch.full.everyone and not visibility.everyone:
            parts.append(snapshots.those_seen(visibility.users).portions(connection))
        elif watch.full.everyone:
            snapshot = snapshots.everyone(is_new and not watch.full.rooms, visibility.blocked)
            parts.append(snapshot.portions(connection))
            position = snapshot.position
        elif watch.full.users:
            parts.append(snapshots.users(watch.full.users, visibility).portions(connection))
        parts += [snapshots.room(name, connection) for name in sorted(watch.full.rooms)]
        parts += [self._missed_of(part, connection, None) for part in self._parts.values()]
        return self._whole(connection, parts, position)

    def news(self, connection: Connection, everyone: bool, users: Sequence[str], rooms: Iterable[str]) -> Missed:
        """Return snapshots of new subscriptions.

        A connection that is behind is not at their position afterwards: what it missed before is still to come.
        """
        position, visibility = self._users.journal.position, connection.session.visibility
        snapshots = self._snapshots_for(connection)
        parts = [snapshots.room(name, connection) for name in sorted(rooms)]
        if everyone and not visibility.everyone:
            parts.append(snapshots.those_seen(visibility.users).portions(connection))
        elif everyone:
            parts.append(snapshots.everyone(False, visibility.blocked).portions(connection))
        elif users:
            parts.append(snapshots.users(users, visibility).portions(connection))
        if self.keeps_up(connection):
            return self._whole(connection, parts, position)
        self._count_snapshot(connection, position)
        return Missed(chain(*parts), position)

    def _snapshots_for(self, connection: Connection) -> Snapshots:
        return self._snapshots[self.encoding.of(connection.session.visibility)]

    def _whole(self, connection: Connection, parts: Iterable[Iterable[Portion]], position: int) -> Missed:
        """Return snapshots, and after them the position that confirms them all."""
        number = self._count_snapshot(connection, position)
        last = Portion((connection,), Batch((self.encoding.changes(position, [], number),)), 0)
        return Missed(chain(*parts, [last]), position)

    def _count_snapshot(self, connection: Connection, position: int) -> int:
        """Return the number of the session's snapshot that ends at `position`."""
        session = connection.session
        session.snapshots += 1
        session.whole_from = Cursor(position, session.snapshots)
        return session.snapshots

    def counts(self, connection: Connection, counted: Watched) -> Batch:
        """Return the current counts of `counted` for `connection`."""
        return Batch(list(self.digests.counts_of(connection, counted)))

    def _missed_of(self, part: FeedPart, connection: Connection, position: int | None) -> Iterator[Portion]:
        for batch in part.missed(connection, position):
            yield Portion((connection,), batch, len(batch))

    def _own(self, connection: Connection) -> Portion:
        """Return the state of the user for their own device, and the current counts that it subscribes to."""
        messages = [self.encoding.own(connection.session.user_id), *self.digests.counts(connection)]
        return Portion((connection,), Batch([message for message in messages if message]), 0)

    def _by_content(self, batch: EventBatch, joined: Container[Connection]) -> dict[Content, list[Connection]]:
        """Return connections that have received nothing of the batch, by what they are to be sent of it."""
        everyone, all_users = self._index.everyone, tuple(batch.users)
        users: dict[Connection, list[str]] = {}
        for user_id in batch.users:
            for connection in self._watchers_by_name(user_id, batch):
                users.setdefault(connection, []).append(user_id)
        rooms: dict[Connection, list[str]] = {}
        for name in [name for name in batch.rooms if not self.digests.is_digested(name)]:
            for connection in self._index.watchers_of_room(name):
                rooms.setdefault(connection, []).append(name)
        others: dict[Connection, list[int]] = {}
        for index, event in enumerate(batch.others):
            for connection in self._live.intersection(batch.connections_of(event)):
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

    def _apart(self, batch: EventBatch) -> set[Connection]:
        """Return connections that block a user of the batch, or perhaps a member of a room or an author in it."""
        found: set[Connection] = set()
        for user_id in batch.users:
            found.update(self._blocking.watchers_of(user_id))
        for name in batch.rooms:
            found.update(self._blockers.intersection(self._index.watchers_of_room(name)))
        for event in batch.others:
            found.update(self._blockers.intersection(batch.connections_of(event)))
        return found

    def _watchers_by_name(self, user_id: str, batch: EventBatch) -> Collection[Connection]:
        """Return connections that subscribe to a user by id, or to a room that the user is in and did not just join."""
        found = self._index.watchers_of(user_id)
        for name in self._rooms.of(user_id):
            if not self.digests.is_digested(name) and not batch.came(user_id, name):
                found = {*found, *self._index.watchers_of_room(name)}
        return found

    def _is_watched(self, user_id: str, watched: Watched, batch: EventBatch) -> bool:
        """Return whether one connection does."""
        return user_id in watched.users or any(
            name in watched.rooms and not self.digests.is_digested(name) and not batch.came(user_id, name)
            for name in self._rooms.of(user_id)
        )

    def _missed_of_room(
        self, name: str, position: int | None, watched: Watched
    ) -> tuple[list[Member], list[str], list[Change]] | None:
        """Return who joined, who left, and others who changed after `position`; None if the whole room must be sent."""
        room = self._rooms.get(name)
        if room is None or position is None or room.mode is Mode.COUNTS:
            return None
        found = room.since(position)
        if found is None:
            return None
        came, left = found
        changes: list[Change] = []
        if not watched.everyone:
            new = {member.user_id for member in came} | watched.users
            changes = self._users.since_of(position, [user for user in room.members if user not in new])[0]
        return came, left, changes

    def _news_of_room(
        self, connection: Connection, name: str, came: Sequence[Member], left: Sequence[str]
    ) -> Iterator[Portion]:
        for start in range(0, max(len(came), len(left)), CATCH_UP):
            some = came[start : start + CATCH_UP], left[start : start + CATCH_UP]
            encoding = self.encoding.of(connection.session.visibility)
            message = encoding.room_changes(self._rooms.get(name), name, *some)
            yield Portion((connection,), Batch((message,)), len(some[0]) + len(some[1]))

    def _news_of_users(
        self, connection: Connection, before: Cursor, now: Cursor, changes: Sequence[Change], unknown: Sequence[Raw]
    ) -> Iterator[Portion]:
        """Return the changes in messages. All but the last have the old position, because a part may get lost."""
        encoding = self.encoding.of(connection.session.visibility)
        last = max(0, len(changes) - 1) // CATCH_UP * CATCH_UP
        for start in range(0, last, CATCH_UP):
            some = list(map(encoding.record, changes[start : start + CATCH_UP]))
            message = encoding.changes(before.position, some, before.snapshot)
            yield Portion((connection,), Batch((message,)), len(some))
        rest = [*map(encoding.record, changes[last:]), *unknown]
        message = encoding.changes(now.position, rest, now.snapshot)
        yield Portion((connection,), Batch((message,)), len(changes) - last + len(unknown))


def _cursor(connection: Connection, position: int) -> Cursor:
    """Return the cursor of a session that has every snapshot it was to be sent, and is at `position`."""
    whole = connection.session.whole_from
    return whole if whole.position == position else Cursor(position)
