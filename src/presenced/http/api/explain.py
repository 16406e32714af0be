"""Endpoints that explain the status of a user: the user's sessions, and the reasons for the status."""

from __future__ import annotations

from typing import cast

from msgspec.structs import asdict, astuple

from presenced.delivery.connection import Connection
from presenced.http.api.endpoint import Api, ApiCall, Endpoint
from presenced.http.api.presence import checked_viewer
from presenced.http.api.requests import Empty, SessionListParams, ViewerParams
from presenced.http.api.responses import (
    ChoiceRecord,
    ExplainedSession,
    ExplainedViewer,
    ExplainUserResult,
    LiveSession,
    LiveSessions,
    OwnRecord,
    PendingEnd,
    SessionList,
    SessionListEntry,
    change_record,
    claim_record,
    details_of,
    display_of,
)
from presenced.node.service import PresenceService
from presenced.node.viewer_scope import ViewerScope
from presenced.presence.explain import Basis, Decision, Explanation, Liveness, Rule, ViewerDetails
from presenced.presence.model import Cause, Choice, Status, View
from presenced.presence.session import Session
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1.messages import Chosen
from presenced.runtime.instant import Instant


@Endpoint("GET", "/users/{user_id}/sessions", scope="admin")
async def list_sessions(api: Api, call: ApiCall[Empty, Empty]) -> LiveSessions:
    """The current sessions of a user.

    Sessions that have a connection, or are in their grace period.
    """
    found = api.service.sessions_of(call.user_id)
    return LiveSessions(
        wire_user_id(call.user_id), [live_session(session, call.now, api.service.node_of(session)) for session in found]
    )


@Endpoint("GET", "/sessions", scope="admin", example_query="limit=100")
async def list_all_sessions(api: Api, call: ApiCall[SessionListParams, Empty]) -> SessionList:
    """The current sessions of all users.

    Sessions that have a connection, or are in their grace period, including those of invisible users. A user who has
    one all the time appears exactly once, with all current sessions.
    """
    return session_list(api.service, call.query, call.now)


@Endpoint("GET", "/users/{user_id}/explain", scope="admin")
async def explain_user(api: Api, call: ApiCall[ViewerParams, Empty]) -> ExplainUserResult:
    """Why a user has this status, for everyone or for one viewer.

    The truth, including that of invisible users. `why` is a sentence.
    """
    found = api.service.explain(call.user_id, checked_viewer(api, call.query.viewer), call.now)
    return explanation_record(found, api.service.scope_of(None))


# Responses, for the Python interface, too.


def session_list(service: PresenceService, page: SessionListParams, now: Instant) -> SessionList:
    """Return one page of all current sessions."""
    found, following = service.sessions(page.after, page.limit)
    sessions = [
        SessionListEntry(
            user_id=wire_user_id(session.user_id),
            **asdict(live_session(session, now, service.node_of(session))),
        )
        for session in found
    ]
    return SessionList(sessions, following)


def live_session(session: Session[Connection], now: Instant, node: str) -> LiveSession:
    """Return a session that has a connection or is in its grace period.

    Args:
        node: Name of the node that has it; empty for this one.
    """
    connection = session.connection
    return LiveSession(
        "presenced.v1" if session.session_id else "classic",
        connection is not None or session.slot >= 0,
        session.active,
        connection.connection_id if connection else "",
        session.device,
        connection.opened_ms if connection else 0,
        now.epoch_ms - int((now.monotonic - connection.heard_at) * 1000) if connection else 0,
        round(session.grace_ends - now.monotonic, 3) if session.grace_ends is not None else None,
        tuple(session.rooms or ()),
        node,
    )


def explanation_record(found: Explanation, scope: ViewerScope) -> ExplainUserResult:
    """Return an explanation as a response.

    Args:
        scope: Scope of a backend, which sees everything.
    """
    return ExplainUserResult(
        wire_user_id(found.user_id),
        sentence(found),
        scope.record(found.user_id, found.shown),
        _own_record(found.true),
        [ExplainedSession(*astuple(session)) for session in found.sessions],  # the same fields, in the same order
        found.announced,
        [PendingEnd(one.what, one.seconds, one.source) for one in found.pending],
        _choice(found.chosen),
        _choice(found.timed) if found.timed else None,
        [claim_record(claim) for claim in found.claims],
        found.winner,
        _viewer_record(found.viewer) if found.viewer else None,
        [change_record(change, change.cause) for change in found.changes],
    )


def _own_record(view: View) -> OwnRecord:
    return OwnRecord(view.status, *details_of(view.details), view.devices, display_of(view))


def _choice(choice: Choice) -> ChoiceRecord:
    status = cast(Chosen, choice.status.value if choice.status else "auto")
    return ChoiceRecord(status, *details_of(choice.details))


def _viewer_record(viewer: ViewerDetails) -> ExplainedViewer:
    return ExplainedViewer(wire_user_id(viewer.user_id), viewer.may_see, viewer.watches, _rule(viewer), viewer.roles)


# Sentences.

_RULES = {
    Rule.SELF: "every user sees their own true status",
    Rule.EVERYONE: "may see everyone",
    Rule.NAMED: "may see this user by name",
    Rule.ROOM: "watches the room {room}, where the user is",
    Rule.NOT_ALLOWED: "may see neither this user nor a room where the user is",
    Rule.BLOCKED: "has blocked this user",
    Rule.NO_SESSION: "is not connected",
    Rule.NO_SESSION_EVERYONE: "is not connected, and may see everyone after connecting",
}

_LEFT = {
    Cause.CLOSE: "their client closed the connection",
    Cause.GRACE: "a lost connection did not come back",
    Cause.TIMEOUT: "their client stopped answering",
    Cause.KICK: "the application disconnected them",
    Cause.ANNOUNCEMENT: "a backend announced it",
}


_NOBODY = "no session is connected or in its grace period, and no backend announces them"


def sentence(found: Explanation) -> str:
    """Return an explanation as one sentence."""
    decided = found.decision
    reason = _liveness(found.liveness)
    if decided.basis is not Basis.ABSENT:
        reason = f"{_decision(decided)}; {reason}"
    elif found.liveness.left is not None:
        reason = f"{_NOBODY}; {reason}"
    else:
        reason = _NOBODY
    return f"{_shown_to(found)}: {reason}."


def _rule(viewer: ViewerDetails) -> str:
    return _RULES[viewer.rule].replace("{room}", viewer.room)


def _shown_to(found: Explanation) -> str:
    shown, seen = f"{found.user_id} is {found.status}", found.viewer
    if seen is None:
        return f"{shown} to all who may see them"
    if seen.rule is Rule.SELF:
        return f"{found.user_id} is {found.true.status} to themselves"
    rule = f"{seen.user_id} {_rule(seen)}"
    if seen.may_see is None:
        return f"{shown}, but whether {seen.user_id} may see that is not known, as {rule}"
    if not seen.may_see:
        return f"{shown}, but {seen.user_id} does not see it, as {rule}"
    if not seen.watches:
        why = rule if seen.rule is Rule.NO_SESSION_EVERYONE else "no session of theirs subscribes to this user"
        return f"{shown}, but {seen.user_id} does not see it, as {why}"
    return f"{shown} to {seen.user_id}, who {_rule(seen)}"


def _decision(decided: Decision) -> str:
    claim, more = decided.claim, "" if decided.ends_in is None else f", for {_duration(decided.ends_in)} more"
    match decided.basis:
        case Basis.CLAIM:
            assert claim is not None, "it decides"
            over = "what was detected" if decided.chosen is None else f"their choice to be {decided.chosen}"
            return f"{claim.source} claims it with priority {claim.priority}{more}, and wins over {over}"
        case Basis.CHOICE:
            chose = f"they chose to be {decided.chosen}{more}"
            if claim is None:
                return chose
            is_invisible = decided.chosen is Status.INVISIBLE
            why = "no claim does" if is_invisible else f"its priority is {claim.priority}, not above 0"
            return f"{chose}, and what {claim.source} claims ({claim.status}) does not win over that: {why}"
        case Basis.ACTIVITY:
            return _activity(decided.sessions, decided.active)
        case _:
            return "a backend announces them"


def _activity(sessions: int, active: int) -> str:
    which, state = f"{active} of {sessions} sessions", "active" if active else "idle"
    if sessions == 1:
        which = "their only session"
    elif active in (0, sessions):
        which = f"all {sessions} sessions"
    return f"{which} {'is' if 1 in (sessions, active) else 'are'} {state}"


def _liveness(liveness: Liveness) -> str:
    if liveness.quiet is not None:
        are = "1 connection is" if liveness.connections == 1 else f"{liveness.connections} connections are"
        return f"{are} open, last heard {_duration(liveness.quiet)} ago"
    if liveness.elsewhere:
        count = liveness.elsewhere
        return "1 session is on another node" if count == 1 else f"{count} sessions are on other nodes"
    if liveness.grace_left is not None:
        return f"no connection is open, and the grace period of a lost one lasts {_duration(liveness.grace_left)} more"
    if liveness.left is not None:
        return f"{_LEFT[liveness.left]} {_duration(liveness.left_ago)} ago"
    return "no connection is open, and a backend announces them"


def _duration(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    whole = round(max(0.0, seconds))
    return "1 second" if whole == 1 else f"{whole} seconds"
