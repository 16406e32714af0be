"""Certainty of presenced.v1 in a cluster: the marks in records, and the message CERTAINTY.

A client learns the certainty of its server in two ways, and each of its connections begins anew:

    the connection opens            CONNECTION_ESTABLISHED says since when the server is stale, or nothing
    the certainty changes           CERTAINTY, to all connections at once
    while the client is behind      nothing; the newest CERTAINTY comes with what it missed

A record is marked if its user may have changed unnoticed at the moment of its encoding. CERTAINTY with `live` ends all
marks that a client has received, so no record is sent again because of its mark. Nothing marked may follow it:

    connection   why
    keeps up     everything published is encoded before CERTAINTY, and the stored snapshot of everyone is dropped
    behind       CERTAINTY follows the portions that the connection had still to receive, whenever they were encoded

A slow client may receive marks before it hears that the server is stale, or if it never does. So it is sent the newest
certainty after each turn, even if that is what it knew before.

A node without a cluster uses nothing of this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from msgspec import Raw

from presenced.delivery.batch import Batch
from presenced.delivery.connection import Connection
from presenced.delivery.events import Portion
from presenced.presence.certainty import Certainty
from presenced.presence.model import Change, Status
from presenced.presence.rooms import RoomMember, Rooms
from presenced.presence.users import Users
from presenced.protocols.names import Names
from presenced.protocols.v1 import codec
from presenced.protocols.v1 import messages as wire
from presenced.protocols.v1.encoder import MAX_RECORDS, V1Encoder

STALE = "stale"
"""Value of `certainty` of a record that may be old."""


class MarkingEncoder(V1Encoder):
    """Encoder that marks the records of users who may have changed unnoticed.

    Bounds: as for `V1Encoder`. Marked records are in the same cache under the negative position of their change, so a
    mark is never served for a user who is certain, and no change of certainty has to empty the cache.
    """

    def __init__(
        self,
        users: Users[Connection],
        rooms: Rooms,
        names: Names,
        shows_causes: bool,
        page_size: int,
        certainty: Certainty,
    ) -> None:
        super().__init__(users, rooms, names, shows_causes, page_size)
        self.certainty = certainty
        if not shows_causes:
            self.with_causes = MarkingEncoder(users, rooms, names, True, page_size, certainty)

    def record(self, change: Change) -> Raw:
        """As for `V1Encoder`."""
        if not self.certainty.is_stale(change.user_id, change.status):
            return super().record(change)
        record = self._records.get(-change.position)
        if record is None:
            record = self._records[-change.position] = codec.record(change, self._shows_causes, STALE)
            if len(self._records) > MAX_RECORDS:
                self._records.popitem(last=False)
        return record

    def uncached(self, change: Change) -> Raw:
        """As for `V1Encoder`."""
        is_stale = self.certainty.is_stale(change.user_id, change.status)
        return codec.record(change, self._shows_causes, STALE if is_stale else "")

    def unknown(self, user_id: str, version: int) -> Raw:
        """As for `V1Encoder`."""
        is_stale = self.certainty.is_stale(user_id, Status.OFFLINE)
        return Raw(codec.encode(codec.unknown_user(user_id, version, STALE if is_stale else "")))

    def member(self, member: RoomMember) -> Raw:
        """As for `V1Encoder`, but a member with a mark is encoded each time, from the encoded record."""
        [seen] = self.users.changes_of((member.user_id,))
        if seen is None or not self.certainty.is_stale(seen.user_id, seen.status):
            return super().member(member)
        return codec.member_record(member, self.record(seen))


class CertaintyNotices:
    """What each connection of presenced.v1 knows about the certainty of its server.

    Bounds: the open connections.
    """

    def __init__(self, certainty: Certainty) -> None:
        self._certainty = certainty
        self._told: dict[Connection, int] = {}
        """Last turn of the certainty that each connection has heard of."""

    def opened(self, connection: Connection) -> int:
        """Return `staleSince` of the first message of a connection, which knows the certainty from now on."""
        self._told[connection] = self._certainty.turns
        return self._certainty.stale_since_ms

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._told.pop(connection, None)

    def news(self, connections: Collection[Connection]) -> Iterator[Portion]:
        """Return CERTAINTY for those of the connections that have not heard of the last turn when it is sent."""
        turns, since_ms = self._certainty.turns, self._certainty.stale_since_ms
        found = [connection for connection in connections if self._told[connection] != turns]
        if found:
            self._told.update(dict.fromkeys(found, turns))
            message = wire.Certainty("stale", since_ms) if since_ms else wire.Certainty("live")
            yield Portion(found, Batch((codec.encode(message),)), 0)
