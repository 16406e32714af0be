"""Stamps: when the decisions about a user were made, so that the newer one counts on all nodes.

Choices, claims and announcements may be decided on any node (*stamped fields*, `cluster.records`). The directory
changes them on a user, as on a single node. `Stamps.note` then compares them with what they were before: any difference
is a decision that was made here, and takes a stamp in epoch milliseconds. `Stamps.apply` does the reverse with what the
nodes have agreed on.

A field that was cleared keeps its stamp. Otherwise a node that was cut off meanwhile would bring back what it had. The
nodes forget these stamps together, an hour later (`cluster.replica.cleared_records`).
"""

from __future__ import annotations

from collections.abc import Hashable
from math import inf
from typing import TypeVar

from msgspec.structs import replace

from presenced.cluster.records import Choices, SharedClaim, UserRecord
from presenced.presence.model import AS_DETECTED, Choice, Display
from presenced.presence.status import MAX_SOURCES, Claim
from presenced.presence.user import User
from presenced.runtime.instant import Instant
from presenced.runtime.limits import BoundedMap

C = TypeVar("C", bound=Hashable)


MAX_CLEARED_CLAIMS = MAX_SOURCES
"""Maximum number of cleared claims of one user whose stamps are remembered. At the bound, the one cleared first is
forgotten, and a node that was cut off meanwhile may bring it back."""


class Stamps:
    """The stamped fields of one user as they were last agreed on or decided here, each with its stamp.

    Bounds: those of the fields, and `MAX_CLEARED_CLAIMS`.
    """

    __slots__ = ("announced", "announced_ms", "chosen", "chosen_ms", "claims", "cleared", "timed", "timed_ms")

    def __init__(self) -> None:
        self.chosen, self.chosen_ms = AS_DETECTED, 0
        self.timed: Choice | None = None
        self.timed_ms = 0
        self.announced, self.announced_ms = False, 0
        self.claims: tuple[Claim, ...] = ()
        self.cleared: dict[str, int] = {}
        """Stamps of the claims that were cleared, by source."""

    def note(self, user: User[C], now: Instant, now_ms: int) -> None:
        """Stamp what was decided about the user here, with `now_ms` or later.

        A decision is newer than the one that it replaces, even if the clock of the earlier decision's node is ahead. An
        end that was set in advance is not a decision. It must not replace a decision that another node, which was cut
        off from the store, has made before that end.
        """
        if user.chosen != self.chosen:
            self.chosen, self.chosen_ms = user.chosen, max(now_ms, self.chosen_ms + 1)
        if user.timed != self.timed:
            has_ended = (
                user.timed is None and self.timed is not None and 0 < self.timed.details.until_ms <= now.epoch_ms
            )
            self.timed, self.timed_ms = user.timed, max(0 if has_ended else now_ms, self.timed_ms + 1)
        if user.announced != self.announced:
            self.announced, self.announced_ms = user.announced, max(now_ms, self.announced_ms + 1)
        if user.claims != self.claims:
            self._note_claims(user, now, now_ms)

    def _note_claims(self, user: User[C], now: Instant, now_ms: int) -> None:
        before = {claim.source: claim for claim in self.claims}
        stamps = {**self.cleared, **{claim.source: claim.set_ms for claim in self.claims}}
        user.claims = self.claims = tuple(
            claim
            if claim == before.get(claim.source)
            else replace(claim, set_ms=max(claim.set_ms, stamps.get(claim.source, -1) + 1))
            for claim in user.claims
        )
        for source in before.keys() - {claim.source for claim in user.claims}:
            has_ended = before[source].ends <= now.monotonic
            self._clear_claim(source, max(0 if has_ended else now_ms, before[source].set_ms + 1))

    def _clear_claim(self, source: str, stamp_ms: int) -> None:
        self.cleared[source] = stamp_ms
        self._keep_newest()

    def _keep_newest(self) -> None:
        while len(self.cleared) > MAX_CLEARED_CLAIMS:
            del self.cleared[min(self.cleared, key=self.cleared.__getitem__)]

    def lose_choice(self) -> None:
        """Clear the choice, because of a bound. All nodes do so, and get the same stamps."""
        if self.chosen != AS_DETECTED:
            self.chosen_ms += 1
        if self.timed is not None:
            self.timed_ms += 1
        self.chosen, self.timed = AS_DETECTED, None

    def lose_claims(self) -> None:
        """Clear all claims, because of a bound. All nodes do so, and get the same stamps."""
        for claim in self.claims:
            self._clear_claim(claim.source, claim.set_ms + 1)
        self.claims = ()

    def end_timed(self) -> None:
        """Drop a temporary choice that sets nothing, because the user's presence has ended. All nodes do so."""
        self.timed = None

    def forget_cleared(self) -> bool:
        """Forget the stamps of fields that were cleared. Return whether no stamp is left."""
        if self.chosen == AS_DETECTED:
            self.chosen_ms = 0
        if self.timed is None:
            self.timed_ms = 0
        if not self.announced:
            self.announced_ms = 0
        self.cleared = {}
        return not (self.chosen_ms or self.timed_ms or self.announced_ms or self.claims)

    def renew_choice(self, now_ms: int, is_permanent: bool) -> None:
        """Make the choice newer than decisions of other nodes, although it has changed nothing here."""
        self.timed_ms = max(self.timed_ms, now_ms)
        if is_permanent:
            self.chosen_ms = max(self.chosen_ms, now_ms)

    def renew_announcement(self, now_ms: int) -> None:
        """Make the announcement newer than decisions of other nodes, although it has changed nothing here."""
        self.announced_ms = max(self.announced_ms, now_ms)

    def apply(self, user: User[C], record: UserRecord, now: Instant) -> None:
        """Take the stamped fields of a record, and give them to the user."""
        chosen = record.chosen
        user.chosen = self.chosen = Choice(chosen.status, chosen.details)
        self.chosen_ms, self.timed_ms = chosen.stamp_ms, chosen.timed_stamp_ms
        user.timed = self.timed = None
        if chosen.timed_details is not None:
            user.timed = self.timed = Choice(chosen.timed, chosen.timed_details)
            user.timed_until = _to_monotonic(chosen.timed_details.until_ms, now)
        user.announced = self.announced = record.announced
        self.announced_ms = record.announced_stamp_ms
        user.claims = self.claims = tuple(
            Claim(c.source, c.status, c.details, c.priority, c.stamp_ms, _to_monotonic(c.details.until_ms, now))
            for c in record.claims
            if c.status is not None
        )
        self.cleared = {claim.source: claim.stamp_ms for claim in record.claims if claim.status is None}
        self._keep_newest()
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

    Bounds: stamps of a known user last as long as the user. Stamps of evicted users are bounded by `max_evicted`.
    """

    def __init__(self, max_evicted: int) -> None:
        self._by_user: dict[str, Stamps] = {}
        self._evicted: BoundedMap[str, Stamps] = BoundedMap(max_evicted)
        """Stamps of users who were evicted, or were never known: when their fields were cleared."""

    def users(self) -> list[str]:
        """Return the users who have stamps."""
        return [*self._by_user, *self._evicted]

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._by_user or user_id in self._evicted

    def get(self, user_id: str) -> Stamps | None:
        """Return the stamps of a known user; None if there are none."""
        return self._by_user.get(user_id)

    def find(self, user_id: str) -> Stamps | None:
        """Return the stamps of a user, known or evicted; None if there are none."""
        return self._by_user.get(user_id) or self._evicted.get(user_id)

    def of_evicted(self, user_id: str) -> Stamps | None:
        """Return the stamps of an evicted user; None if there are none."""
        return self._evicted.get(user_id)

    def get_or_add(self, user_id: str) -> Stamps:
        """Return the stamps of a known user, with new ones if there are none."""
        return self._by_user.setdefault(user_id, Stamps())

    def add(self, user_id: str, is_known: bool) -> Stamps:
        """Add new stamps of a user.

        Args:
            is_known: Whether the directory has the user. Otherwise the stamps are kept as those of an evicted user.
        """
        stamps = Stamps()
        if is_known:
            self._by_user[user_id] = stamps
        else:
            self._evicted.set(user_id, stamps)
        return stamps

    def recall(self, user_id: str) -> None:
        """Restore the stamps of an evicted user, who is known again."""
        if (stamps := self._evicted.pop(user_id)) is not None:
            self._by_user.setdefault(user_id, stamps)

    def evict(self, user_id: str) -> None:
        """Keep an evicted user's stamps apart, so that they do not count as decisions when the user is known again."""
        stamps = self._by_user.pop(user_id, None)
        if stamps is not None:
            self._evicted.set(user_id, stamps)

    def forget_cleared(self, user_id: str) -> None:
        """Forget the stamps of fields that were cleared."""
        self._evicted.pop(user_id)
        stamps = self._by_user.get(user_id)
        if stamps is not None and stamps.forget_cleared():
            del self._by_user[user_id]


def _to_monotonic(until_ms: int, now: Instant) -> float:
    """Return a time in epoch milliseconds as monotonic seconds; infinity for 0, which means never."""
    return now.monotonic + (until_ms - now.epoch_ms) / 1000 if until_ms else inf
