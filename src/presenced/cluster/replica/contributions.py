"""Contributions of each node to the users of a shard: sessions and rooms, by user and slot."""

from __future__ import annotations

from collections import Counter

from presenced.cluster.backend import ContributionUpdate
from presenced.cluster.contribution import Contribution, UserContributions, as_tuple, find, with_contribution


class Contributions:
    """Contributions of all nodes to the users of a shard. A user without any is not in it."""

    def __init__(self) -> None:
        self._by_user: dict[str, UserContributions] = {}
        self._with_sessions: Counter[int] = Counter()  # users by slot
        self._with_rooms: Counter[int] = Counter()

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._by_user

    def users(self) -> set[str]:
        """Return the users to whom a node contributes."""
        return set(self._by_user)

    def users_of(self, slot: int) -> list[str]:
        """Return the users to whom the node in a slot contributes."""
        return [user_id for user_id, all_of_user in self._by_user.items() if find(all_of_user, slot) is not None]

    def of(self, user_id: str) -> tuple[Contribution, ...]:
        """Return the contributions to a user."""
        return as_tuple(self._by_user.get(user_id))

    def get(self, user_id: str, slot: int) -> Contribution:
        """Return what the node in a slot contributes to a user."""
        return find(self._by_user.get(user_id), slot) or Contribution(slot)

    def count(self, slot: int) -> tuple[int, int]:
        """Return the numbers of users to whom the node in a slot contributes sessions, and rooms."""
        return self._with_sessions[slot], self._with_rooms[slot]

    def set(self, user_id: str, new: Contribution) -> None:
        """Set what a node contributes to a user."""
        all_before = self._by_user.get(user_id)
        all_of_user = with_contribution(all_before, new)
        if all_of_user is not None:
            self._by_user[user_id] = all_of_user
        else:
            self._by_user.pop(user_id, None)
        before = find(all_before, new.slot) or Contribution(new.slot)
        if bool(before.sessions) is not bool(new.sessions):
            self._with_sessions[new.slot] += 1 if new.sessions else -1
        if bool(before.rooms) is not bool(new.rooms):
            self._with_rooms[new.slot] += 1 if new.rooms else -1

    def update(self, user_id: str, update: ContributionUpdate) -> Contribution:
        """Apply an update from the store, and return what its node contributes from now on."""
        slot, sessions, rooms = update
        if sessions is None or rooms is None:
            before = self.get(user_id, slot)
            sessions = before.sessions if sessions is None else sessions
            rooms = before.rooms if rooms is None else rooms
        new = Contribution(slot, sessions, rooms)
        self.set(user_id, new)
        return new
