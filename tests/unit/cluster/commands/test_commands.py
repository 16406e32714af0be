"""What is decided on one node happens on all: kicks, revocations, erasure, and the wait for all of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.cluster_harness import ClusterHarness, ClusterNode
from tests.support.fakes import FakeConnection
from tests.support.node_harness import statuses

from presenced.auth.api_keys import new_key
from presenced.cluster.backend import Kind
from presenced.cluster.commands import waits
from presenced.cluster.replica import outbox
from presenced.errors import CapacityError, Close
from presenced.presence.model import Choice, Status, StatusDetails
from presenced.presence.status import Claim

KEYS = [new_key("write").entry]


def protected(names: str = "ab") -> ClusterHarness:
    """Return nodes whose clients connect with tickets."""
    return ClusterHarness(names, auth="ticket", api_keys=KEYS)


def enter(cluster: ClusterHarness, name: str, user_id: str = "ada", ticket: str = "", **grants: Any) -> FakeConnection:
    """Connect a user with a ticket."""
    node = cluster.nodes[name]
    connection = node.open("", token=ticket or node.service.issue_ticket(user_id, None, grants or None))
    cluster.run(0.5, step=0.01)
    return connection


def is_open(connection: FakeConnection) -> bool:
    return connection.closed_with is None and bool(connection.messages)


def agreed(node: ClusterNode, user_id: str) -> list[bool]:
    """Return the list that gets the answer of `when_agreed`."""
    answers: list[bool] = []
    assert node.service.when_agreed(user_id, answers.append) is not None
    return answers


# Revocations.


def test_a_revoked_user_is_disconnected_on_all_nodes() -> None:
    cluster = protected("abc")
    here, there, other = enter(cluster, "a"), enter(cluster, "b"), enter(cluster, "b", "bo")
    assert cluster.nodes["a"].service.revoke("ada") == 2
    cluster.run()
    assert here.closed_with == there.closed_with == (Close.UNAUTHORIZED, "the token was revoked")
    assert is_open(other)
    assert is_open(enter(cluster, "b")), "with a ticket issued later"


def test_a_ticket_that_was_revoked_unused_works_on_no_node() -> None:
    cluster = protected()
    tickets = [cluster.nodes["a"].service.issue_ticket("ada", None) for _ in "ab"]
    cluster.run()
    cluster.nodes["a"].service.revoke("ada")
    cluster.run()
    for name, ticket in zip("ab", tickets, strict=True):
        assert enter(cluster, name, ticket=ticket).closed_with == (Close.UNAUTHORIZED, "the token was revoked")


def test_one_token_is_revoked_on_all_nodes() -> None:
    cluster = protected("abc")
    one, other = enter(cluster, "b"), enter(cluster, "b")
    token_id = one.session.token_id
    assert cluster.nodes["a"].service.revoke("ada", token_id=token_id) == 0, "no node knows the tokens of another"
    cluster.run()
    assert one.closed_with
    assert is_open(other)


def test_the_session_of_another_node_is_revoked_there() -> None:
    cluster = protected("abc")
    one, other = enter(cluster, "b"), enter(cluster, "b")
    session = one.messages[0]["sessionId"]
    assert cluster.nodes["a"].service.revoke("ada", session_id="nonsense") == 0
    assert cluster.nodes["a"].service.revoke("bo", session_id=session) == 0
    cluster.run()
    assert is_open(one)
    assert cluster.nodes["a"].service.revoke("ada", session_id=session) == 1
    cluster.run()
    assert one.closed_with == (Close.UNAUTHORIZED, "the token was revoked")
    assert is_open(other)
    for node in cluster.nodes.values():
        assert node.node.gatekeeper is not None
        assert len(node.node.gatekeeper.revocations) == 1, "each node refuses the token"


def test_a_revocation_holds_on_a_node_that_starts_later() -> None:
    cluster = protected()
    ticket = cluster.nodes["a"].service.issue_ticket("ada", None)
    cluster.nodes["a"].service.revoke("ada")
    cluster.run()
    late = cluster.restart("c")
    assert late.cluster.is_ready
    assert enter(cluster, "c", ticket=ticket).closed_with == (Close.UNAUTHORIZED, "the token was revoked")


def test_a_node_takes_no_connections_before_it_knows_the_revocations() -> None:
    cluster = protected("a")
    cluster.nodes["a"].service.revoke("ada")
    cluster.run()
    cluster.hub.delay = 0.02
    late = cluster.start("b")
    assert late.node.gatekeeper is not None
    while not late.cluster.is_ready:
        assert len(late.node.gatekeeper.revocations) == 0
        cluster.run(0.001)
    assert len(late.node.gatekeeper.revocations) == 1


def test_a_node_reads_the_revocations_again_if_there_was_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = protected("a")
    cluster.nodes["a"].service.revoke("ada")
    cluster.run()
    late = cluster.start("b")
    answers: list[Any] = []
    monkeypatch.setattr(late.backend, "read_revoked", answers.append)
    cluster.run(0.1)
    [answered] = answers
    answered(None)
    cluster.run(2, step=0.01)
    assert not late.cluster.is_ready
    ready: list[bool] = []
    late.cluster.on_ready = lambda: ready.append(True)
    answers[1](cluster.hub.read_revoked())
    assert ready, "at once, and not when the log is read next"
    assert late.node.gatekeeper is not None
    assert len(late.node.gatekeeper.revocations) == 1


def test_a_revocation_without_the_store_holds_here_and_reaches_the_others_when_it_returns() -> None:
    cluster = protected("abc")
    here, there = enter(cluster, "a"), enter(cluster, "b")
    cluster.hub.cut("a")
    cluster.run(5, step=0.05)
    cluster.nodes["a"].service.revoke("ada")
    cluster.run()
    assert here.closed_with
    assert is_open(there)
    cluster.hub.heal("a")
    cluster.run(5, step=0.05)
    assert there.closed_with == (Close.UNAUTHORIZED, "the token was revoked")


def test_more_revocations_than_may_wait_for_the_log_reach_all_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_CONTROLS", 2)
    cluster = protected()
    users = [f"u{number}" for number in range(10)]
    there = [enter(cluster, "b", user) for user in users]
    for user in users:
        cluster.nodes["a"].service.revoke(user)
    cluster.run(5, step=0.05)
    assert not any(map(is_open, there))


def test_revocations_outlive_a_store_that_loses_everything() -> None:
    cluster = protected()
    ticket = cluster.nodes["a"].service.issue_ticket("ada", None)
    cluster.run()
    cluster.nodes["a"].service.revoke("ada")
    cluster.run()
    value = dict(cluster.hub._values)
    cluster.hub.flush()
    cluster.hub._values.update(value)  # only what the nodes know is to be repaired
    cluster.run(5, step=0.05)
    cluster.restart("c")
    assert enter(cluster, "c", ticket=ticket).closed_with == (Close.UNAUTHORIZED, "the token was revoked")


def test_a_node_that_loads_again_closes_what_was_revoked_meanwhile() -> None:
    cluster = protected()
    there = enter(cluster, "b")
    cluster.hub.cut("b")
    cluster.run(4, step=0.05)
    cluster.nodes["a"].service.revoke("ada")
    cluster.run(1, step=0.05)
    cluster.hub.shards[0].log.clear()  # as if it had been trimmed
    enter(cluster, "a", "x")
    cluster.hub.heal("b")
    cluster.run(2, step=0.01)
    assert there.closed_with == (Close.UNAUTHORIZED, "the token was revoked")


# Erasing.


def test_an_erased_user_is_forgotten_on_all_nodes() -> None:
    cluster = protected("abc")
    a, b, c = cluster.nodes.values()
    there = enter(cluster, "b", display={"name": "Ada"})
    a.service.set_status("ada", Choice(Status.BUSY, StatusDetails("in a meeting")))
    c.service.set_claim("ada", Claim("calendar", Status.AWAY, priority=-1))
    b.service.announce("ada", online=True)
    cluster.run(0.5, step=0.01)
    assert a.node.directory.users.changes_of(["ada"])[0].view.display == b'{"name":"Ada"}'  # type: ignore[union-attr]  # known
    assert a.service.forget("ada") == 1
    cluster.run(1, step=0.01)
    assert there.closed_with == (Close.DISCONNECTED, "the application closed this user's connections")
    assert cluster.statuses("ada") == dict.fromkeys("abc", "offline")
    for node in (a, b, c):
        users = node.node.directory.users
        assert node.service.claims_of("ada") == ()
        changes = users.journal.last_of("ada", 100)
        assert changes
        assert not any(change.view.display or change.view.details.text or change.seen_ms for change in changes)
        [last] = users.changes_of(["ada"])
        assert last is None or last.seen_ms == 0
    again = enter(cluster, "c")
    assert is_open(again)
    for node in (a, b, c):
        [last] = node.node.directory.users.changes_of(["ada"])
        assert last is not None
        assert (last.view.status, last.view.display, last.view.details.text) == (Status.ONLINE, b"", "")


def test_frequent_erasures_do_not_postpone_one_another() -> None:
    cluster = protected()
    erased: list[str] = []
    cluster.nodes["b"].cluster.handlers[Kind.ERASE] = lambda body, _: erased.append(body.decode())
    others = cluster.nodes["a"].node.other_nodes
    assert others is not None
    for number in range(10):
        others.erase(f"user {number}")
        cluster.run(0.4, step=0.01)
    assert erased[:8] == [f"user {number}" for number in range(8)]


def test_erasing_on_a_node_that_never_knew_the_user_erases_the_display_data_of_the_others() -> None:
    cluster = protected()
    ada = enter(cluster, "b", display={"name": "Ada"})
    cluster.nodes["b"].end(ada)
    cluster.run(1, step=0.01)
    cluster.nodes["a"].service.forget("ada")
    cluster.run(1, step=0.01)
    again = enter(cluster, "b")
    assert is_open(again)
    [last] = cluster.nodes["a"].node.directory.users.changes_of(["ada"])
    assert last is not None
    assert last.view.display == b""


def test_the_past_of_an_absent_user_is_erased_on_all_nodes() -> None:
    cluster = protected()
    ada = enter(cluster, "b", display={"name": "Ada"})
    cluster.nodes["b"].end(ada)
    cluster.run(1, step=0.01)
    cluster.nodes["a"].service.forget("ada")
    cluster.run(1, step=0.01)
    for node in cluster.nodes.values():
        changes = node.node.directory.users.journal.last_of("ada", 100)
        assert len(changes) == 2
        assert not any(change.view.display or change.seen_ms for change in changes)


def test_erased_display_data_does_not_return_with_a_change_that_is_on_its_way() -> None:
    cluster = protected()
    enter(cluster, "b", display={"name": "Ada"})
    for name in "ab":
        cluster.hub.set_delay(name, 0.05)
    cluster.nodes["b"].service.set_status("ada", Choice(Status.BUSY, StatusDetails("in a meeting")))
    cluster.run(0.04)
    cluster.nodes["a"].service.forget("ada")
    cluster.run(2, step=0.01)
    cluster.nodes["a"].service.announce("ada", online=True)
    cluster.run(1, step=0.01)
    for node in cluster.nodes.values():
        view = node.service.view_of("ada")
        assert (view.status, view.display, view.details.text) == (Status.ONLINE, b"", "")


def test_erased_display_data_does_not_return_from_a_node_that_was_away() -> None:
    cluster = protected()
    enter(cluster, "a", display={"name": "Ada"})
    cluster.hub.cut("b")
    cluster.run(4, step=0.05)
    cluster.nodes["a"].service.forget("ada")
    cluster.run(1, step=0.05)
    enter(cluster, "a")
    cluster.hub.shards[0].log.clear()  # as if it had been trimmed
    cluster.hub.heal("b")
    cluster.run(10, step=0.05)
    for node in cluster.nodes.values():
        view = node.service.view_of("ada")
        assert (view.status, view.display) == (Status.ONLINE, b"")


def test_disconnecting_ends_what_only_another_node_knows_of() -> None:
    """A session that was lost long ago can be resumed, though it no longer counts."""
    cluster = ClusterHarness("ab", grace_lost=1)
    ended: list[str] = []
    cluster.nodes["b"].service.on_disconnect(lambda user_id: len(ended.append(user_id) or ended))  # type: ignore[func-returns-value]  # None is falsy
    assert cluster.nodes["a"].service.disconnect("ada") == 0
    cluster.run()
    assert ended == ["ada"]


# Waiting for all nodes.


def test_an_answer_comes_when_all_nodes_see_the_change() -> None:
    cluster = ClusterHarness()
    cluster.hub.set_delay("a", 0.02)
    cluster.hub.set_delay("b", 0.02)
    a = cluster.nodes["a"]
    assert not a.service.announce("ada", online=True)
    answers = agreed(a, "ada")
    for _ in range(200):
        cluster.run(0.001)
        if answers:
            break
        assert cluster.statuses("ada")["a"] == "offline"
    assert answers == [True]
    assert cluster.statuses("ada")["a"] == "online"


def test_a_change_that_the_store_has_accepted_is_agreed_when_this_node_has_read_it() -> None:
    cluster = ClusterHarness()
    a = cluster.nodes["a"]
    entries, held = a.cluster.entries, list[Any]()
    a.cluster.entries = lambda *report: held.append(report)  # type: ignore[method-assign]  # the reader is slow
    a.service.announce("ada", online=True)
    answers = agreed(a, "ada")
    cluster.run(0.1)
    assert held
    assert answers == []
    for report in held:
        entries(*report)
    assert answers == [True]


def test_nothing_to_agree_on_is_agreed_soon() -> None:
    cluster = ClusterHarness()
    a = cluster.nodes["a"]
    assert agreed(a, "ada") == [True]
    a.service.announce("ada", online=False)
    a.service.set_status("bo", None)
    answers = [agreed(a, user) for user in ("ada", "bo")]
    cluster.run()
    assert answers == [[True], [True]]


def test_an_answer_covers_kicks_and_revocations() -> None:
    cluster = protected()
    cluster.hub.set_delay("a", 0.02)
    there = enter(cluster, "b")
    cluster.nodes["a"].service.revoke("ada")
    answers = agreed(cluster.nodes["a"], "ada")
    while not answers:
        cluster.run(0.001)
    assert answers == [True]
    cluster.run(0.001)
    assert there.closed_with
    bo = enter(cluster, "b", "bo")
    cluster.nodes["a"].service.disconnect("bo")
    answers = agreed(cluster.nodes["a"], "bo")
    assert answers == []
    cluster.run(0.2)
    assert answers == [True]
    assert bo.closed_with


def test_a_node_on_its_own_answers_at_once_that_the_others_learn_it_later() -> None:
    cluster = ClusterHarness()
    a = cluster.nodes["a"]
    cluster.hub.cut("a")
    a.service.announce("ada", online=True)
    early = agreed(a, "ada")
    assert early == [], "it does not know yet"
    cluster.run(4, step=0.05)
    assert early == [False]
    assert a.service.announce("bo", online=True)
    assert agreed(a, "bo") == [False]
    cluster.hub.heal("a")
    cluster.run(4, step=0.05)
    assert cluster.statuses("ada") == cluster.statuses("bo") == {"a": "online", "b": "online"}
    assert agreed(a, "bo") == [True]


def test_a_refused_change_is_agreed_when_it_was_decided_again() -> None:
    cluster = ClusterHarness()
    for node in cluster.nodes.values():
        node.service.announce("ada", online=True)
        node.service.set_status("ada", Choice(Status.BUSY, StatusDetails(node.name)))
    answers = [agreed(node, "ada") for node in cluster.nodes.values()]
    cluster.run(0.5)
    assert answers == [[True], [True]]
    assert len({node.service.view_of("ada") for node in cluster.nodes.values()}) == 1


def test_a_caller_that_gives_up_gets_no_answer() -> None:
    cluster = ClusterHarness()
    a = cluster.nodes["a"]
    a.service.announce("ada", online=True)
    answers: list[bool] = []
    end = a.service.when_agreed("ada", answers.append)
    assert end is not None
    end()
    end()
    cluster.run()
    assert answers == []


def test_a_bounded_number_of_callers_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MAX_WAITS", 2)
    cluster = ClusterHarness()
    a = cluster.nodes["a"]
    a.service.announce("ada", online=True)
    answers = [agreed(a, "ada"), agreed(a, "ada")]
    with pytest.raises(CapacityError):
        agreed(a, "ada")
    cluster.run()
    assert answers == [[True], [True]]
    agreed(a, "ada")


def test_watchers_of_other_nodes_have_seen_what_an_answer_confirms() -> None:
    cluster = ClusterHarness()
    watcher = cluster.nodes["b"].watch("ada")
    cluster.nodes["b"].new_messages(watcher)
    cluster.nodes["a"].service.announce("ada", online=True)
    answers = agreed(cluster.nodes["a"], "ada")
    cluster.run()
    assert answers == [True]
    assert statuses(cluster.nodes["b"].new_messages(watcher)) == [("ada", "online")]
