"""Commands and queries of an application, on a fake clock and fake connections."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.node_harness import NodeHarness, statuses

from presenced.errors import BadClaim, CapacityError, Close
from presenced.http.api.explain import sentence
from presenced.node.journal_followers import MAX_FOLLOWERS
from presenced.node.service import Counts, PresenceService
from presenced.presence.explain import Pending, Rule
from presenced.presence.model import NO_DETAILS, Cause, Choice, Ending, Status, StatusDetails
from presenced.presence.status import Claim
from presenced.presence.visibility import Visibility

BUSY = Choice(Status.BUSY, NO_DETAILS)


class ExplainingHarness(NodeHarness):
    """Node with clients, and the service of an application."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(None, **settings)

    def why(self, user_id: str, viewer: str | None = None) -> str:
        return sentence(self.service.explain(user_id, viewer))


@pytest.fixture
def harness() -> ExplainingHarness:
    return ExplainingHarness()


def test_an_announcement_notifies_everyone_and_cannot_contradict_a_connection(harness: ExplainingHarness) -> None:
    alice = harness.connect("1")
    assert harness.service.announce("2", True) is True
    assert harness.service.announce("2", True) is False
    assert harness.service.announce("1", False) is False
    assert harness.service.announce("2", False) is True
    harness.clock.run_soon()
    assert alice.about_others() == [("USER_ONLINE", 2), ("USER_OFFLINE", 2)]


def test_disconnecting_a_user_closes_all_connections_and_notifies_immediately(harness: ExplainingHarness) -> None:
    alice, phone, laptop = harness.connect("1"), harness.connect("2"), harness.connect("2")
    harness.end(harness.connect("2"), Ending.LOST)
    assert harness.service.disconnect("2") == 2
    harness.clock.run_soon()
    assert phone.closed_with
    assert laptop.closed_with
    assert phone.closed_with[0] is Close.DISCONNECTED
    assert alice.about_others() == [("USER_ONLINE", 2), ("USER_OFFLINE", 2)], (
        "the grace period of the third one does not delay it"
    )
    assert harness.service.disconnect("nobody") == 0


def test_a_claim_reaches_watchers_and_the_users_own_devices_with_its_expiry() -> None:
    harness = ExplainingHarness(show_causes=True)
    watcher, own = harness.enter("userId=1"), harness.enter("userId=2")
    harness.new_messages(watcher)
    harness.service.set_claim("2", Claim("calendar", Status.BUSY, StatusDetails("meeting")), lasts=60)
    harness.clock.run_soon()
    [message] = harness.new_messages(watcher)
    [record] = message["users"]
    until = harness.clock.now().epoch_ms + 60_000
    assert (record["status"], record["text"], record["until"], record["cause"]) == ("busy", "meeting", until, "claim")
    [self] = [message for message in harness.new_messages(own) if message["type"] == "SELF"]
    assert (self["status"], self["chosen"], self["text"]) == ("busy", "auto", "meeting")
    [claim] = harness.service.claims_of("2")
    assert (claim.set_ms, claim.details.until_ms) == (harness.clock.now().epoch_ms, until)
    harness.clock.advance(60)
    assert statuses(harness.new_messages(watcher)) == [(2, "online")]
    assert harness.service.claims_of("2") == ()


def test_a_claim_is_cleared_once_and_an_invalid_one_is_refused(harness: ExplainingHarness) -> None:
    harness.service.set_claim("2", Claim("calendar", Status.BUSY))
    assert harness.service.clear_claim("2", "calendar") is True
    assert harness.service.clear_claim("2", "calendar") is False
    with pytest.raises(BadClaim):
        harness.service.set_claim("2", Claim("calendar", Status.INVISIBLE))
    assert harness.service.claims_of("2") == ()


def test_a_status_chosen_for_an_absent_user_shows_when_they_connect_and_expires(harness: ExplainingHarness) -> None:
    watcher = harness.enter("userId=1")
    harness.service.set_status("2", BUSY, lasts=60)
    harness.clock.run_soon()
    assert harness.new_messages(watcher) == []
    harness.clock.advance(20)
    harness.enter("userId=2")
    [message] = harness.new_messages(watcher)
    assert message["users"][0]["status"] == "busy"
    assert message["users"][0]["until"] == harness.clock.now().epoch_ms + 40_000
    harness.clock.advance(40)
    assert statuses(harness.new_messages(watcher)) == [(2, "online")]
    harness.service.set_status("2", BUSY)
    harness.service.set_status("2", None)
    harness.clock.run_soon()
    assert statuses(harness.new_messages(watcher)) == [(2, "online")]


def test_online_users_are_listed_in_pages_while_others_connect_and_disconnect(harness: ExplainingHarness) -> None:
    connections = {user_id: harness.connect(user_id) for user_id in "12345"}
    first = harness.service.online(0, 2)
    assert [change.user_id for _, change in first] == ["1", "2"]
    harness.end(connections["1"], Ending.CLOSED)
    harness.end(connections["4"], Ending.CLOSED)
    harness.connect("6")
    rest = harness.service.online(first[-1][0], 100)
    assert [change.user_id for _, change in rest] == ["3", "5", "6"]
    assert harness.service.online(rest[-1][0], 100) == []


def test_counts_rooms_and_sessions_are_reported(harness: ExplainingHarness) -> None:
    alice = harness.enter("userId=1&device=web")
    harness.send(alice, "JOIN", room="lobby")
    harness.connect("2")
    harness.connect("2")
    harness.service.announce("3", True)
    assert harness.service.counts() == Counts(online_users=3, connected_users=2, connections=3, rooms=1)
    room = harness.service.room("lobby")
    assert room
    assert list(room.members) == ["1"]
    assert harness.service.room("bar") is None
    harness.end(alice, Ending.LOST)
    [session] = harness.service.sessions_of("1")
    assert (session.device, session.connection, session.is_present) == ("web", None, True)
    harness.clock.advance(15)
    assert harness.service.sessions_of("1") == [], "it can be resumed, but is past its grace period"
    assert [session.connection is not None for session in harness.service.sessions_of("2")] == [True, True]


def test_a_cursor_is_valid_only_since_the_start_of_this_server(harness: ExplainingHarness) -> None:
    harness.connect("1")
    service = harness.service
    cursor = service.position_text(service.position)
    assert service.parse_cursor(cursor) == service.position
    assert service.changes_since(service.position, 10) == []
    for bad in ("", "1", "other-1", service.position_text(service.position + 1), cursor + "x", cursor + "-2"):
        assert service.parse_cursor(bad) is None
    assert PresenceService(ExplainingHarness().node).parse_cursor(cursor) is None


def test_followers_receive_each_change_with_its_cause_until_the_journal_evicts_the_change() -> None:
    harness = ExplainingHarness(journal_size=3)
    start = harness.service.position
    alice = harness.connect("1")
    assert [(c.status, c.cause) for c in harness.service.changes_since(start, 10) or []] == [("online", Cause.CONNECT)]
    harness.end(alice, Ending.CLOSED)
    harness.service.announce("2", True)
    harness.service.set_claim("2", Claim("x", Status.AWAY))
    assert harness.service.changes_since(start, 10) is None
    changes = harness.service.changes_since(start + 1, 10)
    assert changes
    assert [(c.user_id, c.status, c.was_version, c.cause) for c in changes] == [
        ("1", "offline", changes[0].version - 1, "close"),
        ("2", "online", 0, "announcement"),
        ("2", "away", changes[1].version, "claim"),
    ]
    digest = harness.service.digest()
    assert digest
    assert (digest.position, digest.users) == (changes[-1].position, 1)


def test_a_stop_notifies_followers_of_no_user_going_offline(harness: ExplainingHarness) -> None:
    alice = harness.connect("1")
    position = harness.service.position
    list(harness.node.drain())
    harness.node.closed(alice, Ending.LOST, "lost")
    harness.clock.advance(60)
    assert harness.service.changes_since(position, 10) == []


def test_followers_are_woken_once_per_turn_of_the_loop(harness: ExplainingHarness) -> None:
    woken: list[str] = []
    end = harness.service.on_change(lambda: woken.append("a"))
    harness.service.on_change(lambda: woken.append("b"))
    harness.service.announce("1", True)
    harness.service.announce("2", True)
    assert woken == []
    harness.clock.run_soon()
    assert woken == ["a", "b"]
    end()
    end()
    harness.service.announce("1", False)
    harness.clock.run_soon()
    assert woken == ["a", "b", "b"]
    harness.service.announce("1", False)
    harness.clock.run_soon()
    assert woken == ["a", "b", "b"], "nothing changed"


def test_followers_beyond_the_maximum_are_refused(harness: ExplainingHarness) -> None:
    ends = [harness.service.on_change(lambda: None) for _ in range(MAX_FOLLOWERS)]
    with pytest.raises(CapacityError, match="1000"):
        harness.service.on_change(lambda: None)
    ends[0]()
    harness.service.on_change(lambda: None)


# Explanations.


def test_an_unknown_user_is_explained_as_offline(harness: ExplainingHarness) -> None:
    nobody = (
        "nobody is offline to all who may see them: "
        "no session is connected or in its grace period, and no backend announces"
    )
    assert harness.why("nobody") == f"{nobody} them."
    assert harness.service.explain("nobody").shown is None


def test_an_explanation_counts_active_and_idle_sessions(harness: ExplainingHarness) -> None:
    harness.connect("8")
    idle = harness.enter("userId=7")
    harness.send(idle, "ACTIVITY", state="idle")
    assert harness.why("7", "8") == (
        "7 is away to 8, who may see everyone: their only session is idle; 1 connection is open, last heard 0 seconds "
        "ago."
    )
    harness.enter("userId=7")
    assert "7 is online to themselves: 1 of 2 sessions is active; 2 connections are open" in harness.why("7", "7")
    harness.service.announce("9", True)
    assert "a backend announces them; no connection is open" in harness.why("9")


def test_an_explanation_has_the_next_ping_and_the_timeout_of_a_session(harness: ExplainingHarness) -> None:
    client = harness.enter("userId=7")
    client.answers = False
    harness.clock.advance(0.2)
    [session] = harness.service.explain("7").sessions
    assert session.pinged_in
    assert 0 < session.pinged_in <= 30
    assert session.times_out_in is None
    harness.clock.advance(session.pinged_in)
    harness.clock.advance(3)
    [session] = harness.service.explain("7").sessions
    assert (session.pinged_in, session.times_out_in) == (27, 7)
    client.heard_at = harness.clock.monotonic()
    [session] = harness.service.explain("7").sessions
    assert (session.pinged_in, session.times_out_in) == (27, None)
    harness.clock.advance(27 + 4)
    [session] = harness.service.explain("7").sessions
    assert session.times_out_in == 6
    harness.clock.advance(5.9)
    assert not client.closed_with
    harness.clock.advance(0.2)
    assert client.closed_with
    assert client.closed_with[0] is Close.TIMED_OUT
    [session] = harness.service.explain("7").sessions
    assert (session.pinged_in, session.times_out_in) == (None, None)


def test_an_explanation_shows_the_grace_period_and_its_end(harness: ExplainingHarness) -> None:
    lost = harness.enter("userId=7&device=web")
    harness.clock.advance(6)
    harness.end(lost, Ending.LOST)
    harness.clock.advance(5)
    explained = harness.service.explain("7")
    assert "no connection is open, and the grace period of a lost one lasts 10 seconds more" in sentence(explained)
    [session] = explained.sessions
    assert (session.protocol, session.device, session.heard) == ("presenced.v1", "web", None)
    assert (session.grace_ends_in, session.resumable_for) == (10.0, 115.0)
    assert explained.pending == (Pending("grace", "", 10.0),)
    harness.clock.advance(30)
    explained = harness.service.explain("7")
    assert sentence(explained).endswith("; a lost connection did not come back 20 seconds ago.")
    assert [(change.status, change.cause) for change in explained.changes] == [
        ("offline", "grace"),
        ("online", "connect"),
    ]


def test_an_explanation_shows_the_claims_and_which_one_wins(harness: ExplainingHarness) -> None:
    own = harness.enter("userId=7")
    harness.service.set_claim("7", Claim("calendar", Status.BUSY), lasts=600)
    explained = harness.service.explain("7")
    assert "calendar claims it with priority 0, for 10 minutes more, and wins over what was detected" in sentence(
        explained
    )
    assert (explained.winner, explained.pending) == ("calendar", (Pending("claim", "calendar", 600.0),))
    harness.send(own, "SET_STATUS", status="away", expiresIn=90)
    explained = harness.service.explain("7")
    assert "they chose to be away, for 90 seconds more, and what calendar claims (busy) does not win" in sentence(
        explained
    )
    assert (explained.winner, [pending.what for pending in explained.pending]) == ("", ["choice", "claim"])
    harness.clock.advance(89)
    assert "they chose to be away, for 1 second more" in harness.why("7")
    harness.service.set_claim("7", Claim("call", Status.BUSY, priority=1))
    assert "call claims it with priority 1, and wins over their choice to be away" in harness.why("7")
    harness.clock.advance(1)
    harness.send(own, "SET_STATUS", status="invisible")
    explained = harness.service.explain("7")
    assert explained.shown
    assert (explained.shown.status, explained.true.status, explained.winner) == ("offline", "invisible", "")
    assert "7 is offline to all who may see them: they chose to be invisible, and what call claims" in sentence(
        explained
    )


def test_an_explanation_states_that_a_viewer_has_no_session(harness: ExplainingHarness) -> None:
    harness.connect("7")
    explained = harness.service.explain("7", "8")
    assert explained.viewer
    assert (explained.viewer.may_see, explained.viewer.watches) == (True, False)
    assert "8 does not see it, as 8 is not connected" in sentence(explained)


def test_an_explanation_shows_by_which_rule_or_room_a_viewer_sees_the_user(harness: ExplainingHarness) -> None:
    viewer = harness.enter("userId=8&watch=none")
    seen = harness.enter("userId=7")
    viewer.session.visibility = Visibility(False, frozenset({"8"}))

    def visible() -> tuple[bool | None, bool, Rule, str]:
        found = harness.service.explain("7", "8").viewer
        assert found
        return found.may_see, found.watches, found.rule, found.room

    assert visible() == (False, False, Rule.NOT_ALLOWED, "")
    assert "7 is online, but 8 does not see it, as 8 may see neither" in harness.why("7", "8")
    harness.send(viewer, "JOIN", room="lobby")
    harness.send(seen, "JOIN", room="lobby")
    assert visible() == (True, True, Rule.ROOM, "lobby")
    harness.send(seen, "LEAVE", room="lobby")
    viewer.session.visibility = Visibility(False, frozenset({"7", "8"}))
    assert visible() == (True, False, Rule.NAMED, "")
    assert "8 does not see it, as no session of theirs subscribes to this user" in harness.why("7", "8")
    harness.send(viewer, "WATCH", users=[7])
    assert visible() == (True, True, Rule.NAMED, "")


def test_under_a_restrictive_rule_the_view_of_an_absent_viewer_is_unknown() -> None:
    harness = ExplainingHarness(visibility="rooms", auth="jwt", jwt_key="secret" * 8)
    harness.connect("7")
    explained = harness.service.explain("7", "8")
    assert explained.viewer
    assert explained.viewer.may_see is None
    assert "whether 8 may see that is not known, as 8 is not connected" in sentence(explained)


def test_an_explanation_has_at_most_50_changes(harness: ExplainingHarness) -> None:
    for _ in range(30):
        harness.service.announce("7", True)
        harness.service.announce("7", False)
    changes = harness.service.explain("7").changes
    assert len(changes) == 50
    assert changes[0].position > changes[1].position
