"""What each node contributes to the users of a shard: sessions and rooms, by user and slot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from presenced.cluster.backend import ContributionUpdate
from presenced.cluster.records import NO_CONTRIBUTION, Contribution

_NONE: Mapping[int, Contribution] = MappingProxyType({})


class Contributions:
    """Contributions of all nodes to the users of a shard. A user without any is not in it."""

    def __init__(self) -> None:
        self._by_user: dict[str, dict[int, Contribution]] = {}
        self._with_sessions: Counter[int] = Counter()  # users by slot
        self._with_rooms: Counter[int] = Counter()

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._by_user

    def users(self) -> set[str]:
        """Return the users to whom a node contributes."""
        return set(self._by_user)

    def users_of(self, slot: int) -> list[str]:
        """Return the users to whom the node in a slot contributes."""
        return [user_id for user_id, by_slot in self._by_user.items() if slot in by_slot]

    def of(self, user_id: str) -> Mapping[int, Contribution]:
        """Return the contributions to a user, by slot (read-only)."""
        return self._by_user.get(user_id, _NONE)

    def get(self, user_id: str, slot: int) -> Contribution:
        """Return what the node in a slot contributes to a user."""
        return self.of(user_id).get(slot, NO_CONTRIBUTION)

    def count(self, slot: int) -> tuple[int, int]:
        """Return the numbers of users to whom the node in a slot contributes sessions, and rooms."""
        return self._with_sessions[slot], self._with_rooms[slot]

    def set(self, user_id: str, slot: int, contribution: Contribution) -> None:
        """Set what the node in a slot contributes to a user."""
        if contribution == NO_CONTRIBUTION:
            self.drop(user_id, slot)
        else:
            self._count(slot, self.get(user_id, slot), -1)
            self._by_user.setdefault(user_id, {})[slot] = contribution
            self._count(slot, contribution, 1)

    def update(self, user_id: str, update: ContributionUpdate) -> Contribution:
        """Apply an update from the store, and return what its node contributes from now on."""
        before = self.get(user_id, update.slot)
        contribution = Contribution(
            before.sessions if update.sessions is None else update.sessions,
            before.rooms if update.rooms is None else update.rooms,
        )
        self.set(user_id, update.slot, contribution)
        return contribution

    def drop(self, user_id: str, slot: int) -> None:
        """Drop what the node in a slot contributes to a user."""
        self._count(slot, self.get(user_id, slot), -1)
        by_slot = self._by_user.get(user_id, {})
        by_slot.pop(slot, None)
        if not by_slot:
            self._by_user.pop(user_id, None)

    def _count(self, slot: int, contribution: Contribution, by: int) -> None:
        self._with_sessions[slot] += by * bool(contribution.sessions)
        self._with_rooms[slot] += by * bool(contribution.rooms)
