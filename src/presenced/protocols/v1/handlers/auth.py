"""AUTH: a newer token of a client that is connected."""

from __future__ import annotations

from functools import partial

from presenced.errors import BadToken, Fault
from presenced.protocols.requests import RequestRefused
from presenced.protocols.v1.context import Context, handlers
from presenced.protocols.v1.messages import Auth


@handlers.handles(Auth)
def authenticate(context: Context, request: Auth) -> None:
    """Verify a newer token. The answer follows when the token has been verified, perhaps by another server."""
    if context.parts.renew_token is None:
        context.ack()
    else:
        context.parts.renew_token(context.connection, request.token, partial(_renewed, context))


def _renewed(context: Context, error: BadToken | None) -> None:
    if not context.connection.protocol.is_open(context.connection):
        return  # it closed while the token was being verified
    if error is None:
        context.ack()
    else:
        context.connection.protocol.refuse(
            context.connection, context.request_id, RequestRefused(Fault.NOT_AUTHENTICATED, str(error))
        )
