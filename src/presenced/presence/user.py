"""One user: the sessions, what was chosen and claimed, and from these what others see.

`User.states` returns what others see now, and what the user's own devices see. `presence.status` has the precedence of
choice, claim and detection.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

from msgspec import Struct

from presenced.presence.held_requests import HeldRequests
from presenced.presence.model import (
    AS_DETECTED,
    NO_DISPLAY,
    SEEN_OFFLINE,
    SEEN_ONLINE,
    Cause,
    Change,
    Choice,
    Display,
    OwnState,
    Status,
    View,
)
from presenced.presence.session import MemberData, Session
from presenced.presence.status import Claim, TimedChoice, decide, deciding_claim, is_empty_choice
from presenced.runtime.instant import Instant

C = TypeVar("C", bound=Hashable)

MAX_DETACHED_SESSIONS = 8
"""Maximum number of sessions without a connection per user. At the bound the session that would end first is forgotten,
preferably one whose grace period is over. The user does not go offline early, because the other sessions end later.
"""


class Departure(Struct, frozen=True, gc=False):
    """Times of an offline user's last change, kept when the log drops the change. The fields are those of `Change`."""

    since_ms: int = 0
    seen_ms: int = 0


NO_DEPARTURE = Departure()
"""No times: the log has not dropped the user's last change, or the times were erased."""


@dataclass(slots=True, eq=False)
class User(Generic[C]):
    """State of one user. The user is present while there is a connection, a grace period or an announcement."""

    user_id: str
    serial: int = 0
    """Order in which users became known."""
    version: int = 0
    """Version of the last change; 0 before the first."""
    sessions: list[Session[C]] = field(default_factory=list)
    """All sessions, connected ones in the order of opening. One that loses its connection moves to the end."""
    connected: int = 0
    """Number of sessions with a connection."""
    named_sessions: int = 0
    """Number of sessions with an id, which are those of presenced.v1."""
    announced: bool = False
    """Whether a backend announces that the user is online elsewhere."""
    chosen: Choice = AS_DETECTED
    """Permanent choice."""
    timed: Choice | None = None
    """Temporary choice, after which the permanent one returns; None if there is none."""
    timed_until: float = 0.0
    """Monotonic end of the temporary choice; meaningless without one."""
    held: HeldRequests[C] | None = None
    """Waiting requests of the user's clients; None before the first change by one of them."""
    seen_ms: int = 0
    """When the user was last known to be present, in epoch milliseconds."""
    active_ms: int = 0
    """When the user last connected actively, chose or became active, in epoch milliseconds."""
    claims: tuple[Claim, ...] = ()
    """One of each source, in the order in which they were set."""
    display: Display = NO_DISPLAY
    """Display data of the newest token that has any."""
    last_id_ms: int = 0
    """Number in the id of the newest connection (`next_id_ms`)."""
    last_change: Change | None = None
    """Last visible change; None if there was none, or if the user went offline and the log has dropped the change."""
    departure: Departure = NO_DEPARTURE
    """Departure of an offline user, once the log has dropped the user's last change."""
    own: OwnState | None = None
    """Last state sent to the user's own sessions; None while no session is of presenced.v1."""

    # Sessions.

    def connections(self) -> list[C]:
        """Return the open connections, oldest session first."""
        return [s.connection for s in self.sessions if s.connection is not None]

    def session_of(self, connection: C) -> Session[C] | None:
        """Return the session of `connection`."""
        for session in self.sessions:  # hot: more than twice as fast as `next` with a generator
            if session.connection == connection:
                return session
        return None

    def add(self, session: Session[C]) -> None:
        """Add a session, which has a connection."""
        self.sessions.append(session)
        self.connected += 1
        self.named_sessions += bool(session.session_id)

    def remove(self, session: Session[C]) -> None:
        """Remove a session, connected or not."""
        self.sessions.remove(session)
        self.connected -= session.connection is not None
        self.named_sessions -= bool(session.session_id)

    def detach(self, session: Session[C], grace_ends: float | None, forget_at: float) -> None:
        """Detach the session's connection, which ended.

        Args:
            grace_ends: Monotonic end of the grace period; None for none.
            forget_at: Monotonic time until which it can be resumed.
        """
        session.connection, session.grace_ends, session.forget_at = None, grace_ends, forget_at
        self.connected -= 1
        self.sessions.remove(session)
        self.sessions.append(session)  # `detached` returns sessions in the order in which they were lost

    def detached(self) -> list[Session[C]]:
        """Return the sessions of this node without a connection, in the order they were lost."""
        if self.connected == len(self.sessions):
            return []
        return [s for s in self.sessions if s.connection is None and s.slot < 0]

    def next_id_ms(self, epoch_ms: int) -> int:
        """Return the number in the next connection's id: the time, or the last number plus one if that is not later."""
        self.last_id_ms = max(epoch_ms, self.last_id_ms + 1)
        return self.last_id_ms

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which something about the user ends by itself; None if nothing does."""
        times = [s.forget_at if s.grace_ends is None else s.grace_ends for s in self.detached()]
        if self.timed is not None:
            times.append(self.timed_until)
        if self.claims:
            times += [claim.ends for claim in self.claims if claim.ends < inf]
        if self.held is not None and (held := self.held.deadline) is not None:
            times.append(held)
        return min(times) if times else None

    def choose(self, made: TimedChoice, now: Instant) -> None:
        """Apply a choice: permanently, or until its end, after which the permanent choice returns."""
        if made.is_permanent:
            self.chosen, self.timed = made.choice, None
        elif made.ends <= now.monotonic:
            self.timed = None  # it ended while it waited
        else:
            self.timed, self.timed_until = made

    def restore_from_client(self, choice: Choice, now: Instant) -> None:
        """Adopt the choice that the client remembers and this server does not know, unless it has ended."""
        until_ms = choice.details.until_ms
        ends = now.monotonic + (until_ms - now.epoch_ms) / 1000 if until_ms else inf
        self.choose(TimedChoice(choice, ends), now)

    def update_display(self, display: Display, now: Instant) -> bool:
        """Set the display data of a token. Return False, and change nothing, if a newer token has set some."""
        issued = min(display.issued, now.epoch_ms / 1000)
        if issued < self.display.issued:
            return False
        self.display = Display(display.data, issued)
        return True

    # State as others see it.

    def rooms(self) -> dict[str, bytes]:
        """Return the rooms of all sessions that are present, with the data set last."""
        last: dict[str, MemberData] = {}
        for rooms in [session.rooms for session in self.sessions if session.rooms and session.is_present]:
            for room, member in rooms.items():
                # Sessions on two nodes may have the same number. Then the data decides, on all nodes in the same way.
                if room not in last or member > last[room]:
                    last[room] = member
        return {room: member.data for room, member in last.items()}

    @property
    def is_present(self) -> bool:
        """Whether the user has a connection, a grace period or an announcement."""
        return self.connected > 0 or self.announced or any(s.is_present for s in self.sessions)

    @property
    def has_chosen(self) -> bool:
        """Whether a choice overrides or accompanies the detected status, now or after a temporary choice."""
        return self.chosen != AS_DETECTED or (self.timed is not None and not is_empty_choice(self.timed))

    @property
    def choice(self) -> Choice:
        """Choice in force. If neither choice sets anything, this is the permanent one, so that clients see no end."""
        return self.timed if self.timed is not None and self.has_chosen else self.chosen

    @property
    def shown(self) -> View:
        """State that others see since the last change."""
        return self.last_change.view if self.last_change else SEEN_OFFLINE

    def true_view(self) -> View:
        """Return the true state, which only the user's own devices may see (`presence.status`)."""
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
        return View(status, choice.details, tuple(sorted(devices)), self.display.data)

    def states(self, cause: Cause) -> tuple[View, OwnState | None]:
        """Return the states that others and the user's own devices see after an event of this cause.

        The second is None if the user has no session of presenced.v1.
        """
        # This runs at every event, so the common case comes first. Users of the classic protocol have presence and
        # nothing else, and all of them share two views.
        has_more = self.named_sessions or self.claims or self.timed is not None or self.display.data
        if not has_more and self.chosen == AS_DETECTED:
            return (SEEN_ONLINE if self.is_present else SEEN_OFFLINE), None
        true = self.true_view()
        public = SEEN_OFFLINE if true.status is Status.INVISIBLE else true
        if not self.named_sessions:
            return public, None
        overruled = (
            self.choice.details
            if self.claims and self.is_present and deciding_claim(self.choice, self.claims)
            else None
        )
        return public, OwnState(true, self.choice.status, cause, overruled)
