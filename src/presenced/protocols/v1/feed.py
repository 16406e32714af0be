"""The feed of presenced.v1: the users and rooms of a subscription, each user once per message, in the latest state.

A flush is cut into portions by content. Connections that receive the same users, rooms and events of modules share one
portion, which is encoded once. Most often that is one portion for all subscribers to everyone. An index maps the users
and rooms of the batch to the other subscribers. The cost of a change therefore depends on the number of its
subscribers, and not on the number of connections.

A connection that receives less than others, because it blocks a user or was included during the batch, has a portion of
its own. If only some connections may see causes, they share portions from a second encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from msgspec import Raw

from presenced.delivery.batch import EMPTY, Batch
from presenced.delivery.connection import Connection
from presenced.delivery.events import Event, Missed, Portion
from presenced.presence.certainty import NodeCertainty
from presenced.presence.journal import Cursor
from presenced.presence.model import Change
from presenced.presence.rooms import Membership, Mode
from presenced.presence.subscriptions import Selection, SubscriptionIndex
from presenced.protocols.v1.batch import Content, EventBatch
from presenced.protocols.v1.certainty import CertaintyNotices
from presenced.protocols.v1.digests import Digests, subscription_of, visible_full
from presenced.protocols.v1.encoder import V1Encoder
from presenced.protocols.v1.extensions import FeedExtension
from presenced.protocols.v1.snapshots import Snapshots

CATCH_UP_RECORDS = 256
"""Maximum number of users or members in one message to a connection that catches up: some 30 KB."""


class _MissedOfRoom(NamedTuple):
    """Events of one room that a connection missed."""

    joined: list[Membership]
    """Members who joined, or changed their data."""
    left: list[str]
    """Users who left."""
    changes: list[Change]
    """Changes of the presence of other members."""


class V1Feed:
    """The feed of presenced.v1 (`delivery.events.Feed`).

    Bounds: the connections that are up to date, with the users and rooms that each may subscribe to
    (`presence.subscriptions`); those of `Digests`.

    Args:
        schedule_digest: Function called when the next digest, due within `ROOM_DIGEST_PERIOD_S` seconds, is no longer
            empty.
        flush: As for `Digests`.
        extensions: Extensions of the feed by modules.
        certainty: Certainty of a node in a cluster; None for a single node.
    """

    def __init__(
        self,
        encoder: V1Encoder,
        schedule_digest: Callable[[], None],
        flush: Callable[[], None],
        extensions: Sequence[FeedExtension] = (),
        certainty: NodeCertainty | None = None,
    ) -> None:
        self._schedule_digest = schedule_digest
        self._extensions = {extension.topic: extension for extension in extensions}
        self.encoder = encoder
        self.notices = CertaintyNotices(certainty) if certainty is not None else None
        """Messages about the certainty of the node; None for a single node."""
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
        self.digests = Digests(encoder, self._index.subscribers_of_room, flush, self._up_to_date)

    # The interface `Feed`.

    def published(self, event: Event) -> None:
        """Pass an event to the digests, which are sent once a second."""
        if (self._up_to_date or len(self.digests)) and self.digests.collect(event):
            self._schedule_digest()

    def include(self, connection: Connection) -> None:
        """Include a connection in the portions from now on."""
        self._up_to_date.add(connection)
        self._index.add(connection, visible_full(connection))
        self.digests.include(connection)
        if self.encoder.for_visibility(connection.session.visibility) is not self.encoder:
            self._shown_causes.add(connection)
        if blocked := connection.session.visibility.blocked:
            self._blockers.add(connection)
            self._blocking.add(connection, Selection(users=set(blocked)))

    def exclude(self, connection: Connection) -> bool:
        """Exclude a connection. Return whether it was included."""
        if connection not in self._up_to_date:
            return False
        self._up_to_date.discard(connection)
        self._index.remove(connection, visible_full(connection))
        self.digests.exclude(connection)
        self._shown_causes.discard(connection)
        if blocked := connection.session.visibility.blocked:
            self._blockers.discard(connection)
            self._blocking.remove(connection, Selection(users=set(blocked)))
        return True

    def portions(self, events: Sequence[Event], first_unsent: Mapping[Connection, int]) -> Iterable[Portion]:
        """Return a portion for each content that some connections receive."""
        if not self._up_to_date:
            return
        batch = EventBatch(events, self.encoder, self._extensions)
        # Connections with a portion of their own, and the index of the first event in it.
        separate = {**dict.fromkeys(self._blockers_of(batch), 0), **first_unsent} if self._blockers else first_unsent
        by_content = self._by_content(batch, separate)
        if self._shown_causes:
            # Both before the first write, because a connection that fills up with it leaves `_shown_causes`.
            entitled = {content: [c for c in some if c in self._shown_causes] for content, some in by_content.items()}
            by_content = {
                content: [c for c in some if c not in self._shown_causes] for content, some in by_content.items()
            }
            yield from EventBatch(events, self.encoder.with_causes, self._extensions).portions(entitled)
        yield from batch.portions(by_content)
        for connection, start in separate.items():
            if connection in self._up_to_date and start < len(events):
                portion = self.portion_for(connection, events[start:])
                if portion.batch:
                    yield portion

    def portion_for(self, connection: Connection, events: Sequence[Event]) -> Portion:
        """Return the messages about some events for one connection; perhaps none."""
        selection, visibility = visible_full(connection), connection.session.visibility
        if selection.is_empty and not self._extensions:  # in a storm of connections most subscribe to nothing yet
            return Portion((connection,), EMPTY, 0)
        batch = EventBatch(events, self.encoder.for_visibility(visibility), self._extensions, visibility)
        extension_events = tuple(
            i for i, event in enumerate(batch.extension_events) if connection in batch.connections_of(event)
        )
        if selection.is_empty:
            return batch.portion((connection,), Content(extension_events=extension_events))
        users = tuple(
            user_id for user_id in batch.users if selection.everyone or self._is_subscribed(user_id, selection, batch)
        )
        rooms = tuple(name for name in batch.rooms if name in selection.rooms and not self.digests.is_digested(name))
        return batch.portion((connection,), Content(users, rooms, extension_events))

    def missed(self, connection: Connection, position: int) -> Missed | None:
        """Return the user's own state and the changes since `position`, or snapshots if the log has moved on."""
        selection, blocked = visible_full(connection), connection.session.visibility.blocked
        reached = self._users.journal.position
        changes: list[Change] = []
        unknown: list[str] = []
        if selection.everyone:
            if position < self._users.log.floor:
                return self.everything(connection)
        else:
            changes, unknown = self._users.missed_changes(position, selection.users)
            # Hidden users are reported as unknown in the same case as unknown users. Otherwise their absence from the
            # answer would reveal that they exist.
            if self._users.log.since(position, 1) is None:
                unknown += subscription_of(connection).full.users - selection.users
        portions: list[Iterator[Portion]] = [*self._notices_for(connection), iter([self._own_state(connection)])]
        for name in sorted(selection.rooms):
            # A client that blocks users receives the whole room. A blocked member may be the only reason why the room
            # was never empty, and the shorter answer would reveal that.
            complete_to = None if blocked else self.digests.complete_up_to(name, position)
            found = self._missed_of_room(name, complete_to, selection)
            if found is None:
                portions.append(self._snapshots_for(connection).room(name, connection))
            else:
                joined, left, changes_of_members = found
                portions.append(self._room_changes(connection, name, joined, left))
                changes = changes + changes_of_members
        portions += [self._missed_of(extension, connection, position) for extension in self._extensions.values()]
        if selection.everyone:
            portions.append(self._changes_of_everyone(connection, position, _cursor(connection, reached)))
            return Missed(chain(*portions), reached)
        # By user, because a user who is in two rooms, or is also subscribed to by id, occurs more than once.
        by_user = {change.user_id: change for change in changes}
        version = self._users.versions.of_unknown()  # read now, because the portions are encoded later
        gone = [self.encoder.unknown(user_id, version(user_id)) for user_id in unknown]
        cursors = _cursor(connection, max(0, position)), _cursor(connection, reached)
        portions.append(self._user_changes(connection, *cursors, list(by_user.values()), gone))
        return Missed(chain(*portions), reached)

    # For the protocol.

    def keeps_up(self, connection: Connection) -> bool:
        """Return whether a connection is sent events now. Otherwise it receives them when it catches up."""
        return connection in self._up_to_date

    def everything(self, connection: Connection) -> Missed:
        """Return the user's own state, and snapshots of everything that a connection subscribes to."""
        full, session, snapshots = subscription_of(connection).full, connection.session, self._snapshots_for(connection)
        portions = [*self._notices_for(connection), iter([self._own_state(connection)])]
        position = self._users.journal.position
        # An older one would take back the position of a session that had a snapshot before. Rooms are always current.
        may_be_older = session.snapshots == 0 and not full.rooms
        for snapshot in snapshots.make(full.everyone, full.users, session.visibility, may_be_older):
            portions.append(snapshot.portions(connection))
            position = min(position, snapshot.position)
        portions += [snapshots.room(name, connection) for name in sorted(full.rooms)]
        portions += [self._missed_of(extension, connection, None) for extension in self._extensions.values()]
        return self._confirmed(connection, portions, position)

    def snapshots_of(
        self, connection: Connection, everyone: bool, users: Sequence[str], rooms: Iterable[str]
    ) -> Missed:
        """Return snapshots of users and rooms that a connection now subscribes to.

        A connection that is behind is not at their position afterwards: it has not received what it missed before.
        """
        position, snapshots = self._users.journal.position, self._snapshots_for(connection)
        portions = [snapshots.room(name, connection) for name in sorted(rooms)]
        portions += [one.portions(connection) for one in snapshots.make(everyone, users, connection.session.visibility)]
        if self.keeps_up(connection):
            return self._confirmed(connection, portions, position)
        self._count_snapshot(connection, position)
        return Missed(chain(*portions), position)

    def certainty_changed(self) -> list[Portion]:
        """Return the portions of CERTAINTY for the connections that keep up. Everything published has been sent."""
        for snapshots in self._snapshots.values():
            snapshots.forget()  # the stored records have outdated marks
        return list(self.notices.newest(self._up_to_date)) if self.notices is not None else []

    def _notices_for(self, connection: Connection) -> list[Iterator[Portion]]:
        return [] if self.notices is None else [self.notices.newest((connection,))]

    def _snapshots_for(self, connection: Connection) -> Snapshots:
        return self._snapshots[self.encoder.for_visibility(connection.session.visibility)]

    def _confirmed(self, connection: Connection, portions: Iterable[Iterable[Portion]], position: int) -> Missed:
        """Return snapshots, followed by the position that confirms them all."""
        number = self._count_snapshot(connection, position)
        last = Portion((connection,), Batch((self.encoder.changes(position, [], number),)), 0)
        return Missed(chain(*portions, [last]), position)

    def _count_snapshot(self, connection: Connection, position: int) -> int:
        """Count a snapshot of the session that ends at `position`. Return its number."""
        session = connection.session
        session.snapshots += 1
        session.snapshot_end = Cursor(position, session.snapshots)
        return session.snapshots

    def _missed_of(self, extension: FeedExtension, connection: Connection, position: int | None) -> Iterator[Portion]:
        for batch in extension.missed(connection, position):
            yield Portion((connection,), batch, len(batch))

    def _own_state(self, connection: Connection) -> Portion:
        """Return the user's true state, and the current counts to which the connection subscribes."""
        counts = self.digests.counts(connection, subscription_of(connection).counted)
        messages = [self.encoder.own(connection.session.user_id), *counts]
        return Portion((connection,), Batch([message for message in messages if message]), 0)

    def _by_content(self, batch: EventBatch, separate: Container[Connection]) -> dict[Content, list[Connection]]:
        """Return the connections without a portion of their own, by the content that they receive."""
        everyone, all_users = self._index.everyone, tuple(batch.users)
        users: dict[Connection, list[str]] = {}
        for user_id in batch.users:
            for connection in self._subscribers_by_name(user_id, batch):
                users.setdefault(connection, []).append(user_id)
        rooms: dict[Connection, list[str]] = {}
        for name in [name for name in batch.rooms if not self.digests.is_digested(name)]:
            for connection in self._index.subscribers_of_room(name):
                rooms.setdefault(connection, []).append(name)
        extension_events: dict[Connection, list[int]] = {}
        for index, event in enumerate(batch.extension_events):
            for connection in self._up_to_date.intersection(batch.connections_of(event)):
                extension_events.setdefault(connection, []).append(index)
        more = rooms.keys() | extension_events.keys()
        found: dict[Content, list[Connection]] = {}
        found[Content(all_users)] = [c for c in everyone if c not in separate and c not in more]
        for connection in users.keys() | more:
            if connection in separate or (connection in everyone and connection not in more):
                continue
            content = Content(
                all_users if connection in everyone else tuple(users.get(connection, ())),
                tuple(rooms.get(connection, ())),
                tuple(extension_events.get(connection, ())),
            )
            found.setdefault(content, []).append(connection)
        return found

    def _blockers_of(self, batch: EventBatch) -> set[Connection]:
        """Return connections that block a user of the batch, or may block a member of its rooms or an author."""
        found: set[Connection] = set()
        for user_id in batch.users:
            found.update(self._blocking.subscribers_of(user_id))
        for name in batch.rooms:
            found.update(self._blockers.intersection(self._index.subscribers_of_room(name)))
        for event in batch.extension_events:
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

    def _missed_of_room(self, name: str, position: int | None, selection: Selection) -> _MissedOfRoom | None:
        """Return what happened in a room after `position`; None if the whole room must be sent."""
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
            changes = self._users.missed_changes(position, [user for user in room.members if user not in new])[0]
        return _MissedOfRoom(joined, left, changes)

    def _room_changes(
        self, connection: Connection, name: str, joined: Sequence[Membership], left: Sequence[str]
    ) -> Iterator[Portion]:
        for start in range(0, max(len(joined), len(left)), CATCH_UP_RECORDS):
            some = joined[start : start + CATCH_UP_RECORDS], left[start : start + CATCH_UP_RECORDS]
            encoder = self.encoder.for_visibility(connection.session.visibility)
            message = encoder.room_changes(self._rooms.get(name), name, *some)
            yield Portion((connection,), Batch((message,)), len(some[0]) + len(some[1]))

    def _changes_of_everyone(self, connection: Connection, position: int, end: Cursor) -> Iterator[Portion]:
        """Return the changes of everyone after `position`, in messages that each have the position they reach.

        The changes are read when they are sent, because a slow client may have missed as many as the log holds.
        """
        while True:
            changes = self._users.log.since(position, CATCH_UP_RECORDS)
            if changes is None:
                yield from self.everything(connection).portions
                return
            # Later changes are left to the next call of `missed`, because the client has not received later rooms.
            changes = [change for change in changes if change.position <= end.position]
            reached = Cursor(changes[-1].position) if len(changes) == CATCH_UP_RECORDS else end
            visibility = connection.session.visibility
            visible = [change for change in changes if change.user_id not in visibility.blocked]
            encoder = self.encoder.for_visibility(visibility)
            message = encoder.changes(reached.position, list(map(encoder.record, visible)), reached.snapshot)
            yield Portion((connection,), Batch((message,)), len(visible))
            if reached == end:
                return
            position = reached.position

    def _user_changes(
        self, connection: Connection, before: Cursor, after: Cursor, changes: Sequence[Change], unknown: Sequence[Raw]
    ) -> Iterator[Portion]:
        """Return the changes in messages. Only the last message has the new position.

        A client that loses its connection before the last message resumes from the old position.
        """
        encoder = self.encoder.for_visibility(connection.session.visibility)
        last = max(0, len(changes) - 1) // CATCH_UP_RECORDS * CATCH_UP_RECORDS
        for start in range(0, last, CATCH_UP_RECORDS):
            some = list(map(encoder.record, changes[start : start + CATCH_UP_RECORDS]))
            message = encoder.changes(before.position, some, before.snapshot)
            yield Portion((connection,), Batch((message,)), len(some))
        rest = [*map(encoder.record, changes[last:]), *unknown]
        message = encoder.changes(after.position, rest, after.snapshot)
        yield Portion((connection,), Batch((message,)), len(changes) - last + len(unknown))


def _cursor(connection: Connection, position: int) -> Cursor:
    """Return the cursor of a session that is at `position` and has received all its snapshots."""
    whole = connection.session.snapshot_end
    return whole if whole.position == position else Cursor(position)
