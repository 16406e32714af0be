"""The first message of presenced.v1."""

from __future__ import annotations

from presenced.config.settings import Settings
from presenced.delivery.connection import Connection
from presenced.presence.subscriptions import MAX_ROOMS, MAX_WATCHED
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1 import codec as v1
from presenced.protocols.v1.encoder import Encoding
from presenced.protocols.v1.messages import MAX_DATA, MAX_TEXT, EstablishedV1, LimitsV1
from presenced.runtime.instant import Instant, timestamp


def established(
    connection: Connection,
    connection_id: str,
    settings: Settings,
    encoding: Encoding,
    resumed: bool,
    settled_at: float,
    now: Instant,
) -> bytes:
    """Return CONNECTION_ESTABLISHED.

    Args:
        settled_at: When the server will know who came back after its start (monotonic).
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
    return v1.encode(
        EstablishedV1(
            wire_user_id(session.user_id),
            timestamp(now.epoch_ms),
            connection_id,
            session.session_id,
            resumed,
            encoding.epoch,
            now.epoch_ms,
            settings.heartbeat_interval,
            settings.resume_window,
            max(0.0, round(settled_at - now.monotonic, 3)),
            limits,
        )
    )
