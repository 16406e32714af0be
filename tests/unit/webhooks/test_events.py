"""What there is to tell, and how it looks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.webhooks import NOON, change

from presenced.storage.records import RoomOccupancy
from presenced.webhooks.events import UNTOLD, Told, batch_id, encode, encode_batch, news, now_told

NOBODY = UNTOLD["user"]


@pytest.mark.parametrize(
    ("told", "status", "event"),
    [
        (NOBODY, "online", "user.online"),
        (NOBODY, "away", "user.online"),
        (NOBODY, "offline", None),
        (Told("online", 1), "offline", "user.offline"),
        (Told("online", 1), "busy", "user.status_changed"),
        (Told("online", 1), "online", None),
        (Told("online", 5), "offline", None),
        (Told("online", 6), "offline", None),
    ],
)
def test_an_event_only_for_what_is_newer_and_differs(told: Told, status: str, event: str | None) -> None:
    found = news(change("ada", 5, status), told)
    assert (found.type if found else None) == event


@pytest.mark.parametrize("more", [{"text": "lunch"}, {"emoji": "🍜"}, {"data": b'{"a":1}'}, {"until_ms": NOON}])
def test_what_goes_with_a_status_is_a_change_of_it(more: dict[str, Any]) -> None:
    plain, rich = change("ada", 1), change("ada", 2, **more)
    found = news(rich, now_told(plain))
    assert found
    assert found.type == "user.status_changed"
    assert news(change("ada", 3, **more), now_told(rich)) is None
    back = news(change("ada", 3), now_told(rich))
    assert back
    assert back.type == "user.status_changed"


def test_devices_alone_are_no_event() -> None:
    assert news(change("ada", 2, devices=("phone",)), now_told(change("ada", 1))) is None


@pytest.mark.parametrize("cause", ["choice", "expiry"])
def test_going_invisible_looks_like_leaving_and_the_end_of_it_like_coming(cause: str) -> None:
    left = news(change("ada", 2, "offline", cause=cause), Told("online", 1))
    back = news(change("ada", 3, "busy", cause=cause), Told("offline", 2))
    other = news(change("ada", 4, "away", cause=cause), Told("busy", 3))
    assert [found.data.cause for found in (left, back, other) if found] == ["close", "connect", cause]


def test_display_data_is_told_and_another_one_is_an_event() -> None:
    first = change("ada", 1, display=b'{"name":"Ada"}')
    found = news(change("ada", 2, display=b'{"name":"A"}'), now_told(first))
    assert found
    assert found.type == "user.status_changed"
    assert json.loads(encode("msg_1", found))["data"]["display"] == {"name": "A"}
    assert news(change("ada", 2, display=b'{"name":"Ada"}'), now_told(first)) is None
    assert news(change("ada", 2), now_told(change("ada", 1))) is None, "as before where there is none"
    gone = news(change("ada", 2), now_told(first))
    assert gone
    assert "display" not in json.loads(encode("msg_1", gone))["data"]


def test_an_event_of_a_user() -> None:
    fact = change("7", 12, "away", cause="idle", text="tea", data=b'{"a": [1]}', devices=("web",), until_ms=NOON + 1)
    found = news(fact, Told("online", 3))
    assert found
    assert json.loads(encode("msg_1", found)) == {
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


def test_events_of_a_room() -> None:
    occupied = news(RoomOccupancy(4, "lobby", True, NOON), UNTOLD["room"])
    assert occupied
    assert json.loads(encode("msg_1", occupied))["data"] == {"room": "lobby", "version": 4}
    vacated = news(RoomOccupancy(5, "lobby", False, NOON), Told("occupied", 4))
    assert vacated
    assert (occupied.type, vacated.type) == ("room.occupied", "room.vacated")
    assert news(RoomOccupancy(5, "lobby", False, NOON), UNTOLD["room"]) is None


def test_a_batch_has_its_events_in_order_and_an_id_that_comes_from_them() -> None:
    body = json.loads(encode_batch(['{"id":"msg_1"}', '{"id":"msg_2"}'], NOON))
    assert body == {
        "type": "presence.batch",
        "timestamp": "2024-01-01T12:00:00.000Z",
        "data": {"events": [{"id": "msg_1"}, {"id": "msg_2"}]},
    }
    assert batch_id(["msg_1", "msg_2"]) == batch_id(["msg_1", "msg_2"])
    assert len({batch_id(ids) for ids in (["msg_1"], ["msg_1", "msg_2"], ["msg_2", "msg_1"])}) == 3
