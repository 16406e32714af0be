"""Endpoints that explain the status of a user: the user's sessions, and the reasons for the status."""

from __future__ import annotations

from typing import cast

from presenced.delivery.connection import Connection
from presenced.http.api.endpoint import Api, Call, Endpoint
from presenced.http.api.presence import checked_viewer
from presenced.http.api.requests import AsViewer, Nothing
from presenced.http.api.responses import (
    ChoiceRecord,
    Explained,
    ExplainedSession,
    LiveSession,
    LiveSessions,
    Looks,
    PendingEnd,
    Seeing,
    change_record,
    claim_record,
    details_of,
    display_of,
)
from presenced.presence import explain as core
from presenced.presence.model import Choice, View
from presenced.presence.user import Session
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1 import codec as v1
from presenced.protocols.v1.messages import Chosen, UserRecord
from presenced.runtime.instant import Instant


@Endpoint(
    "GET", "/users/{user_id}/sessions", scope="admin", group="Administration", summary="The current sessions of a user."
)
async def list_sessions(api: Api, call: Call[Nothing, Nothing]) -> LiveSessions:
    """Sessions that have a connection, or are in their grace period."""
    found = api.service.sessions_of(call.user_id)
    return LiveSessions(wire_user_id(call.user_id), [_live_session(session, call.now) for session in found])


def _live_session(session: Session[Connection], now: Instant) -> LiveSession:
    connection = session.connection
    return LiveSession(
        "presenced.v1" if session.session_id else "classic",
        connection is not None,
        session.active,
        connection.connection_id if connection else "",
        session.device,
        connection.opened_ms if connection else 0,
        now.epoch_ms - int((now.monotonic - connection.heard_at) * 1000) if connection else 0,
        round(session.grace_ends - now.monotonic, 3) if session.grace_ends is not None else None,
        tuple(session.rooms or ()),
    )


@Endpoint(
    "GET",
    "/users/{user_id}/explain",
    scope="admin",
    group="Administration",
    summary="Why a user has this status, for everyone or for one viewer.",
)
async def explain_user(api: Api, call: Call[AsViewer, Nothing]) -> Explained:
    """The truth, including that of invisible users. `why` is a sentence."""
    viewer = checked_viewer(api, call.query.viewer)
    found = api.service.explain(call.user_id, viewer, call.now)
    return Explained(
        wire_user_id(found.user_id),
        found.why,
        _shown(found, api.service.newest_version),
        _looks(found.true),
        [_session(session) for session in found.sessions],
        found.announced,
        [PendingEnd(one.what, one.seconds, one.source) for one in found.pending],
        _choice(found.chosen),
        _choice(found.timed) if found.timed else None,
        [claim_record(claim) for claim in found.claims],
        found.winner,
        _seeing(found.viewer) if found.viewer else None,
        [change_record(change, change.cause) for change in found.changes],
    )


def _shown(found: core.Explanation, newest: int) -> UserRecord:
    return v1.user_record(found.shown, with_cause=True) if found.shown else v1.unknown_user(found.user_id, newest)


def _looks(view: View) -> Looks:
    return Looks(view.status, *details_of(view.custom), view.devices, display_of(view))


def _session(session: core.SessionExplained) -> ExplainedSession:
    return ExplainedSession(
        session.connection_id,
        session.protocol,
        session.device,
        session.active,
        session.heard,
        session.pinged_in,
        session.times_out_in,
        session.waited_for,
        session.resumable,
        session.rooms,
    )


def _choice(choice: Choice) -> ChoiceRecord:
    status = cast(Chosen, choice.status.value if choice.status else "auto")
    return ChoiceRecord(status, *details_of(choice.custom))


def _seeing(viewer: core.Visibility) -> Seeing:
    return Seeing(wire_user_id(viewer.user_id), viewer.may_see, viewer.watches, viewer.rule, viewer.roles)
