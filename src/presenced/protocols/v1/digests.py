"""What watchers of presenced.v1 are told once a second: large rooms, and numbers instead of names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial

from presenced.delivery.connection import Connection
from presenced.delivery.events import Batch, Event, Portion
from presenced.presence.model import Change
from presenced.presence.rooms import Member, Mode, RoomChange
from presenced.presence.subscriptions import Set as Watched
from presenced.presence.subscriptions import Watch, WatchIndex
from presenced.presence.visibility import NOBODY
from presenced.protocols.v1.encoder import Encoding

PERIOD = 1.0
"""Seconds between two digests."""


class _Digest:
    """What has happened in one room since it was told of last."""

    __slots__ = ("at", "before", "users")

    def __init__(self, position: int) -> None:
        self.at = position
        """The position of the last digest."""
        self.before = position
        """Of the one before."""
        self.users: set[str] = set()
        """Members whose presence changed since."""


class Digests:
    """Collects, and says once a second who is to be sent what.

    Bounds: by the rooms that are in another mode than full, and their members; by what is counted.
    """

    def __init__(self, encoding: Encoding, watchers_of_room: Callable[[str], Collection[Connection]]) -> None:
        self._encoding = encoding
        self._watchers_of_room = watchers_of_room
        self._rooms: dict[str, _Digest] = {}
        """Those in another mode than full, or that were at the last digest."""
        self._changed: set[str] = set()
        """Rooms of which something is to be told."""
        self._counting: WatchIndex[Connection] = WatchIndex()
        self._turned: set[str] = set()
        """Users who came or went, while somebody watches the number of all."""
        self._recount_rooms: dict[str, set[str]] = {}
        """Rooms whose number is watched, and of whom there is something to tell there."""
        self._recount: set[Connection] = set()
        """Who watches the number of some users, of whom one came or went."""

    def __len__(self) -> int:
        """How many rooms are told of once a second."""
        return len(self._rooms)

    def join(self, watcher: Connection) -> None:
        """`watcher` keeps up."""
        self._counting.add(watcher, watcher.session.visibility.of(watch_of(watcher).counted))

    def leave(self, watcher: Connection) -> None:
        """`watcher` does not, or is gone."""
        self._counting.remove(watcher, watcher.session.visibility.of(watch_of(watcher).counted))
        self._recount.discard(watcher)

    def is_digested(self, room: str) -> bool:
        """Whether the room is told of once a second, and not at once."""
        return room in self._rooms

    def note(self, event: Event) -> bool:
        """Something happened. Whether there is anything to tell in the next digest."""
        if isinstance(event, RoomChange):
            room = self._encoding.rooms.get(event.room)
            if event.room not in self._rooms and room and room.mode is not Mode.FULL:
                self._rooms[event.room] = _Digest(event.position - 1)
            if event.room in self._rooms:
                self._changed.add(event.room)
            if self._counting.watchers_of_room(event.room):
                self._recount_rooms.setdefault(event.room, set()).add(event.user_id)
        elif isinstance(event, Change):
            self._note_change(event)
        return bool(self._changed or self._turned or self._recount_rooms or self._recount)

    def _note_change(self, change: Change) -> None:
        if change.is_turn:
            if self._counting.everyone:
                self._turned.add(change.user_id)
            self._recount.update(self._counting.watchers_of(change.user_id))
        if self._rooms:
            for name in self._encoding.rooms.of(change.user_id):
                if (digest := self._rooms.get(name)) is not None:
                    digest.users.add(change.user_id)
                    self._changed.add(name)

    def due(self, now: int) -> Iterator[Portion]:
        """Everything that has come together, for those that keep up; they are at the position `now` then."""
        for name in self._changed:
            yield from self._of_room(name, now)
        self._changed.clear()
        encoding = self._encoding
        if self._turned:
            yield from _counted(self._counting.everyone, self._turned, encoding.count_everyone)
        for name, users in self._recount_rooms.items():
            yield from _counted(self._counting.watchers_of_room(name), users, partial(encoding.count_room, name))
        for watcher in tuple(self._recount):
            yield Portion((watcher,), Batch(list(self._counts_of_users(watcher, watch_of(watcher).counted))), 1)
        self._turned.clear()
        self._recount_rooms.clear()
        self._recount.clear()

    def counts(self, watcher: Connection) -> Iterator[bytes]:
        """The numbers that `watcher` watches, as they are now."""
        return self.counts_of(watcher, watch_of(watcher).counted)

    def counts_of(self, watcher: Connection, counted: Watched) -> Iterator[bytes]:
        """Return the counts of `counted` for `watcher`."""
        visibility = watcher.session.visibility
        if counted.everyone and visibility.everyone:
            yield self._encoding.count_everyone(visibility.blocked)
        yield from self._counts_of_users(watcher, counted)
        for name in counted.rooms:
            yield self._encoding.count_room(name, visibility.blocked)

    def _counts_of_users(self, watcher: Connection, counted: Watched) -> Iterator[bytes]:
        visibility = watcher.session.visibility
        if counted.everyone and not visibility.everyone:
            yield self._encoding.count_seen(visibility.users)
        if counted.users:
            yield self._encoding.count_users(visibility.among(counted.users))

    def surely_had(self, room: str, position: int) -> int | None:
        """The position up to which a watcher that is at `position` has all of a room; None when that is not known.

        What is told of once a second may lag behind the position of what is told at once.
        """
        digest, known = self._rooms.get(room), self._encoding.rooms.get(room)
        if digest is None:
            return position if known is None or position > known.digested_until else None
        if position > digest.at:
            return digest.at
        return digest.before if position > digest.before else None

    def _of_room(self, name: str, now: int) -> Iterator[Portion]:
        encoding, digest = self._encoding, self._rooms[name]
        room = encoding.rooms.get(name)
        found = room.since(digest.at) if room else None
        users, digest.users = digest.users, set()
        digest.before, digest.at = digest.at, now
        if room is None or room.mode is Mode.FULL:
            del self._rooms[name]
        if room is not None:
            room.digested_until = now
        watchers = self._watchers_of_room(name)
        shared: dict[Encoding, list[Connection]] = {}
        for watcher in watchers:
            if not watcher.session.visibility.blocked:
                shared.setdefault(encoding.of(watcher.session.visibility), []).append(watcher)
        for one, alike in shared.items():
            yield from self._news_of_room(one, name, alike, found, users, now, NOBODY)
        for watcher in watchers:
            if blocked := watcher.session.visibility.blocked:
                seen = found and (
                    [member for member in found[0] if member.user_id not in blocked],
                    [user_id for user_id in found[1] if user_id not in blocked],
                )
                if seen is None or seen[0] or seen[1] or users - blocked:
                    one = encoding.of(watcher.session.visibility)
                    yield from self._news_of_room(one, name, (watcher,), seen, users - blocked, now, blocked)

    def _news_of_room(
        self,
        encoding: Encoding,
        name: str,
        watchers: Collection[Connection],
        found: tuple[list[Member], list[str]] | None,
        users: set[str],
        now: int,
        blocked: frozenset[str],
    ) -> Iterator[Portion]:
        room = encoding.rooms.get(name)
        if encoding.room_mode(room, blocked) is Mode.COUNTS:
            messages, users = [encoding.room_changes(room, name, [], [], blocked)], set()
        elif found is not None:
            messages = [encoding.room_changes(room, name, *found, blocked)]
            users = users - {member.user_id for member in found[0]}
        else:  # it is empty, or was meanwhile, or more have left than are remembered
            messages, users = [page for page, _ in encoding.room_pages(name, blocked)], set()
        nameless = [watcher for watcher in watchers if full_of(watcher).everyone]
        if nameless:
            yield Portion(nameless, Batch([*messages, encoding.changes(now, [])]), 1)
        others = [watcher for watcher in watchers if not full_of(watcher).everyone]
        if others:
            seen = encoding.directory.snapshot_of(users)
            yield Portion(others, Batch([*messages, encoding.changes_of(now, seen)]), 1 + len(seen))


def _counted(
    watchers: Collection[Connection], users: set[str], count: Callable[[frozenset[str]], bytes]
) -> Iterator[Portion]:
    """A number for those that watch it; none for who sees nobody of `users`, by whom it may have become another."""
    if shared := [watcher for watcher in watchers if not watcher.session.visibility.blocked]:
        yield Portion(shared, Batch((count(NOBODY),)), 1)
    for watcher in watchers:
        if (blocked := watcher.session.visibility.blocked) and not users <= blocked:
            yield Portion((watcher,), Batch((count(blocked),)), 1)


def watch_of(watcher: Connection) -> Watch:
    """What it watches. To be changed only while it is not in the feed."""
    watch = watcher.session.watch
    assert watch is not None, "a session of presenced.v1 has one"
    return watch


def full_of(watcher: Connection) -> Watched:
    """What it is told of by name: of what it watches, what it may see."""
    return watcher.session.visibility.of(watch_of(watcher).full)
