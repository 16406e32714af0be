"""Statuses of presenced.v1 that end, come back with their user, and are explained."""

import pytest
from tests.support.talk import Talk, statuses

from presenced.node.service import PresenceService
from presenced.presence.model import Custom, Ending, Status
from presenced.presence.status import Claim


@pytest.fixture
def talk() -> Talk:
    return Talk()


def test_a_status_with_an_end_that_is_named_to_another_server_ends_there_too(talk: Talk) -> None:
    """The client names what SELF had: without the end it would be for ever."""
    bob = talk.enter("userId=bob")
    until = talk.clock.now().epoch_ms + 60_000
    ada = talk.open(f"userId=ada&status=invisible&until={until}")
    own = talk.heard(ada)[1]
    assert (own["status"], own["chosen"], own["until"]) == ("invisible", "invisible", until)
    talk.clock.advance(59)
    assert talk.heard(bob) == [], "not for a moment"
    talk.clock.advance(1.1)
    assert statuses(talk.heard(bob)) == [("ada", "online")]
    assert talk.heard(ada)[0]["chosen"] == "auto"


def test_text_and_emoji_that_are_named_to_another_server_are_shown_there_too(talk: Talk) -> None:
    bob = talk.enter("userId=bob")
    ada = talk.open("userId=ada&status=busy&text=in%20a%20meeting&emoji=%E2%98%95")
    own = talk.heard(ada)[1]
    assert (own["status"], own["text"], own["emoji"]) == ("busy", "in a meeting", "☕")
    [user] = talk.heard(bob)[0]["users"]
    assert (user["status"], user["text"], user["emoji"]) == ("busy", "in a meeting", "☕")


def test_self_distinguishes_a_claim_from_a_choice_and_has_the_overridden_choice(talk: Talk) -> None:
    """Otherwise a client would send the calendar's text as its user's own to the next server."""
    ada = talk.enter("userId=ada")
    talk.say(ada, "SET_STATUS", status="away", text="lunch", emoji="🍕", expiresIn=600)
    until = talk.clock.now().epoch_ms + 600_000
    application = PresenceService(talk.node)
    application.set_claim("ada", Claim("calendar", Status.BUSY, Custom("stand-up"), priority=1), None)
    own = talk.heard(ada)[-1]
    assert (own["status"], own["chosen"], own["text"], own["claimed"]) == ("busy", "away", "stand-up", True)
    assert own["choice"] == {"text": "lunch", "emoji": "🍕", "until": until}
    talk.clock.advance(1)
    talk.say(ada, "SET_STATUS", status="auto")
    talk.clock.advance(1)
    own = next(m for m in reversed(ada.messages) if m["type"] == "SELF")
    assert (own["status"], own["chosen"], own["claimed"], "choice" in own) == ("busy", "auto", True, False)
    application.clear_claim("ada", "calendar")
    own = next(m for m in reversed(ada.messages) if m["type"] == "SELF")
    assert (own["status"], own["chosen"], "claimed" in own) == ("online", "auto", False)


def test_self_is_sent_when_only_the_overridden_text_changes(talk: Talk) -> None:
    ada = talk.enter("userId=ada")
    PresenceService(talk.node).set_claim("ada", Claim("call", Status.BUSY, priority=1), None)
    talk.say(ada, "SET_STATUS", status="away", text="one")
    talk.clock.advance(1)
    talk.heard(ada)
    talk.say(ada, "SET_STATUS", status="away", text="two")
    talk.clock.advance(1)
    own = next(m for m in reversed(ada.messages) if m["type"] == "SELF")
    assert own["choice"] == {"text": "two"}


def test_a_status_that_has_ended_meanwhile_does_not_count(talk: Talk) -> None:
    late = talk.open(f"userId=ada&status=busy&until={talk.clock.now().epoch_ms - 1}")
    assert talk.heard(late)[1]["chosen"] == "auto"


def test_a_server_that_remembers_a_status_with_an_end_knows_better() -> None:
    """Also when the user left the log long ago."""
    talk = Talk(log_age=5)
    ada = talk.enter("userId=ada")
    talk.say(ada, "SET_STATUS", status="away", expiresIn=100)
    talk.end(ada, Ending.CLOSED)
    talk.clock.advance(60)
    ada = talk.open("userId=ada&status=busy")
    assert talk.heard(ada)[1]["chosen"] == "away"
    talk.clock.advance(41)
    assert talk.heard(ada)[0]["chosen"] == "auto"


def test_own_devices_are_told_why_also_where_others_are_not(talk: Talk) -> None:
    bob, ada = talk.enter("userId=bob"), talk.enter("userId=ada")
    talk.heard(bob)

    def why() -> list[str]:
        assert not any("cause" in user for m in talk.heard(bob) for user in m["users"])
        return [m["cause"] for m in talk.heard(ada) if m["type"] == "SELF"]

    talk.node.received(ada, '{"type":"SET_STATUS","status":"busy","expiresIn":5}')
    talk.clock.advance(0)
    assert why() == ["choice"]
    talk.clock.advance(6)
    assert why() == ["expiry"]
    talk.node.received(ada, '{"type":"ACTIVITY","state":"idle"}')
    assert why() == ["idle"]
    phone = talk.enter("userId=ada&device=phone")
    assert why() == ["connect"]
    talk.end(phone, Ending.GOING_AWAY)
    assert why() == []
    talk.clock.advance(4)
    assert why() == ["grace"]


def test_a_client_that_says_nothing_for_hours_is_not_called_away(talk: Talk) -> None:
    bob, ada = talk.enter("userId=bob"), talk.enter("userId=ada")
    talk.heard(bob)
    for _ in range(3 * 360):
        talk.clock.advance(10)
        for connection in (ada, bob):
            connection.heard_at = talk.clock.monotonic()  # it answers pings
    assert talk.heard(bob) == []
    assert str(talk.node.directory.users.status("ada")) == "online"


def test_every_change_has_its_cause_where_the_server_tells() -> None:
    talk = Talk(show_causes=True, grace_lost=0)
    bob = talk.enter("userId=bob")

    def why() -> list[tuple[str, str]]:
        talk.clock.advance(0)
        return [(user["status"], user["cause"]) for m in talk.heard(bob) for user in m["users"]]

    ada = talk.enter("userId=ada")
    assert why() == [("online", "connect")]
    talk.node.received(ada, '{"type":"ACTIVITY","state":"idle"}')
    assert why() == [("away", "idle")]
    talk.clock.advance(1)
    talk.node.received(ada, '{"type":"SET_STATUS","status":"busy","expiresIn":1}')
    assert why() == [("busy", "choice")]
    talk.clock.advance(2)
    assert why() == [("away", "expiry")]
    talk.end(ada, Ending.GOING_AWAY)
    talk.clock.advance(4)
    assert why() == [("offline", "grace")]
    for ending, cause in ((Ending.CLOSED, "close"), (Ending.TIMED_OUT, "timeout")):
        talk.end(talk.enter("userId=ada"), ending)
        assert why()[-1] == ("offline", cause)
    talk.enter("userId=ada")
    PresenceService(talk.node).disconnect("ada")
    assert why()[-1] == ("offline", "kick")
    PresenceService(talk.node).announce("ada", True)
    PresenceService(talk.node).announce("ada", False)
    assert why()[-1] == ("offline", "announcement")
