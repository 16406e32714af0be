"""What one user may see of others: that of all their sessions together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from msgspec import UNSET, UnsetType

from presenced.auth.grants import visibility_of
from presenced.auth.principal import Principal
from presenced.errors import BadUserId, Problem
from presenced.http.api.endpoint import Api
from presenced.http.errors import ProblemError, without_example
from presenced.presence.identity import parse_user_id
from presenced.presence.model import Change, Status
from presenced.presence.visibility import EVERYTHING, ViewerVisibility
from presenced.protocols.v1 import codec as v1
from presenced.protocols.v1.messages import UserRecord


class Eyes:
    """Return the permissions of a viewer, or of a backend, which sees everything.

    A viewer without a session sees what the setting `visibility` grants to a token that names nobody, because their
    next token is unknown.

    Args:
        viewer: Id as `checked_viewer` returns it; None for a backend.
    """

    def __init__(self, api: Api, viewer: str | None) -> None:
        self._api = api
        parts = [EVERYTHING]
        if viewer is not None:
            settings, sessions = api.node.settings, api.application.sessions_of(viewer)
            parts = [s.visibility for s in sessions] or [visibility_of(settings, Principal(viewer))]
        self._sight = ViewerVisibility(viewer or "", parts, api.node.rooms.of)
        self.may_see, self.may_enter = self._sight.may_see, self._sight.may_enter
        self.unseen = self._sight.blocked
        """Users who are invisible everywhere, in rooms too."""
        self._with_causes = viewer is None or self._sight.causes or api.node.settings.show_causes

    async def count_online(self) -> int:
        """How many who are online are seen. O(users who are named, members of the rooms that the viewer is in)."""
        sight, rooms = self._sight, self._api.node.rooms
        if (blocked := sight.blocked_by_widest) is not None:
            hidden = [user_id for user_id in blocked if not self.may_see(user_id)]
            return self._api.application.counts().online_users - self._online(hidden)
        members: set[str] = set()
        for name in tuple(sight.rooms()):
            if room := rooms.get(name):
                members.update(room.members)
            await asyncio.sleep(0)  # each may have 100,000
        members -= sight.blocked
        return len(members) + self._online(sight.named - members)

    def _online(self, user_ids: Iterable[str]) -> int:
        changes = self._api.application.seen(user_ids)
        return sum(change is not None and change.status is not Status.OFFLINE for change in changes)

    def records(self, user_ids: Iterable[str]) -> Iterator[UserRecord]:
        """What is seen of these users, in their order."""
        wanted = list(user_ids)
        for user_id, change in zip(wanted, self._api.application.seen(wanted), strict=True):
            if change is None or not self.may_see(user_id):
                yield v1.unknown_user(user_id, self._api.application.newest_version)  # like a user who never existed
            else:
                yield self.record(change)

    def record(self, change: Change) -> UserRecord:
        """One of those seen."""
        return v1.user_record(change, self._with_causes)


def checked_viewer(api: Api, given: int | str | UnsetType, problem: Problem = Problem.BAD_PARAMETER) -> str | None:
    """Return the viewer's id; None if no viewer is named and the response may show everything.

    Raises:
        ProblemError: The id is invalid. The error is `problem`.
    """
    if given is UNSET:
        return None
    try:
        return parse_user_id(given, api.node.settings.placeholder_ids)
    except BadUserId as error:
        raise ProblemError(problem, without_example(error).replace("userId", "viewer", 1)) from None
