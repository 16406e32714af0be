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
from presenced.delivery.events import Batch, Event, Missed, Portion
from presenced.presence.journal import Cursor
from presenced.presence.model import Change
from presenced.presence.rooms import Member, Mode
from presenced.presence.subscriptions import Set as Watched
from presenced.presence.subscriptions import WatchIndex
from presenced.protocols.v1.batch import Content, EventBatch
from presenced.protocols.v1.digests import Digests, full_of, watch_of
from presenced.protocols.v1.encoder import Encoding
from presenced.protocols.v1.parts import FeedPart
from presenced.protocols.v1.snapshots import Snapshots

CATCH_UP = 256
"""Users or members in one message to a watcher that catches up: some 30 KB."""


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
        self._directory = encoding.directory
        self._rooms = encoding.rooms
        self._snapshots = {one: Snapshots(one) for one in (encoding, encoding.with_causes)}
        self._index: WatchIndex[Connection] = WatchIndex()
        self._live: set[Connection] = set()
        self._blockers: set[Connection] = set()
        """Those of them that do not see some users, in rooms neither."""
        self._blocking: WatchIndex[Connection] = WatchIndex()
        """The same, by whom they do not see."""
        self._entitled: set[Connection] = set()
        """Those of them that are told causes, where not everyone is."""
        self.digests = Digests(encoding, self._index.watchers_of_room)

    # Implements Feed.

    def join(self, watcher: Connection) -> None:
        """It keeps up."""
        self._live.add(watcher)
        self._index.add(watcher, full_of(watcher))
        self.digests.join(watcher)
        if self.encoding.of(watcher.session.visibility) is not self.encoding:
            self._entitled.add(watcher)
        if blocked := watcher.session.visibility.blocked:
            self._blockers.add(watcher)
            self._blocking.add(watcher, Watched(users=blocked))

    def leave(self, watcher: Connection) -> bool:
        """It does not, or is gone."""
        if watcher not in self._live:
            return False
        self._live.discard(watcher)
        self._index.remove(watcher, full_of(watcher))
        self.digests.leave(watcher)
        self._entitled.discard(watcher)
        if blocked := watcher.session.visibility.blocked:
            self._blockers.discard(watcher)
            self._blocking.remove(watcher, Watched(users=blocked))
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
        batch = EventBatch(events, self.encoding.of(visibility), self._parts, visibility)
        others = tuple(i for i, event in enumerate(batch.others) if connection in batch.connections_of(event))
        if watched.is_empty:
            return batch.portion((connection,), Content(others=others))
        users = tuple(
            user_id for user_id in batch.users if watched.everyone or self._is_watched(user_id, watched, batch)
        )
        rooms = tuple(name for name in batch.rooms if name in watched.rooms and not self.digests.is_digested(name))
        return batch.portion((connection,), Content(users, rooms, others))

    def missed(self, watcher: Connection, position: int) -> Missed | None:
        """The truth about the user, and the last change of each watched user who changed; or it all."""
        watched, blocked, now = full_of(watcher), watcher.session.visibility.blocked, self._directory.journal.position
        unknown: list[str] = []
        if watched.everyone:
            changes = self._directory.since(position, CATCH_UP)
            if changes is None:
                return self.all(watcher)
            now = changes[-1].position if len(changes) == CATCH_UP else now
            changes = [c for c in changes if c.user_id not in blocked] if blocked else changes
        else:
            changes, unknown = self._directory.since_of(position, watched.users)
            if self._directory.since(position, 1) is None:  # who may not be seen looks like who never was
                unknown += watch_of(watcher).full.users - watched.users
        parts: list[Iterator[Portion]] = [iter([self._own(watcher)])]
        for name in sorted(watched.rooms):
            # Who blocks somebody is told it whole: that it was never empty meanwhile may be due to them alone.
            had = None if blocked else self.digests.surely_had(name, position)
            found = self._missed_of_room(name, had, watched)
            if found is None:
                parts.append(self._snapshots_for(watcher).room(name, watcher))
            else:
                came, left, seen = found
                parts.append(self._news_of_room(watcher, name, came, left))
                changes = changes + seen
        parts += [self._missed_of(part, watcher, position) for part in self._parts.values()]
        once = {change.user_id: change for change in changes}  # who is in two rooms, or watched as well
        newest = self._directory.versions.newest  # now, not when they are encoded
        gone = [self.encoding.unknown(user_id, newest) for user_id in unknown]
        cursors = _cursor(watcher, max(0, position)), _cursor(watcher, now)
        parts.append(self._news_of_users(watcher, *cursors, list(once.values()), gone))
        return Missed(chain(*parts), now)

    # Beyond Feed.

    def published(self, event: Event) -> None:
        """Take note of an event for the digests, which are sent once a second."""
        if (self._live or len(self.digests)) and self.digests.note(event):
            self._schedule_digest()

    def keeps_up(self, watcher: Connection) -> bool:
        """Whether it is sent what happens now; else it hears of it when it catches up."""
        return watcher in self._live

    def all(self, watcher: Connection) -> Missed:
        """The truth about the user, and snapshots of all that `watcher` watches."""
        watch, visibility, snapshots = watch_of(watcher), watcher.session.visibility, self._snapshots_for(watcher)
        parts = [iter([self._own(watcher)])]
        is_new = watcher.session.snapshots == 0
        position = self._directory.journal.position
        if watch.full.everyone and not visibility.everyone:
            parts.append(snapshots.those_seen(visibility.users).portions(watcher))
        elif watch.full.everyone:
            snapshot = snapshots.everyone(is_new and not watch.full.rooms, visibility.blocked)
            parts.append(snapshot.portions(watcher))
            position = snapshot.position
        elif watch.full.users:
            parts.append(snapshots.users(watch.full.users, visibility).portions(watcher))
        parts += [snapshots.room(name, watcher) for name in sorted(watch.full.rooms)]
        parts += [self._missed_of(part, watcher, None) for part in self._parts.values()]
        return self._whole(watcher, parts, position)

    def news(self, watcher: Connection, everyone: bool, users: Sequence[str], rooms: Iterable[str]) -> Missed:
        """Snapshots of what `watcher` watches newly.

        One that is behind is not at their position afterwards: what it missed before is still to come.
        """
        position, visibility = self._directory.journal.position, watcher.session.visibility
        snapshots = self._snapshots_for(watcher)
        parts = [snapshots.room(name, watcher) for name in sorted(rooms)]
        if everyone and not visibility.everyone:
            parts.append(snapshots.those_seen(visibility.users).portions(watcher))
        elif everyone:
            parts.append(snapshots.everyone(False, visibility.blocked).portions(watcher))
        elif users:
            parts.append(snapshots.users(users, visibility).portions(watcher))
        if self.keeps_up(watcher):
            return self._whole(watcher, parts, position)
        self._count_snapshot(watcher, position)
        return Missed(chain(*parts), position)

    def _snapshots_for(self, watcher: Connection) -> Snapshots:
        return self._snapshots[self.encoding.of(watcher.session.visibility)]

    def _whole(self, watcher: Connection, parts: Iterable[Iterable[Portion]], position: int) -> Missed:
        """Snapshots, and after them the position that says that all have come: one the session was not at before."""
        number = self._count_snapshot(watcher, position)
        last = Portion((watcher,), Batch((self.encoding.changes(position, [], number),)), 0)
        return Missed(chain(*parts, [last]), position)

    def _count_snapshot(self, watcher: Connection, position: int) -> int:
        """Return the number of the session's snapshot that ends at `position`."""
        session = watcher.session
        session.snapshots += 1
        session.whole_from = Cursor(position, session.snapshots)
        return session.snapshots

    def counts(self, watcher: Connection, counted: Watched) -> Batch:
        """Return the current counts of `counted` for `watcher`."""
        return Batch(list(self.digests.counts_of(watcher, counted)))

    def _missed_of(self, part: FeedPart, watcher: Connection, position: int | None) -> Iterator[Portion]:
        for batch in part.missed(watcher, position):
            yield Portion((watcher,), batch, len(batch))

    def _own(self, watcher: Connection) -> Portion:
        """Return the state of the user for their own device, and the current counts that it subscribes to."""
        messages = [self.encoding.own(watcher.session.user_id), *self.digests.counts(watcher)]
        return Portion((watcher,), Batch([message for message in messages if message]), 0)

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
        """Who watches the user by id, or a room that the user is in and did not just come into; each once."""
        found = self._index.watchers_of(user_id)
        for name in self._rooms.of(user_id):
            if not self.digests.is_digested(name) and not batch.came(user_id, name):
                found = {*found, *self._index.watchers_of_room(name)}
        return found

    def _is_watched(self, user_id: str, watched: Watched, batch: EventBatch) -> bool:
        """The same, asked of one watcher."""
        return user_id in watched.users or any(
            name in watched.rooms and not self.digests.is_digested(name) and not batch.came(user_id, name)
            for name in self._rooms.of(user_id)
        )

    def _missed_of_room(
        self, name: str, position: int | None, watched: Watched
    ) -> tuple[list[Member], list[str], list[Change]] | None:
        """Who came, who left, and the others who changed after `position`; None when the room must be told whole."""
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
            changes = self._directory.since_of(position, [user for user in room.members if user not in new])[0]
        return came, left, changes

    def _news_of_room(
        self, watcher: Connection, name: str, came: Sequence[Member], left: Sequence[str]
    ) -> Iterator[Portion]:
        for start in range(0, max(len(came), len(left)), CATCH_UP):
            some = came[start : start + CATCH_UP], left[start : start + CATCH_UP]
            encoding = self.encoding.of(watcher.session.visibility)
            message = encoding.room_changes(self._rooms.get(name), name, *some)
            yield Portion((watcher,), Batch((message,)), len(some[0]) + len(some[1]))

    def _news_of_users(
        self, watcher: Connection, before: Cursor, now: Cursor, changes: Sequence[Change], unknown: Sequence[Raw]
    ) -> Iterator[Portion]:
        """With the position it was at until the last, which has the new one."""
        encoding = self.encoding.of(watcher.session.visibility)
        last = max(0, len(changes) - 1) // CATCH_UP * CATCH_UP
        for start in range(0, last, CATCH_UP):
            some = list(map(encoding.record, changes[start : start + CATCH_UP]))
            message = encoding.changes(before.position, some, before.snapshot)
            yield Portion((watcher,), Batch((message,)), len(some))
        rest = [*map(encoding.record, changes[last:]), *unknown]
        message = encoding.changes(now.position, rest, now.snapshot)
        yield Portion((watcher,), Batch((message,)), len(changes) - last + len(unknown))


def _cursor(watcher: Connection, position: int) -> Cursor:
    """Return the cursor of a session that has every snapshot it was to be sent, and is at `position`."""
    whole = watcher.session.whole_from
    return whole if whole.position == position else Cursor(position)
