"""Slots of the registered nodes, and of those that have stopped. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from presenced.cluster.backend import Member, State


class NodeStates(NamedTuple):
    """Slots of nodes, by state."""

    registered: frozenset[int]
    """All nodes. A dead one counts until it has been removed."""
    stopped: frozenset[int]
    """Nodes that are leaving, or were declared dead."""


def states_of(members: Iterable[Member]) -> NodeStates:
    """Return the states of the registered nodes."""
    members = tuple(members)
    return NodeStates(
        frozenset(member.slot for member in members),
        frozenset(member.slot for member in members if member.state in (State.LEAVING, State.DEAD)),
    )
