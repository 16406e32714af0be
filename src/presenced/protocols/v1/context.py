"""Arguments of a handler of presenced.v1: the parts of the node that it uses, and one request."""

from __future__ import annotations

from msgspec import Struct

from presenced.delivery.connection import Connection
from presenced.presence.session import Session
from presenced.presence.subscriptions import Subscription
from presenced.protocols.base import ProtocolParts
from presenced.protocols.requests import Handlers
from presenced.protocols.v1 import codec
from presenced.protocols.v1.digests import subscription_of
from presenced.protocols.v1.feed import V1Feed
from presenced.protocols.v1.messages import Ack, RequestId, ServerMessageV1
from presenced.runtime.instant import Instant


class Context(Struct, frozen=True):
    """One request, with its sender, its time and the means to answer."""

    parts: ProtocolParts
    """Parts of the node."""
    feed: V1Feed
    connection: Connection
    request_id: RequestId | None
    now: Instant

    @property
    def session(self) -> Session[Connection]:
        """The session of the client."""
        return self.connection.session

    @property
    def subscription(self) -> Subscription:
        """Subscription of the session."""
        return subscription_of(self.connection)

    def ack(self) -> None:
        """Send ACK: the request is valid, allowed and within bounds. No-op if it has no id.

        A handler calls it when nothing can refuse the request any longer, and before the effects. The client then reads
        the ACK before the changes that the request makes.
        """
        if self.request_id is not None:
            self.answer(Ack(self.request_id))

    def answer(self, message: ServerMessageV1) -> None:
        """Send an answer."""
        self.connection.send(codec.encode(message))


handlers: Handlers[Context] = Handlers()
"""The requests of presenced.v1."""
