"""Tickets, revocations and API keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from presenced.auth import revocations, tickets
from presenced.auth.api_keys import SCOPES, ApiKeys, new_key
from presenced.auth.principal import Principal
from presenced.auth.revocations import Revocations
from presenced.auth.tickets import TICKET_LIFETIME_S, IssuedTicket, OnTaken, Tickets
from presenced.errors import BadToken, CapacityError, ConfigError
from presenced.runtime.instant import Instant
from presenced.storage.records import StoredRevocation

NOW = 1_000_000.0


def at(seconds: float, epoch: float = NOW) -> Instant:
    return Instant(seconds, int(epoch * 1000))


def redeem(tickets: Tickets, ticket: str, now: Instant) -> Principal:
    found = tickets.authenticate(ticket, now, lambda _: None)
    if isinstance(found, BadToken):
        raise found
    assert found is not None, "it is known at once"
    return found


def test_a_ticket_is_valid_once() -> None:
    waiting = Tickets()
    ticket = waiting.issue("ada", at(5), max_connection_s=60)
    found = redeem(waiting, ticket, at(6, NOW + 1))
    assert (found.user_id, found.expires_at, found.issued_at) == ("ada", NOW + 61, NOW)
    for bad in (ticket, "", "ticket_x", "\ud800"):
        with pytest.raises(BadToken, match="unknown, used or expired"):
            redeem(waiting, bad, at(6))


def test_a_ticket_is_valid_for_thirty_seconds() -> None:
    waiting = Tickets()
    early, late = waiting.issue("ada", at(5)), waiting.issue("bo", at(6))
    with pytest.raises(BadToken):
        redeem(waiting, early, at(5 + TICKET_LIFETIME_S))
    assert redeem(waiting, late, at(5 + TICKET_LIFETIME_S)).expires_at is None
    assert len(waiting) == 0


def test_a_used_or_expired_ticket_is_distinguished_from_an_invented_one() -> None:
    """This also works after a restart: the new process has the same keys, but none of the tickets."""
    keys = [new_key("write").entry, new_key("admin").entry]
    used, expired = (before := Tickets(keys)).issue("ada", at(5)), before.issue("bo", at(5))
    redeem(before, used, at(6))
    for process in (before, Tickets(reversed(keys))):
        for ticket in (used, expired):
            assert is_genuine(process, ticket)
        for made_up in (used[:-1] + ("A" if used[-1] != "A" else "B"), "ticket_" + "x" * 59, "", "\ud800" * 20):
            assert not is_genuine(process, made_up)
    for stranger in (Tickets([new_key("write").entry]), Tickets()):
        assert not is_genuine(stranger, used)
    assert not is_genuine(Tickets(), Tickets().issue("ada", at(5)))


def is_genuine(tickets: Tickets, ticket: str) -> bool:
    with pytest.raises(BadToken) as caught:
        redeem(tickets, ticket, at(5 + TICKET_LIFETIME_S))
    return caught.value.is_genuine


def test_tickets_are_stored_as_digests_and_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "MAX_TICKETS", 3)
    waiting = Tickets()
    made = [waiting.issue("ada", at(5)) for _ in range(3)]
    assert not any(ticket.encode() in repr(waiting._tickets).encode() for ticket in made)
    with pytest.raises(CapacityError):
        waiting.issue("ada", at(5))
    assert redeem(waiting, made[0], at(5)).user_id == "ada"
    assert waiting.issue("ada", at(5))


class Store:
    """Store that answers when the test wants."""

    def __init__(self) -> None:
        self.kept: dict[bytes, IssuedTicket] = {}
        self.put_seconds: list[float] = []
        self.answers: list[Callable[[], None]] = []

    def put(self, key: bytes, ticket: IssuedTicket, seconds: float) -> bool:
        self.kept[key] = ticket
        self.put_seconds.append(seconds)
        return True

    def take(self, key: bytes, is_genuine: bool, on_taken: OnTaken) -> None:
        self.answers.append(lambda: on_taken(self.kept.pop(key, None)))


def sharing(store: Store) -> Tickets:
    table = Tickets([new_key("write").entry])
    table.shared = store
    return table


def fetch(table: Tickets, store: Store, ticket: str, now: Instant) -> None:
    results: list[BadToken | None] = []
    assert table.fetch(ticket, now, results.append)
    store.answers.pop()()
    assert results == [None]


def test_a_ticket_fetched_from_another_node_is_valid_for_thirty_seconds_from_its_issue() -> None:
    store = Store()
    table = sharing(store)
    ticket = table.issue("ada", at(0))
    fetch(table, store, ticket, at(29, NOW + 29))
    assert table.take(ticket, at(30, NOW + 30)) is None
    ticket = table.issue("bo", at(0))
    fetch(table, store, ticket, at(29, NOW + 29))
    assert table.take(ticket, at(29.9, NOW + 29.9)) is not None


def test_a_fetched_ticket_can_be_redeemed_at_once_even_if_the_clocks_of_the_nodes_differ() -> None:
    store = Store()
    table = sharing(store)
    for skew in (-25, 25):
        ticket = table.issue("ada", at(0))
        fetch(table, store, ticket, at(20, NOW + 20 + skew))
        assert table.take(ticket, at(20.1, NOW + 20.1 + skew)) is not None


def test_a_fetched_ticket_that_has_expired_does_not_move_to_the_store() -> None:
    store = Store()
    table = sharing(store)
    ticket = table.issue("ada", at(0))
    fetch(table, store, ticket, at(29, NOW + 29))
    store.put_seconds.clear()
    table.share(31)
    assert store.put_seconds == []


def shown(user_id: str = "ada", token_id: str = "t", issued_at: float | None = NOW) -> Principal:
    return Principal(user_id, None, token_id, issued_at)


def test_earlier_tokens_of_a_user_are_revoked_and_later_ones_are_not() -> None:
    table = Revocations(600)
    table.revoke("user", "ada", NOW)
    assert table.is_revoked(shown(issued_at=NOW - 1), NOW)
    assert table.is_revoked(shown(issued_at=NOW), NOW), "it may be from before, within the second"
    assert not table.is_revoked(shown(issued_at=NOW + 0.01), NOW), "fractions of a second tell the two apart"
    assert table.is_revoked(shown(issued_at=None), NOW)
    assert not table.is_revoked(shown(issued_at=NOW + 1), NOW + 1)
    assert not table.is_revoked(shown("bo"), NOW)
    table.revoke("user", "ada", NOW + 5)
    assert table.is_revoked(shown(issued_at=NOW + 1), NOW + 5)
    assert len(table) == 1


def test_a_revocation_holds_until_every_earlier_token_has_expired() -> None:
    table = Revocations(600)
    table.revoke("user", "ada", NOW)
    table.revoke("token", "t", NOW + 1)
    assert table.is_revoked(shown("bo"), NOW + 599)
    assert table.is_revoked(shown(token_id="u", issued_at=NOW - 1), NOW + 599)
    assert not table.is_revoked(shown("bo"), NOW + 601)
    assert len(table) == 0


def test_of_two_revocations_of_one_subject_the_newer_one_stays() -> None:
    table = Revocations(600)
    for at in (NOW, NOW + 5, NOW + 3):
        table.restore(StoredRevocation("user", "ada", at, at + 600))
    assert table.is_revoked(shown(issued_at=NOW + 5), NOW + 6)
    assert table.all(NOW + 6) == [StoredRevocation("user", "ada", NOW + 5, NOW + 605)] == [table.get("user", "ada")]
    assert table.all(NOW + 606) == []
    assert table.get("user", "ada") is None


def test_a_clock_that_is_set_back_makes_no_revoked_token_valid() -> None:
    table = Revocations(600)
    table.revoke("user", "ada", NOW + 60)
    table.revoke("user", "ada", NOW)
    assert table.is_revoked(shown(issued_at=NOW + 30), NOW)


def test_revocations_are_never_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "MAX_REVOCATIONS", 2)
    table = Revocations(600)
    table.revoke("user", "ada", NOW)
    table.revoke("token", "t", NOW)
    with pytest.raises(CapacityError, match="remembered already"):
        table.revoke("token", "u", NOW)
    table.revoke("user", "ada", NOW + 1)
    assert table.is_revoked(shown("bo"), NOW)
    table.revoke("token", "u", NOW + 700)


def test_a_revocation_of_another_node_that_the_full_table_drops_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(revocations, "MAX_REVOCATIONS", 2)
    table = Revocations(600)

    def restore(subject: str, at: float) -> None:
        table.restore(StoredRevocation("token", subject, at, at + 600))

    for subject in ("t", "u"):
        restore(subject, NOW)
    assert not caplog.records
    for subject in ("v", "w"):
        restore(subject, NOW)
    assert [record.__dict__["event"] for record in caplog.records] == ["revocations_full"]
    assert not table.is_revoked(shown(token_id="v"), NOW)
    table.all(NOW + 601)
    for subject in ("v", "w", "x"):
        restore(subject, NOW + 601)
    assert len(caplog.records) == 2, "there was room in between"
    assert table.is_revoked(shown(token_id="v", issued_at=NOW + 601), NOW + 601)


def test_api_keys_are_identified_by_their_digests_and_have_a_scope() -> None:
    read, admin = new_key("read"), new_key("admin")
    keys = ApiKeys([read.entry, admin.entry])
    assert keys.scope(read.key) == "read"
    assert keys.scope(admin.key) == "admin"
    for other in ("", read.entry, new_key("admin").key, "\ud800"):
        assert keys.scope(other) is None
    assert read.key not in read.entry
    assert not ApiKeys([])


def test_a_new_key_has_the_least_scope() -> None:
    made = new_key()
    assert ApiKeys([made.entry]).scope(made.key) == SCOPES[0] == "read"


def test_an_entry_that_is_not_a_digest_is_not_shown_because_a_key_would_leak() -> None:
    key = new_key("write").key
    with pytest.raises(ConfigError, match="entry 2 of api_keys") as caught:
        ApiKeys([new_key("read").entry, key])
    assert key not in str(caught.value)
