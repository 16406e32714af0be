"""Which of the registered nodes are alive, and which have stopped. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from presenced.cluster.backend import Member, State


class NodeStates(NamedTuple):
    """Slots of the registered nodes, by what they do."""

    alive: frozenset[int]
    """All of them: a dead node counts until it has been removed."""
    stopped: frozenset[int]
    """Nodes that leave or were declared dead."""


def states_of(members: Iterable[Member]) -> NodeStates:
    """Return the states of the registered nodes."""
    members = tuple(members)
    return NodeStates(
        frozenset(member.slot for member in members),
        frozenset(member.slot for member in members if member.state in (State.LEAVING, State.DEAD)),
    )
