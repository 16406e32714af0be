"""The protocol presenced.v1: records to JSON, and requests out of text (`spec/protocol-v1.md`)."""

from __future__ import annotations

import json
from typing import Literal

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, Encoder

from presenced.presence.model import PLAIN, Cause, Change, Own, Status
from presenced.presence.rooms import Member
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1 import messages
from presenced.protocols.v1.messages import (
    Overruled,
    PresenceSnapshot,
    Request,
    RequestId,
    Self,
    ServerMessageV1,
    UserRecord,
)
from presenced.runtime import strict_json

_encoder = Encoder()
_decoder: Decoder[Request] = Decoder(Request)

MAX_DEPTH = 32
"""Levels of nesting in what clients pass on to others; parsers stop at 64 and more."""

_SHOWN_AS: dict[str, tuple[Cause, Cause]] = {
    Cause.CHOICE: (Cause.CLOSE, Cause.CONNECT),
    Cause.EXPIRY: (Cause.CLOSE, Cause.CONNECT),
}
"""Going invisible looks like a close to others, and coming back like a connect."""


def encode(message: ServerMessageV1) -> bytes:
    """Return a message as JSON."""
    return _encoder.encode(message)


def user_record(change: Change, with_cause: bool) -> UserRecord:
    """Return what is seen of the user after `change`."""
    custom = change.view.custom
    return UserRecord(
        wire_user_id(change.user_id),
        change.status,
        change.since_ms,
        change.version,
        change.seen_ms,
        custom.text,
        custom.emoji,
        Raw(custom.data) if custom.data else None,
        custom.until_ms,
        change.view.devices,
        Raw(change.view.display) if change.view.display else None,
        shown_cause(change) if with_cause else "",
    )


def record(change: Change, with_cause: bool) -> Raw:
    """The same as JSON."""
    return Raw(_encoder.encode(user_record(change, with_cause)))


def member(member: Member, presence: Raw) -> Raw:
    """A member of a room."""
    data = Raw(member.data) if member.data else None
    return Raw(_encoder.encode(messages.Member(wire_user_id(member.user_id), member.joined_ms, presence, data)))


def unknown_user(user_id: str, version: int) -> UserRecord:
    """Return the record of a user without known presence, or who must not be seen: offline.

    Args:
        version: The newest number of the version clock. It is at least any version that a client knows of the user, and
            below the user's next one.
    """
    return UserRecord(wire_user_id(user_id), Status.OFFLINE, 0, version)


def unknown_record(user_id: str, version: int) -> Raw:
    """Return the record as JSON."""
    return Raw(_encoder.encode(unknown_user(user_id, version)))


def snapshot_page(kind: Literal["everyone", "users"], page: int, pages: int, records: list[Raw]) -> bytes:
    """PRESENCE_SNAPSHOT, one page."""
    return encode(PresenceSnapshot(kind, page, pages, records))


def self_message(own: Own) -> bytes:
    """SELF."""
    custom, overruled = own.view.custom, own.overruled
    return encode(
        Self(
            own.view.status,
            own.chosen or "auto",
            custom.text,
            custom.emoji,
            Raw(custom.data) if custom.data else None,
            custom.until_ms,
            own.view.devices,
            Raw(own.view.display) if own.view.display else None,
            own.cause,
            overruled is not None,
            Overruled(overruled.text, overruled.emoji, overruled.until_ms) if overruled not in (None, PLAIN) else None,
        )
    )


def parse_request(text: str) -> Request:
    """Return a client's request.

    Raises:
        msgspec.ValidationError: It is JSON, but not a request. The message says why and lists what is allowed.
        msgspec.DecodeError: It is not JSON.
    """
    return strict_json.read(text, _decoder, Request)


def compact(data: bytes) -> bytes:
    """Return JSON without the white space between its tokens.

    A line break there is valid JSON, but would end the line of an event stream that contains the JSON.

    Raises:
        msgspec.DecodeError: It is not JSON.
    """
    return msgspec.json.format(data, indent=-1) if data else b""


def can_be_read(data: bytes) -> bool:
    """Whether all clients can be expected to read this JSON of somebody else's: with an error they would lose the whole
    message it comes in."""
    try:
        return not data or _depth(msgspec.json.decode(data)) <= MAX_DEPTH
    except (msgspec.MsgspecError, RecursionError):
        return False


def is_display(data: bytes) -> bool:
    """Whether it is an object that can be passed on as display data."""
    return len(data) <= messages.MAX_DISPLAY and data[:1] == b"{" and can_be_read(data)


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def request_id(text: str) -> int | str | None:
    """Return the id of a message that could not be parsed, if it has one that can be sent back.

    The json module reads the message, because msgspec refuses half a surrogate pair.
    """
    try:
        return msgspec.json.decode(text, type=_OnlyId).id
    except (msgspec.MsgspecError, RecursionError):
        pass
    try:
        found = json.loads(text)
        kept = msgspec.convert({"id": found.get("id")} if isinstance(found, dict) else {}, _OnlyId)
        _encoder.encode(kept)
    except (ValueError, RecursionError):  # errors of msgspec and UnicodeEncodeError are ValueErrors
        return None
    return kept.id


class _OnlyId(msgspec.Struct):
    id: RequestId | None = None


def shown_cause(change: Change) -> str:
    """Why it changed, as anybody but the user may know it."""
    return cause_as_shown(change.cause, change.status, change.was)


def cause_as_shown(cause: str, status: str, was: str) -> str:
    """The same of a change from one status to another."""
    if cause in _SHOWN_AS and (status == Status.OFFLINE) != (was == Status.OFFLINE):
        return _SHOWN_AS[cause][was == Status.OFFLINE]
    return cause
