"""Messages to clients of presenced.v1 about the certainty of a node that has lost its store."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.doubt import DoubtingDirectory, doubt, set_elsewhere
from tests.support.fakes import FakeConnection
from tests.support.grants_harness import GrantsHarness, token
from tests.support.node_harness import NodeHarness, position, statuses, types
from tests.support.nodes import request

from presenced.presence.model import Ending

STALE = {"type": "CERTAINTY", "certainty": "stale", "since": 5}
LIVE = {"type": "CERTAINTY", "certainty": "live"}
PARTS = {"directory_class": DoubtingDirectory}


@pytest.fixture
def harness() -> NodeHarness:
    return NodeHarness(parts=PARTS)


def marks(messages: list[dict[str, Any]]) -> dict[int | str, bool]:
    """Return for each user whether the last record is marked."""
    users = [user for message in messages for user in message.get("users", [])]
    users += [member["presence"] for message in messages for member in message.get("members", [])]
    return {user["userId"]: user.get("certainty") == "stale" for user in users}


def fill(harness: NodeHarness, connection: FakeConnection) -> None:
    """Let a connection stop reading."""
    connection.paused = True
    harness.node.paused(connection)


def drain(harness: NodeHarness, connection: FakeConnection) -> list[dict[str, Any]]:
    """Let a connection read everything, and return what it receives."""
    connection.paused, connection.full_after = False, 0
    harness.node.resumed(connection)
    harness.clock.run_soon()
    return harness.new_messages(connection)


def test_all_clients_are_told_once_and_classic_ones_see_nothing(harness: NodeHarness) -> None:
    ada, bob = harness.enter("userId=ada"), harness.enter("userId=bob&watch=none")
    classic = harness.connect("carl")
    harness.new_messages(ada)
    harness.new_messages(classic)
    doubt(harness, 5)
    assert harness.new_messages(ada) == harness.new_messages(bob) == [STALE]
    harness.clock.advance(20)
    assert harness.new_messages(ada) == harness.new_messages(bob) == []
    doubt(harness, 0)
    assert harness.new_messages(ada) == harness.new_messages(bob) == [LIVE]
    assert harness.new_messages(classic) == []


def test_what_was_published_before_comes_before(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    bob = harness.open("userId=bob")
    harness.new_messages(ada)
    harness.node.received(bob, '{"type":"SET_STATUS","status":"busy"}')
    doubt(harness, 5)
    assert types(harness.new_messages(ada)) == ["PRESENCE_CHANGES", "CERTAINTY"]


def test_a_client_that_connects_meanwhile_learns_it_from_the_first_message(harness: NodeHarness) -> None:
    doubt(harness, 5)
    ada = harness.open("userId=ada")
    messages = harness.new_messages(ada)
    assert messages[0]["staleSince"] == 5
    assert "CERTAINTY" not in types(messages)
    doubt(harness, 0)
    assert harness.new_messages(ada) == [LIVE]
    assert "staleSince" not in harness.open("userId=bob").messages[0]


def test_a_session_that_resumes_later_learns_it_from_the_first_message(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    session, last = ada.messages[0]["sessionId"], position(ada)
    harness.end(ada, Ending.LOST)
    doubt(harness, 5)
    again = harness.open(f"userId=ada&session={session}&position={last}")
    messages = harness.new_messages(again)
    assert (messages[0]["resumed"], messages[0]["staleSince"]) == (True, 5)
    assert "CERTAINTY" not in types(messages)
    last = position(again)
    harness.end(again, Ending.LOST)
    doubt(harness, 0)
    [first, *rest] = harness.new_messages(harness.open(f"userId=ada&session={session}&position={last}"))
    assert first["resumed"]
    assert "staleSince" not in first
    assert "CERTAINTY" not in types(rest)


def test_a_slow_client_is_told_the_newest_certainty_only(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    harness.new_messages(ada)
    fill(harness, ada)
    for since in (5, 0, 7, 0, 5):
        doubt(harness, since)
    assert [m for m in drain(harness, ada) if m["type"] == "CERTAINTY"] == [STALE]
    fill(harness, ada)
    for since in (0, 7):
        doubt(harness, since)
    assert [m for m in drain(harness, ada) if m["type"] == "CERTAINTY"] == [{**STALE, "since": 7}]
    fill(harness, ada)
    doubt(harness, 0)
    assert [m for m in drain(harness, ada) if m["type"] == "CERTAINTY"] == [LIVE]


def test_a_client_whose_transport_is_full_with_the_message_is_not_told_again(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    harness.new_messages(ada)
    ada.full_after, ada.on_full = 1, lambda: harness.node.paused(ada)
    doubt(harness, 5)
    assert harness.new_messages(ada) == [STALE]
    harness.enter("userId=bob")
    assert "CERTAINTY" not in types(drain(harness, ada))


def test_nothing_marked_follows_the_message_that_ends_all_marks() -> None:
    """A client receives a snapshot page by page. The certainty changes in between."""
    harness = NodeHarness(parts=PARTS, snapshot_page=1)
    for user in ("bob", "carl", "dora"):
        harness.connect(user)
    set_elsewhere(harness, "bob", "carl", "dora")
    doubt(harness, 5)
    quick = harness.enter("userId=quick&watch=none")
    slow = harness.connection()
    slow.full_after, slow.on_full = 4, lambda: harness.node.paused(slow)
    harness.node.opened(slow, request("userId=slow", "presenced.v1"))
    assert slow.paused
    harness.send(quick, "WATCH", everyone=True)
    doubt(harness, 0)
    messages = harness.all_new_messages(slow) + drain(harness, slow)
    assert LIVE in messages
    after = messages[messages.index(LIVE) :]
    assert not any(marks(after).values())


def test_marks_end_for_a_slow_client_that_never_heard_of_the_loss() -> None:
    harness = NodeHarness(parts=PARTS, snapshot_page=1)
    for user in ("bob", "carl", "dora"):
        harness.connect(user)
    set_elsewhere(harness, "bob", "carl", "dora")
    slow = harness.connection()
    slow.full_after, slow.on_full = 3, lambda: harness.node.paused(slow)
    harness.node.opened(slow, request("userId=slow", "presenced.v1"))
    harness.clock.run_soon()
    doubt(harness, 5)
    slow.paused, slow.full_after = False, 1
    harness.node.resumed(slow)  # one more page
    assert slow.paused
    doubt(harness, 0)
    messages = harness.all_new_messages(slow) + drain(harness, slow)
    assert True in marks(messages).values()
    assert [m for m in messages if m["type"] == "CERTAINTY"] == [LIVE]


def test_the_stored_snapshot_of_everyone_is_not_sent_with_other_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.protocols.v1.snapshots.SMALL_USERS", 0)
    harness = NodeHarness(parts=PARTS)
    for number in range(30):
        harness.connect(f"u{number}")
    set_elsewhere(harness, "u7")
    assert not any(marks(harness.new_messages(harness.open("userId=ada"))).values())
    doubt(harness, 5)
    assert marks(harness.new_messages(harness.open("userId=bob")))["u7"]
    doubt(harness, 0)
    assert not any(marks(harness.new_messages(harness.open("userId=carl"))).values())


def test_records_are_marked_by_the_certainty_at_the_moment(harness: NodeHarness) -> None:
    """The cache of encoded records serves neither a mark that has ended, nor a record that should have one."""
    ada, bob = harness.enter("userId=ada&watch=none"), harness.enter("userId=bob")
    harness.send(bob, "JOIN", room="lobby")
    set_elsewhere(harness, "bob")

    def asked() -> list[bool]:
        users = harness.send(ada, "WATCH", users=["bob"])
        room = harness.send(ada, "WATCH", rooms=["lobby"])
        harness.send(ada, "UNWATCH", users=["bob"], rooms=["lobby"])
        return [marks(users)["bob"], marks(room)["bob"]]

    assert asked() == [False, False]
    doubt(harness, 5)
    assert asked() == [True, True]
    set_elsewhere(harness)
    assert asked() == [False, False]
    set_elsewhere(harness, "bob")
    assert asked() == [True, True]
    doubt(harness, 0)
    assert asked() == [False, False]


def test_invisible_hidden_and_unknown_users_look_the_same() -> None:
    harness = GrantsHarness("everyone", parts=PARTS)
    ada = harness.come("ada", "watch=none", block=["eve"])
    harness.come("eve")
    harness.come("dora", "status=invisible")
    doubt(harness, 5)
    harness.new_messages(ada)
    snapshot = harness.send(ada, "WATCH", users=["eve", "dora", "nobody"])
    users = [user for message in snapshot for user in message.get("users", [])]
    assert {user["certainty"] for user in users} == {"stale"}
    assert len({(user["status"], user["since"], user["version"]) for user in users}) == 1
    assert len(users) == 3


def test_a_newer_token_of_a_slow_client_does_not_swallow_the_message() -> None:
    harness = GrantsHarness("everyone", parts=PARTS)
    ada = harness.come("ada")
    harness.new_messages(ada)
    fill(harness, ada)
    doubt(harness, 5)
    ada.write_when_paused = True
    harness.node.received(ada, f'{{"type":"AUTH","token":{_json(token("ada", block=["eve"]))}}}')
    ada.write_when_paused = False
    assert STALE in drain(harness, ada)


def _json(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


def test_what_changes_meanwhile_is_marked_only_if_it_may_be_old(harness: NodeHarness) -> None:
    ada, bob = harness.enter("userId=ada"), harness.enter("userId=bob")
    doubt(harness, 5)
    harness.new_messages(ada)
    harness.send(bob, "SET_STATUS", status="busy")
    messages = harness.new_messages(ada)
    assert (statuses(messages), marks(messages)) == ([("bob", "busy")], {"bob": False})
    harness.end(bob)
    messages = harness.new_messages(ada)
    assert (statuses(messages), marks(messages)) == ([("bob", "offline")], {"bob": True})
