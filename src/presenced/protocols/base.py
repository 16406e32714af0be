"""What the node and the protocols know of each other: connections, events and feeds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import inf, nextafter
from typing import Any, NamedTuple, Protocol

from presenced.errors import Close
from presenced.presence.model import Change
from presenced.presence.rooms import RoomChange
from presenced.presence.session import Session
from presenced.runtime.instant import Instant

Event = Change | RoomChange


class Watcher(Protocol):
    """A connection that hears of others."""

    @property
    def paused(self) -> bool:
        """Its transport holds more than it should: write nothing more."""

    @property
    def send(self) -> Callable[[bytes], None]:
        """Hand finished frames to the transport. Never raises; may make `paused` true."""

    @property
    def feed(self) -> Feed:
        """What it is sent, and how."""

    @property
    def session(self) -> Session[Any]:
        """The client instance it belongs to."""

    serial: int
    """A number of its own."""

    file: int
    """The number of its socket's file if its transport surely holds nothing, so that bytes written to it come after all
    that was sent; else -1."""

    writer: Any
    """Who of the `Writers` has it; theirs alone."""

    @property
    def unsent(self) -> int:
        """Bytes its transport holds."""

    @property
    def deflates(self) -> bool:
        """It may be sent compressed messages."""

    def fileno(self) -> int:
        """The number of its socket's file."""

    def look(self) -> int:
        """What `file` is by what its transport holds now."""

    def cut(self) -> None:
        """End it at once: what was sent may not be whole."""

    def close(self, close: Close, reason: str = "") -> None:
        """Close the connection; it is discarded from here by that."""

    def fall_behind(self) -> None:
        """Close the connection because it read too slowly for too long."""

    def __hash__(self) -> int: ...


class Connection(Watcher, Protocol):
    """What is needed of it; `transports.websocket.connection` has it."""

    feed: Feed
    """Set by the node, as all that follow."""
    session: Session[Any]
    user_id: str
    """Empty until the node has accepted it."""
    connection_id: str
    address: str
    """As whom it counts where addresses are limited; empty when it does not."""
    opened_ms: int
    opened_at: float
    """Monotonic opening time, which equals `heard_at` until the client sends something; minus infinity if it sent
    something before that."""
    heard_at: float
    slice: int


def mark_opened(connection: Connection, now: Instant) -> None:
    """Set the times of an admitted connection. A client that sent AUTH has already been heard."""
    connection.opened_ms = now.epoch_ms
    # The next representable time after now, so that input in the same tick of a coarse clock still differs from it.
    opened_at = nextafter(now.monotonic, inf)
    connection.opened_at = -inf if connection.heard_at else opened_at
    connection.heard_at = opened_at


def unheard_age(connection: Connection, now: Instant) -> float:
    """Return the seconds since a connection opened if its client has sent nothing since, otherwise infinity."""
    return now.monotonic - connection.opened_at if connection.heard_at == connection.opened_at else inf


class Portion(NamedTuple):
    """What some watchers are sent."""

    watchers: Collection[Watcher]
    data: bytes
    """Finished frames."""
    changes: int
    """How many are in `data`."""


class Missed(NamedTuple):
    """What a watcher has to be sent, and how far it is then."""

    portions: Iterator[Portion]
    """Some 20 KB each, made when they are sent."""
    position: int


class Feed(Protocol):
    """What the watchers of one protocol are sent."""

    def join(self, watcher: Watcher) -> None:
        """`watcher` keeps up: it is to be in the portions from now on."""

    def leave(self, watcher: Watcher) -> bool:
        """`watcher` is no longer to be in them; whether it was."""

    def portions(self, batch: Sequence[Event], joined: Mapping[Watcher, int]) -> Iterable[Portion]:
        """Who is to be sent what of `batch`; each watcher is in one portion at most.

        Args:
            joined: Those that have everything before this index of the batch; the others have nothing of it yet.
        """

    def part(self, watcher: Watcher, events: Sequence[Event]) -> Portion:
        """What one watcher, which has nothing of `events` yet, is to be sent of them; perhaps nothing."""

    def missed(self, watcher: Watcher, position: int) -> Missed | None:
        """What `watcher`, which is at `position`, missed; a first part of it when it is much.

        None when it can't be brought up to date any more.
        """
