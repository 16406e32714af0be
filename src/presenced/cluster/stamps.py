"""Stamps: when the decisions about a user were made, so that the newer one counts on all nodes.

Choices, claims and announcements may be decided on any node (*stamped fields*, `cluster.records`). The directory
changes them on a user, as on a single node. `Stamps.note` then compares them with what they were before: any difference
is a decision that was made here, and takes a stamp in epoch milliseconds. `Stamps.apply` does the reverse with what the
nodes have agreed on.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import TypeVar

from msgspec.structs import replace

from presenced.cluster.records import Choices, SharedClaim, UserRecord
from presenced.presence.model import AS_DETECTED, Choice, Display
from presenced.presence.status import Claim
from presenced.presence.user import User
from presenced.runtime.instant import Instant
from presenced.runtime.limits import BoundedMap

C = TypeVar("C", bound=Hashable)


class Stamps:
    """The stamped fields of one user as they were last agreed on or decided here, each with its stamp."""

    __slots__ = ("announced", "announced_ms", "chosen", "chosen_ms", "claims", "cleared", "timed", "timed_ms")

    def __init__(self) -> None:
        self.chosen, self.chosen_ms = AS_DETECTED, 0
        self.timed: Choice | None = None
        self.timed_ms = 0
        self.announced, self.announced_ms = False, 0
        self.claims: tuple[Claim, ...] = ()
        self.cleared: dict[str, int] = {}
        """Stamps of the claims that were cleared, by source."""

    def note(self, user: User[C], now_ms: int) -> None:
        """Stamp what was decided about the user here, with `now_ms` or later.

        A decision is newer than what it replaces, even if the clock of the node that made that one is ahead.
        """
        if user.chosen != self.chosen:
            self.chosen, self.chosen_ms = user.chosen, max(now_ms, self.chosen_ms + 1)
        if user.timed != self.timed:
            self.timed, self.timed_ms = user.timed, max(now_ms, self.timed_ms + 1)
        if user.announced != self.announced:
            self.announced, self.announced_ms = user.announced, max(now_ms, self.announced_ms + 1)
        if user.claims != self.claims:
            sources = {claim.source for claim in user.claims}
            self.cleared.update({c.source: max(now_ms, c.set_ms + 1) for c in self.claims if c.source not in sources})
            self.claims = user.claims

    def renew_choice(self, now_ms: int, is_permanent: bool) -> None:
        """Make the choice newer than what another node has decided, although it has changed nothing here."""
        self.timed_ms = max(self.timed_ms, now_ms)
        if is_permanent:
            self.chosen_ms = max(self.chosen_ms, now_ms)

    def renew_announcement(self, now_ms: int) -> None:
        """Make the announcement newer than what another node has decided, although it has changed nothing here."""
        self.announced_ms = max(self.announced_ms, now_ms)

    def apply(self, user: User[C], record: UserRecord, now: Instant) -> None:
        """Take the stamped fields of a record, and give them to the user."""
        chosen = record.chosen
        user.chosen = self.chosen = Choice(chosen.status, chosen.details)
        self.chosen_ms, self.timed_ms = chosen.stamp_ms, chosen.timed_stamp_ms
        user.timed = self.timed = None
        if chosen.timed_details is not None:
            user.timed = self.timed = Choice(chosen.timed, chosen.timed_details)
            user.timed_until = _ends(chosen.timed_details.until_ms, now)
        user.announced = self.announced = record.announced
        self.announced_ms = record.announced_stamp_ms
        user.claims = self.claims = tuple(
            Claim(c.source, c.status, c.details, c.priority, c.stamp_ms, _ends(c.details.until_ms, now))
            for c in record.claims
            if c.status is not None
        )
        self.cleared = {claim.source: claim.stamp_ms for claim in record.claims if claim.status is None}
        if record.display_issued:
            user.display = Display(record.display, record.display_issued)

    def added_to(self, record: UserRecord) -> UserRecord:
        """Return a record with these decisions."""
        timed = self.timed
        chosen = Choices(
            self.chosen.status,
            self.chosen.details,
            self.chosen_ms,
            timed.status if timed else None,
            timed.details if timed else None,
            self.timed_ms,
        )
        sources = {claim.source for claim in self.claims}
        cleared = [SharedClaim(source, at) for source, at in self.cleared.items() if source not in sources]
        claims = [SharedClaim(c.source, c.set_ms, c.status, c.details, c.priority) for c in self.claims]
        return replace(
            record,
            chosen=chosen,
            claims=(*cleared, *claims),
            announced=self.announced,
            announced_stamp_ms=self.announced_ms,
        )


class StampTable:
    """Stamps of all users about whom something was decided or agreed on.

    Bounds: stamps of a known user last as long as the user. Those of evicted users are bounded by `max_evicted`.
    """

    def __init__(self, max_evicted: int) -> None:
        self._by_user: dict[str, Stamps] = {}
        self._evicted: BoundedMap[str, Stamps] = BoundedMap(max_evicted)
        """Stamps of users who were evicted before the nodes agreed on the last decision: something was cleared."""

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._by_user or user_id in self._evicted

    def get(self, user_id: str) -> Stamps | None:
        """Return the stamps of a known user; None if there are none."""
        return self._by_user.get(user_id)

    def of_evicted(self, user_id: str) -> Stamps | None:
        """Return the stamps of an evicted user; None if there are none."""
        return self._evicted.get(user_id)

    def get_or_add(self, user_id: str) -> Stamps:
        """Return the stamps of a known user, with new ones if there are none."""
        return self._by_user.setdefault(user_id, Stamps())

    def recall(self, user_id: str) -> None:
        """Restore the stamps of an evicted user, who is known again."""
        if (stamps := self._evicted.pop(user_id)) is not None:
            self._by_user.setdefault(user_id, stamps)

    def evict(self, user_id: str, is_agreed: bool) -> None:
        """Drop the stamps of an evicted user, or keep them if the nodes have not agreed on them yet."""
        stamps = self._by_user.pop(user_id, None)
        if stamps is not None and not is_agreed:
            self._evicted.set(user_id, stamps)

    def forget_evicted(self, user_id: str) -> None:
        """Forget the stamps of an evicted user, on which the nodes have agreed."""
        self._evicted.pop(user_id)


def _ends(until_ms: int, now: Instant) -> float:
    """Return the monotonic time at which something with this end in epoch milliseconds ends; infinity for 0."""
    return now.monotonic + (until_ms - now.epoch_ms) / 1000 if until_ms else inf
