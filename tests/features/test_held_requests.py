"""Requests of one user's clients within `status_pause`: the last one from any device wins."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.node_harness import NodeHarness, statuses
from tests.support.storing_harness import StoringNode

from presenced.node.service import PresenceService
from presenced.presence.model import AS_DETECTED, Ending
from presenced.presence.status import choice_of
from presenced.storage.records import StoredUser, choice_json

PAUSE = 0.5


@pytest.fixture
def harness() -> NodeHarness:
    return NodeHarness()


def texts(messages: list[dict[str, Any]]) -> list[str]:
    """Return the texts that others saw beside the status, in order."""
    return [user.get("text", "") for message in messages for user in message.get("users", [])]


def test_a_later_choice_of_another_device_replaces_a_held_one(harness: NodeHarness) -> None:
    first, second, watcher = harness.enter("userId=ada"), harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(first, "SET_STATUS", status="busy", text="first")
    harness.send(first, "SET_STATUS", status="busy", text="second")
    harness.send(second, "SET_STATUS", status="busy", text="third")
    harness.clock.advance(10)
    assert texts(harness.new_messages(watcher)) == ["first", "third"]


def test_a_later_choice_by_the_api_replaces_a_held_one(harness: NodeHarness) -> None:
    ada, watcher = harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(ada, "SET_STATUS", status="busy", text="first")
    harness.send(ada, "SET_STATUS", status="busy", text="second")
    PresenceService(harness.node).set_status("ada", choice_of("busy", "third"))
    harness.clock.advance(10)
    assert texts(harness.new_messages(watcher)) == ["first", "third"], "at once, and nothing after it"


@pytest.mark.parametrize("later", ["device", "api"])
def test_a_held_permanent_choice_returns_after_a_later_temporary_one(harness: NodeHarness, later: str) -> None:
    ada, phone, watcher = harness.enter("userId=ada"), harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(ada, "SET_STATUS", status="busy", text="first")
    harness.send(ada, "SET_STATUS", status="busy", text="second")
    if later == "device":
        harness.send(phone, "SET_STATUS", status="away", text="lunch", expiresIn=60)
    else:
        PresenceService(harness.node).set_status("ada", choice_of("away", "lunch"), 60)
    harness.clock.advance(59)
    assert texts(harness.new_messages(watcher)) == ["first", "lunch"]
    harness.clock.advance(1)
    assert texts(harness.new_messages(watcher)) == ["second"], "what was accepted before counts, although nobody saw it"


def test_the_duration_of_a_temporary_choice_starts_with_the_request(harness: NodeHarness) -> None:
    ada, watcher = harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(ada, "SET_STATUS", status="busy", text="first")
    harness.clock.advance(0.25)
    asked_ms = harness.clock.now().epoch_ms
    harness.send(ada, "SET_STATUS", status="away", text="second", expiresIn=10)
    harness.clock.advance(0.25)
    assert [user["until"] for user in harness.new_messages(watcher)[-1]["users"]] == [asked_ms + 10_000]
    harness.clock.advance(9.75)
    assert texts(harness.new_messages(watcher)) == ["first"]


def test_a_choice_that_expires_while_it_is_held_is_never_visible(harness: NodeHarness) -> None:
    ada, watcher = harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(ada, "SET_STATUS", status="busy", text="first")
    assert harness.send(ada, "SET_STATUS", status="away", expiresIn=0.2, id=1)[0] == {"type": "ACK", "id": 1}
    harness.clock.advance(10)
    assert texts(harness.new_messages(watcher)) == ["first"]


@pytest.mark.parametrize("ending", [Ending.CLOSED, Ending.LOST, Ending.GOING_AWAY])
def test_held_requests_take_effect_when_the_last_connection_of_the_user_ends(
    harness: NodeHarness, ending: Ending
) -> None:
    ada, watcher = harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(ada, "SET_STATUS", status="busy", text="first")
    harness.send(ada, "SET_STATUS", status="away", text="second")
    harness.send(ada, "ACTIVITY", state="idle")
    harness.end(ada, ending)
    harness.enter("userId=ada")
    assert texts(harness.new_messages(watcher))[-1] == "second"
    harness.clock.advance(10)
    assert [text for text in texts(harness.new_messages(watcher)) if text != "second"] == []


def test_a_held_request_outlives_its_connection(harness: NodeHarness) -> None:
    ada, phone, watcher = harness.enter("userId=ada"), harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(ada, "SET_STATUS", status="busy", text="first")
    harness.send(ada, "SET_STATUS", status="busy", text="second")
    harness.end(ada, Ending.CLOSED)
    harness.send(phone, "SET_STATUS", status="busy", text="third")
    harness.clock.advance(10)
    assert texts(harness.new_messages(watcher)) == ["first", "third"]


def test_accepted_choices_take_effect_when_the_application_disconnects_the_user(harness: NodeHarness) -> None:
    ada, application = harness.enter("userId=ada"), PresenceService(harness.node)
    harness.send(ada, "SET_STATUS", status="busy", text="first")
    harness.send(ada, "SET_STATUS", status="busy", text="second")
    application.disconnect("ada")
    back = harness.open("userId=ada")
    assert [m["text"] for m in harness.new_messages(back) if m["type"] == "SELF"] == ["second"]


def test_no_held_request_takes_effect_after_a_user_is_erased(harness: NodeHarness) -> None:
    ada, application = harness.enter("userId=ada"), PresenceService(harness.node)
    harness.send(ada, "SET_STATUS", status="busy", text="first")
    harness.send(ada, "SET_STATUS", status="busy", text="second")
    application.forget("ada")
    back = harness.open("userId=ada")
    harness.clock.advance(10)
    assert [(m["chosen"], m.get("text")) for m in harness.new_messages(back) if m["type"] == "SELF"] == [("auto", None)]


def test_held_requests_are_stored_when_the_server_stops() -> None:
    storing = StoringNode()
    ada, _ = storing.open(subprotocol="presenced.v1"), storing.open()
    storing.node.received(ada, '{"type":"SET_STATUS","status":"busy"}')
    storing.node.received(ada, '{"type":"SET_STATUS","status":"away"}')
    list(storing.node.drain())
    storing.write_behind.finish()
    assert storing.worker.of(StoredUser)[-1].chosen == choice_json(choice_of("away"))


def test_all_devices_of_a_user_share_the_pause(harness: NodeHarness) -> None:
    devices = [harness.enter("userId=ada") for _ in range(5)]
    watcher = harness.enter("userId=bob")
    for number in range(50):
        harness.send(devices[number % 5], "SET_STATUS", status="busy", text=str(number))
        harness.clock.advance(0.1)
    assert len(texts(harness.new_messages(watcher))) <= 5 / PAUSE + 1


def test_the_held_activity_of_each_device_counts(harness: NodeHarness) -> None:
    phone, laptop, watcher = harness.enter("userId=ada"), harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(phone, "SET_STATUS", status="auto")
    harness.send(phone, "ACTIVITY", state="idle")
    harness.send(laptop, "ACTIVITY", state="idle")
    assert statuses(harness.new_messages(watcher)) == []
    harness.clock.advance(PAUSE)
    assert statuses(harness.new_messages(watcher)) == [("ada", "away")]
    harness.send(laptop, "ACTIVITY", state="active")
    harness.send(laptop, "ACTIVITY", state="idle")
    harness.clock.advance(PAUSE)
    assert statuses(harness.new_messages(watcher)) == []


def test_a_choice_by_the_api_does_not_undo_held_activity(harness: NodeHarness) -> None:
    ada, watcher, application = harness.enter("userId=ada"), harness.enter("userId=bob"), PresenceService(harness.node)
    harness.send(ada, "SET_STATUS", status="busy")
    harness.send(ada, "ACTIVITY", state="idle")
    application.set_status("ada", AS_DETECTED)
    harness.clock.advance(10)
    assert statuses(harness.new_messages(watcher)) == [("ada", "busy"), ("ada", "online"), ("ada", "away")]


def test_held_requests_do_not_change_when_a_user_was_last_seen() -> None:
    running = StoringNode()
    ada, _phone = running.open(subprotocol="presenced.v1"), running.open(subprotocol="presenced.v1")
    running.node.received(ada, '{"type":"SET_STATUS","status":"busy"}')
    running.node.received(ada, '{"type":"SET_STATUS","status":"away"}')
    asked_ms = running.clock.now().epoch_ms
    running.clock.advance(60)
    assert running.node.directory.users.user("ada").active_ms == asked_ms  # type: ignore[union-attr]  # the user is known
