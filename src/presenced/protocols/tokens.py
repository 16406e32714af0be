"""AUTH, the message with which clients of every protocol present a token."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder

from presenced.delivery.connection import Connection
from presenced.errors import BadToken

RenewToken = Callable[[Connection, str, Callable[[BadToken | None], None]], None]
"""Function that verifies a newer token of an admitted connection. It calls its last argument with None, or with the
reason why it does not accept the token."""


class _Auth(Struct, tag_field="type", tag="AUTH"):
    """AUTH as the first message, and at any time in the classic protocol.

    Other fields are ignored. The classic protocol promises that, and an unauthenticated client cannot be sent an ERROR.
    """

    token: str


_decoder = Decoder(_Auth)


def token_in(message: str | bytes) -> str:
    """Return the token of an AUTH message; empty for any other message."""
    try:
        return _decoder.decode(message).token if isinstance(message, str) else ""
    except (MsgspecError, RecursionError):
        return ""
