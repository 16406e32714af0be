"""Close codes as reasons why a connection ended."""

from __future__ import annotations

from presenced.errors import ClientClose, Close
from presenced.presence.model import Ending

_BY_CODE = {close.code: close for close in Close}
_OF_SERVER = {
    Close.TIMED_OUT: Ending.TIMED_OUT,
    Close.DISCONNECTED: Ending.DISCONNECTED,
    Close.REPLACED: Ending.REPLACED,
}
_REASONS = {Close.GOING_AWAY: "stopping"}  # `going_away` is the client's


def of_server(close: Close) -> tuple[Ending, str]:
    """Return how a session ends that the server closes, and the reason as logs and metrics name it."""
    return _OF_SERVER.get(close, Ending.LOST), _REASONS.get(close, close.name.lower())


def of_client(code: int) -> Ending:
    """Return why a client left by its close code (RFC 6455 section 7.4.1; 1005: it gave none)."""
    if code == ClientClose.KEEP_SESSION.code:  # the one exception to "3000 to 4999 are deliberate"
        return Ending.KEEP_SESSION
    if code in (1000, 1005) or 3000 <= code <= 4999:
        return Ending.CLOSED
    return Ending.GOING_AWAY if code == 1001 else Ending.LOST


def reason_of(code: int) -> str:
    """Return the reason of a connection that the frame parser failed with `code`, as logs and metrics name it."""
    return _BY_CODE.get(code, Close.INTERNAL_ERROR).name.lower()
