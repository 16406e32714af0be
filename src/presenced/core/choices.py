"""What a user chooses: how a choice is made, which of several holds, and what waits for the user's pause."""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

from msgspec.structs import replace

from presenced.core.model import Choice, Custom, Instant, Status

AUTO = "auto"
"""Chooses no status: it is as detected."""


def choice_of(status: str, text: str = "", emoji: str = "", data: bytes = b"", until_ms: int = 0) -> Choice:
    """Return what these fields choose. All choices of clients, backends and databases are made here.

    `auto`, or an empty status, with nothing beside it equals `AS_DETECTED`: nothing is chosen.

    Raises:
        ValueError: Nobody can choose this status.
    """
    chosen = None if status in ("", AUTO) else Status(status)
    if chosen is Status.OFFLINE:
        raise ValueError("offline can't be chosen; invisible looks like it")
    return Choice(chosen, Custom(text, emoji, data, until_ms))


def is_nothing(choice: Choice) -> bool:
    """Return whether nothing is chosen, whenever that ends."""
    custom = choice.custom
    return choice.status is None and not (custom.text or custom.emoji or custom.data)


class Made(NamedTuple):
    """A choice with its end."""

    choice: Choice
    ends: float = inf
    """Monotonic seconds; inf: it is made for good."""

    @property
    def is_for_good(self) -> bool:
        """Whether only another choice ends it."""
        return self.ends == inf


def made(choice: Choice, lasts: float | None, now: Instant) -> Made:
    """Return the choice as it is made now: for `lasts` seconds, or for good."""
    if lasts is None:
        return Made(choice)
    until_ms = now.epoch_ms + int(lasts * 1000)
    return Made(choice._replace(custom=replace(choice.custom, until_ms=until_ms)), now.monotonic + lasts)


def in_force(earlier: tuple[Made, ...], latest: Made) -> tuple[Made, ...]:
    """Return those that still matter, in order, when `latest` follows the earlier ones: two at most.

    A choice for good ends all before it. A choice for a time takes the place of another one, and the choice for good
    before it returns when it ends.
    """
    if latest.is_for_good:
        return (latest,)
    return (*(one for one in earlier if one.is_for_good), latest)


class Held:
    """What a user's clients asked for and what waits until the pause after the user's last change is over.

    It belongs to the user and not to a connection: of two devices, the one that asks last wins.

    Bounds: two choices (`in_force`); one activity for each of the user's sessions.
    """

    __slots__ = ("activities", "choices", "until")

    def __init__(self) -> None:
        self.until = -inf
        """Monotonic end of the pause."""
        self.choices: tuple[Made, ...] = ()
        self.activities: dict[Any, bool] = {}
        """Sessions whose person becomes active, or idle. One that is so already is not in it."""

    @property
    def deadline(self) -> float | None:
        """When something takes effect; None when nothing waits."""
        return self.until if self.choices or self.activities else None

    def must_wait(self, now: float) -> bool:
        """Whether what is asked for at `now` waits. It does not overtake what waits already."""
        return now < self.until or self.deadline is not None

    def take_choices(self) -> tuple[Made, ...]:
        """Take out the choices that wait."""
        choices, self.choices = self.choices, ()
        return choices

    def take_activities(self) -> dict[Any, bool]:
        """Take out the activities that wait."""
        activities, self.activities = self.activities, {}
        return activities
