"""Snapshots of presenced.v1: the users who are online at one moment, in pages that are encoded when first needed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence, Set
from math import isqrt
from typing import Literal

from msgspec import Raw

from presenced.delivery.batch import Batch
from presenced.delivery.connection import Connection
from presenced.delivery.events import Portion
from presenced.presence.model import Change, Status
from presenced.presence.visibility import Visibility
from presenced.protocols.v1 import codec
from presenced.protocols.v1.encoder import V1Encoder
from presenced.protocols.v1.messages import PresenceSnapshot

REUSE_FACTOR = 20
"""Factor that decides how long a snapshot of everyone is reused.

When many clients connect at once, one snapshot serves them all. Each client also receives the changes since then. The
snapshot is reused while those changes number at most the square root of (this factor times its users): 632 for 20,000
users. Encoding a user costs some ten times as much as sending an encoded one. At that point, sending the changes has
cost about as much as a new snapshot would."""

SMALL_USERS = 500
"""Number of users up to which a snapshot is made each time, because most are encoded already (`V1Encoder.record`)."""


class Snapshot:
    """The state of some users at one moment. Its pages are shared by all connections that receive it.

    Args:
        changes: The last change of each user, or the id of a user without known presence.
    """

    def __init__(self, encoder: V1Encoder, kind: Literal["everyone", "users"], changes: Sequence[Change | str]) -> None:
        self.position = encoder.users.journal.position
        self._version = encoder.users.versions.of_unknown()  # read now, because pages are encoded later
        self._encoder = encoder
        self._kind: Literal["everyone", "users"] = kind
        self._changes = changes
        self._records: list[Raw] | None = None  # None until `without` needs them
        self._pages: list[Batch] = []

    def __len__(self) -> int:
        return len(self._changes)

    def without(self, blocked: Set[str]) -> Snapshot:
        """Return this snapshot without some users. All snapshots made from this one share the encoded records."""
        visible = [i for i, c in enumerate(self._changes) if isinstance(c, str) or c.user_id not in blocked]
        if len(visible) == len(self._changes):
            return self
        if self._records is None:
            self._records = [self._record(change) for change in self._changes]
        rest = Snapshot(self._encoder, self._kind, [self._changes[index] for index in visible])
        rest.position, rest._version = self.position, self._version
        rest._records = [self._records[index] for index in visible]
        return rest

    def portions(self, connection: Connection) -> Iterator[Portion]:
        """Return all pages as portions. There is one page even if there is no user."""
        size = self._encoder.page_size
        pages = max(1, -(-len(self._changes) // size))
        for number in range(pages):
            start, end = number * size, min((number + 1) * size, len(self._changes))
            if number == len(self._pages):
                records = self._records[start:end] if self._records else map(self._record, self._changes[start:end])
                page = PresenceSnapshot(self._kind, number + 1, pages, list(records))
                self._pages.append(Batch((codec.encode(page),)))
            yield Portion((connection,), self._pages[number], end - start)

    def _record(self, change: Change | str) -> Raw:
        if isinstance(change, str):
            return self._encoder.unknown(change, self._version(change))
        return self._encoder.record(change)


class Snapshots:
    """Makes snapshots.

    Bounds: the last snapshot of everyone is stored, about 80 bytes per user. It grows by 150 bytes per user once a
    client that blocks one of them has received it.
    """

    def __init__(self, encoder: V1Encoder) -> None:
        self._encoder = encoder
        self._last: Snapshot | None = None
        self._erasures = 0  # `Journal.erasures` at that snapshot

    def make(
        self, everyone: bool, user_ids: Collection[str], visibility: Visibility, may_be_older: bool = False
    ) -> list[Snapshot]:
        """Return snapshots of everyone, or else of these users, for a client with this visibility; none for nobody.

        A snapshot of everyone has no users who are offline. If `user_ids` has some of these, a second snapshot says
        when they were last seen. Without `everyone`, users whom the client may not see look like unknown users.
        """
        changes = self._encoder.users.snapshot_of(visibility.among(user_ids))
        if everyone:
            offline = [change for change in changes if change.status is Status.OFFLINE]
            named = [Snapshot(self._encoder, "users", offline)] if offline else []
            return [self._visible_everyone(visibility, may_be_older), *named]
        if not user_ids:
            return []
        unknown = set(user_ids).difference(change.user_id for change in changes)
        return [Snapshot(self._encoder, "users", [*changes, *unknown])]

    def _visible_everyone(self, visibility: Visibility, may_be_older: bool) -> Snapshot:
        """Return a snapshot of everyone that a client with this visibility may see."""
        if visibility.everyone:
            found = self._new_or_last(may_be_older)
            return found.without(visibility.blocked) if visibility.blocked else found
        changes = self._encoder.users.snapshot_of(visibility.users)
        return Snapshot(self._encoder, "everyone", [c for c in changes if c.status is not Status.OFFLINE])

    def _new_or_last(self, may_be_older: bool) -> Snapshot:
        """Return a snapshot of everyone, perhaps the last one."""
        users = self._encoder.users
        last = self._last
        if last is not None and may_be_older and self._erasures == users.journal.erasures:
            age = users.journal.position - last.position
            if (
                len(last) > SMALL_USERS
                and age <= isqrt(REUSE_FACTOR * len(last))
                and users.log.since(last.position, 1) is not None
            ):
                return last
        self._last, self._erasures = Snapshot(self._encoder, "everyone", users.snapshot()), users.journal.erasures
        return self._last

    def forget(self) -> None:
        """Forget the last snapshot of everyone, so that the next one is new."""
        self._last = None

    def room(self, name: str, connection: Connection) -> Iterator[Portion]:
        """Return the pages of a room as portions."""
        for page, members in self._encoder.room_pages(name, connection.session.visibility.blocked):
            yield Portion((connection,), Batch((page,)), members)
