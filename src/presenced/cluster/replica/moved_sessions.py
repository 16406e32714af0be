"""Sessions that have moved to this node from other nodes, for as long as the other node may stop without dropping them.

A node that reads that its session is on another node drops its own copy. One that has stopped does not, and its
contribution would keep the user online until it is removed. So the node that has the session now takes it out of what
the stopped node has left behind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Set
from typing import NamedTuple

from presenced.cluster.backend import ContributionUpdate
from presenced.cluster.contribution import Contribution
from presenced.cluster.records import (
    SharedSession,
    decode_rooms,
    decode_sessions,
    encode_rooms,
    encode_sessions,
)

MAX_MOVED_USERS = 100_000
"""Maximum number of users with sessions that came from other nodes within `MOVED_S`. At the bound, the oldest are
forgotten: what a stopped node has left of them ends with the node's other sessions."""

MOVED_S = 3.0
"""Seconds of contact for which a session counts as having come from another node. Within that time, this node knows
whether the other one has stopped."""


class _Moved(NamedTuple):
    """Sessions of a user that came from other nodes."""

    tags: tuple[bytes, ...]
    contact: float
    """Contact time in seconds at which the last one came."""


class MovedSessions:
    """Sessions that came from other nodes lately, by user.

    Bounds: `MAX_MOVED_USERS`, each for `MOVED_S`.
    """

    def __init__(self) -> None:
        self._by_user: OrderedDict[str, _Moved] = OrderedDict()  # the oldest first

    def users(self) -> Set[str]:
        """Return the users of these sessions."""
        return self._by_user.keys()

    def add(self, user_id: str, tag: bytes, contact: float) -> None:
        """Add a session that has come from another node, at this contact time in seconds."""
        before = self._by_user.pop(user_id, None)
        self._by_user[user_id] = _Moved((*(before.tags if before else ()), tag), contact)
        if len(self._by_user) > MAX_MOVED_USERS:
            self._by_user.popitem(last=False)

    def forget(self, user_id: str) -> None:
        """Forget the sessions of a user."""
        self._by_user.pop(user_id, None)

    def expire(self, contact: float) -> None:
        """Forget the sessions that came more than `MOVED_S` ago."""
        while self._by_user and contact - next(iter(self._by_user.values())).contact > MOVED_S:
            self._by_user.popitem(last=False)

    def left_behind(
        self, user_id: str, contributions: Iterable[Contribution], stopped: Set[int]
    ) -> list[ContributionUpdate]:
        """Return what stopped nodes contribute to a user without the sessions that have come here.

        Args:
            contributions: What each node contributes to the user.
            stopped: Slots of the nodes that have stopped.
        """
        moved = self._by_user.get(user_id)
        tags = list(moved.tags) if moved else []
        updates: list[ContributionUpdate] = []
        for one in contributions if tags else ():
            if one.slot not in stopped:
                continue
            kept = list(decode_sessions(one.sessions))
            before, tags = len(kept), _take_out(tags, kept)
            if len(kept) < before:
                kept_tags = {session.tag for session in kept}
                members = tuple(member for member in decode_rooms(one.rooms) if member.tag in kept_tags)
                updates.append(ContributionUpdate(one.slot, encode_sessions(tuple(kept)), encode_rooms(members)))
        return updates


def _take_out(tags: Iterable[bytes], sessions: list[SharedSession]) -> list[bytes]:
    """Remove one session for each tag from the list, and return the tags that it does not contain."""
    missing = []
    for tag in tags:
        found = next((session for session in sessions if session.tag == tag), None)
        if found is None:
            missing.append(tag)
        else:
            sessions.remove(found)
    return missing
