"""Certainty of presenced.v1 in a cluster: the marks in records, and the message CERTAINTY.

Each connection learns the certainty of its server on its own, whatever an earlier connection of the client was sent:

    the connection opens            CONNECTION_ESTABLISHED says since when the server is stale, or nothing
    the certainty changes           CERTAINTY, to all connections at once
    while the client is behind      nothing; the newest CERTAINTY comes with what the client missed

A record is marked if its user may have changed unnoticed when the record is encoded. CERTAINTY with `live` ends all
marks that a client has received, so no record is sent again because of its mark. No marked record may follow that
message:

    connection   why
    keeps up     everything published is encoded before CERTAINTY, and the stored snapshot of everyone is dropped
    behind       CERTAINTY follows all portions that the connection still has to receive, whenever they were encoded

A slow client may receive marked records before the message that the server is stale, or without that message. It is
therefore sent CERTAINTY after each change, even if the certainty is again the one that it knows.

A node without a cluster uses nothing of this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from msgspec import Raw

from presenced.delivery.batch import Batch
from presenced.delivery.connection import Connection
from presenced.delivery.events import Portion
from presenced.presence.certainty import NodeCertainty
from presenced.presence.model import Change, Status
from presenced.presence.rooms import Membership, Rooms
from presenced.presence.users import Users
from presenced.protocols.names import Names
from presenced.protocols.v1 import codec
from presenced.protocols.v1 import messages as wire
from presenced.protocols.v1.encoder import V1Encoder

STALE = "stale"
"""Value of `certainty` of a record that may be old."""


class MarkingEncoder(V1Encoder):
    """Encoder that marks the records of users who may have changed unnoticed.

    Bounds: as for `V1Encoder`. Marked records are in the same cache under the negative position of their change. So a
    mark is never served for a user who is certain, and a change of certainty need not empty the cache.
    """

    def __init__(
        self,
        users: Users[Connection],
        rooms: Rooms,
        names: Names,
        shows_causes: bool,
        page_size: int,
        certainty: NodeCertainty,
    ) -> None:
        super().__init__(users, rooms, names, shows_causes, page_size)
        self.certainty = certainty
        if not shows_causes:
            self.with_causes = MarkingEncoder(users, rooms, names, True, page_size, certainty)

    def record(self, change: Change) -> Raw:
        """Return the same as `V1Encoder`, with a mark if the user may have changed."""
        if not self.certainty.is_stale(change.user_id, change.status):
            return super().record(change)
        cached = self._records.get(-change.position)
        if cached is not None and cached[0] is change:
            return cached[1]
        return self._cache(-change.position, change, codec.record(change, self._shows_causes, STALE))

    def uncached(self, change: Change) -> Raw:
        """Return the same as `V1Encoder`, with a mark if the user may have changed."""
        is_stale = self.certainty.is_stale(change.user_id, change.status)
        return codec.record(change, self._shows_causes, STALE if is_stale else "")

    def unknown(self, user_id: str, version: int) -> Raw:
        """Return the same as `V1Encoder`, with a mark if the user may have changed."""
        is_stale = self.certainty.is_stale(user_id, Status.OFFLINE)
        return Raw(codec.encode(codec.unknown_user(user_id, version, STALE if is_stale else "")))

    def member(self, member: Membership) -> Raw:
        """Return the same as `V1Encoder`. A member with a mark is encoded each time, from the encoded record."""
        [seen] = self.users.changes_of((member.user_id,))
        if seen is None or not self.certainty.is_stale(seen.user_id, seen.status):
            return super().member(member)
        return codec.member_record(member, self.record(seen))


class CertaintyNotices:
    """Messages about certainty, for the connections of presenced.v1 that do not know the current one.

    Bounds: the open connections.
    """

    def __init__(self, certainty: NodeCertainty) -> None:
        self._certainty = certainty
        self._known_transitions: dict[Connection, int] = {}
        """`NodeCertainty.transitions` when each connection was last sent the certainty."""

    def opened(self, connection: Connection) -> int:
        """Return `staleSince` of the first message of a connection, which knows the certainty from now on."""
        self._known_transitions[connection] = self._certainty.transitions
        return self._certainty.stale_since_ms

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._known_transitions.pop(connection, None)

    def newest(self, connections: Collection[Connection]) -> Iterator[Portion]:
        """Return CERTAINTY for those connections that do not know the certainty at the time of sending."""
        transitions, since_ms = self._certainty.transitions, self._certainty.stale_since_ms
        found = [connection for connection in connections if self._known_transitions[connection] != transitions]
        if found:
            self._known_transitions.update(dict.fromkeys(found, transitions))
            message = wire.Certainty("stale", since_ms) if since_ms else wire.Certainty("live")
            yield Portion(found, Batch((codec.encode(message),)), 0)
