"""Units of delivery: events, the messages about them, and the interface of feeds.

    event        one thing that happened, at a position of the journal, such as a change of a user or a room
    batch        encoded messages that some connections receive in one write
    portion      a batch, and the connections that receive it
    feed         decides which messages about which events the connections of one protocol receive

An event travels in one of two lanes. In the *state* lane only the newest event of a key matters. A client that is slow
or reconnects receives the state as it is then. In the *log* lane every event matters. The client receives all events
that it missed, in order, from a history. The feed that encodes an event decides the lane by what its `missed` returns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from presenced.delivery.batch import Batch
from presenced.delivery.connection import Connection


class Event(Protocol):
    """One thing that happened. Events are immutable. A feed encodes an event according to its type."""

    @property
    def position(self) -> int:
        """Place in the order of all events; above those of all earlier events."""


class Portion(NamedTuple):
    """A batch and the connections that receive it."""

    connections: Collection[Connection]
    batch: Batch
    changes: int
    """Number of events in the batch, for the metrics."""


class Missed(NamedTuple):
    """Portions that bring a connection up to a position."""

    portions: Iterator[Portion]
    """Portions of some 20 to 30 KB, encoded when they are sent."""
    position: int
    """Position of the connection once it has received all portions."""


class Feed(Protocol):
    """Source of the messages for the connections of one protocol."""

    def published(self, event: Event) -> None:
        """Handle an event when it is published, before the flush that sends it."""

    def include(self, connection: Connection) -> None:
        """Include a connection, which has received everything so far, in the portions from now on."""

    def exclude(self, connection: Connection) -> bool:
        """Exclude a connection. Return whether it was included."""

    def portions(self, events: Sequence[Event], first_unsent: Mapping[Connection, int]) -> Iterable[Portion]:
        """Return the portions of a flush. A connection is in one portion at most.

        Args:
            first_unsent: Index of the first event to send, for each connection that was included or was sent its part
                after some of these events. All other connections have received none of the events.
        """

    def portion_for(self, connection: Connection, events: Sequence[Event]) -> Portion:
        """Return the messages about some events, all new to one connection, for this connection; perhaps none."""

    def missed(self, connection: Connection, position: int) -> Missed | None:
        """Return the portions that a connection at `position` missed, or the first of them.

        The broadcaster asks again from `Missed.position` until nothing is missing. Return None if the connection can no
        longer be brought up to date.
        """
