"""What watchers of presenced.v1 are sent: what they watch, each user once per message, with their last status."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain

from msgspec import Raw

from presenced.presence.journal import Cursor
from presenced.presence.model import Change
from presenced.presence.rooms import Member, Mode, RoomChange
from presenced.presence.subscriptions import Selection as Watched
from presenced.presence.subscriptions import SubscriptionIndex
from presenced.presence.visibility import NOBODY, unblocked
from presenced.protocols.base import Event, Missed, Portion, Watcher
from presenced.protocols.v1.digests import Digests, full_of, watch_of
from presenced.protocols.v1.encoder import Encoding
from presenced.protocols.v1.snapshots import Snapshots

CATCH_UP = 256
"""Users or members in one message to a watcher that catches up: some 30 KB."""


What = tuple[tuple[str, ...], tuple[str, ...]]
"""Users and rooms to be told of."""


class V1Feed:
    """Implements `broadcaster.Feed`."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self._directory = encoding.directory
        self._rooms = encoding.rooms
        self._snapshots = {one: Snapshots(one) for one in (encoding, encoding.with_causes)}
        self._index: SubscriptionIndex[Watcher] = SubscriptionIndex()
        self._live: set[Watcher] = set()
        self._blockers: set[Watcher] = set()
        """Those of them that do not see some users, in rooms neither."""
        self._blocking: SubscriptionIndex[Watcher] = SubscriptionIndex()
        """The same, by whom they do not see."""
        self._entitled: set[Watcher] = set()
        """Those of them that are told causes, where not everyone is."""
        self.digests = Digests(encoding, self._index.watchers_of_room)

    # Implements Feed.

    def join(self, watcher: Watcher) -> None:
        """It keeps up."""
        self._live.add(watcher)
        self._index.add(watcher, full_of(watcher))
        self.digests.join(watcher)
        if self.encoding.of(watcher.session.visibility) is not self.encoding:
            self._entitled.add(watcher)
        if blocked := watcher.session.visibility.blocked:
            self._blockers.add(watcher)
            self._blocking.add(watcher, Watched(users=blocked))

    def leave(self, watcher: Watcher) -> bool:
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

    def portions(self, batch: Sequence[Event], joined: Mapping[Watcher, int]) -> Iterable[Portion]:
        """One for each set of changes that some watchers are to have; most often that is everyone's.

        Whoever does not see all of `batch` has a portion of their own.
        """
        if not self._live:
            return
        batch_of = _Batch(batch, self.encoding)
        if self._blockers:
            joined = {**dict.fromkeys(self._apart(batch_of), 0), **joined}
        alike = self._alike(batch_of, joined)
        if self._entitled:
            entitled = {what: [w for w in watchers if w in self._entitled] for what, watchers in alike.items()}
            yield from _Batch(batch, self.encoding.with_causes).portions(entitled)
            alike = {what: [w for w in watchers if w not in self._entitled] for what, watchers in alike.items()}
        yield from batch_of.portions(alike)
        for watcher, start in joined.items():
            if watcher in self._live and start < len(batch):
                part = self.part(watcher, batch[start:])
                if part.data:
                    yield part

    def part(self, watcher: Watcher, events: Sequence[Event]) -> Portion:
        """What one watcher is to be sent of some events; perhaps nothing."""
        watched = full_of(watcher)
        if watched.is_empty:
            return Portion((watcher,), b"", 0)
        visibility = watcher.session.visibility
        batch = _Batch(events, self.encoding.of(visibility), visibility.blocked)
        user_ids = tuple(
            user_id for user_id in batch.users if watched.everyone or self._is_watched(user_id, watched, batch)
        )
        rooms = tuple(name for name in batch.rooms if name in watched.rooms and not self.digests.is_digested(name))
        return batch.portion((watcher,), user_ids, rooms)

    def missed(self, watcher: Watcher, position: int) -> Missed | None:
        """The truth about the user, and the last change of each watched user who changed; or it all."""
        watched, blocked, now = full_of(watcher), watcher.session.visibility.blocked, self._directory.journal.position
        unknown: list[str] = []
        if watched.everyone:
            changes = self._directory.since(position, CATCH_UP)
            if changes is None:
                return self.all(watcher)
            now = changes[-1].position if len(changes) == CATCH_UP else now
            changes = list(unblocked(changes, blocked))
        else:
            changes, unknown = self._directory.since_of(position, watched.users)
            if self._directory.since(position, 1) is None:  # who may not be seen looks like who never was
                unknown += watch_of(watcher).full.users - watched.users
        frames = [self.encoding.own(watcher.session.user_id), *self.digests.counts(watcher)]
        parts: list[Iterator[Portion]] = [iter([Portion((watcher,), b"".join(frames), 0)])]
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
        once = {change.user_id: change for change in changes}  # who is in two rooms, or watched as well
        newest = self._directory.versions.newest  # now, not when they are encoded
        gone = [self.encoding.unknown(user_id, newest) for user_id in unknown]
        cursors = _cursor(watcher, max(0, position)), _cursor(watcher, now)
        parts.append(self._news_of_users(watcher, *cursors, list(once.values()), gone))
        return Missed(chain(*parts), now)

    # Beyond Feed.

    def publish(self, event: Event) -> bool:
        """Something happened. Whether `digests.due` has anything to tell in a while."""
        return bool(self._live or len(self.digests)) and self.digests.note(event)

    def keeps_up(self, watcher: Watcher) -> bool:
        """Whether it is sent what happens now; else it hears of it when it catches up."""
        return watcher in self._live

    def all(self, watcher: Watcher) -> Missed:
        """The truth about the user, and snapshots of all that `watcher` watches."""
        watch, visibility, snapshots = watch_of(watcher), watcher.session.visibility, self._snapshots_for(watcher)
        frames = [self.encoding.own(watcher.session.user_id), *self.digests.counts(watcher)]
        parts = [iter([Portion((watcher,), b"".join(frames), 0)])]
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
        return self._whole(watcher, parts, position)

    def news(self, watcher: Watcher, everyone: bool, users: Sequence[str], rooms: Iterable[str]) -> Missed:
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

    def _snapshots_for(self, watcher: Watcher) -> Snapshots:
        return self._snapshots[self.encoding.of(watcher.session.visibility)]

    def _whole(self, watcher: Watcher, parts: Iterable[Iterable[Portion]], position: int) -> Missed:
        """Snapshots, and after them the position that says that all have come: one the session was not at before."""
        number = self._count_snapshot(watcher, position)
        last = Portion((watcher,), self.encoding.changes(position, [], number), 0)
        return Missed(chain(*parts, [last]), position)

    def _count_snapshot(self, watcher: Watcher, position: int) -> int:
        """Return the number of the session's snapshot that ends at `position`."""
        session = watcher.session
        session.snapshots += 1
        session.whole_from = Cursor(position, session.snapshots)
        return session.snapshots

    def counts(self, watcher: Watcher, counted: Watched) -> bytes:
        """Return the current counts of `counted` for `watcher`."""
        return b"".join(self.digests.counts_of(watcher, counted))

    def _alike(self, batch: _Batch, joined: Container[Watcher]) -> dict[What, list[Watcher]]:
        """Those that have nothing of the batch yet, by the users and rooms they are to hear of."""
        everyone, all_of_them = self._index.everyone, tuple(batch.users)
        listed: dict[Watcher, list[str]] = {}
        for user_id in batch.users:
            for watcher in self._watchers_by_name(user_id, batch):
                listed.setdefault(watcher, []).append(user_id)
        in_rooms: dict[Watcher, list[str]] = {}
        for name in batch.rooms:
            if not self.digests.is_digested(name):
                for watcher in self._index.watchers_of_room(name):
                    in_rooms.setdefault(watcher, []).append(name)
        found: dict[What, list[Watcher]] = {}
        found[all_of_them, ()] = [w for w in everyone if w not in joined and w not in in_rooms]
        for watcher in listed.keys() | in_rooms.keys():
            if watcher in joined or (watcher in everyone and watcher not in in_rooms):
                continue
            users = all_of_them if watcher in everyone else tuple(listed.get(watcher, ()))
            found.setdefault((users, tuple(in_rooms.get(watcher, ()))), []).append(watcher)
        return found

    def _apart(self, batch: _Batch) -> set[Watcher]:
        """Those that do not see somebody of whom the batch tells, or perhaps a member of a room of which it tells."""
        found: set[Watcher] = set()
        for user_id in batch.users:
            found.update(self._blocking.watchers_of(user_id))
        for name in batch.rooms:
            found.update(self._blockers.intersection(self._index.watchers_of_room(name)))
        return found

    def _watchers_by_name(self, user_id: str, batch: _Batch) -> Collection[Watcher]:
        """Who watches the user by id, or a room that the user is in and did not just come into; each once."""
        found = self._index.watchers_of(user_id)
        for name in self._rooms.of(user_id):
            if not self.digests.is_digested(name) and not batch.came(user_id, name):
                found = {*found, *self._index.watchers_of_room(name)}
        return found

    def _is_watched(self, user_id: str, watched: Watched, batch: _Batch) -> bool:
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
        self, watcher: Watcher, name: str, came: Sequence[Member], left: Sequence[str]
    ) -> Iterator[Portion]:
        for start in range(0, max(len(came), len(left)), CATCH_UP):
            some = came[start : start + CATCH_UP], left[start : start + CATCH_UP]
            encoding = self.encoding.of(watcher.session.visibility)
            frame = encoding.room_changes(self._rooms.get(name), name, *some)
            yield Portion((watcher,), frame, len(some[0]) + len(some[1]))

    def _news_of_users(
        self, watcher: Watcher, before: Cursor, now: Cursor, changes: Sequence[Change], unknown: Sequence[Raw]
    ) -> Iterator[Portion]:
        """With the position it was at until the last, which has the new one."""
        encoding = self.encoding.of(watcher.session.visibility)
        last = max(0, len(changes) - 1) // CATCH_UP * CATCH_UP
        for start in range(0, last, CATCH_UP):
            some = list(map(encoding.record, changes[start : start + CATCH_UP]))
            yield Portion((watcher,), encoding.changes(before.position, some, before.snapshot), len(some))
        rest = [*map(encoding.record, changes[last:]), *unknown]
        frame = encoding.changes(now.position, rest, now.snapshot)
        yield Portion((watcher,), frame, len(changes) - last + len(unknown))


def _cursor(watcher: Watcher, position: int) -> Cursor:
    """Return the cursor of a session that has every snapshot it was to be sent, and is at `position`."""
    whole = watcher.session.whole_from
    return whole if whole.position == position else Cursor(position)


class _Batch:
    """Some events, each user's and each member's last one, and their frames, encoded when first asked for.

    Args:
        blocked: Of these users it tells nothing.
    """

    def __init__(self, events: Sequence[Event], encoding: Encoding, blocked: Set[str] = NOBODY) -> None:
        self._encoding = encoding
        self._blocked = blocked
        self._position = events[-1].position
        self.users: dict[str, Change] = {}
        self.rooms: dict[str, dict[str, RoomChange]] = {}
        for event in unblocked(events, blocked):
            if isinstance(event, Change):
                self.users[event.user_id] = event
            else:
                self.rooms.setdefault(event.room, {})[event.user_id] = event
        self._presence: dict[tuple[str, ...], bytes] = {}
        self._room: dict[str, bytes] = {}

    def came(self, user_id: str, room: str) -> bool:
        """Whether the user came into the room: what is seen of them is told with the member."""
        event = self.rooms.get(room, {}).get(user_id)
        return event is not None and event.member is not None

    def portions(self, alike: Mapping[What, Collection[Watcher]]) -> Iterator[Portion]:
        """What is to be told to whom."""
        for (user_ids, rooms), watchers in alike.items():
            if watchers and (user_ids or rooms):
                yield self.portion(watchers, user_ids, rooms)

    def portion(self, watchers: Collection[Watcher], user_ids: tuple[str, ...], rooms: tuple[str, ...]) -> Portion:
        """For those who are to be told of these; perhaps of nothing."""
        if not user_ids and not rooms:
            return Portion(watchers, b"", 0)
        frames = b"".join(self.room(name) for name in rooms) + self.presence(user_ids)
        return Portion(watchers, frames, len(user_ids) + len(rooms))

    def presence(self, user_ids: tuple[str, ...]) -> bytes:
        """PRESENCE_CHANGES of these, perhaps of nobody: it has the position."""
        frame = self._presence.get(user_ids)
        if frame is None:
            records = [self._encoding.record(self.users[user_id]) for user_id in user_ids]
            frame = self._presence[user_ids] = self._encoding.changes(self._position, records)
        return frame

    def room(self, name: str) -> bytes:
        """ROOM_CHANGES."""
        frame = self._room.get(name)
        if frame is None:
            events = self.rooms[name].values()
            frame = self._room[name] = self._encoding.room_changes(
                self._encoding.rooms.get(name),
                name,
                [event.member for event in events if event.member],
                [event.user_id for event in events if event.member is None],
                self._blocked,
            )
        return frame
