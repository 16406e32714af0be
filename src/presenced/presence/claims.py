"""What backends claim of a user: a calendar, a call, an agent. Any number of sources, one of which may win."""

from __future__ import annotations

from math import inf

from msgspec import Struct

from presenced.errors import BadClaim
from presenced.presence.model import PLAIN, Choice, Custom, Status
from presenced.runtime.text import refused_character

MAX_SOURCES = 16
"""Sources that claim something of one user at a time."""

MAX_CLAIMED = 100_000
"""Users who are not there and of whom something is claimed. For one more, whoever is away
longest loses theirs."""

MAX_SOURCE_LENGTH = 64
"""Characters of a source's name."""

MAX_PRIORITY = 100
"""Priorities go from minus this to this."""

CLAIMABLE = frozenset((Status.ONLINE, Status.AWAY, Status.BUSY))
"""To be invisible is for the user alone to choose; and a claim is of somebody who is there."""


class Claim(Struct, frozen=True, gc=False):
    """What one source says of a user; it counts while the user is there."""

    source: str
    status: Status
    """One of `CLAIMABLE`."""
    custom: Custom = PLAIN
    priority: int = 0
    """Above 0 it wins over what the user chose, else over what was detected only."""
    set_ms: int = 0
    """When it was set, in epoch milliseconds; for reading."""
    ends: float = inf
    """Monotonic seconds."""


def check(claim: Claim) -> None:
    """What the types can't say.

    Raises:
        BadClaim: Its source, status or priority can't be used.
    """
    if not 0 < len(claim.source) <= MAX_SOURCE_LENGTH:
        raise BadClaim(f"a source has 1 to {MAX_SOURCE_LENGTH} characters")
    if character := refused_character(claim.source):
        raise BadClaim(f"a source must not contain {character}")
    if claim.status not in CLAIMABLE:
        raise BadClaim(f"{claim.status} can't be claimed; online, away and busy can")
    if not -MAX_PRIORITY <= claim.priority <= MAX_PRIORITY:
        raise BadClaim(f"priority is {claim.priority}, expected -{MAX_PRIORITY} to {MAX_PRIORITY}")


def winner(claims: tuple[Claim, ...]) -> Claim | None:
    """The one of the highest priority; of several the one set last, which stands last."""
    best: Claim | None = None
    for claim in claims:
        if best is None or claim.priority >= best.priority:
            best = claim
    return best


def without(claims: tuple[Claim, ...], source: str) -> tuple[Claim, ...]:
    """All but what this source claims."""
    return tuple(claim for claim in claims if claim.source != source)


def deciding(choice: Choice, claims: tuple[Claim, ...]) -> Claim | None:
    """The claim that decides the status of a user who is there; None when what they chose or what was detected does.

    Who chose to be invisible is. Else it is the winning claim; but over a status that the user chose it wins with a
    priority above 0 only.
    """
    claim = winner(claims)
    if claim is None or choice.status is Status.INVISIBLE:
        return None
    return claim if claim.priority > 0 or choice.status is None else None


def decide(choice: Choice, claims: tuple[Claim, ...]) -> Choice:
    """What is to be seen of a user who is there, by what they chose and what is claimed; no status: as detected.

    A text, emoji or data that the user chose without a status stays, unless the claim's priority is above 0.
    """
    claim = deciding(choice, claims)
    if claim is None:
        return choice
    own = choice.custom
    stays = claim.priority <= 0 and (own.text or own.emoji or own.data)
    return Choice(claim.status, own if stays else claim.custom)
