"""What watchers of presenced.v1 are sent: what they watch, each user once per message, with their last status."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from msgspec import Raw

from presenced.core.directory import Directory
from presenced.core.model import Change
from presenced.core.watch import Watch, WatchIndex
from presenced.outbox import Missed, Portion, Watcher
from presenced.wire import v1 as wire

CATCH_UP = 256
"""Changes of everyone in one message to a watcher that catches up: some 30 KB."""

FRESH_ENOUGH = 0.25
"""A snapshot is given to the next one who asks, with the changes since, as long as those are at most so many of its
users: in a storm of connections it is made and encoded once."""

Kind = Literal["everyone", "users"]


class Snapshot:
    """What is seen of some users at one moment, in pages that are encoded when first asked for."""

    def __init__(self, feed: V1Feed, kind: Kind, changes: Sequence[Change]) -> None:
        self.position = feed.directory.position
        self._feed = feed
        self._kind: Kind = kind
        self._changes = changes
        self._pages: list[bytes] = []

    def __len__(self) -> int:
        return len(self._changes)

    def portions(self, watcher: Watcher) -> Iterator[Portion]:
        """All pages; there is one even when there is nobody."""
        size = self._feed.page_size
        pages = max(1, -(-len(self._changes) // size))
        for number in range(pages):
            part = self._changes[number * size : (number + 1) * size]
            if number == len(self._pages):
                records = [self._feed.record(change) for change in part]
                position = self._feed.position_text(self.position)
                self._pages.append(wire.snapshot_frame(position, self._kind, number + 1, pages, records))
            yield Portion((watcher,), self._pages[number], len(part))


class V1Feed:
    """Implements `outbox.Feed`.

    Args:
        epoch: What positions of this start of the server begin with; letters and digits.
        with_causes: Tell everyone why a user changed.
        page_size: Users in one page of a snapshot.
    """

    def __init__(self, directory: Directory[Any], epoch: str, with_causes: bool, page_size: int) -> None:
        self.directory = directory
        self.page_size = page_size
        self._epoch = epoch
        self._with_causes = with_causes
        self._index: WatchIndex[Watcher] = WatchIndex()
        self._live: set[Watcher] = set()
        self._snapshot: weakref.ref[Snapshot] | None = None

    # Implements Feed.

    def join(self, watcher: Watcher) -> None:
        """It keeps up."""
        self._live.add(watcher)
        self._index.add(watcher, self.watch_of(watcher))

    def leave(self, watcher: Watcher) -> bool:
        """It does not, or is gone."""
        if watcher not in self._live:
            return False
        self._live.discard(watcher)
        self._index.remove(watcher, self.watch_of(watcher))
        return True

    def portions(self, batch: Sequence[Change], joined: Mapping[Watcher, int]) -> Iterable[Portion]:
        """One for all that watch everyone, and one for each set of changes that some others are to have."""
        if not self._live:
            return
        last = {change.user_id: index for index, change in enumerate(batch)}
        records: dict[int, Raw] = {}
        wanted: dict[tuple[int, ...], list[Watcher]] = {}
        everyone = self._index.everyone
        if everyone:
            late = [watcher for watcher in joined if watcher in everyone]
            wanted[tuple(last.values())] = list(everyone.keys() - late) if late else list(everyone)
            for watcher in late:
                newer = tuple(index for index in last.values() if index >= joined[watcher])
                wanted.setdefault(newer, []).append(watcher)
        for watcher, listed in self._by_list(last, joined).items():
            wanted.setdefault(tuple(listed), []).append(watcher)
        position = self.position_text(batch[-1].position) if batch else ""
        for indices, watchers in wanted.items():
            for index in indices:
                if index not in records:
                    records[index] = self.record(batch[index])
            if indices and watchers:
                yield Portion(watchers, wire.changes_frame(position, [records[i] for i in indices]), len(indices))

    def missed(self, watcher: Watcher, position: int) -> Missed | None:
        """The truth about the user, and the last change of each watched user who changed; or it all."""
        watch, now = self.watch_of(watcher), self.directory.position
        if watch.everyone:
            changes = self.directory.since(position, CATCH_UP)
            if changes is None:
                return self.all(watcher)
            if len(changes) == CATCH_UP:
                now = changes[-1].position
            records = [self.record(change) for change in changes]
        else:
            changes, unknown = self.directory.since_of(position, watch.users)
            records = [self.record(change) for change in changes]
            records += [wire.unknown_record(user_id, now) for user_id in unknown]
        frames = self.self_frame(watcher)
        if records:
            frames += wire.changes_frame(self.position_text(now), records)
        return Missed(iter((Portion((watcher,), frames, len(records)),) if frames else ()), now)

    # Beyond Feed.

    def all(self, watcher: Watcher) -> Missed:
        """The truth about the user, and a snapshot of what `watcher` watches."""
        watch = self.watch_of(watcher)
        first = iter((Portion((watcher,), self.self_frame(watcher), 0),))
        if watch.everyone:
            snapshot = self._of_everyone()
        elif watch.users:
            snapshot = self._of_users(watch.users)
        else:
            return Missed(first, self.directory.position)
        return Missed(chain(first, snapshot.portions(watcher)), snapshot.position)

    def news(self, watcher: Watcher, everyone: bool, user_ids: Iterable[str]) -> Missed:
        """A snapshot of what `watcher` watches newly."""
        snapshot = Snapshot(self, "everyone", self.directory.snapshot()) if everyone else self._of_users(user_ids)
        return Missed(snapshot.portions(watcher), snapshot.position)

    def watch(self, watcher: Watcher, everyone: bool, user_ids: Iterable[str]) -> None:
        """`watcher`, which keeps up, watches these, too."""
        watch = self.watch_of(watcher)
        watch.everyone = watch.everyone or everyone
        watch.users.update(user_ids)
        if watcher in self._live:
            self._index.add(watcher, watch)

    def unwatch(self, watcher: Watcher, everyone: bool, user_ids: Iterable[str]) -> None:
        """`watcher` no longer watches these."""
        watch, live = self.watch_of(watcher), watcher in self._live
        if live:
            self._index.remove(watcher, watch)
        watch.everyone = watch.everyone and not everyone
        watch.users.difference_update(user_ids)
        if live:
            self._index.add(watcher, watch)

    def watch_of(self, watcher: Watcher) -> Watch:
        """What it watches; changed only by `watch` and `unwatch`."""
        watch = watcher.session.watch
        assert watch is not None, "a session of presenced.v1 has one"
        return watch

    def self_frame(self, watcher: Watcher) -> bytes:
        """SELF, as it is now."""
        own = self.directory.own(watcher.session.user_id)
        return wire.self_frame(own) if own else b""

    def record(self, change: Change) -> Raw:
        """What is seen of the user after `change`."""
        return wire.record(change, self._with_causes)

    def position_text(self, position: int) -> str:
        """What a client is told as its position."""
        return f"{self._epoch}-{position}"

    def position_number(self, text: str) -> int | None:
        """The position a client says it is at; None when it is not one of this server's."""
        epoch, _, number = text.partition("-")
        if epoch != self._epoch or not (number.isascii() and number.isdigit() and len(number) < 20):
            return None
        return int(number) if int(number) <= self.directory.position else None

    def _of_users(self, user_ids: Iterable[str]) -> Snapshot:
        return Snapshot(self, "users", self.directory.snapshot_of(user_ids))

    def _of_everyone(self) -> Snapshot:
        snapshot = self._snapshot() if self._snapshot else None
        if snapshot is not None:
            age = self.directory.position - snapshot.position
            if age <= FRESH_ENOUGH * len(snapshot) and self.directory.since(snapshot.position, 1) is not None:
                return snapshot
        snapshot = Snapshot(self, "everyone", self.directory.snapshot())
        self._snapshot = weakref.ref(snapshot)
        return snapshot

    def _by_list(self, last: Mapping[str, int], joined: Mapping[Watcher, int]) -> dict[Watcher, list[int]]:
        """For each that watches users by id and not everyone, the changes it is to have."""
        found: dict[Watcher, list[int]] = {}
        everyone = self._index.everyone
        for user_id, index in last.items():
            for watcher in self._index.watchers_of(user_id):
                if watcher not in everyone and index >= joined.get(watcher, 0):
                    found.setdefault(watcher, []).append(index)
        return found
