"""Proposals on their way into a batch. Pure."""

from __future__ import annotations

from presenced.cluster.backend import MAX_BATCH_BYTES, MAX_PROPOSALS, ContributionUpdate, Proposal
from presenced.cluster.presence import Shown
from presenced.cluster.records import UserRecord, encode_record
from presenced.cluster.replica.agreed_state import AgreedState
from presenced.presence.model import SEEN_OFFLINE


class Proposals:
    """Proposals for one batch.

    Bounds: `MAX_PROPOSALS`, and half of `MAX_BATCH_BYTES`, because a batch has other bytes, too.
    """

    def __init__(self) -> None:
        self.proposals: list[Proposal] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether no more should be added."""
        return len(self.proposals) >= MAX_PROPOSALS or self._bytes >= MAX_BATCH_BYTES // 2

    def add(
        self, user_id: str, wanted: UserRecord, stored: AgreedState | None, shown: Shown, *updates: ContributionUpdate
    ) -> None:
        """Add the proposal that a user gets the record `wanted`.

        Args:
            stored: What the store has, as far as this node knows.
            updates: Contributions that change with it.
        """
        is_visible = wanted.view != (stored.view if stored else SEEN_OFFLINE) or wanted.view != shown.view
        # If the store has lost writes, clients may have seen a newer version than the record has.
        is_visible = is_visible or shown.version > (stored.version if stored else 0)
        data, expected = encode_record(wanted), stored.n if stored else 0
        self.proposals.append(Proposal(user_id, expected, data, wanted.is_kept, is_visible, updates))
        self._bytes += len(data)
        for update in updates:
            self._bytes += len(update.sessions or b"") + len(update.rooms or b"")
