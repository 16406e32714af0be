"""User records and contributions: what the nodes agree on about a user, as values and as bytes.

Both are MessagePack arrays. Fields at the end that have their default value are left out, because most users have
nothing but a status. A later release adds fields to `later`, which earlier ones carry along.

The classes inside a record (`StatusDetails`, `View`, `Choices`, `SharedClaim`) are arrays, too. Nodes of two releases
exchange them during an upgrade. Append new fields, with defaults, and never reorder or remove one. A node of an older
release drops a new field when it writes the record again.

*Stamped fields* are decisions that may be made on any node: choices, claims, announcements. Each has a stamp of cluster
time. If two nodes have decided, the newer stamp counts (`merged`). A field that was cleared keeps its stamp. Otherwise
a node that was cut off meanwhile would bring back what it had before.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import astuple, replace

from presenced.presence.model import NO_DETAILS, SEEN_OFFLINE, Cause, Status, StatusDetails, View

NO_TIME = 0
"""Stamp of a field about which nothing was ever decided."""


class Choices(Struct, frozen=True, gc=False, array_like=True):
    """Statuses that a user chose. The end of the temporary choice is in its `details.until_ms`. Append fields only."""

    status: Status | None = None
    details: StatusDetails = NO_DETAILS
    stamp_ms: int = NO_TIME
    timed: Status | None = None
    timed_details: StatusDetails | None = None
    """None if there is no temporary choice."""
    timed_stamp_ms: int = NO_TIME


NOTHING_CHOSEN = Choices()


class SharedClaim(Struct, frozen=True, gc=False, array_like=True):
    """A claim of one source, or that it was cleared. Its end is in `details.until_ms`. Append fields only."""

    source: str
    stamp_ms: int
    status: Status | None = None
    """None if the claim was cleared."""
    details: StatusDetails = NO_DETAILS
    priority: int = 0


class StampedFields(NamedTuple):
    """Stamped fields of a `UserRecord`."""

    chosen: Choices
    claims: tuple[SharedClaim, ...]
    announced: bool
    announced_stamp_ms: int
    display: bytes
    display_issued: float


class UserRecord(Struct, frozen=True, gc=False, array_like=True):
    """State of one user that all nodes have agreed on."""

    view: View
    """State that others see."""
    since_ms: int
    """As in `Change`."""
    seen_ms: int
    """As in `Change`."""
    cause: Cause
    was: Status = Status.OFFLINE
    was_version: int = 0
    active_ms: int = 0
    """When the user last connected actively, chose or became active, in epoch milliseconds."""
    chosen: Choices = NOTHING_CHOSEN
    claims: tuple[SharedClaim, ...] = ()
    announced: bool = False
    announced_stamp_ms: int = NO_TIME
    display: bytes = b""
    """Display data, also while the user is offline."""
    display_issued: float = 0.0
    """As in `Display`; 0 if there is no display data."""
    rests_on_retained: bool = False
    """Whether the author counted a contribution that the store had lost (`cluster.replica.replica`)."""
    later: dict[str, Raw] = {}
    """Fields of later releases, by name."""

    @property
    def stamped(self) -> StampedFields | None:
        """The stamped fields with their stamps; None if nothing was ever decided, as for most users."""
        if (
            self.chosen == NOTHING_CHOSEN
            and not self.claims
            and not self.announced_stamp_ms
            and not self.announced
            and not self.display_issued
            and not self.display
        ):
            return None
        return StampedFields(
            self.chosen, self.claims, self.announced, self.announced_stamp_ms, self.display, self.display_issued
        )

    @property
    def decided(self) -> tuple[Any, ...]:
        """The choices, claims and announcement. Stamps and cleared fields are not part of it."""
        chosen = self.chosen
        claims = tuple(one for one in self.claims if one.status is not None)
        return (chosen.status, chosen.details, chosen.timed, chosen.timed_details), claims, self.announced

    @property
    def is_kept(self) -> bool:
        """Whether the store has to keep the record: the user is present, or something is set or was cleared."""
        return self.view.status is not Status.OFFLINE or self.is_set or self.has_stamps

    @property
    def is_only_cleared(self) -> bool:
        """Whether a kept record says nothing but that something was cleared (`cluster.replica.cleared_records`)."""
        return self.view.status is Status.OFFLINE and not self.is_set

    @property
    def has_stamps(self) -> bool:
        """Whether a decision has a stamp, even if it was cleared since."""
        chosen = self.chosen
        return bool(chosen.stamp_ms or chosen.timed_stamp_ms or self.announced_stamp_ms or self.claims)

    @property
    def is_set(self) -> bool:
        """Whether something is chosen, claimed or announced."""
        chosen = self.chosen
        has_choice = chosen.status is not None or chosen.details != NO_DETAILS or chosen.timed_details is not None
        return has_choice or self.announced or any(claim.status is not None for claim in self.claims)


class SharedSession(NamedTuple):
    """A session as its node contributes it."""

    tag: bytes
    """`TAG_BYTES` of the digest of its id, which is a secret and never stored; empty for a classic connection."""
    device: str
    active: bool


class SharedMember(NamedTuple):
    """A room that a session is in, as its node contributes it."""

    tag: bytes
    """The session's."""
    room: str
    number: int
    """As in `MemberData`."""
    data: bytes
    joined_ms: int


TAG_BYTES = 6
"""Bytes of a session's tag."""

MAX_SHARED_VIEWS = 1_000
"""Maximum number of views that are remembered, so that users who look the same share one object. At the bound, the view
that was read least recently is forgotten, and read again for the next user."""


class _EncodedRecord(UserRecord, frozen=True, gc=False, array_like=True):
    """A record whose view is not decoded yet."""

    view: Raw  # type: ignore[assignment]  # only `decode_record` sees it


_REQUIRED = len(UserRecord.__struct_fields__) - len(UserRecord.__struct_defaults__)
_DEFAULTS = astuple(UserRecord(SEEN_OFFLINE, 0, 0, Cause.CONNECT))

_encoder = msgspec.msgpack.Encoder()
_record_decoder = msgspec.msgpack.Decoder(_EncodedRecord)
_view_decoder = msgspec.msgpack.Decoder(View)
_sessions_decoder = msgspec.msgpack.Decoder(tuple[SharedSession, ...])
_rooms_decoder = msgspec.msgpack.Decoder(tuple[SharedMember, ...])


def encode_record(record: UserRecord) -> bytes:
    """Return the record as bytes."""
    values = astuple(record)
    length = len(values)
    while length > _REQUIRED and values[length - 1] == _DEFAULTS[length - 1]:
        length -= 1
    return _encoder.encode(values[:length])


def decode_record(data: bytes) -> UserRecord:
    """Return the record in these bytes.

    Raises:
        msgspec.ValidationError: They are not a record.
    """
    found = _record_decoder.decode(data)
    # hot: once for each change of another node
    return UserRecord(
        _decode_view(bytes(found.view)),
        found.since_ms,
        found.seen_ms,
        found.cause,
        found.was,
        found.was_version,
        found.since_ms if found.active_ms == found.since_ms else found.active_ms,  # one object for both saves memory
        found.chosen,
        found.claims,
        found.announced,
        found.announced_stamp_ms,
        found.display,
        found.display_issued,
        found.rests_on_retained,
        found.later,
    )


@lru_cache(MAX_SHARED_VIEWS)
def _decode_view(data: bytes) -> View:
    return _view_decoder.decode(data)


def encode_sessions(sessions: tuple[SharedSession, ...]) -> bytes:
    """Return the sessions as bytes; `b""` if there are none."""
    return _encoder.encode(sessions) if sessions else b""


def decode_sessions(data: bytes) -> tuple[SharedSession, ...]:
    """Return the sessions in these bytes."""
    return _sessions_decoder.decode(data) if data else ()


def encode_rooms(rooms: tuple[SharedMember, ...]) -> bytes:
    """Return the rooms as bytes; `b""` if there are none."""
    return _encoder.encode(rooms) if rooms else b""


def decode_rooms(data: bytes) -> tuple[SharedMember, ...]:
    """Return the rooms in these bytes."""
    return _rooms_decoder.decode(data) if data else ()


def merged(mine: UserRecord, theirs: UserRecord) -> UserRecord:
    """Return `theirs` with the stamped fields that have a newer stamp in `mine`."""
    a, b = mine.chosen, theirs.chosen
    permanent = a if a.stamp_ms > b.stamp_ms else b
    timed = a if a.timed_stamp_ms > b.timed_stamp_ms else b
    chosen = Choices(
        permanent.status,
        permanent.details,
        permanent.stamp_ms,
        timed.timed,
        timed.timed_details,
        timed.timed_stamp_ms,
    )
    claims = {claim.source: claim for claim in theirs.claims}
    for claim in mine.claims:
        if claim.source not in claims or claim.stamp_ms > claims[claim.source].stamp_ms:
            claims.pop(claim.source, None)  # adds it at the end: claims are in the order in which they were set
            claims[claim.source] = claim
    announcer = mine if mine.announced_stamp_ms > theirs.announced_stamp_ms else theirs
    displayer = mine if mine.display_issued > theirs.display_issued else theirs
    return replace(
        theirs,
        chosen=chosen,
        claims=tuple(claims.values()),
        announced=announcer.announced,
        announced_stamp_ms=announcer.announced_stamp_ms,
        display=displayer.display,
        display_issued=displayer.display_issued,
    )
