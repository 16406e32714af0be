"""Statuses of presenced.v1: expiry, reconnecting to another server, and causes."""

import pytest
from tests.support.node_harness import NodeHarness, statuses

from presenced.node.service import PresenceService
from presenced.presence.model import Ending, Status, StatusDetails
from presenced.presence.status import Claim


@pytest.fixture
def harness() -> NodeHarness:
    return NodeHarness()


def test_a_temporary_status_in_the_url_expires_on_the_new_server(harness: NodeHarness) -> None:
    """The client sends the choice that SELF contained. Without its expiry the status would be permanent."""
    bob = harness.enter("userId=bob")
    until = harness.clock.now().epoch_ms + 60_000
    ada = harness.open(f"userId=ada&status=invisible&until={until}")
    own = harness.new_messages(ada)[1]
    assert (own["status"], own["chosen"], own["until"]) == ("invisible", "invisible", until)
    harness.clock.advance(59)
    assert harness.new_messages(bob) == [], "not for a moment"
    harness.clock.advance(1.1)
    assert statuses(harness.new_messages(bob)) == [("ada", "online")]
    assert harness.new_messages(ada)[0]["chosen"] == "auto"


def test_text_and_emoji_in_the_url_are_shown_on_the_new_server(harness: NodeHarness) -> None:
    bob = harness.enter("userId=bob")
    ada = harness.open("userId=ada&status=busy&text=in%20a%20meeting&emoji=%E2%98%95")
    own = harness.new_messages(ada)[1]
    assert (own["status"], own["text"], own["emoji"]) == ("busy", "in a meeting", "☕")
    [user] = harness.new_messages(bob)[0]["users"]
    assert (user["status"], user["text"], user["emoji"]) == ("busy", "in a meeting", "☕")


def test_self_distinguishes_a_claim_from_a_choice_and_has_the_overridden_choice(harness: NodeHarness) -> None:
    """Otherwise a client would send the calendar's text as its user's own to the next server."""
    ada = harness.enter("userId=ada")
    harness.send(ada, "SET_STATUS", status="away", text="lunch", emoji="🍕", expiresIn=600)
    until = harness.clock.now().epoch_ms + 600_000
    application = PresenceService(harness.node)
    application.set_claim("ada", Claim("calendar", Status.BUSY, StatusDetails("stand-up"), priority=1), None)
    own = harness.new_messages(ada)[-1]
    assert (own["status"], own["chosen"], own["text"], own["claimed"]) == ("busy", "away", "stand-up", True)
    assert own["choice"] == {"text": "lunch", "emoji": "🍕", "until": until}
    harness.clock.advance(1)
    harness.send(ada, "SET_STATUS", status="auto")
    harness.clock.advance(1)
    own = next(m for m in reversed(ada.messages) if m["type"] == "SELF")
    assert (own["status"], own["chosen"], own["claimed"], "choice" in own) == ("busy", "auto", True, False)
    application.clear_claim("ada", "calendar")
    own = next(m for m in reversed(ada.messages) if m["type"] == "SELF")
    assert (own["status"], own["chosen"], "claimed" in own) == ("online", "auto", False)


def test_self_is_sent_when_only_the_overridden_text_changes(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada")
    PresenceService(harness.node).set_claim("ada", Claim("call", Status.BUSY, priority=1), None)
    harness.send(ada, "SET_STATUS", status="away", text="one")
    harness.clock.advance(1)
    harness.new_messages(ada)
    harness.send(ada, "SET_STATUS", status="away", text="two")
    harness.clock.advance(1)
    own = next(m for m in reversed(ada.messages) if m["type"] == "SELF")
    assert own["choice"] == {"text": "two"}


def test_an_expired_status_in_the_url_is_ignored(harness: NodeHarness) -> None:
    late = harness.open(f"userId=ada&status=busy&until={harness.clock.now().epoch_ms - 1}")
    assert harness.new_messages(late)[1]["chosen"] == "auto"


def test_a_remembered_temporary_status_overrides_the_one_in_the_url() -> None:
    """This also holds after the log has evicted the user."""
    harness = NodeHarness(log_age=5)
    ada = harness.enter("userId=ada")
    harness.send(ada, "SET_STATUS", status="away", expiresIn=100)
    harness.end(ada, Ending.CLOSED)
    harness.clock.advance(60)
    ada = harness.open("userId=ada&status=busy")
    assert harness.new_messages(ada)[1]["chosen"] == "away"
    harness.clock.advance(41)
    assert harness.new_messages(ada)[0]["chosen"] == "auto"


def test_own_devices_receive_causes_that_others_do_not(harness: NodeHarness) -> None:
    bob, ada = harness.enter("userId=bob"), harness.enter("userId=ada")
    harness.new_messages(bob)

    def why() -> list[str]:
        assert not any("cause" in user for m in harness.new_messages(bob) for user in m["users"])
        return [m["cause"] for m in harness.new_messages(ada) if m["type"] == "SELF"]

    harness.node.received(ada, '{"type":"SET_STATUS","status":"busy","expiresIn":5}')
    harness.clock.advance(0)
    assert why() == ["choice"]
    harness.clock.advance(6)
    assert why() == ["expiry"]
    harness.node.received(ada, '{"type":"ACTIVITY","state":"idle"}')
    assert why() == ["idle"]
    phone = harness.enter("userId=ada&device=phone")
    assert why() == ["connect"]
    harness.end(phone, Ending.GOING_AWAY)
    assert why() == []
    harness.clock.advance(4)
    assert why() == ["grace"]


def test_a_client_that_sends_no_request_for_hours_stays_online(harness: NodeHarness) -> None:
    bob, ada = harness.enter("userId=bob"), harness.enter("userId=ada")
    harness.new_messages(bob)
    for _ in range(3 * 360):
        harness.clock.advance(10)
        for connection in (ada, bob):
            connection.heard_at = harness.clock.monotonic()  # the client answers pings
    assert harness.new_messages(bob) == []
    assert str(harness.node.directory.users.status("ada")) == "online"


def test_every_change_has_its_cause_with_show_causes() -> None:
    harness = NodeHarness(show_causes=True, grace_lost=0)
    bob = harness.enter("userId=bob")

    def why() -> list[tuple[str, str]]:
        harness.clock.advance(0)
        return [(user["status"], user["cause"]) for m in harness.new_messages(bob) for user in m["users"]]

    ada = harness.enter("userId=ada")
    assert why() == [("online", "connect")]
    harness.node.received(ada, '{"type":"ACTIVITY","state":"idle"}')
    assert why() == [("away", "idle")]
    harness.clock.advance(1)
    harness.node.received(ada, '{"type":"SET_STATUS","status":"busy","expiresIn":1}')
    assert why() == [("busy", "choice")]
    harness.clock.advance(2)
    assert why() == [("away", "expiry")]
    harness.end(ada, Ending.GOING_AWAY)
    harness.clock.advance(4)
    assert why() == [("offline", "grace")]
    for ending, cause in ((Ending.CLOSED, "close"), (Ending.TIMED_OUT, "timeout")):
        harness.end(harness.enter("userId=ada"), ending)
        assert why()[-1] == ("offline", cause)
    harness.enter("userId=ada")
    PresenceService(harness.node).disconnect("ada")
    assert why()[-1] == ("offline", "kick")
    PresenceService(harness.node).announce("ada", True)
    PresenceService(harness.node).announce("ada", False)
    assert why()[-1] == ("offline", "announcement")
