"""Changes for one reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from presenced_client.presence import Change, UserPresence


class ChangeStream:
    """Changes that a reader has not read yet. A slow reader gets the last state of each user.

    A user that the reader does not know yet gives no change: the first answer is not one. A state that only became
    `unknown` gives none, either; the next known state is compared with the last known one. For a reader of everyone,
    the last known state of any other user is offline, once everyone was known.

    Args:
        users: Keys of the users; None for everyone.
        known: Returns what is known of a user now.
        knows_everyone: Returns whether everyone is known now.
    """

    def __init__(
        self,
        users: frozenset[str] | None,
        known: Callable[[str], UserPresence],
        knows_everyone: Callable[[], bool],
    ) -> None:
        self.users = users
        self._waiting: dict[str, None] = {}
        """Users who may have changed, the one who has waited longest first."""
        self._known = known
        self._knows_everyone = knows_everyone
        self._knew_everyone = knows_everyone()
        """Whether the reader has known everyone, so that users who are not in `_seen` were offline. It stays true while
        a restarted server sends everyone again: a user who arrived before that is a change."""
        self._seen: dict[str, UserPresence] = {}
        """Last state of each user that the reader knows."""
        for key in users or ():
            self._look(key)

    def add(self, changes: Iterable[Change]) -> None:
        """Add changes of any users."""
        for change in changes:
            key = change.user
            if self.users is not None and key not in self.users:
                continue
            if key not in self._seen:
                if change.previous.status != "unknown":
                    self._seen[key] = change.previous
                elif self.users is None and self._knew_everyone:
                    self._seen[key] = UserPresence(key, "offline")
            self._waiting[key] = None
        self._knew_everyone = self._knew_everyone or self._knows_everyone()  # the first snapshot is no change

    def take(self) -> Change | None:
        """Return the next change, with the state of now; None if there is none."""
        while self._waiting:
            key = next(iter(self._waiting))
            del self._waiting[key]
            previous = self._seen.get(key)
            current = self._look(key)
            if previous is not None and current is not None and not current.shows_the_same(previous):
                return Change(key, previous, current)
        return None

    def _look(self, key: str) -> UserPresence | None:
        """Remember and return the state of now; None if it is unknown."""
        current = self._known(key)
        if current.status == "unknown":
            return None
        if self.users is None and current.status == "offline":
            self._seen.pop(key, None)  # otherwise a reader of everyone would remember every visitor
        else:
            self._seen[key] = current
        return current
