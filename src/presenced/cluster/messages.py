"""Messages between nodes, as MessagePack. They are best effort: each may be lost."""

from __future__ import annotations

from typing import TypeVar

from msgspec import DecodeError, Struct, msgpack

from presenced.presence.journal import Cursor
from presenced.presence.session import MemberData
from presenced.presence.subscriptions import Subscription
from presenced.presence.visibility import Visibility
from presenced.runtime.logs import logger

T = TypeVar("T")


class SavedSession(Struct, frozen=True, array_like=True):
    """Session on its way from one node to another. Its id is a secret, which the new node knows from the client."""

    user_id: str
    home: str
    """Node that had the session (`cluster.names`)."""
    device: str
    active: bool
    subscription: Subscription
    visibility: Visibility
    rooms: dict[str, MemberData] | None
    snapshots: int
    snapshot_end: Cursor
    """As in `Session`. It is a position of the node that had the session."""


class AskSession(Struct, frozen=True, array_like=True, tag="ask"):
    """Request for a session, which its node then gives away."""

    number: int
    """Number of the request, for the answer."""
    user_id: str
    digest: str
    """Digest of the session's id."""


class GiveSession(Struct, frozen=True, array_like=True, tag="give"):
    """Answer to `AskSession`."""

    number: int
    session: SavedSession | None
    """None if the node does not have it."""


class Drain(Struct, frozen=True, array_like=True, tag="drain"):
    """Request of an operator that the node stops, as after SIGTERM."""

    incarnation: str
    """Incarnation in shard 0 that has to stop. Another node may have its slot by the time the message is read."""


Message = AskSession | GiveSession | Drain

_decoder = msgpack.Decoder(Message)
_session_decoder = msgpack.Decoder(SavedSession)


def encode_node_message(message: Message | SavedSession) -> bytes:
    """Return a message, or a session that is saved, as bytes."""
    return msgpack.encode(message)


def decode_node_message(data: bytes) -> Message | None:
    """Return the message in these bytes; None if it is from another release."""
    return _decoded(_decoder, data)


def decode_session(data: bytes) -> SavedSession | None:
    """Return the session in these bytes; None if it was saved by another release."""
    return _decoded(_session_decoder, data)


def _decoded(decoder: msgpack.Decoder[T], data: bytes) -> T | None:
    try:
        return decoder.decode(data)
    except (DecodeError, UnicodeDecodeError) as error:
        logger.debug("message or session of another node: %s", error)
        return None
