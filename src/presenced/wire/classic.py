"""The classic protocol: the three messages as finished WebSocket frames (`spec/protocol.md`)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from msgspec.json import Encoder

from presenced.core.identity import is_json_number
from presenced.core.messages import ConnectionEstablished, UserOffline, UserOnline
from presenced.core.model import Change, Instant, Status
from presenced.wire.frame import text_frame

_encoder = Encoder()


def timestamp(epoch_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`, as JavaScript's `Date.toISOString` writes it."""
    seconds, milliseconds = divmod(epoch_ms, 1000)
    return f"{_to_the_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=8)  # the same for all changes of a second; formatting is most of an encoding's cost
def _to_the_second(epoch: int) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%S}"


def wire_user_id(user_id: str) -> int | str:
    """The id as JSON has it: a number where `is_json_number`, else a string."""
    return int(user_id) if is_json_number(user_id) else user_id


def established_frame(user_id: str, connection_id: str, now: Instant) -> bytes:
    """CONNECTION_ESTABLISHED."""
    return text_frame(
        _encoder.encode(ConnectionEstablished(wire_user_id(user_id), timestamp(now.epoch_ms), connection_id))
    )


def change_frame(change: Change) -> bytes:
    """USER_ONLINE or USER_OFFLINE."""
    message = UserOffline if change.status is Status.OFFLINE else UserOnline
    return text_frame(_encoder.encode(message(wire_user_id(change.user_id), timestamp(change.at.epoch_ms))))
