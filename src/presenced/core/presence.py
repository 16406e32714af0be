"""One user over their connections: when they are online, and how long a lost connection is waited for."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from presenced.core.model import Change, Ending, Status

C = TypeVar("C", bound=Hashable)

MAX_GRACES = 8
"""Lost connections waited for at a time, per user; beyond it the one that would end first is forgotten, which
changes nothing for others: the user is shown offline when the last one ends."""


class Grace(NamedTuple):
    """Seconds an ended connection may take to come back before anyone is told; 0 means that all are told at once."""

    going_away: float
    """After code 1001: a page reload."""
    lost: float
    """After an abrupt loss or a time-out."""

    def after(self, ending: Ending) -> float:
        """The grace for a connection that ended so. An end on purpose has none."""
        match ending:
            case Ending.GOING_AWAY:
                return self.going_away
            case Ending.LOST | Ending.TIMED_OUT:
                return self.lost
            case Ending.CLOSED | Ending.DISCONNECTED:
                return 0.0


class Presence(Generic[C]):
    """What is known of one user: connections, graces, an announcement, and the last change others were told.

    The user is online as long as there is any of the first three.
    """

    __slots__ = ("announced", "connections", "graces", "last_change", "last_id_ms", "status", "user_id", "version")

    def __init__(self, user_id: str, version: int) -> None:
        self.user_id = user_id
        self.version = version
        self.status = Status.OFFLINE
        self.connections: list[C] = []
        self.graces: tuple[float, ...] = ()
        """Monotonic ends of the graces that run, in the order the connections were lost."""
        self.announced = False
        self.last_id_ms = 0
        self.last_change: Change | None = None

    def opened(self, connection: C) -> None:
        """A connection opened. It is taken for the return of the one lost last, whose grace ends with it."""
        self.connections.append(connection)
        self.graces = self.graces[:-1]

    def ended(self, connection: C, grace_ends: float | None) -> bool:
        """A connection ended; `grace_ends` is when the wait for it is over. False when it was not open (any more)."""
        try:
            self.connections.remove(connection)
        except ValueError:
            return False
        if grace_ends is not None:
            self.graces += (grace_ends,)
            if len(self.graces) > MAX_GRACES:
                first = self.graces.index(min(self.graces))
                self.graces = self.graces[:first] + self.graces[first + 1 :]
        return True

    def next_id_ms(self, epoch_ms: int) -> int:
        """The number in the next connection's id: the time, or one more than the last when that is not later."""
        self.last_id_ms = max(epoch_ms, self.last_id_ms + 1)
        return self.last_id_ms

    def is_present(self) -> bool:
        """Whether the user is to be shown online."""
        return bool(self.connections or self.graces or self.announced)
