"""Status of a user who is present, from detection, the user's choice and the claims of backends.

A user without a session, grace period or announcement is `offline`, regardless of choices and claims. For a user who is
present, the first rule that applies decides:

    choice            winning claim      status             text, emoji, data and end
    invisible         any                invisible          of the choice
    any other         priority > 0       of the claim       of the claim
    a status          none, or <= 0      of the choice      of the choice
    none (`auto`)     priority <= 0      of the claim       of the choice if it has any, otherwise of the claim
    none (`auto`)     none               as detected        of the choice

The detected status is `online` while a backend announces the user or a session is active, and `away` while all
sessions are idle. The claim with the highest priority wins. Of several with the same priority, the one set last wins.

A choice is permanent or temporary. At most one of each is in force, and the temporary one takes precedence:

    in force                    permanent choice P'       temporary choice T'      T ends
    nothing                     P'                        T'                       -
    permanent P                 P'                        T' over P                -
    temporary T over P          P'                        T' over P                P

Choices and claims are values, compared with `==`. `choice_of` builds and checks choices from untrusted input; a `Claim`
from untrusted input is checked by `check_claim`.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from presenced.errors import BadClaim
from presenced.presence.model import NO_DETAILS, Choice, Status, StatusDetails
from presenced.runtime.instant import Instant
from presenced.runtime.text import refused_character

AUTO = "auto"
"""Choice of `auto`: the status is as detected."""

MAX_SOURCES = 16
"""Maximum number of sources with a claim about one user. A claim from a further source is refused."""

MAX_USERS_WITH_CLAIMS = 100_000
"""Maximum number of absent users with claims. At the bound the user who has been absent longest loses
their claims."""

MAX_SOURCE_CHARACTERS = 64
"""Maximum number of characters in the name of a source. A claim with a longer name is refused."""

MAX_PRIORITY = 100
"""Highest priority of a claim. The lowest is its negative. A claim outside this range is refused."""

CLAIMABLE = frozenset((Status.ONLINE, Status.AWAY, Status.BUSY))
"""Statuses that a backend can claim. Only the user can choose to be invisible, and a claim needs a user who is
present."""


# Choices.


def choice_of(status: str, text: str = "", emoji: str = "", data: bytes = b"", until_ms: int = 0) -> Choice:
    """Return the choice that these fields describe. All choices from clients, backends and databases are made here.

    `auto`, or an empty status, without text or emoji equals `AS_DETECTED`: nothing is chosen.

    Raises:
        ValueError: This status cannot be chosen.
    """
    chosen = None if status in ("", AUTO) else Status(status)
    if chosen is Status.OFFLINE:
        raise ValueError("offline cannot be chosen; use invisible")
    return Choice(chosen, StatusDetails(text, emoji, data, until_ms))


def is_empty_choice(choice: Choice) -> bool:
    """Return whether nothing is chosen. The end of the choice does not count."""
    details = choice.details
    return choice.status is None and not (details.text or details.emoji or details.data)


class TimedChoice(NamedTuple):
    """A choice with its end."""

    choice: Choice
    ends: float = inf
    """Monotonic seconds; infinity for a permanent choice."""

    @property
    def is_permanent(self) -> bool:
        """Whether the choice has no expiry. Only another choice replaces it then."""
        return self.ends == inf


def timed_choice(choice: Choice, lasts: float | None, now: Instant) -> TimedChoice:
    """Return the choice with its end: `lasts` seconds from now, or none if `lasts` is None."""
    if lasts is None:
        return TimedChoice(choice)
    until_ms = now.epoch_ms + int(lasts * 1000)
    return TimedChoice(choice._replace(details=replace(choice.details, until_ms=until_ms)), now.monotonic + lasts)


def choices_in_force(earlier: tuple[TimedChoice, ...], latest: TimedChoice) -> tuple[TimedChoice, ...]:
    """Return the choices that still count after `latest`, in order: at most a permanent and a temporary one."""
    if latest.is_permanent:
        return (latest,)
    return (*(one for one in earlier if one.is_permanent), latest)


# Claims.


class Claim(Struct, frozen=True, gc=False):
    """Status that one backend sets on a user's behalf, for example a calendar. It counts while the user is present."""

    source: str
    status: Status
    """One of `CLAIMABLE`."""
    details: StatusDetails = NO_DETAILS
    priority: int = 0
    """Above 0 it takes precedence over the user's choice, otherwise only over the detected status."""
    set_ms: int = 0
    """When it was set, in epoch milliseconds; informative only."""
    ends: float = inf
    """Monotonic seconds; infinity if the claim does not end by itself."""


def check_claim(claim: Claim) -> None:
    """Check the rules of a claim that the types cannot express.

    Raises:
        BadClaim: Its source, status or priority is invalid.
    """
    if not 0 < len(claim.source) <= MAX_SOURCE_CHARACTERS:
        raise BadClaim(f"a source has 1 to {MAX_SOURCE_CHARACTERS} characters")
    if character := refused_character(claim.source):
        raise BadClaim(f"a source must not contain {character}")
    if claim.status not in CLAIMABLE:
        raise BadClaim(f"{claim.status} can't be claimed; online, away and busy can")
    if not -MAX_PRIORITY <= claim.priority <= MAX_PRIORITY:
        raise BadClaim(f"priority is {claim.priority}, expected -{MAX_PRIORITY} to {MAX_PRIORITY}")


def winning_claim(claims: tuple[Claim, ...]) -> Claim | None:
    """Return the claim with the highest priority; of several, the one set last, which is the last in `claims`."""
    # Reversed, because `max` returns the first of several equal ones.
    return max(reversed(claims), key=lambda claim: claim.priority, default=None)


def without_source(claims: tuple[Claim, ...], source: str) -> tuple[Claim, ...]:
    """Return all claims except the one of this source."""
    return tuple(claim for claim in claims if claim.source != source)


# The decision.


def deciding_claim(choice: Choice, claims: tuple[Claim, ...]) -> Claim | None:
    """Return the claim that decides the status of a user who is present.

    None if the choice or the detected status decides.
    """
    claim = winning_claim(claims)
    if claim is None or choice.status is Status.INVISIBLE:
        return None
    return claim if claim.priority > 0 or choice.status is None else None


def decide(choice: Choice, claims: tuple[Claim, ...]) -> Choice:
    """Return the status and details that apply to a user who is present. Status None: as detected."""
    claim = deciding_claim(choice, claims)
    if claim is None:
        return choice
    own = choice.details
    uses_own = claim.priority <= 0 and (own.text or own.emoji or own.data)
    return Choice(claim.status, own if uses_own else claim.details)
