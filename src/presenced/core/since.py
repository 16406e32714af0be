"""What was decided since the start, while what was stored before it is still being restored.

A database may answer long after the server has begun to serve. The rule for everything that comes that late: the result
is the same as if it had come before the first event.
"""

from __future__ import annotations

MAX_SINCE = 100_000
"""Users, and claims, of which it is known that something newer was decided. At the bound the rest is not known: what is
restored then holds, unless there is something newer of the same kind to be seen."""


class Since:
    """Decisions that what is restored does not override.

    Bounds: `MAX_SINCE` of each kind.
    """

    __slots__ = ("_choices", "_claims", "_forgotten")

    def __init__(self) -> None:
        self._choices: dict[str, bool] = {}
        """Users who chose; whether one of the choices was for good."""
        self._claims: set[tuple[str, str]] = set()
        """Users and sources of claims that were set or cleared."""
        self._forgotten: set[str] = set()
        """Users of whom nothing is to come back."""

    def chose(self, user_id: str, for_good: bool) -> None:
        """A choice took effect."""
        if user_id in self._choices:
            self._choices[user_id] = self._choices[user_id] or for_good
        elif len(self._choices) < MAX_SINCE:
            self._choices[user_id] = for_good

    def claimed(self, user_id: str, source: str) -> None:
        """A claim was set or cleared, whether or not there was one."""
        if len(self._claims) < MAX_SINCE:
            self._claims.add((user_id, source))

    def forgot(self, user_id: str) -> None:
        """The user is erased."""
        if len(self._forgotten) < MAX_SINCE:
            self._forgotten.add(user_id)

    def has_chosen(self, user_id: str) -> bool:
        """Whether a choice took effect, for good or for a time: it took the place of any choice for a time."""
        return user_id in self._choices or user_id in self._forgotten

    def has_chosen_for_good(self, user_id: str) -> bool:
        """Whether nothing that the user chose before holds any more."""
        return self._choices.get(user_id, False) or user_id in self._forgotten

    def has_claim(self, user_id: str, source: str) -> bool:
        """Whether what this source claimed before holds no more."""
        return (user_id, source) in self._claims or user_id in self._forgotten

    def is_forgotten(self, user_id: str) -> bool:
        """Whether nothing of the user is to come back."""
        return user_id in self._forgotten
