"""Requests of one user's clients within `status_pause`: the last one from any device wins."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.recording import StoringNode
from tests.support.talk import Talk, statuses

from presenced.node.service import PresenceService
from presenced.presence.model import AS_DETECTED, Ending
from presenced.presence.status import choice_of
from presenced.storage.records import StoredUser, choice_json

PAUSE = 0.5


@pytest.fixture
def talk() -> Talk:
    return Talk()


def texts(messages: list[dict[str, Any]]) -> list[str]:
    """Text that others saw beside the status, in order."""
    return [user.get("text", "") for message in messages for user in message.get("users", [])]


def test_a_later_choice_of_another_device_replaces_a_held_one(talk: Talk) -> None:
    first, second, watcher = talk.enter("userId=ada"), talk.enter("userId=ada"), talk.enter("userId=bob")
    talk.say(first, "SET_STATUS", status="busy", text="first")
    talk.say(first, "SET_STATUS", status="busy", text="second")
    talk.say(second, "SET_STATUS", status="busy", text="third")
    talk.clock.advance(10)
    assert texts(talk.heard(watcher)) == ["first", "third"]


def test_a_later_choice_by_the_api_replaces_a_held_one(talk: Talk) -> None:
    ada, watcher = talk.enter("userId=ada"), talk.enter("userId=bob")
    talk.say(ada, "SET_STATUS", status="busy", text="first")
    talk.say(ada, "SET_STATUS", status="busy", text="second")
    PresenceService(talk.node).set_status("ada", choice_of("busy", "third"))
    talk.clock.advance(10)
    assert texts(talk.heard(watcher)) == ["first", "third"], "at once, and nothing after it"


@pytest.mark.parametrize("later", ["device", "api"])
def test_a_held_permanent_choice_returns_after_a_later_temporary_one(talk: Talk, later: str) -> None:
    ada, phone, watcher = talk.enter("userId=ada"), talk.enter("userId=ada"), talk.enter("userId=bob")
    talk.say(ada, "SET_STATUS", status="busy", text="first")
    talk.say(ada, "SET_STATUS", status="busy", text="second")
    if later == "device":
        talk.say(phone, "SET_STATUS", status="away", text="lunch", expiresIn=60)
    else:
        PresenceService(talk.node).set_status("ada", choice_of("away", "lunch"), 60)
    talk.clock.advance(59)
    assert texts(talk.heard(watcher)) == ["first", "lunch"]
    talk.clock.advance(1)
    assert texts(talk.heard(watcher)) == ["second"], "what was accepted before counts, although nobody saw it"


def test_the_duration_of_a_temporary_choice_starts_with_the_request(talk: Talk) -> None:
    ada, watcher = talk.enter("userId=ada"), talk.enter("userId=bob")
    talk.say(ada, "SET_STATUS", status="busy", text="first")
    talk.clock.advance(0.25)
    asked_ms = talk.clock.now().epoch_ms
    talk.say(ada, "SET_STATUS", status="away", text="second", expiresIn=10)
    talk.clock.advance(0.25)
    assert [user["until"] for user in talk.heard(watcher)[-1]["users"]] == [asked_ms + 10_000]
    talk.clock.advance(9.75)
    assert texts(talk.heard(watcher)) == ["first"]


def test_a_choice_that_expires_while_it_is_held_is_never_visible(talk: Talk) -> None:
    ada, watcher = talk.enter("userId=ada"), talk.enter("userId=bob")
    talk.say(ada, "SET_STATUS", status="busy", text="first")
    assert talk.say(ada, "SET_STATUS", status="away", expiresIn=0.2, id=1)[0] == {"type": "ACK", "id": 1}
    talk.clock.advance(10)
    assert texts(talk.heard(watcher)) == ["first"]


@pytest.mark.parametrize("ending", [Ending.CLOSED, Ending.LOST, Ending.GOING_AWAY])
def test_held_requests_take_effect_when_the_last_connection_of_the_user_ends(talk: Talk, ending: Ending) -> None:
    ada, watcher = talk.enter("userId=ada"), talk.enter("userId=bob")
    talk.say(ada, "SET_STATUS", status="busy", text="first")
    talk.say(ada, "SET_STATUS", status="away", text="second")
    talk.say(ada, "ACTIVITY", state="idle")
    talk.end(ada, ending)
    talk.enter("userId=ada")
    assert texts(talk.heard(watcher))[-1] == "second"
    talk.clock.advance(10)
    assert [text for text in texts(talk.heard(watcher)) if text != "second"] == []


def test_a_held_request_outlives_its_connection(talk: Talk) -> None:
    ada, phone, watcher = talk.enter("userId=ada"), talk.enter("userId=ada"), talk.enter("userId=bob")
    talk.say(ada, "SET_STATUS", status="busy", text="first")
    talk.say(ada, "SET_STATUS", status="busy", text="second")
    talk.end(ada, Ending.CLOSED)
    talk.say(phone, "SET_STATUS", status="busy", text="third")
    talk.clock.advance(10)
    assert texts(talk.heard(watcher)) == ["first", "third"]


def test_accepted_choices_take_effect_when_the_application_disconnects_the_user(talk: Talk) -> None:
    ada, application = talk.enter("userId=ada"), PresenceService(talk.node)
    talk.say(ada, "SET_STATUS", status="busy", text="first")
    talk.say(ada, "SET_STATUS", status="busy", text="second")
    application.disconnect("ada")
    back = talk.open("userId=ada")
    assert [m["text"] for m in talk.heard(back) if m["type"] == "SELF"] == ["second"]


def test_no_held_request_takes_effect_after_a_user_is_erased(talk: Talk) -> None:
    ada, application = talk.enter("userId=ada"), PresenceService(talk.node)
    talk.say(ada, "SET_STATUS", status="busy", text="first")
    talk.say(ada, "SET_STATUS", status="busy", text="second")
    application.forget("ada")
    back = talk.open("userId=ada")
    talk.clock.advance(10)
    assert [(m["chosen"], m.get("text")) for m in talk.heard(back) if m["type"] == "SELF"] == [("auto", None)]


def test_held_requests_are_stored_when_the_server_stops() -> None:
    storing = StoringNode()
    ada, _ = storing.open(subprotocol="presenced.v1"), storing.open()
    storing.node.received(ada, '{"type":"SET_STATUS","status":"busy"}')
    storing.node.received(ada, '{"type":"SET_STATUS","status":"away"}')
    list(storing.node.drain())
    storing.write_behind.finish()
    assert storing.worker.of(StoredUser)[-1].chosen == choice_json(choice_of("away"))


def test_all_devices_of_a_user_share_the_pause(talk: Talk) -> None:
    devices = [talk.enter("userId=ada") for _ in range(5)]
    watcher = talk.enter("userId=bob")
    for number in range(50):
        talk.say(devices[number % 5], "SET_STATUS", status="busy", text=str(number))
        talk.clock.advance(0.1)
    assert len(texts(talk.heard(watcher))) <= 5 / PAUSE + 1


def test_the_held_activity_of_each_device_counts(talk: Talk) -> None:
    phone, laptop, watcher = talk.enter("userId=ada"), talk.enter("userId=ada"), talk.enter("userId=bob")
    talk.say(phone, "SET_STATUS", status="auto")
    talk.say(phone, "ACTIVITY", state="idle")
    talk.say(laptop, "ACTIVITY", state="idle")
    assert statuses(talk.heard(watcher)) == []
    talk.clock.advance(PAUSE)
    assert statuses(talk.heard(watcher)) == [("ada", "away")]
    talk.say(laptop, "ACTIVITY", state="active")
    talk.say(laptop, "ACTIVITY", state="idle")
    talk.clock.advance(PAUSE)
    assert statuses(talk.heard(watcher)) == []


def test_a_choice_by_the_api_does_not_undo_held_activity(talk: Talk) -> None:
    ada, watcher, application = talk.enter("userId=ada"), talk.enter("userId=bob"), PresenceService(talk.node)
    talk.say(ada, "SET_STATUS", status="busy")
    talk.say(ada, "ACTIVITY", state="idle")
    application.set_status("ada", AS_DETECTED)
    talk.clock.advance(10)
    assert statuses(talk.heard(watcher)) == [("ada", "busy"), ("ada", "online"), ("ada", "away")]


def test_held_requests_do_not_change_when_a_user_was_last_seen() -> None:
    house = StoringNode()
    ada, _phone = house.open(subprotocol="presenced.v1"), house.open(subprotocol="presenced.v1")
    house.node.received(ada, '{"type":"SET_STATUS","status":"busy"}')
    house.node.received(ada, '{"type":"SET_STATUS","status":"away"}')
    asked_ms = house.clock.now().epoch_ms
    house.clock.advance(60)
    assert house.node.directory.users.user("ada").active_ms == asked_ms  # type: ignore[union-attr]  # the user is known
