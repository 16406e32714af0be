"""Messages to watchers of presenced.v1: snapshots, changes, counts, and the user's own state."""

import pytest
from msgspec import Raw
from tests.support.node_harness import NodeHarness, position, statuses, types

from presenced.node.service import PresenceService
from presenced.presence.model import Change, Choice, Ending, Status
from presenced.protocols.v1 import codec as wire


@pytest.fixture
def harness() -> NodeHarness:
    return NodeHarness()


def test_a_client_first_receives_the_greeting_its_own_state_and_a_snapshot(harness: NodeHarness) -> None:
    harness.open("userId=7", subprotocol="")
    ada = harness.open("userId=ada&device=phone")
    greeting, own, snapshot = harness.new_messages(ada)
    assert greeting["type"] == "CONNECTION_ESTABLISHED"
    assert (greeting["resumed"], greeting["heartbeatInterval"], greeting["resumeWindow"]) == (False, 30, 120)
    assert own == {"type": "SELF", "status": "online", "chosen": "auto", "devices": ["phone"], "cause": "connect"}
    assert (snapshot["watch"], snapshot["page"], snapshot["pages"]) == ("everyone", 1, 1)
    now = harness.clock.now().epoch_ms
    assert snapshot["users"] == [
        {"userId": 7, "status": "online", "since": now, "version": 1},
        {"userId": "ada", "status": "online", "since": now, "version": 2, "devices": ["phone"]},
    ]


def test_a_snapshot_is_sent_in_pages_and_changes_continue_from_its_position() -> None:
    harness = NodeHarness(snapshot_page=2)
    for number in range(5):
        harness.open(f"userId={number}", subprotocol="")
    ada = harness.open("userId=ada")
    pages = [m for m in harness.new_messages(ada) if m["type"] == "PRESENCE_SNAPSHOT"]
    assert [(p["page"], p["pages"], len(p["users"])) for p in pages] == [(1, 3, 2), (2, 3, 2), (3, 3, 2)]
    [marker] = [m for m in ada.messages if "position" in m]
    assert (marker["users"], ada.messages[-1]) == ([], marker), "the position comes when all pages have"
    harness.open("userId=9", subprotocol="")
    assert statuses(harness.new_messages(ada)) == [(9, "online")]


def test_one_message_per_flush_has_each_user_once(harness: NodeHarness) -> None:
    ada, bob = harness.enter("userId=ada"), harness.enter("userId=bob&watch=none")
    carl = harness.enter("userId=carl&watch=none")
    harness.new_messages(ada)
    for state in ("idle", "active", "idle"):
        harness.node.received(bob, f'{{"type":"ACTIVITY","state":"{state}"}}')
    harness.node.received(carl, '{"type":"ACTIVITY","state":"idle"}')
    harness.clock.run_soon()
    [message] = harness.new_messages(ada)
    assert statuses([message]) == [("bob", "away"), ("carl", "away")]


def test_only_watchers_are_notified(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada&watch=none")
    bob = harness.enter("userId=bob&watch=none")
    assert harness.new_messages(ada) == []
    assert statuses(harness.send(ada, "WATCH", users=["bob", "nobody"])) == [("bob", "online"), ("nobody", "offline")]
    harness.send(bob, "SET_STATUS", status="busy")
    harness.enter("userId=carl")
    assert statuses(harness.new_messages(ada)) == [("bob", "busy")]
    harness.send(ada, "UNWATCH", users=["bob"])
    harness.end(bob, Ending.CLOSED)
    assert harness.new_messages(ada) == []


def test_a_new_subscription_receives_the_current_state_and_later_changes(harness: NodeHarness) -> None:
    """Within one turn, a change is followed by the WATCH and by another change."""
    ada, bob, application = (
        harness.enter("userId=ada&watch=none"),
        harness.enter("userId=bob"),
        PresenceService(harness.node),
    )
    harness.node.received(bob, '{"type":"SET_STATUS","status":"away"}')
    harness.node.received(ada, '{"type":"WATCH","users":["bob"]}')
    application.set_status("bob", Choice(Status.ONLINE))
    harness.clock.run_soon()
    assert statuses(harness.new_messages(ada)) == [("bob", "away"), ("bob", "online")], "neither lost nor doubled"


def test_an_ended_subscription_receives_all_earlier_changes(harness: NodeHarness) -> None:
    ada, bob, application = harness.enter("userId=ada"), harness.enter("userId=bob"), PresenceService(harness.node)
    harness.new_messages(ada)
    harness.node.received(bob, '{"type":"SET_STATUS","status":"away"}')
    harness.node.received(ada, '{"type":"UNWATCH","everyone":true}')
    application.set_status("bob", Choice(Status.ONLINE))
    harness.clock.run_soon()
    assert statuses(harness.new_messages(ada)) == [("bob", "away")]


def test_an_erased_last_seen_is_not_sent_from_the_cache(harness: NodeHarness) -> None:
    ada, bob = harness.enter("userId=ada"), harness.enter("userId=bob&watch=none")
    harness.end(bob, Ending.CLOSED)
    harness.clock.advance(60)
    assert "lastSeen" in harness.new_messages(ada)[-1]["users"][0]
    PresenceService(harness.node).erase_past("bob")
    harness.send(ada, "UNWATCH", everyone=True)
    [snapshot] = harness.send(ada, "WATCH", users=["bob"])
    assert (snapshot["users"][0]["userId"], "lastSeen" in snapshot["users"][0]) == ("bob", False)


def test_a_user_active_on_any_device_is_online(harness: NodeHarness) -> None:
    watcher = harness.enter("userId=w")
    phone, laptop = harness.enter("userId=ada&device=phone"), harness.enter("userId=ada&device=laptop")
    assert harness.new_messages(watcher)[-1]["users"][0]["devices"] == ["laptop", "phone"]
    harness.send(phone, "ACTIVITY", state="idle")
    assert harness.new_messages(watcher) == []
    harness.clock.advance(1)
    harness.send(laptop, "ACTIVITY", state="idle")
    assert statuses(harness.new_messages(watcher)) == [("ada", "away")]
    harness.clock.advance(1)
    harness.send(phone, "ACTIVITY", state="active")
    assert statuses(harness.new_messages(watcher)) == [("ada", "online")]
    harness.clock.advance(1)
    harness.send(phone, "SET_STATUS", status="busy")
    harness.clock.advance(1)
    harness.send(phone, "ACTIVITY", state="idle")
    assert statuses(harness.new_messages(watcher)) == [("ada", "busy")], "what a person chose beats what was detected"


def test_an_expired_status_gives_way_to_the_earlier_one(harness: NodeHarness) -> None:
    watcher, ada = harness.enter("userId=w"), harness.enter("userId=ada")
    harness.send(ada, "SET_STATUS", status="busy", text="writing")
    harness.clock.advance(1)
    harness.new_messages(watcher)
    harness.send(ada, "SET_STATUS", status="away", text="lunch", expiresIn=60)
    [message] = harness.new_messages(watcher)
    [lunch] = message["users"]
    assert (lunch["status"], lunch["text"], lunch["until"]) == ("away", "lunch", harness.clock.now().epoch_ms + 60_000)
    harness.clock.advance(59)
    assert harness.new_messages(watcher) == []
    harness.clock.advance(1.1)
    [message] = harness.new_messages(watcher)
    assert (message["users"][0]["status"], message["users"][0]["text"]) == ("busy", "writing")
    assert "until" not in message["users"][0]


def test_an_invisible_user_looks_offline_to_everyone_else() -> None:
    harness = NodeHarness(show_causes=True)
    watcher, classic = harness.enter("userId=w"), harness.open("userId=c", subprotocol="")
    ada, own = harness.enter("userId=ada&device=phone"), harness.enter("userId=ada")
    gone = harness.enter("userId=gone&device=phone")
    for connection in (watcher, classic, own):
        harness.new_messages(connection)
    harness.send(ada, "SET_STATUS", status="invisible", text="secret")
    harness.end(gone, Ending.CLOSED)
    hidden, left = [user for m in harness.new_messages(watcher) for user in m["users"]]
    assert {**hidden, "userId": 0, "version": 0} == {**left, "userId": 0, "version": 0}, "no difference"
    assert [m["type"] for m in harness.new_messages(classic)] == ["USER_OFFLINE", "USER_OFFLINE"]
    told = [m for m in harness.new_messages(own) if m["type"] == "SELF"]
    assert (told[-1]["status"], told[-1]["text"]) == ("invisible", "secret")
    harness.send(ada, "ACTIVITY", state="idle")
    harness.send(ada, "JOIN", room="r")
    assert harness.new_messages(watcher) == []
    assert harness.new_messages(classic) == []
    assert harness.send(watcher, "WATCH", rooms=["r"])[-1]["members"] == []
    sessions = [session.user_id for session in harness.node.stats().user_sessions]
    assert sorted(sessions) == ["c", "w"], "nor do the statistics name them"
    again = harness.enter("userId=ada")
    assert harness.new_messages(watcher) == [], "it survives a new connection"
    assert again.messages[1]["status"] == "invisible"


def test_counts_are_sent_once_a_second_without_names(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada&watch=none")
    count = {"type": "PRESENCE_COUNT", "watch": "everyone", "online": 1}
    assert harness.send(ada, "WATCH", everyone=True, mode="count", id=1) == [{"type": "ACK", "id": 1}, count]
    harness.enter("userId=bob")
    harness.enter("userId=carl")
    assert harness.new_messages(ada) == []
    harness.clock.advance(1.1)
    assert harness.new_messages(ada) == [{**count, "online": 3}]
    harness.send(ada, "WATCH", users=["bob", "x"], mode="count")
    harness.enter("userId=x")
    harness.clock.advance(1.1)
    assert harness.new_messages(ada) == [{**count, "online": 4}, {**count, "watch": "users", "online": 2}]
    assert harness.send(ada, "UNWATCH", everyone=True, users=["bob"])[0]["online"] == 1, "of those that are left"
    harness.send(ada, "UNWATCH", users=["x"])
    harness.enter("userId=y")
    harness.clock.advance(1.1)
    assert harness.new_messages(ada) == []


@pytest.mark.parametrize("between", ["JOIN", "WATCH", "slow"])
def test_a_count_that_is_due_survives_a_moment_in_which_its_client_is_excluded(
    harness: NodeHarness, between: str
) -> None:
    ada = harness.enter("userId=ada&watch=none")
    harness.send(ada, "WATCH", users=["bob", "carl"], mode="count")
    harness.enter("userId=bob&watch=none")
    if between == "JOIN":
        harness.send(ada, "JOIN", room="lobby")
    elif between == "WATCH":
        harness.send(ada, "WATCH", users=["x"])
    else:
        ada.paused = True
        harness.node.paused(ada)
        ada.paused = False
        harness.node.resumed(ada)
    assert harness.new_messages(ada) == []
    harness.clock.advance(1.1)
    assert harness.new_messages(ada) == [{"type": "PRESENCE_COUNT", "watch": "users", "online": 1}]


def test_a_count_that_is_due_while_its_client_is_slow_follows_when_it_has_read(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada&watch=none")
    harness.send(ada, "WATCH", users=["bob"], mode="count")
    harness.enter("userId=bob&watch=none")
    ada.paused = True
    harness.node.paused(ada)
    harness.clock.advance(1.1)
    ada.paused = False
    harness.node.resumed(ada)
    counts = [m["online"] for m in harness.new_messages(ada) if m["type"] == "PRESENCE_COUNT"]
    assert counts == [1]


def test_requests_receive_only_the_counts_they_name(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada&watch=none")
    harness.send(ada, "WATCH", everyone=True, users=["bob"], rooms=["hall", "bar"], mode="count")
    for fields, told in (
        ({"everyone": True}, [("everyone", "")]),
        ({"users": ["carl"]}, [("users", "")]),
        ({"rooms": ["bar"]}, [("room", "bar")]),
        ({}, []),
    ):
        answer = harness.send(ada, "WATCH", mode="count", **fields)
        assert [(m["watch"], m.get("room", "")) for m in answer] == told
    assert harness.send(ada, "UNWATCH", rooms=["bar"]) == [], "the other numbers are the same"
    assert types(harness.send(ada, "UNWATCH", users=["carl"])) == ["PRESENCE_COUNT"], "one user fewer is counted"
    for number in range(20):
        harness.enter(f"userId={number}")
        harness.clock.advance(0.2)
    counts = [m for m in harness.new_messages(ada) if m["type"] == "PRESENCE_COUNT"]
    assert len(counts) <= 4
    assert {m["watch"] for m in counts} == {"everyone"}


def test_a_status_in_the_url_counts_only_for_an_unknown_user(harness: NodeHarness) -> None:
    bob = harness.enter("userId=bob")
    ada = harness.open("userId=ada&status=invisible")
    assert harness.new_messages(ada)[1]["chosen"] == "invisible"
    assert harness.new_messages(bob) == [], "not for a moment"
    harness.send(ada, "SET_STATUS", status="busy")
    assert harness.new_messages(harness.open("userId=ada&status=away"))[1]["chosen"] == "busy", "it knows better"
    harness.enter("userId=carl")
    assert harness.new_messages(harness.open("userId=carl&status=away"))[1]["chosen"] == "auto"
    harness.end(harness.enter("userId=dora"), Ending.CLOSED)
    assert harness.new_messages(harness.open("userId=dora&status=away"))[1]["chosen"] == "auto", "she is not a stranger"


def test_a_temporary_status_preserves_the_one_set_just_before(harness: NodeHarness) -> None:
    ada, bob = harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(bob, "SET_STATUS", status="online")
    harness.send(bob, "SET_STATUS", status="busy")
    harness.send(bob, "SET_STATUS", status="away", expiresIn=5)
    harness.new_messages(ada)
    harness.clock.advance(1)
    assert statuses(harness.new_messages(ada)) == [("bob", "away")], "in one message, once"
    harness.clock.advance(5)
    assert statuses(harness.new_messages(ada)) == [("bob", "busy")]


def test_clients_that_connect_together_share_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    record = wire.record

    def counted(change: Change, with_cause: bool) -> Raw:
        encoded.append(change.user_id)
        return record(change, with_cause)

    monkeypatch.setattr(wire, "record", counted)
    harness = NodeHarness()
    for number in range(1000):
        harness.open(f"userId={number}", subprotocol="")
    comers = [harness.open(f"userId=comer {number}") for number in range(50)]
    assert len(encoded) < 1000 + 50 + 10, "each user once, not once for each who comes"
    for comer in comers:
        harness.clock.run_soon()
        seen = {user_id for user_id, _ in statuses(harness.new_messages(comer))}
        assert len(seen) == 1050


def test_a_shared_snapshot_has_nothing_of_a_user_who_was_erased_since() -> None:
    harness = NodeHarness()
    for number in range(1000):
        harness.open(f"userId={number}", subprotocol="")
    harness.send(harness.enter("userId=ada"), "SET_STATUS", status="busy", text="at the doctor's")
    before = harness.open("userId=before")
    assert "at the doctor's" in str(harness.new_messages(before)), "the snapshot is kept"
    harness.service.forget("ada")
    after = harness.open("userId=after")
    assert "at the doctor's" not in str(harness.new_messages(after))


def test_a_status_that_expires_to_invisible_looks_like_a_disconnect(harness: NodeHarness) -> None:
    ada, bob = harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(bob, "SET_STATUS", status="invisible")
    harness.clock.advance(1)
    harness.send(bob, "SET_STATUS", status="busy", expiresIn=20)
    harness.new_messages(ada)
    harness.clock.advance(21)
    [gone] = harness.new_messages(ada)[0]["users"]
    assert (gone["status"], gone["lastSeen"]) == ("offline", gone["since"])


def test_invisible_users_still_look_offline_after_the_log_has_moved_on() -> None:
    harness = NodeHarness(log_size=4)
    ada = harness.enter("userId=ada")
    gone, chosen = harness.enter("userId=gone"), harness.enter("userId=chosen")
    harness.send(chosen, "SET_STATUS", status="busy")
    harness.send(ada, "SET_STATUS", status="invisible")
    for connection in (gone, chosen):
        harness.end(connection, Ending.CLOSED)
    for number in range(20):
        harness.open(f"userId={number}", subprotocol="")
    eve = harness.enter("userId=eve&watch=none")
    [snapshot] = harness.send(eve, "WATCH", users=["ada", "gone", "chosen", "nobody"])
    seen = {user.pop("userId"): user for user in snapshot["users"]}
    assert seen["ada"] == seen["gone"] == seen["chosen"] == seen["nobody"]
    harness.clock.advance(1)
    harness.send(ada, "SET_STATUS", status="online")
    [back] = harness.new_messages(eve)[0]["users"]
    assert back["version"] > seen["ada"]["version"]


def test_versions_and_positions_continue_above_an_earlier_start(harness: NodeHarness) -> None:
    above = 28_000_000_000  # as on a server with a database
    harness.node.directory.begin_above(above)
    ada = harness.open("userId=ada")
    harness.send(harness.open("userId=bob"), "JOIN", room="lobby")
    [joined] = [m for m in harness.send(ada, "JOIN", room="lobby") if m["type"] == "ROOM_SNAPSHOT"]
    [asked] = harness.send(ada, "WATCH", users=["bob", "nobody"])
    told = [user for m in (*ada.messages, asked) for user in m.get("users", ())]
    told += [member["presence"] for member in joined["members"]]
    assert {user["userId"] for user in told} == {"ada", "bob", "nobody"}
    assert all(0 < user["version"] - above < 100 for user in told)
    assert 0 < int(position(ada).split("-")[1]) - above < 100


def test_a_snapshot_uses_no_position_of_the_journal(harness: NodeHarness) -> None:
    ada = harness.open("userId=ada")
    before = harness.node.directory.users.journal.position
    for _ in range(3):
        harness.send(ada, "WATCH", users=["bob"])
        harness.send(ada, "UNWATCH", users=["bob"])
    assert harness.node.directory.users.journal.position == before
    texts = [message["position"] for message in ada.messages if "position" in message]
    cursors = [cursor for text in texts if (cursor := harness.node.encoder.names.cursor(text))]
    assert len(cursors) > 3
    assert cursors == sorted(set(cursors)), "each snapshot ends at a cursor of its own"


@pytest.mark.parametrize(
    "bad", ["", "{epoch}", "{epoch}-", "{epoch}-1-2-3", "{epoch}-x", "{epoch}-1-x", "other-1", "{epoch}-999"]
)
def test_a_position_of_another_server_or_of_the_future_is_invalid(bad: str) -> None:
    encoder = NodeHarness().node.encoder
    encoder.users.journal.position = 17
    names = encoder.names
    assert names.cursor(f"{names.epoch}-17") == (17, 0)
    assert names.cursor(f"{names.epoch}-17-2") == (17, 2)
    assert names.cursor(bad.format(epoch=names.epoch)) is None
