"""Proposals on their way into a batch. Pure."""

from __future__ import annotations

from presenced.cluster.backend import MAX_BATCH_BYTES, MAX_ITEMS, Proposal


class Proposals:
    """Proposals for one batch.

    Bounds: `MAX_ITEMS`, and half of `MAX_BATCH_BYTES`, because a batch has other bytes, too.
    """

    def __init__(self) -> None:
        self.proposals: list[Proposal] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether no more should be added."""
        return len(self.proposals) >= MAX_ITEMS or self._bytes >= MAX_BATCH_BYTES // 2

    def add(self, proposal: Proposal) -> None:
        """Add a proposal."""
        self.proposals.append(proposal)
        self._bytes += len(proposal.record)
        for update in proposal.contributions:
            self._bytes += len(update.sessions or b"") + len(update.rooms or b"")
