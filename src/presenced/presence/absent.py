"""Users who are not there and of whom something is remembered all the same, as long as there is room."""

from __future__ import annotations

from collections import OrderedDict


class Absent:
    """Their ids, in the order of their leaving; at most `most`, beyond which whoever is away longest is forgotten."""

    __slots__ = ("_most", "_user_ids")

    def __init__(self, most: int) -> None:
        self._most = most
        self._user_ids: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._user_ids)

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._user_ids

    def keep(self, user_id: str, is_needed: bool) -> str:
        """The user is not there, and there is something to remember, or there is not.

        Returns:
            Whose has to be forgotten to make room; empty when nobody's.
        """
        if not is_needed:
            self._user_ids.pop(user_id, None)
            return ""
        self._user_ids[user_id] = None
        if len(self._user_ids) <= self._most:
            return ""
        return self._user_ids.popitem(last=False)[0]

    def discard(self, user_id: str) -> None:
        """The user is there, or forgotten."""
        self._user_ids.pop(user_id, None)
