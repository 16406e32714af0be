"""What a client of presenced.v1 says of itself with the URL."""

from __future__ import annotations

from typing import NamedTuple

from presenced.core.identity import parameter, refused_character
from presenced.core.model import Status
from presenced.errors import BadParameter

MAX_DEVICE_LENGTH = 32
MAX_TOKEN_LENGTH = 64
MAX_TIME_DIGITS = 15

RESTRICTING = frozenset(("watch", "status"))
"""Parameters that may not be empty: without them a client sees, or shows, more than it meant to."""

AUTO = "auto"
CHOICES = (AUTO, *(status.value for status in Status if status is not Status.OFFLINE))


class Hello(NamedTuple):
    """The parameters, checked."""

    session_id: str
    """Of the session to resume; empty for a new one."""
    position: str
    """Where that session is."""
    everyone: bool
    """Whether a new session watches everyone."""
    device: str
    """Kind of device; empty when not said."""
    status: Status | None
    """What the user had chosen, for a server that knows nothing of the user; None when not said, or as detected."""
    until_ms: int = 0
    """When that ends, in epoch milliseconds; 0 when it lasts."""


def hello_from_query(query: bytes) -> Hello:
    """Of `...?userId=7&device=phone&watch=none&session=...&position=...`; what is not known is ignored.

    Raises:
        BadParameter: One is given twice, is too long, has a value that it may not have, or restricts and is empty.
    """
    watch = _one(query, "watch", MAX_TOKEN_LENGTH) or "everyone"
    if watch not in ("everyone", "none"):
        raise BadParameter("watch must be everyone or none")
    status = _one(query, "status", MAX_TOKEN_LENGTH) or AUTO
    if status not in CHOICES:
        raise BadParameter(f"status must be one of {', '.join(CHOICES)}")
    until = _one(query, "until", MAX_TOKEN_LENGTH) or "0"
    if not (until.isascii() and until.isdigit() and len(until) <= MAX_TIME_DIGITS):
        raise BadParameter(f"until must be epoch milliseconds, of at most {MAX_TIME_DIGITS} digits")
    return Hello(
        _one(query, "session", MAX_TOKEN_LENGTH),
        _one(query, "position", MAX_TOKEN_LENGTH),
        watch == "everyone",
        _one(query, "device", MAX_DEVICE_LENGTH),
        None if status == AUTO else Status(status),
        int(until),
    )


def _one(query: bytes, name: str, longest: int) -> str:
    values = parameter(query, name.encode())
    if len(values) > 1:
        raise BadParameter(f"{name} is given {len(values)} times; give it once")
    try:
        text = values[0].decode() if values else ""
    except UnicodeDecodeError:
        raise BadParameter(f"{name} is not percent-encoded UTF-8") from None
    if values and not text and name in RESTRICTING:
        raise BadParameter(f"{name} is empty; give a value, or leave it out")
    if len(text) > longest:
        raise BadParameter(f"{name} must be at most {longest} characters")
    if character := refused_character(text):
        raise BadParameter(f"{name} may not hold {character}")
    return text
