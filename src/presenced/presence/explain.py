"""Why a user looks as they do to somebody: for whoever is asked by phone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from presenced.presence.claims import Claim, deciding, winner
from presenced.presence.heartbeat import Beat
from presenced.presence.model import Cause, Change, Choice, Status, View
from presenced.presence.user import Session, User
from presenced.runtime.instant import Instant

MAX_CHANGES = 50
"""Changes in one explanation."""

_LEFT = {
    Cause.CLOSE: "their client closed the connection",
    Cause.GRACE: "a lost connection did not come back",
    Cause.TIMEOUT: "their client did not answer any more",
    Cause.KICK: "the application disconnected them",
    Cause.ANNOUNCEMENT: "a backend announced it",
}


class Heard(Protocol):
    """What is told of a connection."""

    connection_id: str
    heard_at: float


class Viewer(NamedTuple):
    """Who looks."""

    user_id: str
    sessions: Sequence[Session[Any]]
    """Those that are there."""
    sees_everyone: bool
    """Everybody does, by the settings, unless a session's token says otherwise."""
    roles: tuple[str, ...] = ()
    """By what their connections came with."""


class SessionExplained(Struct, frozen=True):
    """One client instance of the user."""

    connection_id: str
    """Empty for one that has no connection."""
    protocol: str
    """`classic` or `presenced.v1`."""
    device: str
    """Empty when not known."""
    active: bool
    heard: float | None
    """Seconds since the client was last heard; None while it has no connection."""
    pinged_in: float | None
    """Seconds until the client is pinged next; None while it has no connection."""
    times_out_in: float | None
    """Seconds until the connection is given up when the client, which has been pinged, stays silent; None while nothing
    is awaited."""
    waited_for: float | None
    """Seconds for which it still keeps its user online without a connection; None when it does not."""
    resumable: float | None
    """Seconds for which its client can still resume it; None while it has a connection."""
    rooms: tuple[str, ...]


class Pending(Struct, frozen=True):
    """What happens by time alone."""

    what: str
    """Which ends: a `grace`, a `choice` or a `claim`."""
    source: str
    """Of the claim."""
    seconds: float
    """From now."""


class Visibility(Struct, frozen=True):
    """What one viewer sees of the user."""

    user_id: str
    may_see: bool | None
    """None: not known, as the viewer has no session."""
    watches: bool
    """Whether a session of the viewer is told of the user."""
    is_absent: bool
    """The viewer has no session."""
    rule: str
    """Why, in words."""
    roles: tuple[str, ...] = ()
    """The viewer's."""


class Explanation(Struct, frozen=True):
    """Everything that decides how a user looks."""

    user_id: str
    why: str
    """One sentence."""
    shown: Change | None
    """What all who may see the user are shown; None when nothing is known of the user, which looks like offline."""
    true: View
    """What the user's own devices see."""
    sessions: tuple[SessionExplained, ...]
    announced: bool
    pending: tuple[Pending, ...]
    """What comes first stands first."""
    chosen: Choice
    timed: Choice | None
    """What was chosen for a time; the other one returns after it."""
    claims: tuple[Claim, ...]
    """In the order in which they were set."""
    winner: str
    """The source of the claim that decides the status; empty when none does."""
    viewer: Visibility | None
    changes: tuple[Change, ...]
    """The last ones that are remembered, newest first."""


def explain(
    user_id: str,
    user: User[Any] | None,
    rooms: Collection[str],
    viewer: Viewer | None,
    changes: Sequence[Change],
    now: Instant,
    beat: Callable[[Any], Beat],
) -> Explanation:
    """Why the user looks as they do.

    Args:
        user: None: nothing is known of them. Its connections are `Heard`.
        rooms: Those the user is seen in.
        changes: Their last ones, newest first.
        beat: What the heartbeat does next about a connection.
    """
    user = user or User(user_id)
    seen = _visibility(user_id, rooms, viewer) if viewer else None
    claim = deciding(user.choice, user.claims) if user.is_present else None
    return Explanation(
        user_id,
        f"{_to_whom(user, seen)}: {_reason(user, claim, now)}.",
        user.last_change,
        user.true_view(),
        tuple(_session(session, now, beat) for session in user.sessions),
        user.announced,
        tuple(sorted(_pending(user, now), key=lambda pending: pending.seconds)),
        user.chosen,
        user.timed,
        user.claims,
        claim.source if claim else "",
        seen,
        tuple(changes),
    )


def _session(session: Session[Any], now: Instant, beat: Callable[[Any], Beat]) -> SessionExplained:
    connection: Heard | None = session.connection
    ahead = beat(connection) if connection else None
    return SessionExplained(
        connection.connection_id if connection else "",
        "presenced.v1" if session.session_id else "classic",
        session.device,
        session.active,
        _round(now.monotonic - connection.heard_at) if connection else None,
        _round(ahead.pinged_in) if ahead else None,
        _round(ahead.times_out_in) if ahead and ahead.times_out_in is not None else None,
        None if connection or session.grace_ends is None else _round(session.grace_ends - now.monotonic),
        None if connection or not session.session_id else _round(session.forget_at - now.monotonic),
        tuple(session.rooms or ()),
    )


def _pending(user: User[Any], now: Instant) -> list[Pending]:
    graces = [Pending("grace", "", s.grace_ends) for s in user.detached() if s.grace_ends is not None]
    choice = [Pending("choice", "", user.timed_until)] if user.timed else []
    claims = [Pending("claim", claim.source, claim.ends) for claim in user.claims if claim.ends < inf]
    return [Pending(p.what, p.source, _round(p.seconds - now.monotonic)) for p in (*graces, *choice, *claims)]


def _visibility(user_id: str, rooms: Collection[str], viewer: Viewer) -> Visibility:
    if viewer.user_id == user_id:
        rule = "everybody sees the truth of themselves"
        return Visibility(user_id, True, bool(viewer.sessions), not viewer.sessions, rule, viewer.roles)
    if not viewer.sessions:
        rule = "has no session, and everybody may see everyone" if viewer.sees_everyone else "has no session"
        return Visibility(viewer.user_id, viewer.sees_everyone or None, False, True, rule)
    sessions = [s for s in viewer.sessions if user_id not in s.visibility.blocked]
    by_sight = any(s.visibility.sees(user_id) for s in sessions)
    shared = sorted({room for s in sessions if s.watch for room in s.watch.full.rooms.intersection(rooms)})
    if not sessions:
        rule = "has blocked this user"
    elif any(s.visibility.everyone for s in sessions):
        rule = "may see everyone"
    elif by_sight:
        rule = "may see this user by name"
    elif shared:
        rule = f"watches the room {shared[0]}, where the user is"
    else:
        rule = "may see neither this user nor a room where the user is"
    watches = bool(shared) or any(_asks_for(session, user_id) for session in sessions)
    return Visibility(viewer.user_id, by_sight or bool(shared), watches, False, rule, viewer.roles)


def _asks_for(session: Session[Any], user_id: str) -> bool:
    watch = session.watch
    return session.visibility.sees(user_id) and (watch is None or watch.full.everyone or user_id in watch.full.users)


def _to_whom(user: User[Any], seen: Visibility | None) -> str:
    shown = f"{user.user_id} is {user.shown.status}"
    if seen is None:
        return f"{shown} to all who may see them"
    if seen.user_id == user.user_id:
        return f"{user.user_id} is {user.true_view().status} to themselves"
    if seen.may_see is None:
        return f"{shown}, but whether {seen.user_id} may see that is not known, as {seen.user_id} {seen.rule}"
    if not seen.may_see:
        return f"{shown}, but {seen.user_id} is not told, as {seen.user_id} {seen.rule}"
    if not seen.watches:
        why = f"{seen.user_id} {seen.rule}" if seen.is_absent else "no session of theirs asks to be"
        return f"{shown}, but {seen.user_id} is not told, as {why}"
    return f"{shown} to {seen.user_id}, who {seen.rule}"


def _reason(user: User[Any], claim: Claim | None, now: Instant) -> str:
    if not user.is_present:
        nobody, last = "no session is connected or waited for, and no backend announces them", user.last_change
        if last is None or last.cause not in _LEFT:
            return nobody
        return f"{nobody}; {_LEFT[last.cause]} {_span(now.monotonic - last.at.monotonic)} ago"
    return f"{_decision(user, claim, now)}; {_here(user, now)}"


def _decision(user: User[Any], claim: Claim | None, now: Instant) -> str:
    choice = user.choice
    status = choice.status
    if claim is not None:
        over = "what was detected" if status is None else f"their choice to be {status}"
        until = "" if claim.ends == inf else f", for {_span(claim.ends - now.monotonic)} more"
        return f"{claim.source} claims it with priority {claim.priority}{until}, and wins over {over}"
    if status is None:
        return _detected(user)
    chose = f"they chose to be {status}"
    if user.timed:
        chose += f", for {_span(user.timed_until - now.monotonic)} more"
    lost = winner(user.claims)
    if lost is None:
        return chose
    why = "no claim does" if status is Status.INVISIBLE else f"its priority is {lost.priority}, not above 0"
    return f"{chose}, and what {lost.source} claims ({lost.status}) does not win over that: {why}"


def _detected(user: User[Any]) -> str:
    present = [session for session in user.sessions if session.is_present]
    active = sum(session.active for session in present)
    which, state = f"{active} of {len(present)} sessions", "active" if active else "idle"
    if not present or (user.announced and not active):
        return "a backend announces them"
    if len(present) == 1:
        which = "their only session"
    elif active in (0, len(present)):
        which = f"all {len(present)} sessions"
    return f"{which} {'is' if len(present) == 1 or active == 1 else 'are'} {state}"


def _here(user: User[Any], now: Instant) -> str:
    if user.connected:
        quiet = min(now.monotonic - s.connection.heard_at for s in user.sessions if s.connection is not None)
        are = "1 connection is" if user.connected == 1 else f"{user.connected} connections are"
        return f"{are} open, last heard {_span(quiet)} ago"
    if graces := [s.grace_ends for s in user.detached() if s.grace_ends is not None]:
        return f"no connection is open, and a lost one is waited for {_span(max(graces) - now.monotonic)} more"
    return "no connection is open, and a backend announces them"


def _span(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    whole = round(max(0.0, seconds))
    return "1 second" if whole == 1 else f"{whole} seconds"


def _round(seconds: float) -> float:
    return round(max(0.0, seconds), 3)
