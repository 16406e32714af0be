"""The node on a fake clock with fake connections: events of connections and calls of the application."""

import logging

import pytest
from tests.support.node_harness import NodeHarness
from tests.support.nodes import request

from presenced.errors import Close
from presenced.node.service import PresenceService
from presenced.presence.model import Ending


@pytest.fixture
def harness() -> NodeHarness:
    return NodeHarness(stats_interval=30)


def test_a_connection_first_receives_connection_established_and_never_its_own_changes(harness: NodeHarness) -> None:
    alice = harness.connect("1")
    assert alice.messages == [
        {
            "type": "CONNECTION_ESTABLISHED",
            "userId": 1,
            "timestamp": "2024-01-01T12:00:00.000Z",
            "connectionId": "1-1704110400000",
        }
    ]
    bob = harness.connect("bob")
    assert bob.about_others() == []
    assert alice.about_others() == [("USER_ONLINE", "bob")]
    second = harness.connect("bob")
    assert alice.about_others() == [("USER_ONLINE", "bob")]
    harness.end(bob)
    assert alice.about_others() == [("USER_ONLINE", "bob")]
    harness.end(second)
    assert alice.about_others() == [("USER_ONLINE", "bob"), ("USER_OFFLINE", "bob")]


def test_a_connection_with_an_invalid_user_id_is_closed_and_counted_as_refused(harness: NodeHarness) -> None:
    connection = harness.connection()
    harness.node.opened(connection, request("userid=1"))
    assert connection.closed_with == (
        Close.BAD_USER_ID,
        "userId is missing: connect to /ws-online-status?userId=ID",
    )
    harness.node.closed(connection, Ending.LOST, "lost")
    assert harness.count("presenced_handshakes_refused_total", code="BAD_USER_ID") == 1
    assert harness.count("presenced_connections_opened_total") == 0
    assert harness.node.stats().total_connections == 0


@pytest.mark.parametrize("query", [b"userId=undefined", b"userId=null", b"userId=NaN", b"userId=%5Bobject+Object%5D"])
def test_the_text_of_an_unset_variable_is_no_user_id_unless_a_setting_allows_it(
    harness: NodeHarness, query: bytes
) -> None:
    """Otherwise all visitors of that page would be one user."""
    connection = harness.connection()
    harness.node.opened(connection, request(query))
    assert connection.closed_with is not None
    code, reason = connection.closed_with
    assert (code, "is a variable not set" in reason) == (Close.BAD_USER_ID, True)
    lenient = NodeHarness(placeholder_ids=True)
    welcome = lenient.connection()
    lenient.node.opened(welcome, request(query))
    assert welcome.closed_with is None


def test_a_silent_client_is_dropped_and_its_user_goes_offline_after_the_grace_period(harness: NodeHarness) -> None:
    """Promise 2: a dead connection is gone within interval + timeout + grace period."""
    watcher, ghost = harness.connect("1"), harness.connect("2")
    ghost.answers = False
    started = harness.clock.monotonic()
    while ghost.closed_with is None:
        harness.clock.advance(1)
    assert ghost.pings == 1
    assert ghost.closed_with == (Close.TIMED_OUT, "no answer to a ping")
    assert watcher.closed_with is None
    assert harness.count("presenced_heartbeats_failed_total") == 1
    assert harness.count("presenced_connections_closed_total", reason="timed_out") == 1
    assert ("USER_OFFLINE", 2) not in watcher.about_others()
    harness.clock.advance(15)
    assert ("USER_OFFLINE", 2) in watcher.about_others()
    assert harness.clock.monotonic() - started <= 30 + 10 + 15


def test_a_slow_client_is_alive_while_reading_and_is_closed_if_still_behind_at_the_timeout() -> None:
    harness = NodeHarness(heartbeat_interval=6, pong_timeout=2)
    slow = harness.connect("1")
    slow.paused, slow.unsent = True, 100_000
    harness.node.paused(slow)
    for _ in range(29):
        slow.unsent -= 1
        harness.clock.advance(1)
    assert slow.closed_with is None
    assert slow.pings == 0, "nothing is written to it"
    harness.clock.advance(2)
    assert slow.closed_with == (Close.FELL_BEHIND, "reading too slowly")


def test_a_slow_client_that_reads_nothing_times_out_like_one_that_answers_no_ping() -> None:
    harness = NodeHarness(heartbeat_interval=6, pong_timeout=2)
    stuck = harness.connect("1")
    stuck.paused, stuck.unsent = True, 100_000
    harness.node.paused(stuck)
    harness.clock.advance(8.2)
    assert stuck.closed_with == (Close.TIMED_OUT, "no answer to a ping")


def test_a_slow_client_that_has_caught_up_does_not_time_out() -> None:
    """Promise 4: the client is slow when the ping is due, but not when the answer is due."""
    harness = NodeHarness(heartbeat_interval=6, pong_timeout=2)
    watcher = harness.connect("1")
    watcher.paused, watcher.unsent = True, 100_000
    harness.node.paused(watcher)
    while not harness.node.heartbeat._unsent_at_ping:
        harness.clock.advance(0.1)
    watcher.paused, watcher.unsent = False, 0
    harness.node.resumed(watcher)
    harness.clock.advance(30)
    assert watcher.closed_with is None


def test_a_grace_period_ends_on_time_and_not_with_the_next_heartbeat() -> None:
    harness = NodeHarness(heartbeat_interval=3600)
    alice, bob = harness.connect("1"), harness.connect("2")
    harness.end(bob, Ending.GOING_AWAY)
    harness.clock.advance(2.99)
    assert ("USER_OFFLINE", 2) not in alice.about_others()
    harness.clock.advance(0.02)
    assert ("USER_OFFLINE", 2) in alice.about_others()


@pytest.mark.parametrize(
    ("age", "sends", "grace"),
    [(0.0, False, 3), (4.9, False, 3), (5.1, False, 15), (0.0, True, 15), (4.9, True, 15)],
)
def test_a_connection_lost_within_5_s_without_any_input_has_a_grace_period_of_3_s(
    harness: NodeHarness, age: float, sends: bool, grace: float
) -> None:
    """The page closed it while it was connecting. Older connections without input are normal classic clients."""
    watcher, brief = harness.connect("watcher"), harness.connect("2")
    brief.answers = False
    if sends:  # at the same instant, because the clock stands still
        brief.heard_at = harness.clock.monotonic()
    harness.clock.advance(age)
    harness.end(brief, Ending.LOST)
    harness.clock.advance(grace - 0.1)
    assert ("USER_OFFLINE", 2) not in watcher.about_others()
    harness.clock.advance(0.2)
    assert ("USER_OFFLINE", 2) in watcher.about_others()


def test_a_cached_page_is_counted_with_its_own_reason(harness: NodeHarness) -> None:
    watcher, kept = harness.connect("watcher"), harness.connect("2")
    harness.end(kept, Ending.KEEP_SESSION)
    assert harness.count("presenced_connections_closed_total", reason="keep_session") == 1
    harness.clock.advance(2.9)
    assert ("USER_OFFLINE", 2) not in watcher.about_others()
    harness.clock.advance(0.2)
    assert ("USER_OFFLINE", 2) in watcher.about_others()


def test_a_draining_server_notifies_nobody_of_users_who_leave(harness: NodeHarness) -> None:
    alice, bob = harness.connect("1"), harness.connect("2")
    list(harness.node.drain())
    harness.end(bob)
    harness.end(harness.connect("3"))
    harness.clock.advance(60)
    assert alice.about_others() == [("USER_ONLINE", 2)]
    assert PresenceService(harness.node).not_ready() == ["the server is stopping"]


def test_the_node_is_behind_until_the_event_loop_keeps_up(harness: NodeHarness) -> None:
    assert not harness.node.is_behind
    harness.clock.hold(3)
    assert harness.node.is_behind
    harness.clock.advance(1)
    assert not harness.node.is_behind


def test_a_full_node_is_not_ready(harness: NodeHarness) -> None:
    assert PresenceService(harness.node).not_ready() == []
    harness.node.connections.max_connections = 1
    harness.connect("1")
    assert PresenceService(harness.node).not_ready() == ["all 1 connections are taken"]


def test_statistics_list_the_sessions_in_pages(harness: NodeHarness) -> None:
    connections = [harness.connect(str(number % 3)) for number in range(5)]
    harness.clock.advance(2)
    connections[0].heard_at = harness.clock.monotonic()
    stats = harness.node.stats(limit=2)
    assert (stats.connected_users, stats.online_users, stats.total_connections) == (3, 3, 5)
    first = stats.user_sessions[0]
    assert (first.user_id, first.connection_id) == (0, "0-1704110400000")
    assert first.connected_at == "2024-01-01T12:00:00.000Z"
    assert first.last_seen == "2024-01-01T12:00:02.000Z"
    seen = [s.connection_id for s in stats.user_sessions]
    while stats.next is not None:
        stats = harness.node.stats(limit=2, after=stats.next)
        seen += [s.connection_id for s in stats.user_sessions]
    assert seen == [c.connection_id for c in connections]
    assert harness.node.stats(limit=0).user_sessions == []
    assert harness.node.stats(limit=5).next is None


def test_an_insecure_server_warns() -> None:
    assert PresenceService(NodeHarness().node).warnings() == []
    exposed = PresenceService(NodeHarness(insecure=True, host="0.0.0.0").node)  # noqa: S104  # under test
    assert "any user id" in exposed.warnings()[0]


def test_messages_from_classic_clients_are_counted_and_change_nothing(harness: NodeHarness) -> None:
    alice, bob = harness.connect("1"), harness.connect("2")
    for message in ("", "hello", "{", '{"type":"?"}', b"\x00\xff"):
        harness.node.received(bob, message)
    assert harness.count("presenced_messages_received_total") == 5
    assert bob.closed_with is None
    assert len(alice.about_others()) == 1


def test_log_lines_have_the_wording_of_the_contract(harness: NodeHarness, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="presenced")
    harness.connect("7")
    alice = harness.connect("123")
    harness.clock.advance(31)
    harness.end(alice)
    assert [r.getMessage() for r in caplog.records[3:]] == [
        "🚀 WS: User 123 connected",
        "📡 WS: User 123 is ONLINE",
        "📡 WS: Broadcast sent to 1 users",
        "📊 WS Stats: 2 users, 2 connections",
        "🔌 WS: User 123 disconnected",
        "📡 WS: User 123 is OFFLINE",
        "📡 WS: Broadcast sent to 1 users",
    ]


def test_a_failed_heartbeat_is_logged_with_the_wording_of_the_contract(
    harness: NodeHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="presenced")
    harness.connect("123").answers = False
    harness.clock.advance(41)
    assert "💔 WS: User 123 heartbeat failed - disconnecting" in caplog.messages
    assert "🔌 WS: User 123 disconnected" in caplog.messages


def test_an_interval_of_0_disables_statistics_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="presenced")
    NodeHarness(stats_interval=0).clock.advance(1000)
    assert caplog.messages == []


def test_after_stop_no_timer_fires(harness: NodeHarness) -> None:
    connection = harness.connect("1")
    harness.node.stop()
    harness.clock.advance(1000)
    assert connection.pings == 0
