"""CONNECTION_ESTABLISHED, the first message of presenced.v1."""

from __future__ import annotations

from presenced.config.settings import Settings
from presenced.delivery.connection import Connection
from presenced.presence.subscriptions import MAX_ROOMS, MAX_WATCHED
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1 import codec
from presenced.protocols.v1.encoder import V1Encoder
from presenced.protocols.v1.messages import MAX_DATA, MAX_TEXT, EstablishedV1, LimitsV1
from presenced.runtime.instant import Instant, timestamp


def welcome_message(
    connection: Connection,
    connection_id: str,
    settings: Settings,
    encoder: V1Encoder,
    resumed: bool,
    settled_at: float,
    now: Instant,
) -> bytes:
    """Return CONNECTION_ESTABLISHED.

    Args:
        settled_at: Monotonic time at which the server will know which users have returned after its start.
    """
    session = connection.session
    limits = LimitsV1(
        settings.max_message_size,
        MAX_WATCHED,
        MAX_ROOMS,
        MAX_DATA,
        MAX_TEXT,
        settings.request_rate,
        settings.request_burst,
    )
    return codec.encode(
        EstablishedV1(
            wire_user_id(session.user_id),
            timestamp(now.epoch_ms),
            connection_id,
            session.session_id,
            resumed,
            encoder.epoch,
            now.epoch_ms,
            settings.heartbeat_interval,
            settings.resume_window,
            max(0.0, round(settled_at - now.monotonic, 3)),
            limits,
        )
    )
