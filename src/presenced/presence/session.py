"""One client instance, from its first connection until its session can no longer be resumed.

    open ----> connected ----lost----> grace period ----over----> resumable ----over----> forgotten
                   ^                        |                         |
                   '-------- resume --------'-------- resume ---------'

A session counts towards its user's presence while it is connected or in its grace period. Within the grace period
others do not notice that the connection was lost. In the resumable state others see the user without this session, but
its subscription and rooms are still there for the client to return to. A deliberate close skips both states.

The grace period depends on how the connection ended:

    ending                                    code                grace period       resumable
    deliberate close by the client            1000, 1005, 3xxx    none               no
    closed by the application                 4410                none               no
    page going away or frozen                 1001, 4001          `going_away`       `resume_window`
    loss within `UNHEARD_S`, nothing heard    1006                the shorter one    `resume_window`
    loss, or closed for a broken rule         1006, most others   `lost`             `resume_window`
    no answer to a ping                       4408                `lost`             `resume_window`

`transports.websocket.endings` has all codes. The grace period is part of `resume_window`. If it is the longer one, the
session can be resumed until it ends.

Classic connections are sessions without an id. No client can resume one by name, so the user's next classic connection
counts as its return.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import inf
from typing import Generic, NamedTuple, TypeVar

from presenced.presence.journal import Cursor
from presenced.presence.model import Ending
from presenced.presence.subscriptions import Subscription
from presenced.presence.visibility import EVERYTHING, Visibility

C = TypeVar("C", bound=Hashable)

UNHEARD_S = 5.0
"""Age in seconds up to which a lost connection counts as closed while it was opening, if its client sent nothing.

React's StrictMode mounts components twice. It closes the first socket before it is open, without a close frame. An
older silent connection is a normal classic client.
"""


class Grace(NamedTuple):
    """Grace periods in seconds: the time a connection has to come back before others are notified. 0: none."""

    going_away: float
    """After code 1001 (a page reload) or 4001 (a page in the back/forward cache)."""
    lost: float
    """After an abrupt loss or a timeout."""

    def after(self, ending: Ending, unheard_age: float = inf) -> float:
        """Return the grace period of a connection that ended this way. A deliberate close has none.

        Args:
            unheard_age: Seconds since the connection opened if its client never sent anything, otherwise infinity.
        """
        match ending:
            case Ending.GOING_AWAY | Ending.KEEP_SESSION:
                return self.going_away
            case Ending.LOST if unheard_age <= UNHEARD_S:
                return min(self.going_away, self.lost)
            case Ending.LOST | Ending.TIMED_OUT:
                return self.lost
            case Ending.CLOSED | Ending.DISCONNECTED | Ending.REPLACED:
                return 0.0


class MemberData(NamedTuple):
    """Data that a session set for a room it is in."""

    number: int
    """Order in which sessions set data: of a user's sessions in one room, the one with the highest number is shown. It
    is the first field, because these tuples are compared."""
    data: bytes
    """JSON; empty if there is none."""
    joined_ms: int = 0
    """When the session's user joined the room, in epoch milliseconds."""


_NO_SNAPSHOT = Cursor(0)


@dataclass(slots=True, eq=False)
class Session(Generic[C]):
    """One client instance, which survives reconnects."""

    user_id: str
    connection: C | None
    session_id: str
    """Empty for a classic connection."""
    device: str
    """Kind of device; empty if unknown."""
    subscription: Subscription | None
    """None for a classic connection, which is notified about everyone."""
    active: bool = True
    """Whether the person is active at this device."""
    visibility: Visibility = EVERYTHING
    """Users and rooms that its client may see. They may change only while no feed includes the connection."""
    token_id: str = ""
    """Id of the last token that authenticated it; empty without authentication."""
    rooms: dict[str, MemberData] | None = None
    """Rooms it has joined. `Rooms.join` and `Rooms.leave` change it."""
    grace_ends: float | None = None
    """Monotonic end of the grace period, while one runs."""
    snapshots: int = 0
    """Number of snapshots sent to its client."""
    snapshot_end: Cursor = _NO_SNAPSHOT
    """End of the last snapshot. A client with a lower cursor has not received all of that snapshot."""
    stored: object = None
    """Record of this session in storage. Only `storage.write_behind` reads and writes it."""
    forget_at: float = 0.0
    """Monotonic time until which it can be resumed; meaningless while it has a connection."""
    slot: int = -1
    """Number of the node that has it, in a cluster; -1 for this one. A session of another node has no connection
    here, and is there only while it is present."""

    @property
    def is_present(self) -> bool:
        """Whether it counts towards the presence of its user."""
        return self.connection is not None or self.grace_ends is not None or self.slot >= 0
