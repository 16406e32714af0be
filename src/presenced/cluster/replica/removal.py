"""Removal of a dead node: takes its contributions out of the records before the store forgets the node. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from presenced.cluster.backend import Member, Proposal, State


class Removal:
    """Users of a dead node, on their way out of the records.

        waiting --propose--> in flight --committed--> (read back) --applied--> the store may remove the node
                   ^            |
                   '-- refused -'

    Bounds: the users to whom the dead node contributes.
    """

    def __init__(self, member: Member, user_ids: Iterable[str]) -> None:
        self.member = member
        """The dead node."""
        self.waiting: OrderedDict[str, None] = OrderedDict.fromkeys(user_ids)
        """Users who have not been proposed yet."""
        self._committed_n = 0  # number of the last entry that takes users out

    def has(self, proposal: Proposal) -> bool:
        """Return whether a proposal takes a user out."""
        return proposal.contributions[0].slot == self.member.slot

    def committed(self, n: int) -> None:
        """Record that users were committed. Their entry in the log has the number `n`."""
        self._committed_n = n

    def is_current(self, members: Iterable[Member], incarnation: str) -> bool:
        """Return whether the store has the node as dead, and the node with this incarnation as its remover."""
        wanted = self.member.incarnation, State.DEAD, incarnation
        return any((member.incarnation, member.state, member.remover) == wanted for member in members)

    def is_complete(self, applied_n: int) -> bool:
        """Return whether no contribution of the node is left, if none is in flight.

        Args:
            applied_n: Number up to which the log was applied.
        """
        return not self.waiting and applied_n >= self._committed_n
