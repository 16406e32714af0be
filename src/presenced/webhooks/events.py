"""Events: what the receivers are told, as JSON."""

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

RESTART = "restart"
"""The cause of an event about somebody who was there when the server ended and did not come back."""

BATCH = "presence.batch"
TEST = "presence.test"


class Told(NamedTuple):
    """What the receivers know of a user or a room."""

    status: str
    version: int = -1
    """Of the fact that told it; -1 when they were told nothing."""
    details: str = ""
    """A digest of what goes with the status."""


UNTOLD = {"user": Told(OFFLINE), "room": Told(VACATED)}
"""By the kind of subject."""


class UserData(UserRecord, frozen=True, rename="camel", omit_defaults=True):
    """`data` of an event about a user: a user record as in presenced.v1, and the status told before. Times are epoch
    milliseconds.
    """

    was: str = ""


class RoomData(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`data` of an event about a room."""

    room: str
    version: int
    """Strictly increasing for one room."""
    cause: str = ""


class Event(Struct, frozen=True):
    """One event, as it stands in a batch."""

    id: str
    type: str
    timestamp: str
    data: UserData | RoomData


class Batch(Struct, frozen=True):
    """The body of a request."""

    type: str
    timestamp: str
    data: dict[str, list[Raw]]


class News(NamedTuple):
    """Something to tell."""

    type: str
    at_ms: int
    data: UserData | RoomData


Subject = tuple[str, str]
"""`user` or `room`, and which one."""


def subject_of(fact: Change | RoomOccupancy) -> Subject:
    """Whom it is about."""
    return ("user", fact.user_id) if isinstance(fact, Change) else ("room", fact.room)


def now_told(fact: Change | RoomOccupancy) -> Told:
    """What the receivers know once they were told of it."""
    if isinstance(fact, RoomOccupancy):
        return Told(OCCUPIED if fact.occupied else VACATED, fact.position)
    return Told(fact.status.value, fact.version, _digest(fact))


def news(fact: Change | RoomOccupancy, told: Told) -> News | None:
    """What there is to tell to receivers that know `told`: none when they know it, or better."""
    new = now_told(fact)
    if new.version <= told.version or (new.status, new.details) == (told.status, told.details):
        return None
    if isinstance(fact, RoomOccupancy):
        return News(f"room.{new.status}", fact.at_ms, RoomData(fact.room, fact.position))
    if OFFLINE in (new.status, told.status):
        kind = "user.offline" if new.status == OFFLINE else "user.online"
    else:
        kind = "user.status_changed"
    return News(kind, fact.at.epoch_ms, _user_data(fact, told.status))


def left(
    user_id: str, version: int, told: Told, since_ms: int, seen_ms: int, now_ms: int, cause: str = RESTART
) -> News:
    """Somebody told to be there turned out not to have come back, or has been erased."""
    record = UserData(
        wire_user_id(user_id), OFFLINE, since_ms, version, last_seen=seen_ms, cause=cause, was=told.status
    )
    return News("user.offline", now_ms, record)


def encode(event_id: str, found: News) -> str:
    """JSON of one event."""
    return _encoder.encode(Event(event_id, found.type, timestamp(found.at_ms), found.data)).decode()


def encode_batch(events: list[str], at_ms: int) -> bytes:
    """JSON of a request with these events, in this order."""
    raw = [Raw(event.encode()) for event in events]
    return _encoder.encode(Batch(BATCH, timestamp(at_ms), {"events": raw}))


def encode_test(at_ms: int) -> bytes:
    """JSON of a request that tells nothing."""
    return _encoder.encode({"type": TEST, "timestamp": timestamp(at_ms), "data": {}})


def batch_id(event_ids: list[str]) -> str:
    """The same for the same events: a request that is sent again keeps its id."""
    return f"msg_{hashlib.blake2b('.'.join(event_ids).encode(), digest_size=16).hexdigest()}"


def _user_data(change: Change, was: str) -> UserData:
    seen = asdict(user_record(change, with_cause=False))
    return UserData(**{**seen, "cause": cause_as_shown(change.cause, change.status, was), "was": was})


def _digest(change: Change) -> str:
    custom, display = change.view.custom, change.view.display
    if change.status == OFFLINE or not (custom.text or custom.emoji or custom.data or custom.until_ms or display):
        return ""
    parts = [custom.text.encode(), custom.emoji.encode(), custom.data, str(custom.until_ms).encode()]
    parts += [display] if display else []  # as it always was without
    return hashlib.blake2b(b"\0".join(parts), digest_size=8).hexdigest()
