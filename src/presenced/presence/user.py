"""One user over their sessions: what others see, and how long a lost connection is waited for."""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import Generic, NamedTuple, TypeVar

from presenced.presence.choices import Held, Made, is_nothing
from presenced.presence.claims import Claim, decide, deciding
from presenced.presence.journal import Cursor
from presenced.presence.model import (
    AS_DETECTED,
    NO_DISPLAY,
    SEEN_OFFLINE,
    SEEN_ONLINE,
    Cause,
    Change,
    Choice,
    Display,
    Ending,
    Own,
    Status,
    View,
)
from presenced.presence.subscriptions import Watch
from presenced.presence.visibility import EVERYTHING
from presenced.runtime.instant import Instant

C = TypeVar("C", bound=Hashable)

MAX_DETACHED = 8
"""Sessions without a connection kept at a time, per user; beyond it one is forgotten: of those that are no longer
waited for, else of all, the one that would end first. The user is shown offline when the last one ends all the same."""


UNHEARD_S = 5.0
"""Age in seconds up to which a lost connection counts as closed while it was opening, if its client sent nothing.

React's StrictMode mounts components twice. It closes the first socket before it is open, without a close frame. An
older silent connection is a normal classic client.
"""


class Grace(NamedTuple):
    """Seconds in which an ended connection may return before others are notified; 0 notifies them immediately."""

    going_away: float
    """After code 1001 (a page reload) or 4001 (a page kept in the back/forward cache)."""
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


class Given(NamedTuple):
    """What a session gave with a room it is in."""

    number: int
    """Grows with each: of a user's sessions in one room, what was given last is seen."""
    data: bytes
    """JSON; empty when there is none."""


class Session(Generic[C]):
    """One client instance as it lives on across reconnects.

    A classic connection is one, too, without an id: nobody can resume it by name, so the user's next classic
    connection is taken for its return.
    """

    __slots__ = (
        "active",
        "connection",
        "device",
        "forget_at",
        "grace_ends",
        "kept",
        "rooms",
        "session_id",
        "snapshots",
        "token_id",
        "user_id",
        "visibility",
        "watch",
        "whole_from",
    )

    def __init__(self, user_id: str, connection: C, session_id: str, device: str, watch: Watch | None) -> None:
        self.user_id = user_id
        self.connection: C | None = connection
        self.session_id = session_id
        """Empty for a classic connection."""
        self.device = device
        self.watch = watch
        """Whom it watches; None for a classic connection, which hears of everyone."""
        self.visibility = EVERYTHING
        """Whom it may see. To be changed only while no feed has its connection."""
        self.token_id = ""
        """What it came in with last; empty where nobody shows who they are."""
        self.rooms: dict[str, Given] | None = None
        """The rooms it has joined, with the data it gave."""
        self.active = True
        self.grace_ends: float | None = None
        """Monotonic end of the grace, while one runs."""
        self.snapshots = 0
        """Number of snapshots that its client was sent."""
        self.whole_from = Cursor(0)
        """End of the last snapshot. A client whose cursor is below it does not have all of that snapshot."""
        self.kept: object = None
        """What is noted of it by whoever keeps what happened."""
        self.forget_at = 0.0
        """Monotonic end of the time in which it can be resumed; meaningless while it has a connection."""

    @property
    def is_present(self) -> bool:
        """Whether it keeps its user online."""
        return self.connection is not None or self.grace_ends is not None


class User(Generic[C]):
    """What is known of one user: sessions, an announcement, what they chose, and the last change others were told.

    The user is there as long as there is a connection, a grace or an announcement.
    """

    __slots__ = (
        "active_ms",
        "announced",
        "chosen",
        "claims",
        "connected",
        "display",
        "held",
        "last_change",
        "last_id_ms",
        "left",
        "named",
        "own",
        "seen_ms",
        "serial",
        "sessions",
        "timed",
        "timed_until",
        "user_id",
        "version",
    )

    def __init__(self, user_id: str, serial: int = 0) -> None:
        self.user_id = user_id
        self.version = 0
        """That of the last change; 0 before the first."""
        self.serial = serial
        """A number that grows from one user who becomes known to the next."""
        self.sessions: list[Session[C]] = []
        """Oldest first; those that were lost, in the order they were lost, behind those of their time."""
        self.connected = 0
        """Sessions that have a connection."""
        self.named = 0
        """Sessions that have an id: those of presenced.v1."""
        self.announced = False
        self.chosen = AS_DETECTED
        """What the user chose to last."""
        self.timed: Choice | None = None
        """What the user chose to last until `timed_until`, when the other returns."""
        self.timed_until = 0.0
        self.held: Held | None = None
        """Waiting requests of the user's clients; None before the first change by one of them."""
        self.seen_ms = 0
        """When the user was last known to be there, in epoch milliseconds."""
        self.active_ms = 0
        """When the user last did something: came, chose, or became active; in epoch milliseconds."""
        self.claims: tuple[Claim, ...] = ()
        """What backends claim, one of each source, in the order in which it was set."""
        self.display = NO_DISPLAY
        """What the newest token that gave any gives for others to see."""
        self.last_id_ms = 0
        self.last_change: Change | None = None
        self.left = (0, 0)
        """`since_ms` and `seen_ms` of the last change, once the user is offline and the change has left the log."""
        self.own: Own | None = None
        """What their own sessions were told last; None while they have none that is told."""

    # Sessions.

    def connections(self) -> list[C]:
        """The open ones, oldest session first."""
        return [s.connection for s in self.sessions if s.connection is not None]

    def session_of(self, connection: C) -> Session[C] | None:
        """The session that has `connection`."""
        for session in self.sessions:
            if session.connection == connection:
                return session
        return None

    def add(self, session: Session[C]) -> None:
        """A session with a connection."""
        self.sessions.append(session)
        self.connected += 1
        self.named += bool(session.session_id)

    def remove(self, session: Session[C]) -> None:
        """It is no longer kept."""
        self.sessions.remove(session)
        self.connected -= session.connection is not None
        self.named -= bool(session.session_id)

    def detach(self, session: Session[C], grace_ends: float | None, forget_at: float) -> None:
        """The session's connection ended; wait for it until `grace_ends`, let it be resumed until `forget_at`."""
        session.connection, session.grace_ends, session.forget_at = None, grace_ends, forget_at
        self.connected -= 1
        self.sessions.remove(session)
        self.sessions.append(session)  # the one lost last stands last

    def detached(self) -> list[Session[C]]:
        """Sessions without a connection, in the order they were lost."""
        if self.connected == len(self.sessions):
            return []
        return [s for s in self.sessions if s.connection is None]

    def next_id_ms(self, epoch_ms: int) -> int:
        """The number in the next connection's id: the time, or one more than the last when that is not later."""
        self.last_id_ms = max(epoch_ms, self.last_id_ms + 1)
        return self.last_id_ms

    def next_deadline(self) -> float | None:
        """When time alone changes something; None when it does not."""
        times = [s.forget_at if s.grace_ends is None else s.grace_ends for s in self.detached()]
        if self.timed is not None:
            times.append(self.timed_until)
        if self.claims:
            times += [claim.ends for claim in self.claims if claim.ends < inf]
        if self.held is not None and (held := self.held.deadline) is not None:
            times.append(held)
        return min(times) if times else None

    def choose(self, made: Made, now: Instant) -> None:
        """Apply a choice: permanently, or until its end, when the last permanent one returns."""
        if made.is_for_good:
            self.chosen, self.timed = made.choice, None
        elif made.ends <= now.monotonic:
            self.timed = None  # it ended while it waited
        else:
            self.timed, self.timed_until = made

    def bring(self, choice: Choice, now: Instant) -> None:
        """Adopt the choice that the client remembers and this server does not know, unless it has ended."""
        until_ms = choice.custom.until_ms
        ends = now.monotonic + (until_ms - now.epoch_ms) / 1000 if until_ms else inf
        self.choose(Made(choice, ends), now)

    def give_display(self, display: Display, now: Instant) -> bool:
        """A token gives this. Whether it is seen from now on: it is not when a newer one has given something."""
        issued = min(display.issued, now.epoch_ms / 1000)
        if issued < self.display.issued:
            return False
        self.display = Display(display.data, issued)
        return True

    # What is seen.

    def rooms(self) -> dict[str, bytes]:
        """The rooms of all sessions that are present, with the data given last."""
        last: dict[str, Given] = {}
        for rooms in [session.rooms for session in self.sessions if session.rooms and session.is_present]:
            for room, given in rooms.items():
                if room not in last or given.number > last[room].number:
                    last[room] = given
        return {room: given.data for room, given in last.items()}

    @property
    def is_present(self) -> bool:
        """Whether the user is there."""
        return self.connected > 0 or self.announced or any(s.is_present for s in self.sessions)

    @property
    def has_chosen(self) -> bool:
        """Whether a choice overrides or accompanies the detected status, now or after a temporary choice."""
        return self.chosen != AS_DETECTED or (self.timed is not None and not is_nothing(self.timed))

    @property
    def choice(self) -> Choice:
        """The choice in force. A temporary choice of nothing before a permanent choice of nothing has no end."""
        return self.timed if self.timed is not None and self.has_chosen else self.chosen

    @property
    def shown(self) -> View:
        """What others were told last."""
        return self.last_change.view if self.last_change else SEEN_OFFLINE

    def true_view(self) -> View:
        """What the user is: a choice beats what was detected, as a claim may; active anywhere is online, all idle is
        away."""
        if not self.is_present:
            return SEEN_OFFLINE
        choice = self.choice
        if self.claims:
            choice = decide(choice, self.claims)
        present = [session for session in self.sessions if session.is_present]
        status = choice.status
        if status is None:
            active = self.announced or True in [session.active for session in present]
            status = Status.ONLINE if active else Status.AWAY
        devices = {session.device for session in present if session.device}
        return View(status, choice.custom, tuple(sorted(devices)), self.display.data)

    def look(self, cause: Cause) -> tuple[View, Own | None]:
        """What others are to see now, and what the user's own devices are, after something happened by `cause`."""
        has_more = self.named or self.claims or self.timed is not None or self.display.data
        if not has_more and self.chosen == AS_DETECTED:
            return (SEEN_ONLINE if self.is_present else SEEN_OFFLINE), None  # as with every classic user
        true = self.true_view()
        public = SEEN_OFFLINE if true.status is Status.INVISIBLE else true
        if not self.named:
            return public, None
        overruled = (
            self.choice.custom if self.claims and self.is_present and deciding(self.choice, self.claims) else None
        )
        return public, Own(true, self.choice.status, cause, overruled)
