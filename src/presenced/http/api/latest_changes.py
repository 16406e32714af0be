"""The last change of each user since a position, computed once for all streams that need it at the same moment."""

from __future__ import annotations

from collections.abc import Mapping

from presenced.node.service import PresenceService
from presenced.presence.model import Change
from presenced.runtime.limits import BoundedMap

MAX_CACHED_SPANS = 16
"""Maximum number of cached spans. At the bound the oldest is evicted."""


class SpanCache:
    """Cache of spans of changes: from a position to the newest one.

    All event streams of `/watch` write at the same moments, so most of them need the same span.

    Bounds: `MAX_CACHED_SPANS` spans of at most `max_changes` changes.
    """

    def __init__(self, service: PresenceService, max_changes: int) -> None:
        self._service = service
        self._max_changes = max_changes
        self._spans: BoundedMap[tuple[int, int, int], Mapping[str, Change]] = BoundedMap(MAX_CACHED_SPANS)

    def __len__(self) -> int:
        return len(self._spans)

    def since(self, position: int) -> Mapping[str, Change] | None:
        """Return the last change of each user who changed after `position`; None if the journal has evicted some."""
        key = position, self._service.position, self._service.erasures
        span = self._spans.get(key)
        if span is None and (changes := self._service.changes_since(position, self._max_changes)) is not None:
            span = {change.user_id: change for change in changes}
            self._spans.set(key, span)
        return span
