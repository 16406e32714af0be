"""What watchers of presenced.v1 are sent: snapshots, changes, the truth for oneself."""

import pytest
from msgspec import Raw
from tests.support.talk import Talk, position, statuses, types

from presenced.node.service import PresenceService
from presenced.presence.model import Change, Choice, Ending, Status
from presenced.protocols.v1 import codec as wire


@pytest.fixture
def talk() -> Talk:
    return Talk()


def test_first_come_the_greeting_the_truth_and_who_is_here(talk: Talk) -> None:
    talk.open("userId=7", subprotocol="")
    ada = talk.open("userId=ada&device=phone")
    greeting, own, snapshot = talk.heard(ada)
    assert greeting["type"] == "CONNECTION_ESTABLISHED"
    assert (greeting["resumed"], greeting["heartbeatInterval"], greeting["resumeWindow"]) == (False, 30, 120)
    assert own == {"type": "SELF", "status": "online", "chosen": "auto", "devices": ["phone"], "cause": "connect"}
    assert (snapshot["watch"], snapshot["page"], snapshot["pages"]) == ("everyone", 1, 1)
    now = talk.clock.now().epoch_ms
    assert snapshot["users"] == [
        {"userId": 7, "status": "online", "since": now, "version": 1},
        {"userId": "ada", "status": "online", "since": now, "version": 2, "devices": ["phone"]},
    ]


def test_a_snapshot_comes_in_pages_and_changes_follow_from_its_position() -> None:
    talk = Talk(snapshot_page=2)
    for number in range(5):
        talk.open(f"userId={number}", subprotocol="")
    ada = talk.open("userId=ada")
    pages = [m for m in talk.heard(ada) if m["type"] == "PRESENCE_SNAPSHOT"]
    assert [(p["page"], p["pages"], len(p["users"])) for p in pages] == [(1, 3, 2), (2, 3, 2), (3, 3, 2)]
    [marker] = [m for m in ada.messages if "position" in m]
    assert (marker["users"], ada.messages[-1]) == ([], marker), "the position comes when all pages have"
    talk.open("userId=9", subprotocol="")
    assert statuses(talk.heard(ada)) == [(9, "online")]


def test_one_message_per_flush_has_each_user_once(talk: Talk) -> None:
    ada, bob = talk.enter("userId=ada"), talk.enter("userId=bob&watch=none")
    carl = talk.enter("userId=carl&watch=none")
    talk.heard(ada)
    for state in ("idle", "active", "idle"):
        talk.node.received(bob, f'{{"type":"ACTIVITY","state":"{state}"}}')
    talk.node.received(carl, '{"type":"ACTIVITY","state":"idle"}')
    talk.clock.run_soon()
    [message] = talk.heard(ada)
    assert statuses([message]) == [("bob", "away"), ("carl", "away")]


def test_only_those_who_watch_are_told(talk: Talk) -> None:
    ada = talk.enter("userId=ada&watch=none")
    bob = talk.enter("userId=bob&watch=none")
    assert talk.heard(ada) == []
    assert statuses(talk.say(ada, "WATCH", users=["bob", "nobody"])) == [("bob", "online"), ("nobody", "offline")]
    talk.say(bob, "SET_STATUS", status="busy")
    talk.enter("userId=carl")
    assert statuses(talk.heard(ada)) == [("bob", "busy")]
    talk.say(ada, "UNWATCH", users=["bob"])
    talk.end(bob, Ending.CLOSED)
    assert talk.heard(ada) == []


def test_what_is_watched_newly_is_told_from_that_moment_on(talk: Talk) -> None:
    """Within one turn: a change, then the WATCH, then another."""
    ada, bob, application = talk.enter("userId=ada&watch=none"), talk.enter("userId=bob"), PresenceService(talk.node)
    talk.node.received(bob, '{"type":"SET_STATUS","status":"away"}')
    talk.node.received(ada, '{"type":"WATCH","users":["bob"]}')
    application.set_status("bob", Choice(Status.ONLINE))
    talk.clock.run_soon()
    assert statuses(talk.heard(ada)) == [("bob", "away"), ("bob", "online")], "neither lost nor doubled"


def test_what_is_no_longer_watched_was_told_up_to_that_moment(talk: Talk) -> None:
    ada, bob, application = talk.enter("userId=ada"), talk.enter("userId=bob"), PresenceService(talk.node)
    talk.heard(ada)
    talk.node.received(bob, '{"type":"SET_STATUS","status":"away"}')
    talk.node.received(ada, '{"type":"UNWATCH","everyone":true}')
    application.set_status("bob", Choice(Status.ONLINE))
    talk.clock.run_soon()
    assert statuses(talk.heard(ada)) == [("bob", "away")]


def test_devices_merge_active_anywhere_is_online(talk: Talk) -> None:
    watcher = talk.enter("userId=w")
    phone, laptop = talk.enter("userId=ada&device=phone"), talk.enter("userId=ada&device=laptop")
    assert talk.heard(watcher)[-1]["users"][0]["devices"] == ["laptop", "phone"]
    talk.say(phone, "ACTIVITY", state="idle")
    assert talk.heard(watcher) == []
    talk.clock.advance(1)
    talk.say(laptop, "ACTIVITY", state="idle")
    assert statuses(talk.heard(watcher)) == [("ada", "away")]
    talk.clock.advance(1)
    talk.say(phone, "ACTIVITY", state="active")
    assert statuses(talk.heard(watcher)) == [("ada", "online")]
    talk.clock.advance(1)
    talk.say(phone, "SET_STATUS", status="busy")
    talk.clock.advance(1)
    talk.say(phone, "ACTIVITY", state="idle")
    assert statuses(talk.heard(watcher)) == [("ada", "busy")], "what a person chose beats what was detected"


def test_a_status_with_an_end_gives_way_to_the_earlier_one(talk: Talk) -> None:
    watcher, ada = talk.enter("userId=w"), talk.enter("userId=ada")
    talk.say(ada, "SET_STATUS", status="busy", text="writing")
    talk.clock.advance(1)
    talk.heard(watcher)
    talk.say(ada, "SET_STATUS", status="away", text="lunch", expiresIn=60)
    [message] = talk.heard(watcher)
    [lunch] = message["users"]
    assert (lunch["status"], lunch["text"], lunch["until"]) == ("away", "lunch", talk.clock.now().epoch_ms + 60_000)
    talk.clock.advance(59)
    assert talk.heard(watcher) == []
    talk.clock.advance(1.1)
    [message] = talk.heard(watcher)
    assert (message["users"][0]["status"], message["users"][0]["text"]) == ("busy", "writing")
    assert "until" not in message["users"][0]


def test_invisible_looks_like_offline_to_all_but_the_user() -> None:
    talk = Talk(show_causes=True)
    watcher, classic = talk.enter("userId=w"), talk.open("userId=c", subprotocol="")
    ada, own = talk.enter("userId=ada&device=phone"), talk.enter("userId=ada")
    gone = talk.enter("userId=gone&device=phone")
    for connection in (watcher, classic, own):
        talk.heard(connection)
    talk.say(ada, "SET_STATUS", status="invisible", text="secret")
    talk.end(gone, Ending.CLOSED)
    hidden, left = [user for m in talk.heard(watcher) for user in m["users"]]
    assert {**hidden, "userId": 0, "version": 0} == {**left, "userId": 0, "version": 0}, "no difference"
    assert [m["type"] for m in talk.heard(classic)] == ["USER_OFFLINE", "USER_OFFLINE"]
    told = [m for m in talk.heard(own) if m["type"] == "SELF"]
    assert (told[-1]["status"], told[-1]["text"]) == ("invisible", "secret")
    talk.say(ada, "ACTIVITY", state="idle")
    talk.say(ada, "JOIN", room="r")
    assert talk.heard(watcher) == []
    assert talk.heard(classic) == []
    assert talk.say(watcher, "WATCH", rooms=["r"])[-1]["members"] == []
    sessions = [session.user_id for session in talk.node.stats().user_sessions]
    assert sorted(sessions) == ["c", "w"], "nor do the statistics name them"
    again = talk.enter("userId=ada")
    assert talk.heard(watcher) == [], "it survives a new connection"
    assert again.messages[1]["status"] == "invisible"


def test_counts_come_once_a_second_and_without_names(talk: Talk) -> None:
    ada = talk.enter("userId=ada&watch=none")
    count = {"type": "PRESENCE_COUNT", "watch": "everyone", "online": 1}
    assert talk.say(ada, "WATCH", everyone=True, mode="count", id=1) == [{"type": "ACK", "id": 1}, count]
    talk.enter("userId=bob")
    talk.enter("userId=carl")
    assert talk.heard(ada) == []
    talk.clock.advance(1.1)
    assert talk.heard(ada) == [{**count, "online": 3}]
    talk.say(ada, "WATCH", users=["bob", "x"], mode="count")
    talk.enter("userId=x")
    talk.clock.advance(1.1)
    assert talk.heard(ada) == [{**count, "online": 4}, {**count, "watch": "users", "online": 2}]
    assert talk.say(ada, "UNWATCH", everyone=True, users=["bob"])[0]["online"] == 1, "of those that are left"
    talk.say(ada, "UNWATCH", users=["x"])
    talk.enter("userId=y")
    talk.clock.advance(1.1)
    assert talk.heard(ada) == []


def test_a_count_is_sent_once_a_second_and_requests_get_the_counts_that_they_name(talk: Talk) -> None:
    ada = talk.enter("userId=ada&watch=none")
    talk.say(ada, "WATCH", everyone=True, users=["bob"], rooms=["hall", "bar"], mode="count")
    for fields, told in (
        ({"everyone": True}, [("everyone", "")]),
        ({"users": ["carl"]}, [("users", "")]),
        ({"rooms": ["bar"]}, [("room", "bar")]),
        ({}, []),
    ):
        answer = talk.say(ada, "WATCH", mode="count", **fields)
        assert [(m["watch"], m.get("room", "")) for m in answer] == told
    assert talk.say(ada, "UNWATCH", rooms=["bar"]) == [], "the other numbers are the same"
    assert types(talk.say(ada, "UNWATCH", users=["carl"])) == ["PRESENCE_COUNT"], "one user fewer is counted"
    for number in range(20):
        talk.enter(f"userId={number}")
        talk.clock.advance(0.2)
    counts = [m for m in talk.heard(ada) if m["type"] == "PRESENCE_COUNT"]
    assert len(counts) <= 4
    assert {m["watch"] for m in counts} == {"everyone"}


def test_who_chose_a_status_names_it_to_a_server_that_knows_nothing(talk: Talk) -> None:
    bob = talk.enter("userId=bob")
    ada = talk.open("userId=ada&status=invisible")
    assert talk.heard(ada)[1]["chosen"] == "invisible"
    assert talk.heard(bob) == [], "not for a moment"
    talk.say(ada, "SET_STATUS", status="busy")
    assert talk.heard(talk.open("userId=ada&status=away"))[1]["chosen"] == "busy", "it knows better"
    talk.enter("userId=carl")
    assert talk.heard(talk.open("userId=carl&status=away"))[1]["chosen"] == "auto"
    talk.end(talk.enter("userId=dora"), Ending.CLOSED)
    assert talk.heard(talk.open("userId=dora&status=away"))[1]["chosen"] == "auto", "she is not a stranger"


def test_a_status_with_an_end_does_not_swallow_the_one_set_just_before(talk: Talk) -> None:
    ada, bob = talk.enter("userId=ada"), talk.enter("userId=bob")
    talk.say(bob, "SET_STATUS", status="online")
    talk.say(bob, "SET_STATUS", status="busy")
    talk.say(bob, "SET_STATUS", status="away", expiresIn=5)
    talk.heard(ada)
    talk.clock.advance(1)
    assert statuses(talk.heard(ada)) == [("bob", "away")], "in one message, once"
    talk.clock.advance(5)
    assert statuses(talk.heard(ada)) == [("bob", "busy")]


def test_a_crowd_that_comes_at_once_shares_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    record = wire.record

    def counted(change: Change, with_cause: bool) -> Raw:
        encoded.append(change.user_id)
        return record(change, with_cause)

    monkeypatch.setattr(wire, "record", counted)
    talk = Talk()
    for number in range(1000):
        talk.open(f"userId={number}", subprotocol="")
    comers = [talk.open(f"userId=comer {number}") for number in range(50)]
    assert len(encoded) < 1000 + 50 + 10, "each user once, not once for each who comes"
    for comer in comers:
        talk.clock.run_soon()
        seen = {user_id for user_id, _ in statuses(talk.heard(comer))}
        assert len(seen) == 1050


def test_a_status_that_gives_way_to_invisible_looks_like_a_close(talk: Talk) -> None:
    ada, bob = talk.enter("userId=ada"), talk.enter("userId=bob")
    talk.say(bob, "SET_STATUS", status="invisible")
    talk.clock.advance(1)
    talk.say(bob, "SET_STATUS", status="busy", expiresIn=20)
    talk.heard(ada)
    talk.clock.advance(21)
    [gone] = talk.heard(ada)[0]["users"]
    assert (gone["status"], gone["lastSeen"]) == ("offline", gone["since"])


def test_also_after_a_while_the_invisible_look_like_the_offline() -> None:
    talk = Talk(log_size=4)
    ada = talk.enter("userId=ada")
    gone, chosen = talk.enter("userId=gone"), talk.enter("userId=chosen")
    talk.say(chosen, "SET_STATUS", status="busy")
    talk.say(ada, "SET_STATUS", status="invisible")
    for connection in (gone, chosen):
        talk.end(connection, Ending.CLOSED)
    for number in range(20):
        talk.open(f"userId={number}", subprotocol="")
    eve = talk.enter("userId=eve&watch=none")
    [snapshot] = talk.say(eve, "WATCH", users=["ada", "gone", "chosen", "nobody"])
    seen = {user.pop("userId"): user for user in snapshot["users"]}
    assert seen["ada"] == seen["gone"] == seen["chosen"] == seen["nobody"]
    talk.clock.advance(1)
    talk.say(ada, "SET_STATUS", status="online")
    [back] = talk.heard(eve)[0]["users"]
    assert back["version"] > seen["ada"]["version"]


def test_versions_and_positions_go_on_above_those_of_an_earlier_start(talk: Talk) -> None:
    above = 28_000_000_000  # as on a server that stores
    talk.node.directory.begin_above(above)
    ada = talk.open("userId=ada")
    talk.say(talk.open("userId=bob"), "JOIN", room="lobby")
    [joined] = [m for m in talk.say(ada, "JOIN", room="lobby") if m["type"] == "ROOM_SNAPSHOT"]
    [asked] = talk.say(ada, "WATCH", users=["bob", "nobody"])
    told = [user for m in (*ada.messages, asked) for user in m.get("users", ())]
    told += [member["presence"] for member in joined["members"]]
    assert {user["userId"] for user in told} == {"ada", "bob", "nobody"}
    assert all(0 < user["version"] - above < 100 for user in told)
    assert 0 < int(position(ada).split("-")[1]) - above < 100


def test_a_snapshot_takes_no_position(talk: Talk) -> None:
    ada = talk.open("userId=ada")
    before = talk.node.journal.position
    for _ in range(3):
        talk.say(ada, "WATCH", users=["bob"])
        talk.say(ada, "UNWATCH", users=["bob"])
    assert talk.node.journal.position == before
    texts = [message["position"] for message in ada.messages if "position" in message]
    cursors = [cursor for text in texts if (cursor := talk.node.encoding.cursor(text))]
    assert len(cursors) > 3
    assert cursors == sorted(set(cursors)), "each snapshot ends at a cursor of its own"


@pytest.mark.parametrize(
    "bad", ["", "{epoch}", "{epoch}-", "{epoch}-1-2-3", "{epoch}-x", "{epoch}-1-x", "other-1", "{epoch}-999"]
)
def test_a_position_of_another_server_or_of_the_future_is_none(bad: str) -> None:
    encoding = Talk().node.encoding
    encoding.directory.journal.position = 17
    assert encoding.cursor(f"{encoding.epoch}-17") == (17, 0)
    assert encoding.cursor(f"{encoding.epoch}-17-2") == (17, 2)
    assert encoding.position_number(f"{encoding.epoch}-17-2") is None, "it is only a session's"
    assert encoding.cursor(bad.format(epoch=encoding.epoch)) is None
