"""Arguments of a handler of presenced.v1: the parts of the node that it uses, and one request."""

from __future__ import annotations

from typing import NamedTuple

from presenced.config.settings import Settings
from presenced.delivery.broadcaster import Broadcaster
from presenced.delivery.connection import Connection
from presenced.presence.directory import Directory
from presenced.presence.rooms import Rooms
from presenced.presence.session import Session
from presenced.presence.subscriptions import Subscription
from presenced.protocols.base import Publisher
from presenced.protocols.requests import Handlers
from presenced.protocols.tokens import RenewToken
from presenced.protocols.v1 import codec
from presenced.protocols.v1.digests import subscription_of
from presenced.protocols.v1.feed import V1Feed
from presenced.protocols.v1.messages import Ack, RequestId, ServerMessageV1
from presenced.runtime.instant import Instant


class HandlerParts(NamedTuple):
    """Parts of the node that handlers use."""

    settings: Settings
    directory: Directory[Connection]
    rooms: Rooms
    broadcaster: Broadcaster
    publisher: Publisher
    feed: V1Feed
    renew_token: RenewToken | None
    """None if the server does not authenticate."""


class Context:
    """One request, with its sender, its time and the means to answer."""

    __slots__ = ("connection", "now", "parts", "request_id")

    def __init__(self, parts: HandlerParts, connection: Connection, request_id: RequestId | None, now: Instant) -> None:
        self.parts = parts
        self.connection = connection
        self.request_id = request_id
        self.now = now

    @property
    def session(self) -> Session[Connection]:
        """The session of the client."""
        return self.connection.session

    @property
    def user_id(self) -> str:
        """The user of the client."""
        return self.connection.session.user_id

    @property
    def subscription(self) -> Subscription:
        """Subscription of the session."""
        return subscription_of(self.connection)

    def ack(self) -> None:
        """Send ACK: the request is valid, allowed and within bounds. No-op if it has no id.

        A handler calls it when nothing can refuse the request any more, and before the effects, so that the client
        reads the ACK before the changes that the request makes.
        """
        if self.request_id is not None:
            self.answer(Ack(self.request_id))

    def answer(self, message: ServerMessageV1) -> None:
        """Send an answer."""
        self.connection.send(codec.encode(message))


handlers: Handlers[Context] = Handlers()
"""The requests of presenced.v1."""
