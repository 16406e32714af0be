"""Queries and commands of the program that contains a server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.grants_harness import GrantsHarness
from tests.support.memory_api import WEBHOOKS, FakeStorage
from tests.support.python_api import Embedded

from presenced import (
    BadClaim,
    BadParameter,
    BadUserId,
    CapacityError,
    Cause,
    ConfigError,
    Counts,
    Erasure,
    Page,
    Presence,
    Status,
    StorageUnavailable,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Embedded:
    return Embedded()


def now(server: Embedded) -> datetime:
    return datetime.fromtimestamp(server.clock.now().epoch_ms / 1000, UTC)


def test_a_result_has_python_types(server: Embedded) -> None:
    server.clients.open("userId=7&device=phone")
    found = server.set_status(7, "busy", text="lunch", emoji="🥗", data={"room": [1]}, expires_in=60)
    assert found == server.presence("7")
    assert found == Presence(
        user_id=7,
        status=Status.BUSY,
        since=now(server),
        version=2,
        last_seen=None,
        text="lunch",
        emoji="🥗",
        data={"room": [1]},
        until=now(server) + timedelta(seconds=60),
        devices=("phone",),
        display=None,
        cause=Cause.CHOICE,
    )
    assert found.is_online


def test_a_user_without_known_presence_is_offline(server: Embedded) -> None:
    found = server.presence("nobody")
    assert (found.status, found.since, found.last_seen, found.cause) == (Status.OFFLINE, None, None, None)
    assert not found.is_online


def test_presences_are_in_the_order_of_the_ids(server: Embedded) -> None:
    server.announce("ada")
    assert [(one.user_id, one.is_online) for one in server.presences([7, "ada", "bo"])] == [
        (7, False),
        ("ada", True),
        ("bo", False),
    ]
    assert server.presences([]) == []
    with pytest.raises(TypeError, match="pass a list"):
        server.presences("ada")


def test_a_viewer_restricts_results() -> None:
    clients = GrantsHarness("rooms")
    server = Embedded(clients)
    for user_id in ("ada", "bo", "eve"):
        clients.send(clients.come(user_id), "JOIN", room="cellar" if user_id == "eve" else "lobby")
    assert [user.status for user in server.presences(["bo", "eve"], viewer="ada")] == ["online", "offline"]
    assert server.presence("eve", viewer="ada").since is None
    assert [user.user_id for user in server.online(viewer="ada").items] == ["ada", "bo"]
    assert server.explain("eve", viewer="ada").viewer
    assert server.room("lobby", viewer="ada").count == 2


async def test_counts_are_of_everyone_or_of_what_a_viewer_sees() -> None:
    clients = GrantsHarness("rooms")
    server = Embedded(clients)
    clients.send(clients.come("ada"), "JOIN", room="lobby")
    server.announce("bo")
    assert server.counts() == Counts(online_users=2, connected_users=1, connections=1, rooms=1)
    assert (await server.count_online(), await server.count_online(viewer="ada")) == (2, 1)


def test_pages_continue_where_the_previous_one_ended(server: Embedded) -> None:
    for number in range(5):
        server.announce(f"user{number}")
    seen = []
    page: Page[Presence] = server.online(limit=2)
    while True:
        seen += [user.user_id for user in page.items]
        if page.next is None:
            break
        page = server.online(limit=2, after=page.next)
    assert seen == [f"user{number}" for number in range(5)]


def test_rooms_and_their_members_come_in_pages(server: Embedded) -> None:
    for room in ("lobby", "bar", "attic"):
        for user_id in ("ada", "bo"):
            server.clients.send(server.clients.open(f"userId={user_id}"), "JOIN", room=room, data={"seat": room})
    first = server.rooms(limit=2)
    assert [(room.name, room.mode, room.count) for room in first.items] == [("lobby", "full", 2), ("bar", "full", 2)]
    assert [room.name for room in server.rooms(limit=2, after=first.next).items] == ["attic"]
    page = server.room("bar", limit=1)
    [member] = page.members
    assert (member.user_id, member.data, member.joined_at, member.presence.is_online) == (
        "ada",
        {"seat": "bar"},
        now(server),
        True,
    )
    assert [member.user_id for member in server.room("bar", after=page.next).members] == ["bo"]
    assert server.room("nowhere").members == []


def test_sessions_of_one_user_and_of_all(server: Embedded) -> None:
    server.clients.open("userId=7&device=phone")
    server.clients.connect("7")
    hidden = server.clients.open("userId=eve")
    server.clients.send(hidden, "SET_STATUS", status="invisible")
    assert [(one.protocol, one.device, one.connected) for one in server.sessions(7)] == [
        ("presenced.v1", "phone", True),
        ("classic", "", True),
    ]
    first = server.all_sessions(limit=1)
    assert [one.user_id for one in first.items] == [7, 7], "the sessions of one user are not divided"
    assert [one.user_id for one in server.all_sessions(after=first.next).items] == ["eve"]
    assert server.sessions("nobody") == []


def test_a_status_is_set_and_cleared(server: Embedded) -> None:
    server.announce("ada")
    assert server.set_status("ada", Status.AWAY).status is Status.AWAY
    assert server.set_status("ada", "auto", text="hello").status is Status.ONLINE
    assert server.clear_status("ada").text == ""


def test_claims_are_set_listed_and_cleared(server: Embedded) -> None:
    server.announce("ada")
    assert server.set_claim("ada", "calendar", "busy", text="meeting", priority=3, expires_in=60).text == "meeting"
    [claim] = server.claims("ada")
    assert (claim.source, claim.status, claim.priority, claim.until) == (
        "calendar",
        Status.BUSY,
        3,
        now(server) + timedelta(seconds=60),
    )
    assert server.clear_claim("ada", "calendar") is True
    assert server.clear_claim("ada", "calendar") is False
    assert server.claims("ada") == []


async def test_an_announced_user_is_disconnected_and_erased(server: Embedded) -> None:
    socket = server.clients.connect("ada")
    assert server.announce("ada") is False
    assert server.disconnect("ada") == 1
    assert socket.closed_with
    assert server.presence("ada").is_online, "still announced"
    assert server.announce("ada", False) is True
    server.set_status("ada", "busy")
    assert await server.erase("ada") == Erasure(closed=0, stored=0)
    assert server.explain("ada").chosen.status is None


def test_an_explanation_has_the_truth_and_the_changes(server: Embedded) -> None:
    server.clients.send(server.clients.open("userId=ada&device=phone"), "SET_STATUS", status="invisible", text="shh")
    server.set_claim("ada", "calendar", "busy", expires_in=60)
    found = server.explain("ada", viewer="bo")
    assert (found.shown.status, found.own.status, found.own.text) == (Status.OFFLINE, Status.INVISIBLE, "shh")
    assert found.chosen.status is Status.INVISIBLE
    assert (found.timed, found.winner, found.announced) == (None, "", False)
    assert [(one.what, one.source, one.seconds) for one in found.pending] == [("claim", "calendar", 60)]
    assert [claim.source for claim in found.claims] == ["calendar"]
    assert [(one.device, one.active) for one in found.sessions] == [("phone", True)]
    assert found.viewer
    assert (found.viewer.user_id, found.viewer.may_see) == ("bo", True)
    assert [(one.status, one.cause) for one in found.changes] == [("offline", "choice"), ("online", "connect")]
    assert found.changes[0].position == server.position
    assert "ada" in found.why


def test_tickets_and_revocations_need_authentication(server: Embedded) -> None:
    with pytest.raises(ConfigError, match="auth is none"):
        server.issue_ticket("ada")
    with pytest.raises(ConfigError, match="auth is none"):
        server.revoke("ada")


def test_a_ticket_is_refused_with_the_reason() -> None:
    server = Embedded(GrantsHarness("claims"))
    assert server.issue_ticket(7, lasts=60, presence={"watch": [9]}).startswith("ticket_")
    with pytest.raises(BadParameter, match="presence: unknown field wacth"):
        server.issue_ticket("ada", presence={"wacth": []})
    with pytest.raises(BadParameter, match="lasts must be above 0"):
        server.issue_ticket("ada", lasts=10**9)
    with pytest.raises(BadParameter, match="a session or a token"):
        server.revoke("ada", session_id="x", token_id="y")
    assert server.revoke("ada", session_id="x") == 0


async def test_stored_data_needs_a_database(server: Embedded) -> None:
    for call in (server.last_seen("ada"), server.history("ada"), server.past_sessions("ada")):
        with pytest.raises(ConfigError, match="set database"):
            await call
    for other in (server.dead_letters(), server.retry_dead_letters()):
        with pytest.raises(ConfigError, match="webhook_urls"):
            await other


async def test_stored_data_is_returned_in_python_types() -> None:
    storage = FakeStorage()
    server = Embedded(storage=storage, **WEBHOOKS)
    server.announce("ada")
    seven, ada, bo = await server.last_seen_of([7, "ada", "bo"])
    assert (seven.last_seen, seven.last_active) == (
        datetime(1970, 1, 1, 0, 0, 0, 500_000, UTC),
        datetime(1970, 1, 1, 0, 0, 0, 400_000, UTC),
    )
    assert (ada.status, ada.last_seen) == (Status.ONLINE, now(server))
    assert (bo.status, bo.last_seen, bo.last_active) == (Status.OFFLINE, None, None)
    assert (await server.last_seen(7)).last_seen == seven.last_seen
    assert await server.history(7, limit=5, after="9") == Page(items=[], next=None)
    assert await server.past_sessions(7) == Page(items=[], next=None)
    assert await server.dead_letters() == Page(items=[], next=None)
    assert (await server.retry_dead_letters(), await server.retry_dead_letters([])) == (3, 3)
    assert await server.erase("ada") == Erasure(closed=0, stored=12)
    assert storage.asked[2:] == [("7", "9", 5), ("7", "", 100), ("", 100), (None,), ([],), ("ada",)]


async def test_an_erased_user_has_no_time_last_seen() -> None:
    server = Embedded(storage=FakeStorage(), **WEBHOOKS)
    server.clients.connect("bo")
    assert await server.erase("bo") == Erasure(closed=1, stored=12)
    erased = await server.last_seen("bo")
    assert (erased.status, erased.last_seen, erased.last_active) == (Status.OFFLINE, None, None)
    assert server.presence("bo").last_seen is None, "not even the time of the erasure"


async def test_an_unavailable_database_is_an_exception() -> None:
    server = Embedded(storage=FakeStorage(is_down=True), **WEBHOOKS)
    with pytest.raises(StorageUnavailable):
        await server.last_seen("ada")
    server.announce("ada")
    with pytest.raises(StorageUnavailable):
        await server.erase("ada")
    assert not server.presence("ada").is_online, "everything else is done"


REFUSED: list[tuple[type[Exception], str, Callable[[Any], Any]]] = [
    (BadUserId, "userId is empty; an id has", lambda server: server.presence("")),
    (BadUserId, "userId must be a string or a whole number", lambda server: server.presence(1.5)),
    (BadUserId, "userId must not contain|which ids must not", lambda server: server.announce("a\nb")),
    (BadUserId, "is a variable not set", lambda server: server.set_status("undefined", "busy")),
    (BadUserId, "viewer is empty; an id has", lambda server: server.online(viewer="")),
    (BadParameter, "at status; allowed values: auto", lambda server: server.set_status("ada", "offline")),
    (BadParameter, "length <= 140 - at text", lambda server: server.set_status("ada", "busy", text="x" * 141)),
    (BadParameter, "text must not contain", lambda server: server.set_status("ada", "busy", text="a\nb")),
    (BadParameter, "length <= 32 - at emoji", lambda server: server.set_claim("ada", "x", "busy", emoji="x" * 33)),
    (BadParameter, "2048 are allowed", lambda server: server.set_status("ada", "busy", data="x" * 2047)),
    (BadParameter, "data can't be sent as JSON", lambda server: server.set_status("ada", "busy", data=object())),
    (BadParameter, "data can't be sent as JSON", lambda server: server.set_status("ada", "busy", data="\ud800")),
    (BadParameter, "> 0.0 - at expires_in", lambda server: server.set_status("ada", "busy", expires_in=0)),
    (BadParameter, "<= 100 - at priority", lambda server: server.set_claim("ada", "x", "busy", priority=101)),
    (BadParameter, "at status; allowed values:", lambda server: server.set_claim("ada", "x", "invisible")),
    (BadClaim, "a source has 1 to 64", lambda server: server.set_claim("ada", "", "busy")),
    (BadParameter, "the name of a room has 1 to 128", lambda server: server.room("")),
    (BadParameter, "must not contain", lambda server: server.room("a\nb")),
    (BadParameter, "at limit", lambda server: server.online(limit=1001)),
    (BadParameter, "at after", lambda server: server.rooms(after="lobby")),
    (BadParameter, "not a cursor", lambda server: server.changes(after="x")),
]


@pytest.mark.parametrize(("error", "text", "call"), REFUSED, ids=[f"{e.__name__}: {t}" for e, t, _ in REFUSED])
def test_an_invalid_argument_is_refused_by_its_name(
    error: type[Exception], text: str, call: Callable[[Any], Any], server: Embedded
) -> None:
    with pytest.raises(error, match=text) as refused:
        call(server)
    assert isinstance(refused.value, ValueError)


def test_a_bound_is_an_exception_and_changes_nothing() -> None:
    server = Embedded(max_announced=1)
    server.announce("ada")
    with pytest.raises(CapacityError):
        server.announce("bo")
    assert server.counts().online_users == 1


def test_placeholders_may_be_removed_but_not_set(server: Embedded) -> None:
    """Data of an earlier version, or of another setting, can be removed."""
    assert server.disconnect("undefined") == 0
    assert server.clear_claim("undefined", "calendar") is False
    server.clear_status("undefined")
    with pytest.raises(BadUserId):
        server.announce("undefined")
