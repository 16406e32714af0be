"""Which changes are events, and their JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.webhooks import NOON, change

from presenced.storage.records import RoomOccupancy
from presenced.webhooks.events import NEVER_SENT, SentState, batch_id, encode_batch, encode_event, event_for, state_of

UNKNOWN_USER = NEVER_SENT["user"]


@pytest.mark.parametrize(
    ("last_sent", "status", "event"),
    [
        (UNKNOWN_USER, "online", "user.online"),
        (UNKNOWN_USER, "away", "user.online"),
        (UNKNOWN_USER, "offline", None),
        (SentState("online", 1), "offline", "user.offline"),
        (SentState("online", 1), "busy", "user.status_changed"),
        (SentState("online", 1), "online", None),
        (SentState("online", 5), "offline", None),
        (SentState("online", 6), "offline", None),
    ],
)
def test_only_a_newer_and_different_state_is_an_event(last_sent: SentState, status: str, event: str | None) -> None:
    found = event_for(change("ada", 5, status), last_sent)
    assert (found.type if found else None) == event


@pytest.mark.parametrize("more", [{"text": "lunch"}, {"emoji": "🍜"}, {"data": b'{"a":1}'}, {"until_ms": NOON}])
def test_a_change_of_details_is_an_event(more: dict[str, Any]) -> None:
    plain, rich = change("ada", 1), change("ada", 2, **more)
    found = event_for(rich, state_of(plain))
    assert found
    assert found.type == "user.status_changed"
    assert event_for(change("ada", 3, **more), state_of(rich)) is None
    back = event_for(change("ada", 3), state_of(rich))
    assert back
    assert back.type == "user.status_changed"


def test_a_change_of_devices_alone_is_no_event() -> None:
    assert event_for(change("ada", 2, devices=("phone",)), state_of(change("ada", 1))) is None


@pytest.mark.parametrize("cause", ["choice", "expiry"])
def test_going_invisible_looks_like_disconnecting_and_its_end_like_connecting(cause: str) -> None:
    left = event_for(change("ada", 2, "offline", cause=cause), SentState("online", 1))
    back = event_for(change("ada", 3, "busy", cause=cause), SentState("offline", 2))
    other = event_for(change("ada", 4, "away", cause=cause), SentState("busy", 3))
    assert [found.data.cause for found in (left, back, other) if found] == ["close", "connect", cause]


def test_display_data_is_sent_and_its_change_is_an_event() -> None:
    first = change("ada", 1, display=b'{"name":"Ada"}')
    found = event_for(change("ada", 2, display=b'{"name":"A"}'), state_of(first))
    assert found
    assert found.type == "user.status_changed"
    assert json.loads(encode_event("msg_1", found))["data"]["display"] == {"name": "A"}
    assert event_for(change("ada", 2, display=b'{"name":"Ada"}'), state_of(first)) is None
    assert event_for(change("ada", 2), state_of(change("ada", 1))) is None, "as before where there is none"
    gone = event_for(change("ada", 2), state_of(first))
    assert gone
    assert "display" not in json.loads(encode_event("msg_1", gone))["data"]


def test_the_json_of_a_user_event() -> None:
    fact = change("7", 12, "away", cause="idle", text="tea", data=b'{"a": [1]}', devices=("web",), until_ms=NOON + 1)
    found = event_for(fact, SentState("online", 3))
    assert found
    assert json.loads(encode_event("msg_1", found)) == {
        "id": "msg_1",
        "type": "user.status_changed",
        "timestamp": "2024-01-01T12:00:00.000Z",
        "data": {
            "userId": 7,
            "status": "away",
            "since": NOON,
            "version": 12,
            "text": "tea",
            "data": {"a": [1]},
            "until": NOON + 1,
            "devices": ["web"],
            "cause": "idle",
            "was": "online",
        },
    }


def test_the_json_of_room_events() -> None:
    occupied = event_for(RoomOccupancy(4, "lobby", True, NOON), NEVER_SENT["room"])
    assert occupied
    assert json.loads(encode_event("msg_1", occupied))["data"] == {"room": "lobby", "version": 4}
    vacated = event_for(RoomOccupancy(5, "lobby", False, NOON), SentState("occupied", 4))
    assert vacated
    assert (occupied.type, vacated.type) == ("room.occupied", "room.vacated")
    assert event_for(RoomOccupancy(5, "lobby", False, NOON), NEVER_SENT["room"]) is None


def test_a_batch_has_its_events_in_order_and_an_id_derived_from_them() -> None:
    body = json.loads(encode_batch(['{"id":"msg_1"}', '{"id":"msg_2"}'], NOON))
    assert body == {
        "type": "presence.batch",
        "timestamp": "2024-01-01T12:00:00.000Z",
        "data": {"events": [{"id": "msg_1"}, {"id": "msg_2"}]},
    }
    assert batch_id(["msg_1", "msg_2"]) == batch_id(["msg_1", "msg_2"])
    assert len({batch_id(ids) for ids in (["msg_1"], ["msg_1", "msg_2"], ["msg_2", "msg_1"])}) == 3
