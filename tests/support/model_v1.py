"""Model of users and sessions: derives how others must see a user from events, without any rule of the server."""

from __future__ import annotations

import dataclasses
from math import inf
from typing import Any, NamedTuple

from tests.support.fake_v1_client import FakeV1Client

from presenced.presence.model import Ending
from presenced.presence.user import MAX_DETACHED_SESSIONS

USERS = ("1", "two", "three")

AWAY, LOST, UNHEARD, WINDOW = 3.0, 15.0, 5.0, 40.0

PAUSE = 0.5
"""`status_pause`."""

GRACES = {Ending.CLOSED: 0.0, Ending.GOING_AWAY: AWAY, Ending.KEEP_SESSION: AWAY, Ending.LOST: LOST}


@dataclasses.dataclass(eq=False)
class ModelSession:
    """Events of one client instance."""

    client: FakeV1Client
    everyone: bool
    connected: bool = True
    opened_at: float = 0.0
    was_heard: bool = False
    """Whether the client has sent anything, or has resumed the session. `FakeConnection` counts pongs."""
    active: bool = True
    grace_ends: float = 0.0
    forget_at: float = 0.0
    counting: bool = False
    users: set[str] = dataclasses.field(default_factory=set)
    strangers: set[str] = dataclasses.field(default_factory=lambda: set(USERS))
    """Users that the session never subscribed to."""
    watched_rooms: set[str] = dataclasses.field(default_factory=set)
    rooms: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    """Data of the session in each room, after the time at which it was set."""
    order: int = 0

    def present(self, now: float) -> bool:
        """Return whether the session counts as present."""
        return self.connected or self.grace_ends > now

    def grace_after(self, ending: Ending, now: float) -> float:
        """Return the grace period after this ending.

        A connection lost within 5 s of its opening, without any input, gets the grace period of code 1001.
        """
        was_heard = self.was_heard or self.client.pongs
        if ending is Ending.LOST and not was_heard and now - self.opened_at <= UNHEARD:
            return AWAY
        return GRACES[ending]


class Claimed(NamedTuple):
    """Claim of one source. In the dictionary of claims, the one set last comes last."""

    priority: int
    status: str
    text: str
    ends: float


@dataclasses.dataclass
class ModelUser:
    """A user, with the choices and claims that were accepted."""

    sessions: list[ModelSession] = dataclasses.field(default_factory=list)
    chosen: tuple[str, str] = ("auto", "")
    """Status and text."""
    timed: tuple[str, str] | None = None
    timed_until: float = 0.0
    claims: dict[str, Claimed] = dataclasses.field(default_factory=dict)
    announced: bool = False
    waiting: list[tuple[tuple[str, str], float | None]] = dataclasses.field(default_factory=list)
    """All choices accepted within the pause, with their ends."""
    turning: dict[ModelSession, bool] = dataclasses.field(default_factory=dict)
    """Sessions that were reported active or idle within the pause."""
    pause_ends: float = -inf

    def forget(self, now: float) -> None:
        """Remove sessions whose grace period is over."""
        self.sessions = [s for s in self.sessions if s.connected or max(s.grace_ends, s.forget_at) > now]
        self.turning = {session: active for session, active in self.turning.items() if session in self.sessions}

    def end(self, session: ModelSession, grace: float, window: float, now: float) -> None:
        """End the session's connection."""
        self.pass_time(now)
        if [other for other in self.sessions if other.connected] == [session]:
            self.take_all(now)  # nobody requests anything more
        session.connected = False
        session.grace_ends, session.forget_at = now + grace, now + max(grace, window)
        self.forget(now)
        detached = sorted((s for s in self.sessions if not s.connected), key=lambda s: s.order)
        if len(detached) > MAX_DETACHED_SESSIONS:
            unseen = [s for s in detached if s.grace_ends <= now]
            ending = min(s.forget_at for s in unseen) if unseen else min(s.grace_ends for s in detached)
            self.sessions.remove(next(s for s in unseen or detached if ending in (s.forget_at, s.grace_ends)))

    def must_wait(self, now: float) -> bool:
        """Return whether a request must wait for the end of the pause."""
        self.pass_time(now)
        return now < self.pause_ends

    def pass_time(self, now: float) -> None:
        """Apply waiting requests if the pause has ended. The next pause begins then."""
        if (self.waiting or self.turning) and self.pause_ends <= now:
            self.take_all(self.pause_ends)

    def take_all(self, now: float) -> None:
        """Apply all accepted requests in order of arrival."""
        if self.waiting or self.turning:
            self.pause_ends = now + PAUSE
        for session, active in self.turning.items():
            session.active = active
        self.turning = {}
        self.take_choices()

    def take_choices(self) -> None:
        """Apply the waiting choices in order of arrival."""
        for choice, ends in self.waiting:
            self.take(choice, ends)
        self.waiting = []

    def take(self, choice: tuple[str, str], ends: float | None) -> None:
        """Apply a choice."""
        if ends is None:
            self.chosen, self.timed = choice, None
        else:
            self.timed, self.timed_until = choice, ends

    def true_status(self, now: float) -> str:
        """Return the status that the user's own devices see."""
        present = [session for session in self.sessions if session.present(now)]
        if not present and not self.announced:
            return "offline"
        status, _ = self.decided(now)
        if status != "auto":
            return status
        return "online" if self.announced or any(session.active for session in present) else "away"

    def choice(self, now: float) -> tuple[str, str]:
        """Return the choice in force."""
        return self.timed if self.timed and self.timed_until > now else self.chosen

    def decided(self, now: float) -> tuple[str, str]:
        """Return status and text by the user's choice and the claims."""
        status, text = self.choice(now)
        ranked = [c for priority in range(-9, 10) for c in self.claims.values() if c.priority == priority]
        live = [c for c in ranked if c.ends > now]
        if not live or status == "invisible":
            return status, text
        if live[-1].priority > 0:
            return live[-1].status, live[-1].text
        return (status, text) if status != "auto" else (live[-1].status, text or live[-1].text)

    def seen_text(self, now: float) -> str:
        """Return the text that others see."""
        return "" if self.seen(now) == "offline" else self.decided(now)[1]

    def seen(self, now: float) -> str:
        """Return the status that others see."""
        status = self.true_status(now)
        return "offline" if status == "invisible" else status

    def in_rooms(self, now: float) -> dict[str, Any]:
        """Return the data of the user in each room: of all sessions, the data that was set last."""
        if self.seen(now) == "offline":
            return {}
        given = [(s.rooms[room], room) for s in self.sessions if s.present(now) for room in s.rooms]
        return {room: data for (_, data), room in sorted(given)}
