"""Reasons why connections end, derived from their close codes (RFC 6455 section 7.4).

| closed by | code                         | ending                                        |
|-----------|------------------------------|-----------------------------------------------|
| client    | 1000, none, 3000 to 4999     | closed deliberately: no grace period          |
| client    | 4001                         | the page may return: the grace period of 1001 |
| client    | 1001                         | the page goes away: a short grace period      |
| client    | any other, or no close frame | lost                                          |
| server    | 4408, 4409, 4410             | timed out, replaced, disconnected             |
| server    | any other                    | lost: the client is expected back             |
"""

from __future__ import annotations

from typing import NamedTuple

from presenced.errors import ClientClose, Close
from presenced.presence.model import Ending

_SERVER_ENDINGS = {
    Close.TIMED_OUT: Ending.TIMED_OUT,
    Close.DISCONNECTED: Ending.DISCONNECTED,
    Close.REPLACED: Ending.REPLACED,
}
_REASONS = {Close.GOING_AWAY: "stopping"}  # the reason `going_away` means that the client left with 1001


class ServerEnding(NamedTuple):
    """Ending of a connection that the server closes."""

    ending: Ending
    reason: str
    """Reason for logs and metrics."""


def server_ending(close: Close) -> ServerEnding:
    """Return how a session ends when the server closes its connection."""
    return ServerEnding(_SERVER_ENDINGS.get(close, Ending.LOST), _REASONS.get(close, close.name.lower()))


def client_ending(code: int) -> Ending:
    """Return how a session ends when its client closes with `code` (1005 if its close frame has no code)."""
    if code == ClientClose.KEEP_SESSION.code:  # the one exception to "3000 to 4999 are deliberate"
        return Ending.KEEP_SESSION
    if code in (1000, 1005) or 3000 <= code <= 4999:
        return Ending.CLOSED
    return Ending.GOING_AWAY if code == 1001 else Ending.LOST
