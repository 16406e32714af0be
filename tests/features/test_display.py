"""Display data of users: the newest token provides it, only viewers of the user see it, and it is never code."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import json
from tests.support.fakes import FakeConnection
from tests.support.grants_harness import GrantsHarness, token
from tests.support.node_harness import position, statuses

from presenced.auth.callbacks import merge_grants
from presenced.auth.grants import MAX_ROLE_CHARACTERS, MAX_ROLES, with_grants
from presenced.auth.principal import Principal
from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import NO_DISPLAY, SEEN_ONLINE, Cause, Display, Ending
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.protocols.v1 import codec as v1
from presenced.protocols.v1.messages import MAX_DISPLAY_BYTES
from presenced.runtime.instant import Instant
from presenced.storage.write_behind import stored_user

ADA = {"name": "Ada"}


@pytest.fixture
def harness() -> GrantsHarness:
    return GrantsHarness("everyone")


def displays(messages: list[dict[str, Any]], user_id: str = "ada") -> list[Any]:
    """Return the display data that was shown of a user, in order. None means that there was none."""
    records = [user for message in messages for user in message.get("users", [])]
    records += [member["presence"] for message in messages for member in message.get("members", [])]
    return [record.get("display") for record in records if record["userId"] == user_id]


def own(connection: FakeConnection) -> Any:
    return [m.get("display") for m in connection.messages if m["type"] == "SELF"][-1]


def test_display_data_is_in_snapshots_changes_rooms_and_resumptions_and_in_self(harness: GrantsHarness) -> None:
    watcher = harness.come("watcher")
    ada = harness.come("ada", "watch=none", display=ADA)
    assert displays(harness.new_messages(watcher)) == [ADA]
    assert own(ada) == ADA
    assert displays(harness.new_messages(harness.come("late"))) == [ADA]
    harness.send(ada, "JOIN", room="lobby")
    assert displays(harness.send(watcher, "JOIN", room="lobby")) == [ADA]
    session, at = watcher.messages[0]["sessionId"], position(watcher)
    harness.end(watcher, Ending.LOST)
    harness.send(ada, "SET_STATUS", status="busy")
    back = harness.come("watcher", f"session={session}&position={at}")
    assert set(map(str, displays(harness.new_messages(back)))) == {str(ADA)}


def test_a_newer_token_with_other_display_data_causes_a_change(harness: GrantsHarness) -> None:
    watcher, ada = harness.come("watcher"), harness.come("ada", display=ADA)
    [before] = [user for m in harness.new_messages(watcher) for user in m.get("users", []) if user["userId"] == "ada"]
    harness.send(ada, "AUTH", token=token("ada", display={"name": "Ada L."}))
    [after] = [user for m in harness.new_messages(watcher) for user in m["users"]]
    assert (after["display"], after["status"]) == ({"name": "Ada L."}, "online")
    assert (after["since"], after["version"] > before["version"]) == (before["since"], True)
    [change, *_] = harness.node.directory.users.journal.last_of("ada", 1)
    assert change.cause is Cause.DISPLAY
    assert own(ada) == {"name": "Ada L."}


def test_equal_display_data_notifies_nobody(harness: GrantsHarness) -> None:
    watcher, ada = harness.come("watcher"), harness.come("ada", display=ADA)
    harness.new_messages(watcher), harness.new_messages(ada)
    told = harness.send(ada, "AUTH", token=token("ada", display=ADA), id=1)
    assert told == [{"type": "ACK", "id": 1}]
    assert harness.new_messages(watcher) == []


def test_a_token_without_display_data_erases_nothing_and_empty_data_does(harness: GrantsHarness) -> None:
    watcher, ada = harness.come("watcher"), harness.come("ada", display=ADA)
    harness.send(harness.come("ada", "device=phone"), "AUTH", token=token("ada", rooms=["lobby"]))
    assert displays(harness.new_messages(watcher)) == [ADA, ADA]
    harness.send(ada, "AUTH", token=token("ada", display={}))
    assert displays(harness.new_messages(watcher)) == [None]
    assert own(ada) is None


def test_a_connection_with_display_data_causes_one_change(harness: GrantsHarness) -> None:
    watcher = harness.come("watcher")
    harness.come("ada", "device=web")
    harness.new_messages(watcher)
    harness.come("ada", "device=phone", display=ADA)
    [change, before] = harness.node.directory.users.journal.last_of("ada", 5)
    assert (change.cause, change.view.devices, change.was_version) == (Cause.CONNECT, ("phone", "web"), before.version)
    assert displays(harness.new_messages(watcher)) == [ADA]


def test_classic_clients_provide_display_data_but_receive_none(harness: GrantsHarness) -> None:
    classic, watcher = harness.come("classic", classic=True), harness.come("watcher")
    ada = harness.come("ada", classic=True, display=ADA)
    harness.new_messages(watcher)
    harness.node.received(ada, json.encode({"type": "AUTH", "token": token("ada", display={"name": "A"})}).decode())
    harness.clock.run_soon()
    assert classic.about_others() == [("USER_ONLINE", "watcher"), ("USER_ONLINE", "ada")]
    assert displays(harness.new_messages(watcher)) == [{"name": "A"}]


def test_offline_and_invisible_users_show_no_display_data(harness: GrantsHarness) -> None:
    watcher, ada = harness.come("watcher"), harness.come("ada", display=ADA)
    harness.send(ada, "SET_STATUS", status="invisible")
    harness.new_messages(watcher)
    told = harness.send(ada, "AUTH", token=token("ada", display={"name": "Ada L."}))
    assert harness.new_messages(watcher) == [], "it would show that they are there"
    assert [m["display"] for m in told if m["type"] == "SELF"] == [{"name": "Ada L."}]
    assert displays(harness.send(watcher, "WATCH", users=["ada"])) == [None]
    harness.clock.advance(1)
    harness.send(ada, "SET_STATUS", status="auto")
    assert displays(harness.new_messages(watcher)) == [{"name": "Ada L."}]
    harness.end(ada, Ending.CLOSED)
    assert [record.get("display") for m in harness.new_messages(watcher) for record in m["users"]] == [None]


def test_display_data_is_hidden_with_its_user() -> None:
    harness = GrantsHarness("claims")
    ada, eve = harness.come("ada", watch=["bo"]), harness.come("eve", display={"name": "Eve"})
    harness.come("ada", watch=["bo"])
    harness.send(eve, "AUTH", token=token("eve", display={"name": "EVE"}))
    harness.send(ada, "WATCH", users=["eve"])
    blocking = GrantsHarness("everyone")
    bo = blocking.come("bo", block=["eve"])
    blocking.come("eve", display={"name": "Eve"})
    for connection in (ada, bo):
        assert b"name" not in b"".join(connection.writes)


def test_display_data_of_an_absent_user_is_remembered_and_erased_with_the_user(harness: GrantsHarness) -> None:
    watcher = harness.come("watcher")
    harness.end(harness.come("ada", display=ADA), Ending.CLOSED)
    harness.service.announce("ada", True)
    harness.clock.run_soon()
    assert displays(harness.new_messages(watcher)) == [ADA, None, ADA]
    harness.service.forget_display("ada")
    harness.clock.run_soon()
    assert displays(harness.new_messages(watcher)) == [None]


def directory(most: int = 2) -> Directory[str]:
    return Directory(Grace(0, 0), Limits(log_entries=2, log_age=1.0, max_announced=9, max_choices=most), Journal(1000))


NOW = Instant(0.0, 1_000_000_000)


def shown(users: Directory[str], user_id: str, display: Display | None = None) -> bytes:
    outcome = users.open(user_id, user_id, NOW, display=display)
    assert outcome.change
    users.close(user_id, user_id, Ending.CLOSED, NOW)
    return outcome.change.view.display


def test_display_data_of_the_users_evicted_last_is_remembered() -> None:
    users = directory()
    names = [f"u{number}" for number in range(9)]
    for name in names:
        shown(users, name, Display(name.encode(), 1.0))
    known = [name for name in names if name in users.users.displays or users.users.user(name)]
    assert known == names[-len(known) :]
    assert sum(name in users.users.displays for name in names) == 2
    assert shown(users, known[0]) == known[0].encode()
    assert shown(users, "u0") == b""
    users.erase_display("u8", NOW)
    assert shown(users, "u8") == b""


def test_an_older_token_does_not_restore_older_display_data() -> None:
    users = directory()
    assert shown(users, "ada", Display(b"{1}", 20.0)) == b"{1}"
    assert shown(users, "ada", Display(b"{2}", 10.0)) == b"{1}"
    assert shown(users, "ada", Display(b"{3}", 20.0)) == b"{3}"
    assert shown(users, "ada", Display(b"{4}")) == b"{4}", "one that does not say counts as made when it is shown"
    assert shown(users, "ada", Display(b"{5}", 2_000_000.0)) == b"{5}", "and one from the future, too"
    assert shown(users, "ada", Display(b"{6}", 1_000_000.0)) == b"{6}"
    assert shown(users, "ada", Display(b"", 1_000_000.0)) == b""
    assert shown(users, "ada", Display(b"{7}", 999_999.0)) == b"", "taken away is taken away"


def test_display_data_of_a_newer_token_takes_precedence_over_restored_data() -> None:
    users = directory()
    assert users.restore_display("ada", b"{0}", NOW).change is None
    assert shown(users, "ada") == b"{0}"
    users.open("bo", "bo", NOW)
    outcome = users.restore_display("bo", b"{0}", NOW)
    assert outcome.change
    assert (outcome.change.view.display, outcome.change.cause) == (b"{0}", Cause.DISPLAY)
    users.open("carl", "carl", NOW, display=Display(b"", 1.0))
    assert users.restore_display("carl", b"{0}", NOW).change is None
    assert shown(users, "ada", Display(b"{1}", 1.0)) == b"{1}"


def test_without_display_data_nothing_is_allocated(harness: GrantsHarness) -> None:
    harness.come("ada", classic=True), harness.come("bo")
    directory = harness.node.directory
    ada, bo = directory.users.user("ada"), directory.users.user("bo")
    assert ada
    assert bo
    assert ada.display is NO_DISPLAY
    assert bo.display is NO_DISPLAY
    assert ada.shown is SEEN_ONLINE, "one record for all"
    assert not any(name in directory.users.displays for name in ("ada", "bo"))


def test_display_data_is_stored_and_sent_to_backends(harness: GrantsHarness) -> None:
    harness.come("ada", display=ADA)
    user = harness.node.directory.users.user("ada")
    assert user
    assert user.last_change
    assert json.decode(stored_user(user, user.version).display) == json.decode(user.last_change.view.display) == ADA


DEEP: dict[str, Any] = {}
for _ in range(v1.MAX_NESTING_LEVELS + 1):
    DEEP = {"in": DEEP}


@pytest.mark.parametrize(
    "given",
    [
        {"display": "Ada"},
        {"display": ["Ada"]},
        {"display": 7},
        {"display": {"name": "x" * MAX_DISPLAY_BYTES}},
        {"display": {"name": "é" * (MAX_DISPLAY_BYTES // 2)}},
        {"display": DEEP},
        {"display": {"name": "\ud800"}},
        {"display": {"\udfff": 1}},
        {"roles": "causes"},
        {"roles": [1]},
        {"roles": [""]},
        {"roles": ["x" * (MAX_ROLE_CHARACTERS + 1)]},
        {"roles": ["x"] * (MAX_ROLES + 1)},
        {"roles": ["a\nb"]},
        {"roles": ["\ud800"]},
    ],
    ids=lambda given: str(given)[:40].encode("ascii", "backslashreplace").decode(),
)
def test_invalid_display_data_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"display|role|Expected"):
        with_grants(Principal("ada"), given)


@pytest.mark.parametrize(
    "display",
    [
        {"name": "x" * (MAX_DISPLAY_BYTES - len('{"name":""}'))},
        {"__proto__": {"admin": True}, "constructor": None, "name": "<img src=x onerror=alert(1)>"},
        {"name": "\u202egpj.exe\r\n\x1b[2J\0"},
        {"name": ["not", "a", "text"], "number": 1.5, "": {}},
    ],
    ids=["largest", "names of JavaScript", "control characters", "types"],
)
def test_hostile_display_data_is_passed_on_unchanged(harness: GrantsHarness, display: dict[str, Any]) -> None:
    watcher = harness.come("watcher")
    harness.come("ada", display=display)
    assert displays(harness.new_messages(watcher)) == [display]
    assert statuses(watcher.messages)[-1] == ("ada", "online")


def test_display_data_is_as_old_as_its_token() -> None:
    by_token = with_grants(Principal("ada", issued_at=7.0), {"display": ADA})
    assert by_token.display == Display(b'{"name":"Ada"}', 7.0)
    assert with_grants(Principal("ada"), {"display": {}}).display == Display()
    assert with_grants(Principal("ada"), {"display": None}).display is None
    by_hook = with_grants(Principal("ada", issued_at=9.0), {"display": {"name": "A"}, "roles": ["b", "c"]})
    merged = merge_grants(by_token._replace(roles=("a", "b")), by_hook)
    assert (merged.display, merged.roles) == (by_hook.display, ("a", "b", "c"))
    assert merge_grants(by_token, by_hook._replace(display=None)).display == by_token.display
