"""The classic protocol: the three messages as finished WebSocket frames (`spec/protocol.md`)."""

from __future__ import annotations

from msgspec.json import Encoder

from presenced.presence.model import Change, Status
from presenced.protocols.framing import text_frame
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1.messages import ConnectionEstablished, UserOffline, UserOnline
from presenced.runtime.instant import Instant, timestamp

_encoder = Encoder()


def established_frame(user_id: str, connection_id: str, now: Instant) -> bytes:
    """CONNECTION_ESTABLISHED."""
    return text_frame(
        _encoder.encode(ConnectionEstablished(wire_user_id(user_id), timestamp(now.epoch_ms), connection_id))
    )


def change_frame(change: Change) -> bytes:
    """USER_ONLINE or USER_OFFLINE."""
    message = UserOffline if change.status is Status.OFFLINE else UserOnline
    return text_frame(_encoder.encode(message(wire_user_id(change.user_id), timestamp(change.at.epoch_ms))))
