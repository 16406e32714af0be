"""Who watches whom: the sets that sessions chose, and the answer to "who must hear of this user?"."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)

MAX_WATCHED = 1000
"""Users that one session watches by id at most."""


class Watch:
    """What one session watches; it outlives the session's connections."""

    __slots__ = ("everyone", "users")

    def __init__(self, everyone: bool = False) -> None:
        self.everyone = everyone
        self.users: set[str] = set()


class WatchIndex(Generic[S]):
    """The sessions that are kept up to date, by what they watch.

    Bounds: by the sessions in it, and `MAX_WATCHED` users for each. An edge costs one place in a set; sessions
    that watch nothing cost nothing.
    """

    def __init__(self) -> None:
        self.everyone: dict[S, None] = {}
        """Those that watch everyone, whomever else they watch."""
        self._by_user: dict[str, set[S]] = {}

    def add(self, session: S, watch: Watch) -> None:
        """Keep `session` up to date from now on."""
        if watch.everyone:
            self.everyone[session] = None
        self.add_users(session, watch.users)

    def remove(self, session: S, watch: Watch) -> None:
        """No longer; no-op for one that is not here."""
        self.everyone.pop(session, None)
        self.remove_users(session, watch.users)

    def add_users(self, session: S, user_ids: Iterable[str]) -> None:
        """`session` watches these, too."""
        for user_id in user_ids:
            self._by_user.setdefault(user_id, set()).add(session)

    def remove_users(self, session: S, user_ids: Iterable[str]) -> None:
        """`session` no longer watches these."""
        for user_id in user_ids:
            if watchers := self._by_user.get(user_id):
                watchers.discard(session)
                if not watchers:
                    del self._by_user[user_id]

    def watchers_of(self, user_id: str) -> Iterable[S]:
        """The sessions that watch this user by id; some may watch everyone as well."""
        return self._by_user.get(user_id, ())
