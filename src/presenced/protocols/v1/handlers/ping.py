"""PING: measures the round trip."""

from __future__ import annotations

from presenced.protocols.v1.context import Context, handlers
from presenced.protocols.v1.messages import Ping, Pong


@handlers.handles(Ping)
def ping(context: Context, request: Ping) -> None:
    """Answer with the server's time."""
    context.answer(Pong(context.now.epoch_ms, request.id))
