"""Sessions that moved to this node lately. Contributions of stopped nodes may still have old copies of them.

A node drops its copy of a session when it reads that the session is on another node. A node that has stopped cannot,
and its contribution would keep the user online until the node is removed. So the node that has the session now takes
the old copy out of the stopped node's contribution.
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
forgotten: their old copies end when the stopped node is removed."""

MOVED_S = 3.0
"""Seconds of contact for which a session counts as having come from another node. By then, this node has read whether
the other one has stopped."""


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
        """Return the changes that take the sessions that have come here out of the contributions of stopped nodes.

        Args:
            contributions: What each node contributes to the user.
            stopped: Slots of the nodes that have stopped.
        """
        moved = self._by_user.get(user_id)
        updates: list[ContributionUpdate] = []
        if moved is None:
            return updates
        tags = list(moved.tags)
        for one in contributions:
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
