"""The protocol presenced.v1: records to JSON, and ids of requests that cannot be parsed."""

from __future__ import annotations

import json

import msgspec
from msgspec import Raw
from msgspec.json import Encoder

from presenced.presence.model import NO_DETAILS, Cause, Change, OwnState, Status
from presenced.presence.rooms import Membership
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1.messages import (
    MAX_DISPLAY_BYTES,
    MemberRecord,
    Overruled,
    RequestId,
    Self,
    ServerMessageV1,
    UserRecord,
)

_encoder = Encoder()

MAX_NESTING_LEVELS = 32
"""Maximum number of nested levels of JSON that a client passes on to others. Deeper JSON is refused, because some
parsers stop at 64 levels."""

_SHOWN_AS: dict[str, tuple[Cause, Cause]] = {
    Cause.CHOICE: (Cause.CLOSE, Cause.CONNECT),
    Cause.EXPIRY: (Cause.CLOSE, Cause.CONNECT),
}
"""Causes that others see instead if a choice or its expiry makes the user go offline, or makes the user come online.

Becoming invisible looks like a close to them, and becoming visible again like a connect.
"""


def encode(message: ServerMessageV1 | UserRecord | MemberRecord) -> bytes:
    """Return a message, or a part of one, as JSON."""
    return _encoder.encode(message)


def user_record(change: Change, with_cause: bool, certainty: str = "") -> UserRecord:
    """Return the user as others see them after `change`."""
    details = change.view.details
    return UserRecord(
        wire_user_id(change.user_id),
        change.status,
        change.since_ms,
        change.version,
        change.seen_ms,
        details.text,
        details.emoji,
        Raw(details.data) if details.data else None,
        details.until_ms,
        change.view.devices,
        Raw(change.view.display) if change.view.display else None,
        shown_cause(change) if with_cause else "",
        certainty,
    )


def record(change: Change, with_cause: bool, certainty: str = "") -> Raw:
    """Return the record of a user after `change` as JSON."""
    return Raw(encode(user_record(change, with_cause, certainty)))


def member_record(member: Membership, presence: Raw) -> Raw:
    """Return a member of a room as JSON."""
    data = Raw(member.data) if member.data else None
    return Raw(encode(MemberRecord(wire_user_id(member.user_id), member.joined_ms, presence, data)))


def unknown_user(user_id: str, version: int, certainty: str = "") -> UserRecord:
    """Return a record with status offline, for a user without known presence or one that the client may not see.

    Args:
        version: The newest number of the version clock. It is at least any version that a client knows of the user, and
            below the user's next one.
    """
    return UserRecord(wire_user_id(user_id), Status.OFFLINE, 0, version, certainty=certainty)


def self_message(own: OwnState) -> bytes:
    """Return SELF."""
    details, overruled = own.view.details, own.overruled
    return encode(
        Self(
            own.view.status,
            own.chosen or "auto",
            details.text,
            details.emoji,
            Raw(details.data) if details.data else None,
            details.until_ms,
            own.view.devices,
            Raw(own.view.display) if own.view.display else None,
            own.cause,
            overruled is not None,
            Overruled(overruled.text, overruled.emoji, overruled.until_ms)
            if overruled not in (None, NO_DETAILS)
            else None,
        )
    )


def compact(data: bytes) -> bytes:
    """Return JSON without the white space between its tokens.

    A line break there is valid JSON, but would end the line of an event stream that contains the JSON.

    Raises:
        msgspec.DecodeError: It is not JSON.
    """
    return msgspec.json.format(data, indent=-1) if data else b""


def can_be_read(data: bytes) -> bool:
    """Return whether all clients can read this JSON of another client. One that cannot would lose the whole message."""
    try:
        return not data or _depth(msgspec.json.decode(data)) <= MAX_NESTING_LEVELS
    except (msgspec.MsgspecError, RecursionError):
        return False


def is_display(data: bytes) -> bool:
    """Return whether `data` is a JSON object that can be passed on as display data."""
    return len(data) <= MAX_DISPLAY_BYTES and data[:1] == b"{" and can_be_read(data)


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def request_id(text: str) -> int | str | None:
    """Return the id of a message that could not be parsed; None if it has none that can be sent back.

    The json module also reads half a surrogate pair, which makes msgspec refuse the whole message.
    """
    try:
        return msgspec.json.decode(text, type=_OnlyId).id
    except (msgspec.MsgspecError, RecursionError):
        pass  # the json module may still read it
    try:
        found = json.loads(text)
        usable = msgspec.convert({"id": found.get("id")} if isinstance(found, dict) else {}, _OnlyId)
        _encoder.encode(usable)  # fails if the id itself has half a surrogate pair
    except (ValueError, RecursionError):  # errors of msgspec and UnicodeEncodeError are ValueErrors
        return None
    return usable.id


class _OnlyId(msgspec.Struct):
    id: RequestId | None = None


def shown_cause(change: Change) -> str:
    """Return the cause of a change, as others may know it."""
    return cause_as_shown(change.cause, change.status, change.was)


def cause_as_shown(cause: str, status: str, was: str) -> str:
    """Return the cause that others see of a change from the status `was` to `status`."""
    if cause in _SHOWN_AS and (status == Status.OFFLINE) != (was == Status.OFFLINE):
        return _SHOWN_AS[cause][was == Status.OFFLINE]
    return cause
