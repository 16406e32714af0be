"""Contributions of the nodes to one user: the sessions that each of them has, and their rooms."""

from __future__ import annotations

from msgspec import Struct


class Contribution(Struct, frozen=True, gc=False):
    """Contribution of one node to a user, as bytes."""

    slot: int
    """Number of the node."""
    sessions: bytes = b""
    """Its sessions (`cluster.records.encode_sessions`); empty if there are none."""
    rooms: bytes = b""
    """Their rooms (`cluster.records.encode_rooms`); empty if there are none."""

    @property
    def is_empty(self) -> bool:
        """Whether the node contributes nothing."""
        return not self.sessions and not self.rooms


UserContributions = Contribution | tuple[Contribution, ...] | None
"""All contributions to a user, none of them empty. Most users are on one node, so a single contribution is not in a
tuple. A tuple would take 48 bytes more, both in the replica and in the directory."""


def as_tuple(contributions: UserContributions) -> tuple[Contribution, ...]:
    """Return the contributions to a user as a tuple, even if there is one or none."""
    if contributions is None:
        return ()
    return (contributions,) if isinstance(contributions, Contribution) else contributions


def find(contributions: UserContributions, slot: int) -> Contribution | None:
    """Return what the node in a slot contributes; None if nothing."""
    if isinstance(contributions, Contribution):  # hot: once for each change of another node
        return contributions if contributions.slot == slot else None
    return next((one for one in contributions or () if one.slot == slot), None)


def with_contribution(contributions: UserContributions, new: Contribution) -> UserContributions:
    """Return the contributions with one of them replaced, added, or left out if it is empty."""
    if contributions is None or (isinstance(contributions, Contribution) and contributions.slot == new.slot):
        return None if new.is_empty else new
    others = [one for one in as_tuple(contributions) if one.slot != new.slot]
    if not new.is_empty:
        others.append(new)
    return others[0] if len(others) == 1 else tuple(others) or None
