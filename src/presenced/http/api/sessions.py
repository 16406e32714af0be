"""A user's sessions now, and why the user looks as they do."""

from __future__ import annotations

from presenced.http.api.endpoint import Api, Call
from presenced.http.api.parameters import Nothing
from presenced.http.api.responses import LiveSession, LiveSessions
from presenced.presence.session import Session
from presenced.protocols.base import Connection
from presenced.protocols.ids import wire_user_id


async def list_sessions(api: Api, call: Call[Nothing, Nothing]) -> LiveSessions:
    """Those with a connection, and those whose client is waited for."""
    found = api.application.sessions_of(call.user_id)
    now = api.node.clock.now()
    return LiveSessions(
        wire_user_id(call.user_id), [_session(session, now.monotonic, now.epoch_ms) for session in found]
    )


def _session(session: Session[Connection], now: float, epoch_ms: int) -> LiveSession:
    connection = session.connection
    return LiveSession(
        "presenced.v1" if session.session_id else "classic",
        connection is not None,
        session.active,
        connection.connection_id if connection else "",
        session.device,
        connection.opened_ms if connection else 0,
        epoch_ms - int((now - connection.heard_at) * 1000) if connection else 0,
        round(session.grace_ends - now, 3) if session.grace_ends is not None else None,
        tuple(session.rooms or ()),
    )
