"""What an application asks and tells, on a fake clock and fake connections."""

from __future__ import annotations

import pytest
from tests.support.fakes import FakeConnection
from tests.support.talk import Talk, statuses

from presenced.errors import BadClaim, CapacityError, Close
from presenced.http.api.explain import sentence
from presenced.node.journal_followers import MAX_FOLLOWERS
from presenced.node.service import Counts, PresenceService
from presenced.presence.explain import Pending, Rule
from presenced.presence.model import PLAIN, Cause, Choice, Custom, Ending, Status
from presenced.presence.status import Claim
from presenced.presence.visibility import Visibility

BUSY = Choice(Status.BUSY, PLAIN)


class House(Talk):
    """An node with clients, and an application that asks it."""

    def __init__(self, **settings: object) -> None:
        super().__init__(None, **settings)
        self.application = PresenceService(self.node)

    def connect(self, user_id: str) -> FakeConnection:
        """A classic client."""
        return self.open(f"userId={user_id}", "")

    def why(self, user_id: str, viewer: str | None = None) -> str:
        return sentence(self.application.explain(user_id, viewer))


@pytest.fixture
def house() -> House:
    return House()


def test_an_announcement_is_told_to_everyone_and_cannot_contradict_a_connection(house: House) -> None:
    alice = house.connect("1")
    assert house.application.announce("2", True) is True
    assert house.application.announce("2", True) is False
    assert house.application.announce("1", False) is False
    assert house.application.announce("2", False) is True
    house.clock.run_soon()
    assert alice.told() == [("USER_ONLINE", 2), ("USER_OFFLINE", 2)]


def test_disconnecting_a_user_closes_all_connections_and_tells_at_once(house: House) -> None:
    alice, phone, laptop = house.connect("1"), house.connect("2"), house.connect("2")
    house.end(house.connect("2"), Ending.LOST)
    assert house.application.disconnect("2") == 2
    house.clock.run_soon()
    assert phone.closed_with
    assert laptop.closed_with
    assert phone.closed_with[0] is Close.DISCONNECTED
    assert alice.told() == [("USER_ONLINE", 2), ("USER_OFFLINE", 2)], "the third one's grace does not hold it back"
    assert house.application.disconnect("nobody") == 0


def test_a_claim_is_told_to_watchers_and_to_the_users_own_devices_with_its_end() -> None:
    house = House(show_causes=True)
    watcher, own = house.enter("userId=1"), house.enter("userId=2")
    house.heard(watcher)
    house.application.set_claim("2", Claim("calendar", Status.BUSY, Custom("meeting")), lasts=60)
    house.clock.run_soon()
    [message] = house.heard(watcher)
    [record] = message["users"]
    until = house.clock.now().epoch_ms + 60_000
    assert (record["status"], record["text"], record["until"], record["cause"]) == ("busy", "meeting", until, "claim")
    [self] = [message for message in house.heard(own) if message["type"] == "SELF"]
    assert (self["status"], self["chosen"], self["text"]) == ("busy", "auto", "meeting")
    [claim] = house.application.claims_of("2")
    assert (claim.set_ms, claim.custom.until_ms) == (house.clock.now().epoch_ms, until)
    house.clock.advance(60)
    assert statuses(house.heard(watcher)) == [(2, "online")]
    assert house.application.claims_of("2") == ()


def test_a_claim_is_cleared_once_and_a_bad_one_is_refused(house: House) -> None:
    house.application.set_claim("2", Claim("calendar", Status.BUSY))
    assert house.application.clear_claim("2", "calendar") is True
    assert house.application.clear_claim("2", "calendar") is False
    with pytest.raises(BadClaim):
        house.application.set_claim("2", Claim("calendar", Status.INVISIBLE))
    assert house.application.claims_of("2") == ()


def test_a_status_chosen_for_an_absent_user_shows_when_they_come_and_ends_in_time(house: House) -> None:
    watcher = house.enter("userId=1")
    house.application.set_status("2", BUSY, lasts=60)
    house.clock.run_soon()
    assert house.heard(watcher) == []
    house.clock.advance(20)
    house.enter("userId=2")
    [message] = house.heard(watcher)
    assert message["users"][0]["status"] == "busy"
    assert message["users"][0]["until"] == house.clock.now().epoch_ms + 40_000
    house.clock.advance(40)
    assert statuses(house.heard(watcher)) == [(2, "online")]
    house.application.set_status("2", BUSY)
    house.application.set_status("2", None)
    house.clock.run_soon()
    assert statuses(house.heard(watcher)) == [(2, "online")]


def test_who_may_not_be_seen_looks_like_who_is_not_known(house: House) -> None:
    house.connect("1")
    house.connect("2")
    changes = house.application.seen(["1", "2", "nobody"])
    assert [change and change.user_id for change in changes] == ["1", "2", None]
    assert house.application.seen(["1", "2", "nobody"], Visibility(False, ["1", "nobody"])) == [changes[0], None, None]


def test_who_is_online_is_listed_page_by_page_whoever_comes_and_goes_meanwhile(house: House) -> None:
    connections = {user_id: house.connect(user_id) for user_id in "12345"}
    first = house.application.online(0, 2)
    assert [change.user_id for _, change in first] == ["1", "2"]
    house.end(connections["1"], Ending.CLOSED)
    house.end(connections["4"], Ending.CLOSED)
    house.connect("6")
    rest = house.application.online(first[-1][0], 100)
    assert [change.user_id for _, change in rest] == ["3", "5", "6"]
    assert house.application.online(rest[-1][0], 100) == []


def test_counts_and_rooms_and_sessions(house: House) -> None:
    alice = house.enter("userId=1&device=web")
    house.say(alice, "JOIN", room="lobby")
    house.connect("2")
    house.connect("2")
    house.application.announce("3", True)
    assert house.application.counts() == Counts(online_users=3, connected_users=2, connections=3, rooms=1)
    room = house.application.room("lobby")
    assert room
    assert list(room.members) == ["1"]
    assert house.application.room("bar") is None
    house.end(alice, Ending.LOST)
    [session] = house.application.sessions_of("1")
    assert (session.device, session.connection, session.is_present) == ("web", None, True)
    house.clock.advance(15)
    assert house.application.sessions_of("1") == [], "it can be resumed, but is not waited for"
    assert [session.connection is not None for session in house.application.sessions_of("2")] == [True, True]


def test_a_cursor_is_that_of_this_start_only(house: House) -> None:
    house.connect("1")
    application = house.application
    cursor = application.position_text(application.position)
    assert application.parse_cursor(cursor) == application.position
    assert application.changes_since(application.position, 10) == []
    for bad in ("", "1", "other-1", application.position_text(application.position + 1), cursor + "x"):
        assert application.parse_cursor(bad) is None
    assert PresenceService(House().node).parse_cursor(cursor) is None


def test_whoever_follows_hears_each_change_with_its_cause_and_is_refused_when_too_late() -> None:
    house = House(journal_size=3)
    start = house.application.position
    alice = house.connect("1")
    assert [(c.status, c.cause) for c in house.application.changes_since(start, 10) or []] == [
        ("online", Cause.CONNECT)
    ]
    house.end(alice, Ending.CLOSED)
    house.application.announce("2", True)
    house.application.set_claim("2", Claim("x", Status.AWAY))
    assert house.application.changes_since(start, 10) is None
    changes = house.application.changes_since(start + 1, 10)
    assert changes
    assert [(c.user_id, c.status, c.was_version, c.cause) for c in changes] == [
        ("1", "offline", changes[0].version - 1, "close"),
        ("2", "online", 0, "announcement"),
        ("2", "away", changes[1].version, "claim"),
    ]
    digest = house.application.digest()
    assert digest
    assert (digest.position, digest.users) == (changes[-1].position, 1)


def test_a_stop_tells_followers_of_nobodys_leaving(house: House) -> None:
    alice = house.connect("1")
    position = house.application.position
    list(house.node.drain())
    house.node.closed(alice, Ending.LOST, "lost")
    house.clock.advance(60)
    assert house.application.changes_since(position, 10) == []


def test_followers_are_woken_once_for_all_that_happened_in_a_turn(house: House) -> None:
    woken: list[str] = []
    end = house.application.on_change(lambda: woken.append("a"))
    house.application.on_change(lambda: woken.append("b"))
    house.application.announce("1", True)
    house.application.announce("2", True)
    assert woken == []
    house.clock.run_soon()
    assert woken == ["a", "b"]
    end()
    end()
    house.application.announce("1", False)
    house.clock.run_soon()
    assert woken == ["a", "b", "b"]
    house.application.announce("1", False)
    house.clock.run_soon()
    assert woken == ["a", "b", "b"], "nothing changed"


def test_one_follower_more_than_may_be_is_refused(house: House) -> None:
    ends = [house.application.on_change(lambda: None) for _ in range(MAX_FOLLOWERS)]
    with pytest.raises(CapacityError, match="1000"):
        house.application.on_change(lambda: None)
    ends[0]()
    house.application.on_change(lambda: None)


# Why somebody looks as they do.


def test_nobody_of_whom_anything_is_known(house: House) -> None:
    nobody = (
        "nobody is offline to all who may see them: no session is connected or waited for, and no backend announces"
    )
    assert house.why("nobody") == f"{nobody} them."
    assert house.application.explain("nobody").shown is None


def test_who_is_active_and_who_is_idle(house: House) -> None:
    house.connect("8")
    idle = house.enter("userId=7")
    house.say(idle, "ACTIVITY", state="idle")
    assert house.why("7", "8") == (
        "7 is away to 8, who may see everyone: their only session is idle; 1 connection is open, last heard 0 seconds "
        "ago."
    )
    house.enter("userId=7")
    assert "7 is online to themselves: 1 of 2 sessions is active; 2 connections are open" in house.why("7", "7")
    house.application.announce("9", True)
    assert "a backend announces them; no connection is open" in house.why("9")


def test_when_the_heartbeat_asks_for_a_client_and_gives_it_up(house: House) -> None:
    client = house.enter("userId=7")
    client.answers = False
    house.clock.advance(0.2)
    [session] = house.application.explain("7").sessions
    assert session.pinged_in
    assert 0 < session.pinged_in <= 30
    assert session.times_out_in is None
    house.clock.advance(session.pinged_in)
    house.clock.advance(3)
    [session] = house.application.explain("7").sessions
    assert (session.pinged_in, session.times_out_in) == (27, 7)
    client.heard_at = house.clock.monotonic()
    [session] = house.application.explain("7").sessions
    assert (session.pinged_in, session.times_out_in) == (27, None)
    house.clock.advance(27 + 4)
    [session] = house.application.explain("7").sessions
    assert session.times_out_in == 6
    house.clock.advance(5.9)
    assert not client.closed_with
    house.clock.advance(0.2)
    assert client.closed_with
    assert client.closed_with[0] is Close.TIMED_OUT
    [session] = house.application.explain("7").sessions
    assert (session.pinged_in, session.times_out_in) == (None, None)


def test_who_is_waited_for_and_who_did_not_come_back(house: House) -> None:
    lost = house.enter("userId=7&device=web")
    house.clock.advance(6)
    house.end(lost, Ending.LOST)
    house.clock.advance(5)
    explained = house.application.explain("7")
    why = sentence(explained)
    assert "no connection is open, and a lost one is waited for 10 seconds more" in why
    [session] = explained.sessions
    assert (session.protocol, session.device, session.heard) == ("presenced.v1", "web", None)
    assert (session.waited_for, session.resumable) == (10.0, 115.0)
    assert explained.pending == (Pending("grace", "", 10.0),)
    house.clock.advance(30)
    explained = house.application.explain("7")
    assert sentence(explained).endswith("; a lost connection did not come back 20 seconds ago.")
    assert [(change.status, change.cause) for change in explained.changes] == [
        ("offline", "grace"),
        ("online", "connect"),
    ]


def test_what_is_claimed_and_what_it_wins_over(house: House) -> None:
    own = house.enter("userId=7")
    house.application.set_claim("7", Claim("calendar", Status.BUSY), lasts=600)
    explained = house.application.explain("7")
    assert "calendar claims it with priority 0, for 10 minutes more, and wins over what was detected" in sentence(
        explained
    )
    assert (explained.winner, explained.pending) == ("calendar", (Pending("claim", "calendar", 600.0),))
    house.say(own, "SET_STATUS", status="away", expiresIn=90)
    explained = house.application.explain("7")
    assert "they chose to be away, for 90 seconds more, and what calendar claims (busy) does not win" in sentence(
        explained
    )
    assert (explained.winner, [pending.what for pending in explained.pending]) == ("", ["choice", "claim"])
    house.clock.advance(89)
    assert "they chose to be away, for 1 second more" in house.why("7")
    house.application.set_claim("7", Claim("call", Status.BUSY, priority=1))
    assert "call claims it with priority 1, and wins over their choice to be away" in house.why("7")
    house.clock.advance(1)
    house.say(own, "SET_STATUS", status="invisible")
    explained = house.application.explain("7")
    assert explained.shown
    assert (explained.shown.status, explained.true.status, explained.winner) == ("offline", "invisible", "")
    assert "7 is offline to all who may see them: they chose to be invisible, and what call claims" in sentence(
        explained
    )


def test_a_viewer_without_a_session_is_said_to_have_none(house: House) -> None:
    house.connect("7")
    explained = house.application.explain("7", "8")
    assert explained.viewer
    assert (explained.viewer.may_see, explained.viewer.watches) == (True, False)
    assert "8 is not told, as 8 has no session" in sentence(explained)


def test_a_viewer_sees_by_the_sight_of_their_sessions_and_by_the_rooms_they_share(house: House) -> None:
    viewer = house.enter("userId=8&watch=none")
    seen = house.enter("userId=7")
    viewer.session.visibility = Visibility(False, ["8"])

    def visible() -> tuple[bool | None, bool, Rule, str]:
        found = house.application.explain("7", "8").viewer
        assert found
        return found.may_see, found.watches, found.rule, found.room

    assert visible() == (False, False, Rule.NOT_ALLOWED, "")
    assert "7 is online, but 8 is not told, as 8 may see neither" in house.why("7", "8")
    house.say(viewer, "JOIN", room="lobby")
    house.say(seen, "JOIN", room="lobby")
    assert visible() == (True, True, Rule.ROOM, "lobby")
    house.say(seen, "LEAVE", room="lobby")
    viewer.session.visibility = Visibility(False, ["7", "8"])
    assert visible() == (True, False, Rule.NAMED, "")
    assert "8 is not told, as no session of theirs asks to be" in house.why("7", "8")
    house.say(viewer, "WATCH", users=[7])
    assert visible() == (True, True, Rule.NAMED, "")


def test_where_not_everyone_sees_everyone_nothing_is_known_of_a_viewer_without_a_session() -> None:
    house = House(visibility="rooms", auth="jwt", jwt_key="secret" * 8)
    house.connect("7")
    explained = house.application.explain("7", "8")
    assert explained.viewer
    assert explained.viewer.may_see is None
    assert "whether 8 may see that is not known, as 8 has no session" in sentence(explained)


def test_at_most_50_changes_are_explained(house: House) -> None:
    for _ in range(30):
        house.application.announce("7", True)
        house.application.announce("7", False)
    changes = house.application.explain("7").changes
    assert len(changes) == 50
    assert changes[0].position > changes[1].position
