"""Results of the Python interface, made from the records that the HTTP API responds with.

The records contain the rules: which cause a viewer may know, how an unknown user looks, what a session is doing. Here
only their values change: epoch milliseconds become `datetime`, encoded JSON is decoded, and empty becomes None.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

import msgspec
from msgspec import UNSET, Raw, UnsetType

from presenced.http.api.responses import (
    ChangeRecord,
    ChoiceRecord,
    ClaimRecord,
    ExplainedSession,
    ExplainedViewer,
    ExplainUserResult,
    LiveSession,
    OwnRecord,
    PendingEnd,
    RoomMember,
    RoomPage,
    RoomSummary,
)
from presenced.presence.model import Cause, Status
from presenced.protocols.ids import UserId
from presenced.protocols.v1.certainty import STALE
from presenced.protocols.v1.messages import UserRecord
from presenced.python_api.results import (
    HistoryChange,
    HistorySession,
    MemberPresence,
    OwnPresence,
    PendingEnding,
    Presence,
    PresenceChange,
    RoomPresence,
    RoomSize,
    SessionExplanation,
    StatusChoice,
    StatusExplanation,
    UndeliveredWebhook,
    UserClaim,
    UserLastSeen,
    UserSession,
    ViewerExplanation,
)
from presenced.storage.answers import DeadLetter, LastSeen, PastChange, PastSession

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def presence(record: UserRecord) -> Presence:
    """Return the presence of a user."""
    cause = Cause(record.cause) if record.cause else None
    return Presence(**_state(record), cause=cause, certain=record.certainty != STALE)


def change(record: ChangeRecord, position: str) -> PresenceChange:
    """Return a change.

    Args:
        position: Its cursor.
    """
    return PresenceChange(
        **_state(record),
        cause=Cause(record.cause),
        was=Status(record.was),
        at=_time(record.at),
        position=position,
    )


def claim(record: ClaimRecord) -> UserClaim:
    """Return a claim."""
    return UserClaim(
        source=record.source,
        status=Status(record.status),
        priority=record.priority,
        set_at=_time(record.set_at),
        **_details(record),
    )


def session(user_id: UserId, record: LiveSession) -> UserSession:
    """Return a session of a user."""
    return UserSession(
        user_id=user_id,
        protocol=record.protocol,
        connected=record.connected,
        active=record.active,
        connection_id=record.connection_id,
        device=record.device,
        opened_at=_time_or_none(record.opened_at),
        heard_at=_time_or_none(record.heard_at),
        grace_ends_in=record.grace_ends_in,
        rooms=record.rooms,
        node=record.node,
    )


# Rooms.


def room_size(record: RoomSummary) -> RoomSize:
    """Return a room without its members."""
    return RoomSize(name=record.room, mode=record.mode, count=record.count)


def room(record: RoomPage) -> RoomPresence:
    """Return a room with a page of its members."""
    members = [_member(member) for member in record.members]
    return RoomPresence(name=record.room, mode=record.mode, count=record.count, members=members, next=record.next)


def _member(record: RoomMember) -> MemberPresence:
    return MemberPresence(
        user_id=record.user_id,
        joined_at=_time(record.joined_at),
        presence=presence(record.presence),
        data=_decoded(record.data),
    )


# Stored data.


def last_seen(record: LastSeen) -> UserLastSeen:
    """Return when a user was last seen."""
    return UserLastSeen(
        user_id=record.user_id,
        status=Status(record.status),
        last_seen=_time_or_none(record.last_seen),
        last_active=_time_or_none(record.last_active),
    )


def past_change(record: PastChange) -> HistoryChange:
    """Return a stored change."""
    return HistoryChange(
        version=record.version,
        status=Status(record.status),
        was=Status(record.was),
        cause=Cause(record.cause),
        at=_time(record.at),
        devices=record.devices,
        **_details(record),
    )


def past_session(record: PastSession) -> HistorySession:
    """Return a stored session."""
    return HistorySession(
        connection_id=record.connection_id,
        protocol=record.protocol,
        opened_at=_time(record.opened_at),
        closed_at=_time_or_none(record.closed_at),
        reason=record.reason,
        device=record.device,
        address=record.address,
        node=record.node,
    )


def dead_letter(record: DeadLetter) -> UndeliveredWebhook:
    """Return a webhook that could not be delivered."""
    return UndeliveredWebhook(
        id=record.id,
        endpoint=record.endpoint,
        attempts=record.attempts,
        error=record.error,
        event=_decoded(record.event),
    )


# Explanations.


def explanation(record: ExplainUserResult, positions: list[str]) -> StatusExplanation:
    """Return an explanation.

    Args:
        positions: Cursors of its changes.
    """
    return StatusExplanation(
        user_id=record.user_id,
        why=record.why,
        shown=presence(record.shown),
        own=_own(record.own),
        sessions=[_session_explanation(one) for one in record.sessions],
        announced=record.announced,
        pending=[_pending(one) for one in record.pending],
        chosen=_choice(record.chosen),
        timed=_choice(record.timed) if record.timed else None,
        claims=[claim(one) for one in record.claims],
        winner=record.winner,
        viewer=_viewer(record.viewer) if record.viewer else None,
        changes=[change(one, position) for one, position in zip(record.changes, positions, strict=True)],
    )


def _own(record: OwnRecord) -> OwnPresence:
    return OwnPresence(
        status=Status(record.status),
        devices=record.devices,
        display=_decoded(record.display),
        **_details(record),
    )


def _session_explanation(record: ExplainedSession) -> SessionExplanation:
    return SessionExplanation(
        connection_id=record.connection_id,
        protocol=record.protocol,
        device=record.device,
        active=record.active,
        heard=record.heard,
        pinged_in=record.pinged_in,
        times_out_in=record.times_out_in,
        grace_ends_in=record.grace_ends_in,
        resumable_for=record.resumable_for,
        rooms=record.rooms,
    )


def _pending(record: PendingEnd) -> PendingEnding:
    return PendingEnding(what=record.what, seconds=record.seconds, source=record.source)


def _choice(record: ChoiceRecord) -> StatusChoice:
    return StatusChoice(status=None if record.status == "auto" else Status(record.status), **_details(record))


def _viewer(record: ExplainedViewer) -> ViewerExplanation:
    return ViewerExplanation(
        user_id=record.user_id,
        may_see=record.may_see,
        watches=record.watches,
        rule=record.rule,
        roles=record.roles,
    )


# Fields that several results share.


class _Details(TypedDict):
    """Fields that accompany a status."""

    text: str
    emoji: str
    data: Any
    until: datetime | None


class _State(_Details):
    """Fields of a user's visible state."""

    user_id: UserId
    status: Status
    since: datetime | None
    version: int
    last_seen: datetime | None
    devices: tuple[str, ...]
    display: dict[str, Any] | None


def _details(record: UserRecord | ChangeRecord | ClaimRecord | PastChange | OwnRecord | ChoiceRecord) -> _Details:
    return _Details(
        text=record.text,
        emoji=record.emoji,
        data=_decoded(record.data),
        until=_time_or_none(record.until),
    )


def _state(record: UserRecord | ChangeRecord) -> _State:
    return _State(
        user_id=record.user_id,
        status=Status(record.status),
        since=_time_or_none(record.since),
        version=record.version,
        last_seen=_time_or_none(record.last_seen),
        devices=record.devices,
        display=_decoded(record.display),
        **_details(record),
    )


# Values.


def _time(epoch_ms: int) -> datetime:
    # The sum of integers is exact. `fromtimestamp` takes seconds as a float.
    return _EPOCH + timedelta(milliseconds=epoch_ms)


def _time_or_none(epoch_ms: int) -> datetime | None:
    """Return a time; None for 0, which stands for an unknown or missing one in records."""
    return _time(epoch_ms) if epoch_ms else None


def _decoded(data: Raw | UnsetType | None) -> Any:
    return None if data is None or data is UNSET else msgspec.json.decode(data)
