"""Messages of the classic protocol as JSON (`docs/reference/websocket-classic.md`)."""

from __future__ import annotations

from msgspec.json import Encoder

from presenced.presence.model import Change, Status
from presenced.protocols.classic.messages import ConnectionEstablished, UserOffline, UserOnline
from presenced.protocols.ids import wire_user_id
from presenced.runtime.instant import Instant, timestamp

_encoder = Encoder()


def established_message(user_id: str, connection_id: str, now: Instant) -> bytes:
    """Return CONNECTION_ESTABLISHED."""
    return _encoder.encode(ConnectionEstablished(wire_user_id(user_id), timestamp(now.epoch_ms), connection_id))


def change_message(change: Change) -> bytes:
    """Return USER_ONLINE or USER_OFFLINE."""
    message = UserOffline if change.status is Status.OFFLINE else UserOnline
    return _encoder.encode(message(wire_user_id(change.user_id), timestamp(change.at.epoch_ms)))
