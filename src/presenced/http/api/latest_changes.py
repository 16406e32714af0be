"""The last change of each user since a position, computed once for all streams that need it at the same moment."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from presenced.node.service import PresenceService
from presenced.presence.model import Change

MAX_SPANS = 16
"""Maximum number of cached spans. At the bound the oldest is evicted."""


class Span(NamedTuple):
    """Changes between a position and the newest one."""

    until: int
    """Position at the end of the span."""
    latest: Mapping[str, Change]
    """The last change of each user who changed."""


class SpanCache:
    """Cache of spans.

    All event streams of `/watch` write at the same moments, so most of them need the same span.

    Bounds: `MAX_SPANS` spans of at most `max_changes` changes.
    """

    def __init__(self, service: PresenceService, max_changes: int) -> None:
        self._service = service
        self._max_changes = max_changes
        self._spans: OrderedDict[tuple[int, int], Span] = OrderedDict()

    def __len__(self) -> int:
        return len(self._spans)

    def since(self, position: int) -> Span | None:
        """Return the span from `position` to the newest change; None if the journal has evicted a part of it."""
        key = position, self._service.position
        if (span := self._spans.get(key)) is not None:
            return span
        changes = self._service.changes_since(position, self._max_changes)
        if changes is None:
            return None
        span = self._spans[key] = Span(key[1], {change.user_id: change for change in changes})
        if len(self._spans) > MAX_SPANS:
            self._spans.popitem(last=False)
        return span
