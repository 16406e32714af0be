"""Events for receivers: the rule that makes a change an event, and the JSON of events.

A change is an event if it differs from the last state sent to receivers, not from the change before it. A lost or
repeated change therefore does no harm: the next one is compared with the state that receivers actually received.

| last sent | new state | event |
|---|---|---|
| any | version not above the last one | none: it is a repetition |
| any | same status and details | none |
| offline | any other status | user.online |
| any other status | offline | user.offline |
| any other status | another one, or other details | user.status_changed |
| vacated, occupied | the other one | room.occupied, room.vacated |
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from msgspec import Raw, Struct
from msgspec.json import Encoder
from msgspec.structs import asdict

from presenced.presence.model import Change
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1.codec import cause_as_shown, user_record
from presenced.protocols.v1.messages import UserRecord
from presenced.runtime.instant import timestamp
from presenced.storage.records import RoomOccupancy

_encoder = Encoder()

OFFLINE, VACATED, OCCUPIED = "offline", "vacated", "occupied"
"""Values of `SentState.status`. For a user it may also be any other status."""

RESTART = "restart"
"""Cause of an event about a user or room that was present when the server stopped, and did not return."""


class Subject(NamedTuple):
    """User or room that an event is about."""

    kind: str
    """`user` or `room`."""
    name: str


class SentState(NamedTuple):
    """State of a user or room as last sent to receivers."""

    status: str
    version: int = -1
    """Version of the user's change that was sent, or position of the room's; -1 if nothing was sent."""
    details: str = ""
    """Digest of the text, emoji, data, end and display data; empty if there are none, or the user is offline."""


NEVER_SENT = {"user": SentState(OFFLINE), "room": SentState(VACATED)}
"""State that receivers assume of a user or room about which nothing was sent, by kind."""


class UserData(UserRecord, frozen=True, rename="camel", omit_defaults=True):
    """`data` of an event about a user: a user record as in presenced.v1, and the status last sent.

    Times are epoch milliseconds.
    """

    was: str = ""


class RoomEventData(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`data` of an event about a room."""

    room: str
    version: int
    """Strictly increasing for one room."""
    cause: str = ""


class EventContent(NamedTuple):
    """Event before it has an id."""

    type: str
    at_ms: int
    data: UserData | RoomEventData


def subject_of(record: Change | RoomOccupancy) -> Subject:
    """Return the user or room that the record is about."""
    return Subject("user", record.user_id) if isinstance(record, Change) else Subject("room", record.room)


def state_of(record: Change | RoomOccupancy) -> SentState:
    """Return the state that receivers know after this record was sent."""
    if isinstance(record, RoomOccupancy):
        return SentState(OCCUPIED if record.occupied else VACATED, record.position)
    return SentState(record.status.value, record.version, _digest(record))


def event_for(record: Change | RoomOccupancy, last_sent: SentState) -> EventContent | None:
    """Return the event about this record; None if receivers know it already, or know something newer."""
    new = state_of(record)
    if new.version <= last_sent.version or (new.status, new.details) == (last_sent.status, last_sent.details):
        return None
    if isinstance(record, RoomOccupancy):
        return EventContent(f"room.{new.status}", record.at_ms, RoomEventData(record.room, record.position))
    if OFFLINE in (new.status, last_sent.status):
        event_type = "user.offline" if new.status == OFFLINE else "user.online"
    else:
        event_type = "user.status_changed"
    return EventContent(event_type, record.at.epoch_ms, _user_data(record, last_sent.status))


def offline_event(
    user_id: str, version: int, was: str, now_ms: int, since_ms: int = 0, seen_ms: int = 0, cause: str = RESTART
) -> EventContent:
    """Return the event that a user is offline, for a user without a change to that status.

    Args:
        was: Status last sent to receivers.
        since_ms: Time since which the user is offline, in epoch milliseconds; 0 if it is not known.
        seen_ms: Time at which the user was last seen; 0 if it is not known.
    """
    data = UserData(wire_user_id(user_id), OFFLINE, since_ms, version, last_seen=seen_ms, cause=cause, was=was)
    return EventContent("user.offline", now_ms, data)


def encode_event(event_id: str, content: EventContent) -> str:
    """Return the JSON of one event."""
    event = {"id": event_id, "type": content.type, "timestamp": timestamp(content.at_ms), "data": content.data}
    return _encoder.encode(event).decode()


def encode_batch(events: list[str], at_ms: int) -> bytes:
    """Return the JSON body of a request with these encoded events, in this order."""
    data = {"events": [Raw(event.encode()) for event in events]}
    return _encoder.encode({"type": "presence.batch", "timestamp": timestamp(at_ms), "data": data})


def encode_test(at_ms: int) -> bytes:
    """Return the JSON body of a test request, without events."""
    return _encoder.encode({"type": "presence.test", "timestamp": timestamp(at_ms), "data": {}})


def batch_id(event_ids: list[str]) -> str:
    """Return the id of a request with these events. A retry with the same events has the same id."""
    return f"msg_{hashlib.blake2b('.'.join(event_ids).encode(), digest_size=16).hexdigest()}"


def _user_data(change: Change, was: str) -> UserData:
    fields = asdict(user_record(change, with_cause=False))
    return UserData(**{**fields, "cause": cause_as_shown(change.cause, change.status, was), "was": was})


def _digest(change: Change) -> str:
    details, display = change.view.details, change.view.display
    if change.status == OFFLINE or not (details.text or details.emoji or details.data or details.until_ms or display):
        return ""
    parts = [details.text.encode(), details.emoji.encode(), details.data, str(details.until_ms).encode()]
    # Without display data the digest must equal those stored before display data existed.
    parts += [display] if display else []
    return hashlib.blake2b(b"\0".join(parts), digest_size=8).hexdigest()
