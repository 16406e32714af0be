"""Requests of presenced.v1: each is carried out and answered, or refused without any effect."""

from typing import Any, get_args

import pytest
from msgspec import json
from tests.support.fakes import FakeConnection
from tests.support.node_harness import NodeHarness, position, statuses, types

from presenced.errors import Close, Fault
from presenced.presence.model import Ending, Status
from presenced.protocols.v1.messages import Request
from presenced.protocols.v1.protocol import MAX_REASON_CHARACTERS


@pytest.fixture
def harness() -> NodeHarness:
    return NodeHarness()


def test_a_ping_is_answered_with_the_servers_time(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    assert harness.send(ada, "PING", id="p") == [
        {"type": "PONG", "serverTime": harness.clock.now().epoch_ms, "id": "p"}
    ]
    assert "id" not in harness.send(ada, "PING")[0]


def test_only_a_request_with_an_id_is_acknowledged(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    assert harness.send(ada, "ACTIVITY", state="active", id=7) == [{"type": "ACK", "id": 7}]
    assert harness.send(ada, "ACTIVITY", state="active") == []


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("ACTIVITY", {"state": "idle"}),
    ("SET_STATUS", {"status": "busy", "text": "x"}),
    ("SET_STATUS", {"status": "auto", "expiresIn": 1}),
    ("WATCH", {"everyone": True, "users": ["bob"], "rooms": ["r"]}),
    ("WATCH", {"everyone": True, "users": ["bob"], "rooms": ["r"], "mode": "count"}),
    ("UNWATCH", {"everyone": True, "users": ["bob"], "rooms": ["r"]}),
    ("JOIN", {"room": "new", "data": 1}),
    ("JOIN", {"room": "r", "data": 2}),
    ("SET_MEMBER", {"room": "r", "data": None}),
    ("LEAVE", {"room": "r"}),
    ("AUTH", {"token": "any"}),
]
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("ACTIVITY", {"state": "asleep"}),
    ("SET_STATUS", {"status": "busy", "text": "a\nb"}),
    ("SET_STATUS", {"status": "busy", "data": "x" * 3000}),
    ("SET_STATUS", {"status": "busy", "expiresIn": 0}),
    ("WATCH", {"users": ["carl", ""]}),
    ("WATCH", {"users": ["carl"], "rooms": ["a\nb"]}),
    ("WATCH", {"rooms": [str(number) for number in range(101)], "mode": "count"}),
    ("UNWATCH", {"everyone": True, "users": [""]}),
    ("UNWATCH", {"everyone": True, "rooms": ["a\nb"]}),
    ("JOIN", {"room": "full"}),
    ("JOIN", {"room": "r", "data": "x" * 3000}),
    ("SET_MEMBER", {"room": "other", "data": 1}),
    ("LEAVE", {"room": "other"}),
]


@pytest.fixture
def busy() -> tuple[NodeHarness, FakeConnection, FakeConnection]:
    """Return Ada, who watches everyone and is in room `r`, and a watcher of both in a full room."""
    harness = NodeHarness(room_members=1)
    ada, watcher = harness.enter("userId=ada"), harness.enter("userId=watcher")
    harness.send(ada, "JOIN", room="r", data=1)
    harness.send(watcher, "WATCH", rooms=["r"])
    harness.send(watcher, "JOIN", room="full")
    harness.new_messages(ada)
    return harness, ada, watcher


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(("type_", "fields"), ACCEPTED)
def test_an_accepted_request_is_acknowledged_once_before_its_effects(
    busy: tuple[NodeHarness, FakeConnection, FakeConnection], type_: str, fields: dict[str, Any], held: bool
) -> None:
    harness, ada, _ = busy
    if held:
        harness.send(ada, "SET_STATUS", status="away")
    harness.node.received(ada, json.encode({"type": type_, "id": "x", **fields}).decode())
    assert harness.all_new_messages(ada)[:1] == [{"type": "ACK", "id": "x"}]
    harness.clock.advance(10)
    assert not [m for m in harness.all_new_messages(ada) if m["type"] in ("ACK", "ERROR")], (
        "nothing refuses it any more"
    )


def watched_and_joined(client: FakeConnection) -> tuple[object, ...]:
    watch = client.session.subscription
    assert watch is not None
    kinds = [(kind.everyone, set(kind.users), set(kind.rooms)) for kind in (watch.full, watch.counted)]
    return kinds, dict(client.session.rooms or {})


@pytest.mark.parametrize(("type_", "fields"), REFUSED)
def test_a_refused_request_is_not_acknowledged_and_changes_nothing(
    busy: tuple[NodeHarness, FakeConnection, FakeConnection], type_: str, fields: dict[str, Any]
) -> None:
    harness, ada, watcher = busy
    before = watched_and_joined(ada)
    assert [(m["type"], m["id"]) for m in harness.send(ada, type_, id="x", **fields)] == [("ERROR", "x")]
    harness.clock.advance(10)
    assert (harness.new_messages(ada), harness.new_messages(watcher)) == ([], [])
    assert watched_and_joined(ada) == before


@pytest.mark.parametrize(
    ("text", "fault", "says", "request_id"),
    [
        ("{", Fault.BAD_JSON, "not JSON", None),
        ("[]", Fault.BAD_REQUEST, "Expected `object`", None),
        ('{"type":"DANCE","id":3}', Fault.BAD_REQUEST, "DANCE", 3),
        ('{"id":3}', Fault.BAD_REQUEST, "missing required field `type`", 3),
        ('{"type":"SET_STATUS","status":"gone","id":"x"}', Fault.BAD_REQUEST, "gone", "x"),
        ('{"type":"SET_STATUS","status":"away","expiresIn":-1,"id":1}', Fault.BAD_REQUEST, "expiresIn", 1),
        (
            '{"type":"SET_STATUS","status":"away","text":"a\\nb","id":1}',
            Fault.BAD_REQUEST,
            "text must not contain U+000A",
            1,
        ),
        ('{"type":"SET_STATUS","status":"away","emoji":"%s","id":1}' % ("x" * 33), Fault.BAD_REQUEST, "emoji", 1),
        ('{"type":"SET_STATUS","status":"away","data":"%s","id":1}' % ("x" * 2048), Fault.BAD_REQUEST, "data has", 1),
        ('{"type":"SET_STATUS","status":"away","data":1e999,"id":1}', Fault.BAD_REQUEST, "out of range", 1),
        (
            '{{"type":"JOIN","room":"r","data":{}1{},"id":1}}'.format("[" * 33, "]" * 33),
            Fault.BAD_REQUEST,
            "32 levels",
            1,
        ),
        ('{"type":"JOIN","data":' + "[" * 30_000 + "]" * 30_000 + ',"id":1}', Fault.BAD_JSON, "nested", None),
        ('{"type":"WATCH","users":[""],"id":1}', Fault.BAD_REQUEST, "userId is empty; an id has 1 to 128", 1),
        ('{"type":"JOIN","room":"","id":1}', Fault.BAD_REQUEST, "length >= 1 - at `room`", 1),
        ('{"type":"JOIN","room":"a\\nb","id":1}', Fault.BAD_REQUEST, "name must not contain U+000A", 1),
        ('{"type":"LEAVE","room":"r","id":1}', Fault.NOT_A_MEMBER, "not in the room r", 1),
        ('{"type":"SET_MEMBER","room":"r","data":1,"id":1}', Fault.NOT_A_MEMBER, "JOIN it first", 1),
    ],
)
def test_an_error_states_the_fault_and_the_id_of_the_request(
    harness: NodeHarness, text: str, fault: Fault, says: str, request_id: int | str | None
) -> None:
    ada = harness.enter("userId=ada")
    harness.node.received(ada, text)
    [error] = harness.new_messages(ada)
    assert (error["type"], error["code"], error["name"]) == ("ERROR", fault.code, fault.name)
    assert says in error["message"]
    assert error.get("id") == request_id
    assert ada.closed_with is None


def test_texts_may_contain_joiners(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    answer = harness.send(ada, "SET_STATUS", status="busy", emoji="👩‍💻", text="می‌خواهم\u00a0x", id=1)
    assert (answer[0]["type"], answer[1]["emoji"]) == ("ACK", "👩‍💻")
    harness.clock.advance(1)
    assert harness.send(ada, "SET_STATUS", status="busy", text="\u202egnp.exe")[0]["name"] == "BAD_REQUEST"


def test_null_removes_data(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    harness.send(ada, "JOIN", room="r", data={"x": 1})
    [changes] = harness.send(ada, "SET_MEMBER", room="r", data=None)
    assert "data" not in changes["members"][0]


def test_a_binary_message_is_refused(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    harness.node.received(ada, b"{}")
    assert harness.new_messages(ada)[0]["name"] == "BAD_JSON"


def test_an_unknown_field_is_refused_with_the_most_similar_name(harness: NodeHarness) -> None:
    """Otherwise a status set with `expires_in` would never expire."""
    ada = harness.enter("userId=ada")
    [error] = harness.send(ada, "SET_STATUS", status="busy", expires_in=60, id=1)
    assert (error["name"], error["id"]) == ("BAD_REQUEST", 1)
    assert error["message"].startswith(
        "unknown field expires_in (did you mean expiresIn?); known fields: type, status, id,"
    )
    assert harness.node.directory.users.status("ada") is Status.ONLINE, "nothing was changed"


def test_an_extension_field_is_ignored(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    answer = harness.send(ada, "SET_STATUS", **{"x-trace": {"a": [1]}}, status="busy", data={"x-kept": 1}, id=1)
    assert (answer[0]["type"], answer[1]["data"]) == ("ACK", {"x-kept": 1})
    [error] = harness.send(ada, "PING", **{"x-trace": 1, "xtrace": 2})
    assert error["message"].startswith("unknown field xtrace; known fields:")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"type":"SET_STATUS","status":"gone"}', "allowed values: auto, away, busy, invisible, online"),
        ('{"type":"ACTIVITY","state":"asleep"}', "allowed values: active, idle"),
        ('{"type":"WATCH","mode":"some"}', "allowed values: count, full"),
        (
            '{"type":"SET_STATE"}',
            "allowed values: AUTH, WATCH, UNWATCH, SET_STATUS, ACTIVITY, JOIN, SET_MEMBER, LEAVE, PING",
        ),
    ],
)
def test_an_error_lists_the_allowed_values(harness: NodeHarness, text: str, says: str) -> None:
    ada = harness.enter("userId=ada")
    harness.node.received(ada, text)
    [error] = harness.new_messages(ada)
    assert says in error["message"]


def test_requests_with_a_handler_are_those_in_the_documents(harness: NodeHarness) -> None:
    """`Request` lists those in the documents. A request that is not in it would work, and nobody would know it."""
    [error] = harness.send(harness.enter("userId=ada"), "UNKNOWN")
    allowed = error["message"].partition("allowed values: ")[2].partition(";")[0].split(", ")
    assert sorted(allowed) == sorted(str(one.__struct_config__.tag) for one in get_args(Request))


@pytest.mark.parametrize(
    "text",
    [
        r'{"type":"SET_STATUS","status":"busy","text":"\ud83d","id":7}',
        r'{"id":7,"type":"SET_STATUS","status":"busy","emoji":"\ude00\ud83d"}',
        r'{"type":"WATCH","users":["\ud83d"],"id":7}',
        r'{"type":"JOIN","room":"r","data":{"a":"\ud83dx"},"id":7}',
        r'{"type":"JOIN","room":"r","\ud83d":1,"id":7}',
    ],
)
def test_half_a_surrogate_pair_is_refused_with_the_id_of_its_request(harness: NodeHarness, text: str) -> None:
    """RFC 8259 section 8.2 allows it in JSON."""
    ada = harness.enter("userId=ada")
    harness.node.received(ada, text)
    [error] = harness.new_messages(ada)
    assert (error["name"], error["id"]) == ("BAD_REQUEST", 7)
    assert "half" in error["message"]


def test_an_id_with_half_a_surrogate_pair_is_not_sent_back(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    harness.node.received(ada, r'{"type":"PING","id":"\ud83d"}')
    [error] = harness.new_messages(ada)
    assert (error["name"], "id" in error) == ("BAD_REQUEST", False)


def test_data_is_passed_on_in_one_line(harness: NodeHarness) -> None:
    """Line breaks between tokens of JSON are valid, but would end the line of an event stream."""
    ada = harness.enter("userId=ada")
    harness.node.received(ada, '{"type":"SET_STATUS","status":"busy","data":{"a":\n\r 1,\n"b c" : "d\\ne"}}')
    user = harness.node.directory.users.user("ada")
    assert user is not None
    assert user.chosen.details.data == b'{"a":1,"b c":"d\\ne"}'


def test_a_request_for_too_many_users_or_rooms_changes_nothing(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada&watch=none")
    assert types(harness.send(ada, "WATCH", users=list(range(900)), id=1)) == ["ACK", *["PRESENCE_SNAPSHOT"] * 2]
    assert harness.send(ada, "WATCH", users=list(range(850, 1001)), id=2)[0]["name"] == "TOO_MANY_WATCHED"
    bob = harness.enter("userId=950")
    assert harness.new_messages(ada) == [], "nothing was changed"
    harness.send(ada, "WATCH", users=list(range(850, 1000)), id=3)
    harness.send(bob, "SET_STATUS", status="busy")
    assert statuses(harness.new_messages(ada)) == [(950, "busy")]
    assert harness.send(ada, "WATCH", rooms=[f"r{n}" for n in range(101)], id=4)[0]["name"] == "TOO_MANY_ROOMS"


def test_a_client_above_the_request_rate_receives_errors_and_is_then_closed() -> None:
    harness = NodeHarness(request_rate=1, request_burst=3)
    ada = harness.enter("userId=ada")
    answers = [harness.send(ada, "PING", id=n)[0] for n in range(5)]
    assert types(answers) == ["PONG"] * 3 + ["ERROR"] * 2
    assert answers[4] == {
        "type": "ERROR",
        "code": 120,
        "name": "RATE_LIMITED",
        "message": "at most 1 requests a second, 3 at once; this was ignored",
        "id": 4,
    }
    harness.clock.advance(1)
    assert types(harness.send(ada, "PING")) == ["PONG"], "a moment later"
    for _ in range(4):
        harness.send(ada, "PING")
    assert ada.closed_with
    assert ada.closed_with[0] is Close.TOO_MANY_REQUESTS


def test_answers_to_a_client_that_does_not_read_are_bounded() -> None:
    harness = NodeHarness(request_burst=200)
    ada = harness.enter("userId=ada")
    ada.write_when_paused = True
    ada.paused = True
    harness.node.paused(ada)
    for _ in range(100):
        harness.node.received(ada, '{"type":"PING"}')
    assert ada.closed_with is None
    harness.node.received(ada, '{"type":"PING"}')
    assert ada.closed_with
    assert ada.closed_with[0] is Close.FELL_BEHIND


def test_the_last_of_many_rapid_statuses_wins(harness: NodeHarness) -> None:
    ada, bob = harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.new_messages(ada)
    for number, status in enumerate(("busy", "away", "online", "busy", "away")):
        assert types(harness.send(ada, "SET_STATUS", status=status, id=number))[0] == "ACK"
    assert statuses(harness.new_messages(bob)) == [("ada", "busy")]
    harness.clock.advance(0.6)
    assert statuses(harness.new_messages(bob)) == [("ada", "away")]
    harness.send(ada, "SET_STATUS", status="busy")
    harness.end(ada, Ending.LOST)
    again = harness.enter("userId=ada")
    assert statuses(harness.new_messages(bob))[-1] == ("ada", "busy"), "what was asked for before the loss is not lost"
    assert again.closed_with is None


def test_setting_the_same_status_again_notifies_nobody(harness: NodeHarness) -> None:
    ada, bob = harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(ada, "SET_STATUS", status="busy", text="in a meeting", emoji="☕", data={"room": 1})
    assert len(statuses(harness.new_messages(bob))) == 1
    harness.clock.advance(1)
    harness.send(ada, "SET_STATUS", status="busy", text="in a meeting", emoji="☕", data={"room": 1})
    assert harness.new_messages(bob) == []


def test_refusals_sessions_and_rooms_are_counted(harness: NodeHarness) -> None:
    def metric(metric: str, **labels: str) -> float:
        return harness.node.metrics.registry.get_sample_value(f"presenced_{metric}", labels) or 0.0

    ada = harness.open("userId=ada")
    session = harness.new_messages(ada)[0]["sessionId"]
    harness.send(ada, "JOIN", room="r")
    harness.send(ada, "DANCE")
    assert metric("rooms") == 1
    assert metric("requests_refused_total", name="BAD_REQUEST") == 1
    where = position(ada)
    for at in (where, "unknown"):
        harness.end(ada, Ending.LOST)
        ada = harness.open(f"userId=ada&session={session}&position={at}")
    found = [metric("sessions_total", how=how) for how in ("new", "resumed", "resynced")]
    assert found == [1, 1, 1]


def test_the_last_of_many_rapid_activity_reports_wins(harness: NodeHarness) -> None:
    ada, bob = harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.new_messages(ada)
    for number, state in enumerate(("idle", "active", "idle", "active", "idle", "active")):
        assert types(harness.send(ada, "ACTIVITY", state=state, id=number))[0] == "ACK"
    assert statuses(harness.new_messages(bob)) == [("ada", "away")]
    harness.clock.advance(0.6)
    assert statuses(harness.new_messages(bob)) == [("ada", "online")]


def test_requests_made_just_before_a_resumption_take_effect(harness: NodeHarness) -> None:
    """The server does not know that the old connection is dead, and still holds its request to become idle."""
    ada, bob = harness.open("userId=ada"), harness.enter("userId=bob")
    session = harness.new_messages(ada)[0]["sessionId"]
    harness.send(ada, "SET_STATUS", status="auto")
    harness.send(ada, "ACTIVITY", state="idle")
    harness.new_messages(bob)
    harness.open(f"userId=ada&session={session}&position={position(ada)}")
    harness.clock.advance(0.5)
    assert statuses(harness.new_messages(bob)) == [("ada", "away")]


def test_an_error_does_not_repeat_a_long_request(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    [error] = harness.send(ada, "x" * 60_000, id=1)
    assert (error["name"], len(error["message"]) <= MAX_REASON_CHARACTERS) == ("BAD_REQUEST", True)
    assert "allowed values: AUTH, WATCH" in error["message"]
    [error] = harness.send(ada, "PING", id=2**63)
    assert (error["name"], "id" in error) == ("BAD_REQUEST", False)


@pytest.mark.parametrize("fields", ['"type":"WATCH","users":["a"]', '"type":"SET_STATUS","status":"busy","id":1'])
def test_requests_of_a_client_that_does_not_read_are_bounded(fields: str) -> None:
    """Requests without an answer count as well, because their snapshots wait in memory."""
    harness = NodeHarness(request_burst=300)
    ada = harness.enter("userId=ada&watch=none")
    ada.write_when_paused = True
    ada.paused = True
    harness.node.paused(ada)
    for _ in range(100):
        harness.node.received(ada, f"{{{fields}}}")
    assert ada.closed_with is None
    harness.node.received(ada, f"{{{fields}}}")
    assert ada.closed_with
    assert ada.closed_with[0] is Close.FELL_BEHIND
    assert harness.node.broadcaster.behind == 0, "nothing is kept for it"


def test_a_snapshot_of_everyone_is_also_the_answer_for_users_by_id(harness: NodeHarness) -> None:
    def snapshots(messages: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
        found = [message for message in messages if message["type"] == "PRESENCE_SNAPSHOT"]
        return [(message["watch"], sorted(record["userId"] for record in message["users"])) for message in found]

    harness.enter("userId=bob")
    ada = harness.open("userId=ada&watch=none")
    session = harness.new_messages(ada)[0]["sessionId"]
    answer = harness.send(ada, "WATCH", everyone=True, users=["bob", "gone"], id=1)
    assert snapshots(answer) == [("everyone", ["ada", "bob"])], "bob and gone by id are answered by this one, too"
    assert snapshots(harness.send(ada, "WATCH", users=["gone", "later"])) == [("users", ["later"])]
    harness.end(ada, Ending.LOST)
    ada = harness.open(f"userId=ada&session={session}")
    messages = harness.new_messages(ada)
    assert (messages[0]["sessionId"], messages[0]["resumed"]) == (session, False)
    assert snapshots(messages) == [("everyone", ["ada", "bob"])]


def test_users_by_id_who_are_offline_have_when_they_were_last_seen_although_everyone_is_watched(
    harness: NodeHarness,
) -> None:
    bob = harness.enter("userId=bob")
    harness.end(bob)
    ada = harness.enter("userId=ada&watch=none")
    answer = harness.send(ada, "WATCH", everyone=True, users=["bob", "gone"], id=1)
    found = [message for message in answer if message["type"] == "PRESENCE_SNAPSHOT"]
    assert [message["watch"] for message in found] == ["everyone", "users"]
    [record] = found[1]["users"]
    assert (record["userId"], record["status"], record["lastSeen"] > 0) == ("bob", "offline", True)
