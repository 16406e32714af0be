"""Snapshots of presenced.v1: who is here at one moment, in pages that are encoded when first asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence, Set
from math import isqrt
from typing import Literal

from msgspec import Raw

from presenced.delivery.connection import Connection
from presenced.delivery.events import Batch, Portion
from presenced.presence.model import Change, Status
from presenced.presence.visibility import Visibility
from presenced.protocols.v1 import codec as wire
from presenced.protocols.v1.encoder import Encoding

AGE = 20
"""In a storm of connections, a snapshot of everyone is made once for many: it is given to the next one, with the
changes since, as long as those are at most the root of so many times its users. Encoding a user costs some ten times
what sending one that is encoded already does, so that at this age one more change would cost more than a new snapshot
saves: of 20,000 users, 630."""

SMALL = 500
"""Of so many users it is made each time: most of them are encoded already (`Encoding.record`)."""


class Snapshot:
    """What is seen of some users at one moment. Who iterates over its pages shares them with others.

    Args:
        changes: The last one of each user, or the id of a user of whom nothing is known.
    """

    def __init__(self, encoding: Encoding, kind: Literal["everyone", "users"], changes: Sequence[Change | str]) -> None:
        self.position = encoding.directory.journal.position
        self._newest = encoding.directory.versions.newest  # now, not when the page is encoded
        self._encoding = encoding
        self._kind: Literal["everyone", "users"] = kind
        self._changes = changes
        self._records: list[Raw] | None = None  # kept once somebody asked for it `without` some users
        self._pages: list[Batch] = []

    def __len__(self) -> int:
        return len(self._changes)

    def without(self, blocked: Set[str]) -> Snapshot:
        """The same moment without these users; for the next who asks, the records of all are encoded already."""
        kept = [i for i, c in enumerate(self._changes) if isinstance(c, str) or c.user_id not in blocked]
        if len(kept) == len(self._changes):
            return self
        if self._records is None:
            self._records = [self._record(change) for change in self._changes]
        seen = Snapshot(self._encoding, self._kind, [self._changes[index] for index in kept])
        seen.position, seen._newest = self.position, self._newest
        seen._records = [self._records[index] for index in kept]
        return seen

    def portions(self, watcher: Connection) -> Iterator[Portion]:
        """All pages; there is one even when there is nobody."""
        size = self._encoding.page_size
        pages = max(1, -(-len(self._changes) // size))
        for number in range(pages):
            start, end = number * size, min((number + 1) * size, len(self._changes))
            if number == len(self._pages):
                records = self._records[start:end] if self._records else map(self._record, self._changes[start:end])
                page = wire.snapshot_page(self._kind, number + 1, pages, list(records))
                self._pages.append(Batch((page,)))
            yield Portion((watcher,), self._pages[number], end - start)

    def _record(self, change: Change | str) -> Raw:
        if isinstance(change, str):
            return self._encoding.unknown(change, self._newest)
        return self._encoding.record(change)


class Snapshots:
    """Makes them.

    Bounds: the last one of everyone is kept, some 80 bytes for each user; 150 more once somebody asked who does not
    see one of them.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._last: Snapshot | None = None

    def everyone(self, may_be_older: bool, blocked: Set[str]) -> Snapshot:
        """Of everyone who is not offline, but these; one that is a little older and at hand may do."""
        found = self._everyone(may_be_older)
        return found.without(blocked) if blocked else found

    def _everyone(self, may_be_older: bool) -> Snapshot:
        directory = self._encoding.directory
        last = self._last
        if last is not None and may_be_older:
            age = directory.journal.position - last.position
            if len(last) > SMALL and age <= isqrt(AGE * len(last)) and directory.since(last.position, 1) is not None:
                return last
        self._last = Snapshot(self._encoding, "everyone", directory.snapshot())
        return self._last

    def those_seen(self, user_ids: Collection[str]) -> Snapshot:
        """Of everyone, for one who may see these only."""
        found = self._encoding.directory.snapshot_of(user_ids)
        return Snapshot(self._encoding, "everyone", [c for c in found if c.status is not Status.OFFLINE])

    def users(self, user_ids: Collection[str], visibility: Visibility) -> Snapshot:
        """Of all these users; those who may not be seen look like those who never were."""
        changes = self._encoding.directory.snapshot_of(visibility.among(user_ids))
        unknown = set(user_ids).difference(change.user_id for change in changes)
        return Snapshot(self._encoding, "users", [*changes, *unknown])

    def room(self, name: str, watcher: Connection) -> Iterator[Portion]:
        """The pages of a room."""
        for page, members in self._encoding.room_pages(name, watcher.session.visibility.blocked):
            yield Portion((watcher,), Batch((page,)), members)
