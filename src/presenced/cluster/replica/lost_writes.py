"""Writes that the store has lost: which users are unsettled, and which contributions are retained. Pure.

A store that failed over may have lost writes that nodes have already read and shown. Two things follow:

- A user is *unsettled* if the record, the contributions and the shown state do not match. Others see the user as
  before until a newer item arrives, or until all nodes that might know more have had enough time. This is `RECOVERY_S`
  if all nodes that contribute to the user are registered, and otherwise the lease plus `RECOVERY_S`.
- A contribution of another node is *retained* if the store has lost it. Its node proposes it again within the lease and
  `RECOVERY_S`, or is gone.

All times are contact times in seconds (`cluster.members`).
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from presenced.cluster.contribution import Contribution

RECOVERY_S = 2.0
"""Seconds of contact in which a live node proposes again what the store has lost."""


class LostWrites:
    """Unsettled users and retained contributions of a shard on one node.

    Bounds: those of the users and their contributions.

    Args:
        lease_s: Seconds of contact without a heartbeat after which a node is declared dead.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._unsettled: dict[str, float] = {}  # with the contact time since when each user is unsettled
        self._retained: dict[tuple[str, int], float] = {}  # by user and slot, with the contact time since when

    # Unsettled users.

    @property
    def unsettled(self) -> Set[str]:
        """The unsettled users."""
        return self._unsettled.keys()

    def mark_unsettled(self, user_id: str, contact: float) -> None:
        """Mark a user as unsettled from now on. No-op if the user is unsettled already."""
        self._unsettled.setdefault(user_id, contact)

    def mark_unsettled_after_lease(self, user_id: str, contact: float) -> None:
        """Mark a user as unsettled, and begin to count only when the lease of a node that dies now is over."""
        self._unsettled[user_id] = contact + self._lease_s

    def end_unsettled(self, user_id: str) -> None:
        """Mark a user as no longer unsettled."""
        self._unsettled.pop(user_id, None)

    def has_waited(self, user_id: str, are_contributors_registered: bool, contact: float) -> bool:
        """Return whether all nodes that might know more about an unsettled user have had enough time.

        Args:
            are_contributors_registered: Whether all other nodes that contribute to the user are registered.
        """
        wait = RECOVERY_S if are_contributors_registered else self._lease_s + RECOVERY_S
        return contact - self._unsettled[user_id] > wait

    # Retained contributions.

    @property
    def retained(self) -> int:
        """Number of retained contributions."""
        return len(self._retained)

    def retain(self, user_id: str, slot: int, contact: float) -> None:
        """Retain a contribution from now on. No-op if it is retained already."""
        self._retained.setdefault((user_id, slot), contact)

    def is_any_retained(self, user_id: str, contributions: Iterable[Contribution]) -> bool:
        """Return whether one of the contributions to a user is retained."""
        return bool(self._retained) and any((user_id, one.slot) in self._retained for one in contributions)

    def end_retained(self, user_id: str, slot: int) -> None:
        """Mark a contribution as no longer retained: the store has it again, or it is gone."""
        self._retained.pop((user_id, slot), None)

    def expired(self, contact: float) -> list[tuple[str, int]]:
        """Take out the retained contributions whose time is over, and return their users and slots."""
        limit_s = self._lease_s + RECOVERY_S
        expired = [key for key, since in self._retained.items() if contact - since > limit_s]
        for key in expired:
            del self._retained[key]
        return expired
