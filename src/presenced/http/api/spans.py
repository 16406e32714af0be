"""What changed between two positions, worked out once for all who ask in the same moment."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from presenced.node.service import PresenceService
from presenced.presence.model import Change

MAX_SPANS = 16
"""Spans that are remembered, those asked for first are forgotten first."""


class Span(NamedTuple):
    """What happened in it."""

    until: int
    latest: Mapping[str, Change]
    """The last change of each user."""


class Spans:
    """Spans up to now.

    Bounds: `MAX_SPANS`, of as many changes as the journal has.
    """

    def __init__(self, application: PresenceService, most: int) -> None:
        self._application = application
        self._most = most
        self._spans: OrderedDict[tuple[int, int], Span] = OrderedDict()

    def __len__(self) -> int:
        return len(self._spans)

    def since(self, position: int) -> Span | None:
        """From `position` to now; None when some changes of it have been forgotten."""
        key = position, self._application.position
        if (span := self._spans.get(key)) is not None:
            return span
        changes = self._application.changes_since(position, self._most)
        if changes is None:
            return None
        span = self._spans[key] = Span(key[1], {change.user_id: change for change in changes})
        if len(self._spans) > MAX_SPANS:
            self._spans.popitem(last=False)
        return span
