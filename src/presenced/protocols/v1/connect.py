"""Parameters of the URL with which a client of presenced.v1 connects."""

from __future__ import annotations

from typing import NamedTuple

from presenced.errors import BadParameter
from presenced.net.query import parameter_values
from presenced.presence.journal import Cursor
from presenced.presence.model import Choice, Status
from presenced.presence.status import AUTO, choice_of, is_empty_choice
from presenced.protocols.v1.messages import MAX_EMOJI_CHARACTERS, MAX_TEXT_CHARACTERS
from presenced.runtime.text import refused_character

MAX_DEVICE_CHARACTERS = 32
"""Maximum number of characters of a kind of device; a longer one is refused."""

MAX_VALUE_CHARACTERS = 64
"""Maximum number of characters of a parameter without a maximum of its own; a longer one is refused."""

MAX_TIME_DIGITS = 15
"""Maximum number of digits of a time in epoch milliseconds; a longer one is refused."""

RESTRICTING = frozenset(("watch", "status"))
"""Parameters that must not be empty. If an empty one were ignored, a client would see or show more than intended."""

CHOICES = (AUTO, *(status.value for status in Status if status is not Status.OFFLINE))
"""Values of `status`."""

ACTIVITIES = {"": None, "active": True, "idle": False}
"""Values of `activity`, each with whether the person is active; None if unknown."""


class ConnectParameters(NamedTuple):
    """Checked parameters of the URL."""

    session_id: str
    """Id of the session to resume; empty for a new session."""
    position: str
    """Last position of that session; empty if none."""
    everyone: bool
    """Whether a new session subscribes to everyone."""
    device: str
    """Kind of device for a new session; empty if unknown."""
    active: bool | None = None
    """Whether the person is active at this device; None if not given."""
    choice: Choice | None = None
    """The user's choice as the client remembers it, for a server that does not know it; None if there is none."""
    cursor: Cursor | None = None
    """Cursor that takes the place of `position`, for a session from another node."""


def parse_connect_query(query: bytes) -> ConnectParameters:
    """Parse `...?userId=7&device=phone&watch=none&session=...&position=...`; unknown parameters are ignored.

    Raises:
        BadParameter: A parameter is given twice, is too long, has an invalid value, or restricts and is empty. The
            message does not repeat the value.
    """
    watch = _single(query, "watch", MAX_VALUE_CHARACTERS) or "everyone"
    if watch not in ("everyone", "none"):
        raise BadParameter("watch must be everyone or none")
    activity = _single(query, "activity", MAX_VALUE_CHARACTERS)
    if activity not in ACTIVITIES:
        raise BadParameter("activity must be active or idle")
    return ConnectParameters(
        _single(query, "session", MAX_VALUE_CHARACTERS),
        _single(query, "position", MAX_VALUE_CHARACTERS),
        watch == "everyone",
        _single(query, "device", MAX_DEVICE_CHARACTERS),
        ACTIVITIES[activity],
        _choice(query),
    )


def _choice(query: bytes) -> Choice | None:
    """Parse a choice as SET_STATUS accepts it, with the same bounds and checks."""
    status = _single(query, "status", MAX_VALUE_CHARACTERS) or AUTO
    if status not in CHOICES:
        raise BadParameter(f"status must be one of {', '.join(CHOICES)}")
    until = _single(query, "until", MAX_VALUE_CHARACTERS) or "0"
    if not (until.isascii() and until.isdigit() and len(until) <= MAX_TIME_DIGITS):
        raise BadParameter(f"until must be epoch milliseconds, of at most {MAX_TIME_DIGITS} digits")
    choice = choice_of(
        status,
        _single(query, "text", MAX_TEXT_CHARACTERS),
        _single(query, "emoji", MAX_EMOJI_CHARACTERS),
        until_ms=int(until),
    )
    return None if is_empty_choice(choice) else choice


def _single(query: bytes, name: str, max_characters: int) -> str:
    """Return the value of a parameter that may be given once; empty if it is missing."""
    values = parameter_values(query, name.encode())
    if len(values) > 1:
        raise BadParameter(f"{name} is given {len(values)} times; give it once")
    try:
        text = values[0].decode() if values else ""
    except UnicodeDecodeError:
        raise BadParameter(f"{name} is not percent-encoded UTF-8") from None
    if values and not text and name in RESTRICTING:
        raise BadParameter(f"{name} is empty; give a value, or leave it out")
    if len(text) > max_characters:
        raise BadParameter(f"{name} has {len(text)} characters; at most {max_characters} are allowed")
    if character := refused_character(text):
        raise BadParameter(f"{name} must not contain {character}")
    return text
