"""A ticket works once, on any node, whatever happens to the store."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.support.cluster_harness import ClusterHarness
from tests.support.fakes import FakeConnection

from presenced.auth import tickets
from presenced.auth.api_keys import new_key
from presenced.auth.grants import with_grants
from presenced.auth.principal import Principal
from presenced.auth.tickets import TICKET_LIFETIME_S, IssuedTicket
from presenced.cluster.commands.tickets import ASK_AGAIN_S, decode_ticket, encode_ticket
from presenced.errors import CapacityError, Close

KEYS = [new_key("write").entry]


def cluster_with_tickets(names: str = "ab", **settings: Any) -> ClusterHarness:
    return ClusterHarness(names, auth="ticket", api_keys=KEYS, **settings)


def issue(cluster: ClusterHarness, name: str, user_id: str = "ada", grants: Any = None) -> str:
    return cluster.nodes[name].service.issue_ticket(user_id, None, grants)


def present(cluster: ClusterHarness, name: str, ticket: str) -> FakeConnection:
    return cluster.nodes[name].open("", token=ticket)


def result(connection: FakeConnection) -> Close | str:
    """Return how a handshake ended."""
    if connection.closed_with is not None:
        return connection.closed_with[0]
    return connection.messages[0]["type"] if connection.messages else "waits"


ADMITTED = "CONNECTION_ESTABLISHED"


def test_a_ticket_of_one_node_works_once_on_another() -> None:
    cluster = cluster_with_tickets()
    ticket = issue(cluster, "a")
    cluster.run()
    cluster.hub.set_delay("b", 0.01)
    ada = present(cluster, "b", ticket)
    assert result(ada) == "waits"
    cluster.run()
    assert result(ada) == ADMITTED
    for name in "ab":
        again = present(cluster, name, ticket)
        cluster.run(1)
        assert result(again) == Close.UNAUTHORIZED
        assert cluster.nodes[name].count("presenced_authentications_total", result="ticket") == 1


def test_of_two_nodes_at_the_same_time_one_admits() -> None:
    cluster = cluster_with_tickets("abc")
    for name in "abc":
        cluster.hub.set_delay(name, 0.01)
    for _ in range(5):
        ticket = issue(cluster, "a")
        cluster.run()
        attempts = [present(cluster, name, ticket) for name in "abc"]
        cluster.run(1)
        results = [result(attempt) for attempt in attempts]
        assert (results.count(ADMITTED), results.count(Close.UNAUTHORIZED)) == (1, 2)


def test_a_ticket_that_is_on_its_way_to_the_store_is_waited_for() -> None:
    cluster = cluster_with_tickets()
    cluster.hub.set_delay("a", ASK_AGAIN_S * 0.8)
    ticket = issue(cluster, "a")
    ada = present(cluster, "b", ticket)
    cluster.run(ASK_AGAIN_S / 2)
    assert result(ada) == "waits"
    cluster.run(ASK_AGAIN_S)
    assert result(ada) == ADMITTED


def test_an_invented_ticket_is_refused_without_asking_the_store() -> None:
    cluster = cluster_with_tickets()
    assert result(present(cluster, "b", "ticket_" + "x" * 59)) == Close.UNAUTHORIZED


def test_nodes_without_keys_ask_the_store_about_every_ticket() -> None:
    cluster = ClusterHarness(auth="ticket")
    ticket = issue(cluster, "a")
    cluster.run()
    ada = present(cluster, "b", ticket)
    cluster.run()
    assert result(ada) == ADMITTED


def test_a_ticket_issued_without_the_store_works_on_its_node_only() -> None:
    cluster = cluster_with_tickets("abc")
    cluster.hub.is_reachable = False
    cluster.run(5, step=0.05)
    ticket = issue(cluster, "a")
    elsewhere = present(cluster, "b", ticket)
    cluster.run()
    assert result(elsewhere) == Close.TRY_AGAIN_LATER
    assert result(present(cluster, "a", ticket)) == ADMITTED
    cluster.hub.is_reachable = True
    cluster.run(1, step=0.01)
    for name in "abc":
        again = present(cluster, name, ticket)
        cluster.run(1, step=0.01)
        assert result(again) in (Close.UNAUTHORIZED, Close.TRY_AGAIN_LATER)


def test_an_unused_ticket_moves_to_the_store_when_that_returns() -> None:
    cluster = cluster_with_tickets()
    cluster.hub.is_reachable = False
    cluster.run(5, step=0.05)
    ticket = issue(cluster, "a")
    cluster.run(10, step=0.05)
    cluster.hub.is_reachable = True
    cluster.run(2, step=0.01)
    ada = present(cluster, "b", ticket)
    cluster.run(1, step=0.01)
    assert result(ada) == ADMITTED
    assert result(present(cluster, "a", ticket)) == "waits", "it is no longer in the memory of its node"


def test_moving_to_the_store_does_not_prolong_a_ticket() -> None:
    cluster = cluster_with_tickets()
    cluster.hub.is_reachable = False
    cluster.run(5, step=0.05)
    ticket = issue(cluster, "a")
    cluster.run(TICKET_LIFETIME_S - 3, step=0.05)
    cluster.hub.is_reachable = True
    cluster.run(4, step=0.05)
    ada = present(cluster, "b", ticket)
    cluster.run(1, step=0.05)
    assert result(ada) == Close.UNAUTHORIZED


def test_no_ticket_works_twice_if_its_node_alone_is_cut_off() -> None:
    """The ticket is in the store, so its node may not redeem it: another node may have done so."""
    cluster = cluster_with_tickets()
    used, unused = issue(cluster, "a"), issue(cluster, "a", "bo")
    cluster.run()
    ada = present(cluster, "b", used)
    cluster.run()
    assert result(ada) == ADMITTED
    cluster.hub.cut("a")
    cluster.run(5, step=0.05)
    for ticket in (used, unused):
        on_its_node = present(cluster, "a", ticket)
        cluster.run()
        assert result(on_its_node) == Close.TRY_AGAIN_LATER
    bo = present(cluster, "b", unused)
    cluster.run()
    assert result(bo) == ADMITTED


def test_a_lost_answer_of_the_store_is_no_refusal_of_the_ticket() -> None:
    cluster = cluster_with_tickets()
    ticket = issue(cluster, "a")
    cluster.run()
    cluster.hub.set_delay("b", 0.01)
    ada = present(cluster, "b", ticket)
    cluster.hub.is_reachable = False
    cluster.run(5, step=0.05)
    assert result(ada) == Close.TRY_AGAIN_LATER


def test_a_store_that_has_just_returned_proves_nothing_by_what_it_lacks() -> None:
    cluster = cluster_with_tickets()
    ticket = issue(cluster, "a")
    cluster.run()
    cluster.hub.is_reachable = False
    cluster.run(5, step=0.05)
    cluster.hub.flush()
    cluster.hub.is_reachable = True
    cluster.run(1, step=0.01)
    soon = present(cluster, "b", ticket)
    cluster.run(0.5, step=0.01)
    assert result(soon) == Close.TRY_AGAIN_LATER
    cluster.run(3, step=0.01)
    later = present(cluster, "b", ticket)
    cluster.run(0.5, step=0.01)
    assert result(later) == Close.UNAUTHORIZED


def test_the_store_does_not_learn_tickets() -> None:
    cluster = cluster_with_tickets()
    ticket = issue(cluster, "a")
    cluster.run()
    assert ticket not in repr(vars(cluster.hub))


def test_a_node_issues_a_bounded_number_of_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "MAX_TICKETS", 3)
    cluster = cluster_with_tickets()
    for _ in range(3):
        issue(cluster, "a")
    with pytest.raises(CapacityError):
        issue(cluster, "a")
    cluster.run(TICKET_LIFETIME_S, step=0.1)
    issue(cluster, "a")


def test_a_ticket_in_the_store_has_all_its_grants() -> None:
    grants = {"watch": [7, "bo"], "rooms": ["lobby"], "block": ["eve"], "display": {"name": "Ada"}, "roles": ["causes"]}
    others: list[dict[str, Any]] = [{"watch": "*"}, {"rooms": []}, {}]
    for given in (grants, *others):
        ticket = IssuedTicket(with_grants(Principal("ada", issued_at=1_700_000_000.5), given), 60.0)
        assert decode_ticket(encode_ticket(ticket)) == ticket
    plain = IssuedTicket(Principal("ada"), None)
    assert decode_ticket(encode_ticket(plain)) == plain


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([["ada"], None, "a field of a later release"]),
        msgspec.msgpack.encode([[*Principal("ada"), "a restriction of a later release"], None]),
        msgspec.msgpack.encode([[7], None]),
        msgspec.msgpack.encode([[""], None]),
        msgspec.msgpack.encode([["a\nb"], None]),
        msgspec.msgpack.encode([["ada"], "60"]),
        msgspec.msgpack.encode([["ada", None, "", None, None, False, None, [], {"data": b"[]", "issued": 1.0}], None]),
    ],
)
def test_what_is_not_a_ticket_of_this_release_grants_nothing(value: bytes) -> None:
    assert decode_ticket(value) is None


def test_while_the_store_is_full_a_ticket_works_on_its_node_and_others_ask_to_retry() -> None:
    cluster = cluster_with_tickets()
    cluster.hub.is_out_of_memory = True
    cluster.nodes["a"].service.announce("zoe", online=True)
    cluster.nodes["b"].service.announce("yan", online=True)
    cluster.run(3, step=0.05)
    here, elsewhere = issue(cluster, "a"), issue(cluster, "a")
    cluster.run(0.5)
    ada, other = present(cluster, "a", here), present(cluster, "b", elsewhere)
    cluster.run(2, step=0.05)
    assert result(ada) == ADMITTED
    assert result(other) == Close.TRY_AGAIN_LATER
    cluster.hub.is_out_of_memory = False
    cluster.run(2, step=0.05)
    again = present(cluster, "b", elsewhere)
    cluster.run(1)
    assert result(again) == ADMITTED
