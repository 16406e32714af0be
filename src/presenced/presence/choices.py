"""Choices of users: how one is made, which of several is in force, and which wait for the user's pause."""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

from msgspec.structs import replace

from presenced.presence.model import Choice, Custom, Status
from presenced.runtime.instant import Instant

AUTO = "auto"
"""Choice of `auto`: the status is as detected."""


def choice_of(status: str, text: str = "", emoji: str = "", data: bytes = b"", until_ms: int = 0) -> Choice:
    """Return the choice in these fields. All choices of clients, backends and databases are made here.

    `auto`, or an empty status, without text or emoji equals `AS_DETECTED`: nothing is chosen.

    Raises:
        ValueError: This status cannot be chosen.
    """
    chosen = None if status in ("", AUTO) else Status(status)
    if chosen is Status.OFFLINE:
        raise ValueError("offline cannot be chosen; use invisible")
    return Choice(chosen, Custom(text, emoji, data, until_ms))


def is_nothing(choice: Choice) -> bool:
    """Return whether nothing is chosen, regardless of the end."""
    custom = choice.custom
    return choice.status is None and not (custom.text or custom.emoji or custom.data)


class Made(NamedTuple):
    """A choice with its end."""

    choice: Choice
    ends: float = inf
    """Monotonic seconds; inf for a permanent choice."""

    @property
    def is_for_good(self) -> bool:
        """Whether only another choice ends it."""
        return self.ends == inf


def made(choice: Choice, lasts: float | None, now: Instant) -> Made:
    """Return the choice as made now: for `lasts` seconds, or permanently."""
    if lasts is None:
        return Made(choice)
    until_ms = now.epoch_ms + int(lasts * 1000)
    return Made(choice._replace(custom=replace(choice.custom, until_ms=until_ms)), now.monotonic + lasts)


def in_force(earlier: tuple[Made, ...], latest: Made) -> tuple[Made, ...]:
    """Return the choices that still matter, in order, when `latest` follows the earlier ones: at most two.

    A permanent choice ends all earlier ones. A temporary choice replaces another temporary one. When it ends, the
    permanent choice before it returns.
    """
    if latest.is_for_good:
        return (latest,)
    return (*(one for one in earlier if one.is_for_good), latest)


class Held:
    """Requests of a user's clients that wait until the pause after the user's last change is over.

    It belongs to the user and not to a connection: if two devices send requests, the last request wins.

    Bounds: two choices (`in_force`); one activity for each of the user's sessions.
    """

    __slots__ = ("activities", "choices", "until")

    def __init__(self) -> None:
        self.until = -inf
        """Monotonic end of the pause."""
        self.choices: tuple[Made, ...] = ()
        self.activities: dict[Any, bool] = {}
        """Sessions whose person becomes active (True) or idle. A session that is already in that state is not in it."""

    @property
    def deadline(self) -> float | None:
        """Monotonic time when something takes effect; None if nothing waits."""
        return self.until if self.choices or self.activities else None

    def must_wait(self, now: float) -> bool:
        """Return whether a request at `now` waits. It never overtakes requests that are already waiting."""
        return now < self.until or self.deadline is not None

    def take_choices(self) -> tuple[Made, ...]:
        """Remove and return the waiting choices."""
        choices, self.choices = self.choices, ()
        return choices

    def take_activities(self) -> dict[Any, bool]:
        """Remove and return the waiting activities."""
        activities, self.activities = self.activities, {}
        return activities
