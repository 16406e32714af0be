"""Decisions made since the start, while older stored data is still being restored.

A database may respond long after the server has begun to serve. The result of a late restore must be the same as if the
data had arrived before the first event. The live state alone does not show that: a user who has since cleared a choice
looks like one who has never chosen. So the directory records for each user what was decided, and
`Directory.restore_choices` and `storage.write_behind` ask before they restore anything.
"""

from __future__ import annotations

MAX_NEWER_DECISIONS = 100_000
"""Maximum number of users, and of claims, with a recorded newer decision. At the bound further decisions are not
recorded. Restored data then wins, unless the live state shows something newer of the same kind."""


class DecisionsSinceStart:
    """Decisions that take precedence over restored data.

    Bounds: `MAX_NEWER_DECISIONS` of each kind.
    """

    def __init__(self) -> None:
        self._choices: dict[str, bool] = {}
        """Users who chose; the value is whether one of the choices was permanent."""
        self._claims: set[tuple[str, str]] = set()
        """Users and sources of claims that were set or cleared."""
        self._forgotten: set[str] = set()
        """Users whose stored data must not be restored."""

    def chose(self, user_id: str, permanently: bool) -> None:
        """Record a choice that took effect."""
        if user_id in self._choices:
            self._choices[user_id] = self._choices[user_id] or permanently
        elif len(self._choices) < MAX_NEWER_DECISIONS:
            self._choices[user_id] = permanently

    def claimed(self, user_id: str, source: str) -> None:
        """Record a claim that was set or cleared, whether or not it existed."""
        if len(self._claims) < MAX_NEWER_DECISIONS:
            self._claims.add((user_id, source))

    def forgot(self, user_id: str) -> None:
        """Record that the user is erased."""
        if len(self._forgotten) < MAX_NEWER_DECISIONS:
            self._forgotten.add(user_id)

    def has_chosen(self, user_id: str) -> bool:
        """Return whether a choice took effect, permanent or temporary, or the user was erased.

        Either replaces an earlier temporary choice.
        """
        return user_id in self._choices or user_id in self._forgotten

    def has_chosen_permanently(self, user_id: str) -> bool:
        """Return whether a permanent choice took effect, or the user was erased. No earlier choice is in force then."""
        return self._choices.get(user_id, False) or user_id in self._forgotten

    def has_claim(self, user_id: str, source: str) -> bool:
        """Return whether this claim was set or cleared, or the user was erased. No earlier one is in force then."""
        return (user_id, source) in self._claims or user_id in self._forgotten

    def is_forgotten(self, user_id: str) -> bool:
        """Return whether the user was erased. Nothing may be restored then."""
        return user_id in self._forgotten
