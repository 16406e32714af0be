"""Explanations for support: why a user looks as they do to a viewer.

An explanation consists of records and codes. `http.api.explain` makes sentences of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from math import inf
from typing import Any, NamedTuple

from msgspec import Struct

from presenced.presence.model import Cause, Change, Choice, Status, View
from presenced.presence.session import Session
from presenced.presence.status import Claim, deciding_claim, winning_claim
from presenced.presence.user import User
from presenced.runtime.instant import Instant

MAX_CHANGES = 50
"""Maximum number of changes in one explanation. Older ones are omitted."""

_LEAVING = frozenset((Cause.CLOSE, Cause.GRACE, Cause.TIMEOUT, Cause.KICK, Cause.ANNOUNCEMENT))
"""Causes that make a user absent. `http.api.explain` has a sentence for each of them."""


class NextHeartbeat(NamedTuple):
    """Next actions of the heartbeat for a connection, in seconds from now."""

    pinged_in: float
    times_out_in: float | None
    """None if no answer to a ping is due."""


class Viewer(NamedTuple):
    """User whose view of another user is explained."""

    user_id: str
    sessions: Sequence[Session[Any]]
    """The present ones."""
    sees_everyone: bool
    """Whether the setting `visibility` allows everyone. The token of a session may allow less."""
    roles: tuple[str, ...] = ()
    """Roles in the tokens of the viewer's connections."""


class SessionDetails(Struct, frozen=True):
    """One client instance of the user."""

    connection_id: str
    """Empty if it has no connection."""
    protocol: str
    """`classic` or `presenced.v1`."""
    device: str
    """Empty if unknown."""
    active: bool
    """Whether the person is active at this device."""
    heard: float | None
    """Seconds since the client last sent anything; None without a connection."""
    pinged_in: float | None
    """Seconds until the client is pinged next; None without a connection."""
    times_out_in: float | None
    """Seconds until the connection is closed if the client stays silent; None if no answer to a ping is due."""
    grace_ends_in: float | None
    """Seconds until its grace period ends; None while none runs."""
    resumable_for: float | None
    """Seconds until its client can no longer resume it; None with a connection."""
    rooms: tuple[str, ...]


class Pending(Struct, frozen=True):
    """Something that ends by time alone."""

    what: str
    """`grace`, `choice` or `claim`."""
    source: str
    """Source of the claim; empty for the others."""
    seconds: float
    """Seconds from now until it ends."""


class Basis(StrEnum):
    """Kind of source that decides the status."""

    ABSENT = "absent"
    CLAIM = "claim"
    CHOICE = "choice"
    ANNOUNCEMENT = "announcement"
    ACTIVITY = "activity"


class Decision(Struct, frozen=True):
    """Source of the user's status."""

    basis: Basis
    chosen: Status | None = None
    """Status of the choice in force; None: as detected."""
    claim: Claim | None = None
    """Claim that decides, or that loses against the choice."""
    ends_in: float | None = None
    """Seconds until the deciding claim or choice ends; None if it does not end by itself."""
    sessions: int = 0
    """Number of present sessions, if the basis is activity or an announcement."""
    active: int = 0
    """Number of these sessions whose person is active."""


class Liveness(Struct, frozen=True):
    """Reason why the user is present, or how the user became absent."""

    connections: int = 0
    """Number of open connections."""
    elsewhere: int = 0
    """Number of sessions on other nodes of the cluster, if there is no connection here."""
    quiet: float | None = None
    """Seconds since the newest input on any connection; None without a connection."""
    grace_left: float | None = None
    """Seconds until the last grace period ends; None while none runs, or with a connection."""
    left: Cause | None = None
    """Why the user became absent; None if the user is present, or it is unknown."""
    left_ago: float = 0.0
    """Seconds since the user became absent."""


class Rule(StrEnum):
    """Reason why a viewer may see a user, or may not."""

    SELF = "self"
    EVERYONE = "everyone"
    NAMED = "named"
    ROOM = "room"
    """The viewer subscribes to a room in which the user is a member."""
    NOT_ALLOWED = "not_allowed"
    BLOCKED = "blocked"
    NO_SESSION = "no_session"
    """Unknown: visibility depends on the token of the viewer's next session."""
    NO_SESSION_EVERYONE = "no_session_everyone"
    """The viewer has no session, but the setting `visibility` allows everyone."""


class ViewerDetails(Struct, frozen=True):
    """Visibility of the user for one viewer, with its reason."""

    user_id: str
    """The viewer."""
    may_see: bool | None
    """None: unknown, because the viewer has no session."""
    watches: bool
    """Whether a session of the viewer is notified about the user."""
    rule: Rule
    room: str = ""
    """Room of the rule `ROOM`."""
    roles: tuple[str, ...] = ()
    """`Viewer.roles`."""


class Explanation(Struct, frozen=True):
    """Everything that decides how a user looks."""

    user_id: str
    decision: Decision
    liveness: Liveness
    shown: Change | None
    """State that permitted viewers see; None if the user is unknown, which looks like offline."""
    true: View
    """State that the user's own devices see."""
    sessions: tuple[SessionDetails, ...]
    announced: bool
    """Whether a backend announces that the user is online."""
    pending: tuple[Pending, ...]
    """Everything that ends by time alone, in the order of the ends."""
    chosen: Choice
    """Permanent choice."""
    timed: Choice | None
    """Temporary choice, after which `chosen` returns; None if there is none."""
    claims: tuple[Claim, ...]
    """Claims in the order in which they were set."""
    viewer: ViewerDetails | None
    """None for an explanation without a viewer."""
    changes: tuple[Change, ...]
    """The user's last changes in the journal, newest first."""

    @property
    def winner(self) -> str:
        """Source of the claim that decides the status; empty if none does."""
        claim = self.decision.claim
        return claim.source if claim and self.decision.basis is Basis.CLAIM else ""

    @property
    def status(self) -> Status:
        """Status that permitted viewers see."""
        return self.shown.status if self.shown else Status.OFFLINE


def explain(
    user_id: str,
    user: User[Any] | None,
    rooms: Collection[str],
    viewer: Viewer | None,
    changes: Sequence[Change],
    now: Instant,
    next_heartbeat: Callable[[Any], NextHeartbeat],
) -> Explanation:
    """Explain why the user looks as they do.

    Args:
        user: None if unknown. Its connections are of the type `delivery.connection.Connection`.
        rooms: Rooms in which the user is a member.
        changes: The user's last changes, newest first.
        next_heartbeat: Returns what the heartbeat does next with a connection.
    """
    user = user or User(user_id)
    return Explanation(
        user_id=user_id,
        decision=_decision(user, now),
        liveness=_liveness(user, now),
        shown=user.last_change,
        true=user.true_view(),
        sessions=tuple(_session(session, now, next_heartbeat) for session in user.sessions),
        announced=user.announced,
        pending=tuple(sorted(_pending(user, now), key=lambda pending: pending.seconds)),
        chosen=user.chosen,
        timed=user.timed,
        claims=user.claims,
        viewer=_viewer_explained(user_id, rooms, viewer) if viewer else None,
        changes=tuple(changes),
    )


def _decision(user: User[Any], now: Instant) -> Decision:
    chosen = user.choice.status
    if not user.is_present:
        return Decision(Basis.ABSENT, chosen)
    if (claim := deciding_claim(user.choice, user.claims)) is not None:
        return Decision(Basis.CLAIM, chosen, claim, None if claim.ends == inf else claim.ends - now.monotonic)
    if chosen is not None:
        ends_in = user.timed_until - now.monotonic if user.timed else None
        return Decision(Basis.CHOICE, chosen, winning_claim(user.claims), ends_in)
    present = [session for session in user.sessions if session.is_present]
    active = sum(session.active for session in present)
    announced = not present or (user.announced and not active)
    return Decision(Basis.ANNOUNCEMENT if announced else Basis.ACTIVITY, sessions=len(present), active=active)


def _liveness(user: User[Any], now: Instant) -> Liveness:
    if user.connected:
        quiet = min(now.monotonic - s.connection.heard_at for s in user.sessions if s.connection is not None)
        return Liveness(user.connected, quiet=quiet)
    if elsewhere := sum(session.slot >= 0 for session in user.sessions):
        return Liveness(elsewhere=elsewhere)
    if ends := [s.grace_ends for s in user.detached() if s.grace_ends is not None]:
        return Liveness(grace_left=max(ends) - now.monotonic)
    last = user.last_change
    if user.is_present or last is None or last.cause not in _LEAVING:
        return Liveness()
    return Liveness(left=last.cause, left_ago=now.monotonic - last.at.monotonic)


def _session(session: Session[Any], now: Instant, next_heartbeat: Callable[[Any], NextHeartbeat]) -> SessionDetails:
    connection = session.connection
    upcoming = next_heartbeat(connection) if connection else None
    return SessionDetails(
        connection_id=connection.connection_id if connection else "",
        protocol="presenced.v1" if session.session_id else "classic",
        device=session.device,
        active=session.active,
        heard=_round(now.monotonic - connection.heard_at) if connection else None,
        pinged_in=_round(upcoming.pinged_in) if upcoming else None,
        times_out_in=_round(upcoming.times_out_in) if upcoming and upcoming.times_out_in is not None else None,
        grace_ends_in=None if connection or session.grace_ends is None else _round(session.grace_ends - now.monotonic),
        resumable_for=None
        if connection or not session.session_id or session.slot >= 0
        else _round(session.forget_at - now.monotonic),
        rooms=tuple(session.rooms or ()),
    )


def _pending(user: User[Any], now: Instant) -> list[Pending]:
    ends = [("grace", "", session.grace_ends) for session in user.detached() if session.grace_ends is not None]
    if user.timed:
        ends.append(("choice", "", user.timed_until))
    ends += [("claim", claim.source, claim.ends) for claim in user.claims if claim.ends < inf]
    return [Pending(what, source, _round(at - now.monotonic)) for what, source, at in ends]


def _viewer_explained(user_id: str, rooms: Collection[str], viewer: Viewer) -> ViewerDetails:
    if viewer.user_id == user_id:
        return ViewerDetails(user_id, True, bool(viewer.sessions), Rule.SELF, roles=viewer.roles)
    if not viewer.sessions:
        rule = Rule.NO_SESSION_EVERYONE if viewer.sees_everyone else Rule.NO_SESSION
        return ViewerDetails(viewer.user_id, viewer.sees_everyone or None, False, rule)
    sessions = [s for s in viewer.sessions if user_id not in s.visibility.blocked]
    is_visible = any(s.visibility.sees(user_id) for s in sessions)
    shared = sorted(
        {room for s in sessions if s.subscription for room in s.subscription.full.rooms.intersection(rooms)}
    )
    if not sessions:
        rule = Rule.BLOCKED
    elif any(s.visibility.everyone for s in sessions):
        rule = Rule.EVERYONE
    elif is_visible:
        rule = Rule.NAMED
    else:
        rule = Rule.ROOM if shared else Rule.NOT_ALLOWED
    watches = bool(shared) or any(_subscribes(session, user_id) for session in sessions)
    room = shared[0] if rule is Rule.ROOM else ""
    return ViewerDetails(viewer.user_id, is_visible or bool(shared), watches, rule, room, viewer.roles)


def _subscribes(session: Session[Any], user_id: str) -> bool:
    subscription = session.subscription
    return session.visibility.sees(user_id) and (
        subscription is None or subscription.full.everyone or user_id in subscription.full.users
    )


def _round(seconds: float) -> float:
    return round(max(0.0, seconds), 3)
