"""What is delivered: events, the messages that tell of them, and the interface of feeds.

    event        one thing that happened, at a position of the journal: a change of a user, of a room, ...
    batch        encoded messages that some connections receive in one write
    portion      a batch, and the connections that receive it
    feed         decides for the connections of one protocol which messages tell of which events

An event travels in one of two lanes. In the *state* lane only the newest event of a key matters: a client that is slow
or comes back receives the state as it is then. In the *log* lane every event matters: a client receives those that it
missed, in order, from a history. The feed that encodes an event decides the lane by what its `missed` returns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from presenced.delivery.connection import Connection


class Event(Protocol):
    """One thing that happened. Events are immutable; feeds find their encoding by type."""

    @property
    def position(self) -> int:
        """Place in the order of all events; above those of all earlier events."""


class Batch:
    """Encoded messages, in order, for one connection or many.

    `cache` is for transports: their form of the messages, made once for all connections that receive the batch.
    """

    __slots__ = ("cache", "messages")

    def __init__(self, messages: Sequence[bytes] = ()) -> None:
        self.messages = messages
        self.cache: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self.messages)


EMPTY = Batch()


class Portion(NamedTuple):
    """What some connections are sent."""

    connections: Collection[Connection]
    batch: Batch
    changes: int
    """Number of events in the batch, for the metrics."""


class Missed(NamedTuple):
    """What a connection has to be sent, and the position that it has reached then."""

    portions: Iterator[Portion]
    """Portions of some 20 KB, encoded when they are sent."""
    position: int


class Feed(Protocol):
    """What the connections of one protocol are sent."""

    def published(self, event: Event) -> None:
        """Take note of an event that the next flush will send."""

    def join(self, connection: Connection) -> None:
        """Include a connection in the portions from now on: it keeps up."""

    def leave(self, connection: Connection) -> bool:
        """Exclude a connection. Return whether it was included."""

    def portions(self, events: Sequence[Event], joined: Mapping[Connection, int]) -> Iterable[Portion]:
        """Return the portions of a flush. A connection is in one portion at most.

        Args:
            joined: Connections that joined during the flush's events, with the index of the first event they have not
                received. All others have received none of the events.
        """

    def part(self, connection: Connection, events: Sequence[Event]) -> Portion:
        """Return what one connection, which has received none of the events, is sent of them; perhaps nothing."""

    def missed(self, connection: Connection, position: int) -> Missed | None:
        """Return what a connection at `position` missed, or the first part of it.

        None if it cannot be brought up to date any more.
        """
