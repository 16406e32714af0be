"""The cache of the last changes since a position."""

from __future__ import annotations

from tests.support.node_harness import NodeHarness
from tests.support.nodes import make_node

from presenced.config.settings import Settings
from presenced.http.api.latest_changes import MAX_CACHED_SPANS, SpanCache
from presenced.node.service import PresenceService
from presenced.presence.model import Ending
from presenced.testing import FakeClock


def test_a_span_of_changes_is_computed_once_and_the_cache_is_bounded() -> None:
    node = make_node(Settings(stats_interval=0), FakeClock())
    service = PresenceService(node)
    latest = SpanCache(service, 1000)
    for online in (True, False, True):
        service.announce("ada", online)
    span = latest.since(0)
    assert span is not None
    assert [change.version for change in span.values()] == [3]
    assert latest.since(0) is span
    for position in range(MAX_CACHED_SPANS + 5):
        service.announce(str(position), online=True)
        latest.since(position)
    assert len(latest) == MAX_CACHED_SPANS


def test_a_cached_span_does_not_outlive_the_erasure_of_a_user() -> None:
    harness = NodeHarness()
    service = harness.service
    latest = SpanCache(service, 1000)
    harness.node.closed(harness.connect("ada"), Ending.CLOSED, "")
    harness.clock.advance(60)
    before, position = latest.since(0), service.position
    assert before is not None
    assert before["ada"].seen_ms
    service.forget("ada")
    assert service.position == position, "the erasure of an absent user is no event"
    after = latest.since(0)
    assert after is not None
    assert not after["ada"].seen_ms
