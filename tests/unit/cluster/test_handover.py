"""A client that reconnects to another node continues its session there."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.cluster_harness import ClusterHarness, ClusterNode
from tests.support.fakes import FakeConnection
from tests.support.node_harness import position, statuses, types

from presenced.cluster.backend import StoredKey
from presenced.cluster.handover import SESSION, digest_of
from presenced.errors import Close
from presenced.presence.model import Ending


def session_of(client: FakeConnection) -> str:
    """Return the session in the client's first message."""
    return str(client.messages[0]["sessionId"])


def resume(cluster: ClusterHarness, name: str, client: FakeConnection, user_id: str = "watcher") -> FakeConnection:
    """Connect to a node with the session and the position of a client, and wait."""
    query = f"userId={user_id}&session={session_of(client)}&position={position(client)}"
    resumed = cluster.nodes[name].open(query)
    cluster.run()
    return resumed


def established(client: FakeConnection) -> dict[str, Any]:
    """Return the first message of a client."""
    assert client.messages, "nothing came"
    return client.messages[0]


def stop(node: ClusterNode, leave_grace_s: float = 5.0) -> None:
    """Stop a node as SIGTERM does."""
    node.cluster.leave(leave_grace_s)
    for _ in node.node.drain():
        pass
    node.cluster.stop()
    node.node.timer.stop()


def test_a_session_resumes_on_another_node_with_only_what_was_missed() -> None:
    cluster = ClusterHarness()
    client = cluster.nodes["a"].watch("ada", "bob", "eve")
    cluster.nodes["a"].connect("ada")
    cluster.run(1.0)
    cluster.nodes["a"].end(client, Ending.LOST)
    cluster.nodes["a"].connect("bob")
    cluster.run(1.0)
    moved = resume(cluster, "b", client)
    assert (established(moved)["resumed"], established(moved)["sessionId"]) == (True, session_of(client))
    assert established(moved)["epoch"] == client.messages[0]["epoch"]
    assert statuses(moved.messages) == [("bob", "online")]
    cluster.nodes["a"].connect("eve")
    cluster.run()
    assert statuses(moved.messages)[1:] == [("eve", "online")]


def test_a_session_moves_back_and_forth() -> None:
    cluster = ClusterHarness("abc")
    client = cluster.nodes["a"].watch("ada")
    for turn, name in enumerate("bcab"):
        cluster.nodes["c"].connect(f"visitor-{turn}")
        cluster.run(1.0)
        moved = resume(cluster, name, client)
        assert established(moved)["resumed"] is True
        assert client.closed_with is not None
        assert client.closed_with[0] is Close.REPLACED
        client = moved
    found = [node.node.directory.users.sessions.get(session_of(client)) for node in cluster.nodes.values()]
    assert [session is not None for session in found] == [False, True, False]


def test_nobody_notices_that_a_session_moves() -> None:
    cluster = ClusterHarness("abc", grace_lost=2)
    watcher = cluster.nodes["c"].watch("ada")
    ada = cluster.nodes["a"].enter("userId=ada&device=web")
    cluster.nodes["a"].send(ada, "JOIN", id=1, room="lobby", data={"seat": 1})
    cluster.run(1.0)
    joined_ms = cluster.nodes["c"].node.rooms.get("lobby").members["ada"].joined_ms  # type: ignore[union-attr]  # known
    cluster.nodes["c"].new_messages(watcher)
    moved = resume(cluster, "b", ada, "ada")
    cluster.run(10, step=0.05)
    assert established(moved)["resumed"] is True
    assert statuses(cluster.nodes["c"].new_messages(watcher)) == []
    assert cluster.nodes["a"].service.sessions_of("ada") != [], "as a session of the other node"
    assert all(session.slot >= 0 for session in cluster.nodes["a"].service.sessions_of("ada"))
    member = cluster.nodes["c"].node.rooms.get("lobby").members["ada"]  # type: ignore[union-attr]  # known
    assert (member.data, member.joined_ms) == (b'{"seat":1}', joined_ms)
    cluster.nodes["b"].end(moved)
    cluster.run()
    assert statuses(cluster.nodes["c"].new_messages(watcher)) == [("ada", "offline")]


def test_a_client_that_lacks_a_part_of_its_snapshot_receives_another_one() -> None:
    cluster = ClusterHarness()
    client = cluster.nodes["a"].watch("ada")
    before = position(client)
    cluster.nodes["a"].send(client, "WATCH", id=2, users=["bob"])
    cluster.run(1.0)
    query = f"userId=watcher&session={session_of(client)}&position={before}"
    moved = cluster.nodes["b"].open(query)
    cluster.run()
    assert established(moved)["resumed"] is True
    assert sorted(statuses(moved.messages)) == [("ada", "offline"), ("bob", "offline")]


def test_a_client_whose_last_change_is_older_than_the_marks_receives_everything_again() -> None:
    cluster = ClusterHarness(log_age=4)
    client = cluster.nodes["a"].watch("ada", "bob")
    cluster.nodes["a"].connect("ada")
    cluster.run(1.0)
    for number in range(10):
        cluster.nodes["b"].connect(f"stranger-{number}")
        cluster.run(1.0, step=0.01)
    moved = resume(cluster, "b", client)
    assert established(moved)["resumed"] is True
    assert sorted(statuses(moved.messages)) == [("ada", "online"), ("bob", "offline")]


def test_a_client_of_a_dead_node_gets_a_new_session_soon() -> None:
    cluster = ClusterHarness()
    client = cluster.nodes["a"].watch("ada")
    cluster.run(1.0)
    cluster.nodes["a"].kill()
    moved = resume(cluster, "b", client)
    assert moved.messages == []
    cluster.run(0.3)
    assert established(moved)["resumed"] is False
    assert session_of(moved) != session_of(client)


def test_the_session_of_another_user_cannot_be_resumed_on_another_node() -> None:
    cluster = ClusterHarness()
    client = cluster.nodes["a"].watch("ada")
    cluster.run(1.0)
    other = resume(cluster, "b", client, "mallory")
    assert (established(other)["resumed"], client.closed_with) == (False, None)


def test_a_client_that_sends_before_its_session_has_come_is_closed() -> None:
    cluster = ClusterHarness()
    client = cluster.nodes["a"].watch("ada")
    cluster.run(1.0)
    cluster.nodes["a"].kill()  # so that it takes a while
    moved = cluster.nodes["b"].open(f"userId=watcher&session={session_of(client)}")
    assert moved.accepted
    cluster.nodes["b"].node.received(moved, '{"type":"PING","id":1}')
    assert moved.closed_with == (Close.UNAUTHORIZED, "wait for CONNECTION_ESTABLISHED before you send")
    cluster.run(1.0)
    assert moved.messages == []
    assert cluster.nodes["b"].service.sessions_of("watcher")[0].slot >= 0, "only that of the killed node"


def test_a_user_with_the_maximum_number_of_connections_on_all_nodes_is_refused() -> None:
    cluster = ClusterHarness(user_connections=2)
    first = cluster.nodes["a"].enter("userId=ada")
    cluster.nodes["b"].enter("userId=ada")
    cluster.run()
    third = cluster.nodes["a"].open("userId=ada")
    assert third.closed_with is not None
    assert third.closed_with[0] is Close.TOO_MANY_CONNECTIONS
    cluster.nodes["a"].end(first)
    cluster.run()
    assert cluster.nodes["b"].open("userId=ada").closed_with is None


def test_connections_of_one_moment_have_different_ids_on_all_nodes() -> None:
    cluster = ClusterHarness("abcd")
    clients = [node.enter("userId=ada") for node in cluster.nodes.values() for _ in range(3)]
    assert len({client.messages[0]["connectionId"] for client in clients}) == 12


def test_users_of_a_stopping_node_who_return_elsewhere_never_flicker() -> None:
    cluster = ClusterHarness("abc")
    watcher = cluster.nodes["c"].watch("ada", "bob")
    ada = cluster.nodes["a"].enter("userId=ada")
    bob = cluster.nodes["a"].connect("bob")
    cluster.run(1.0)
    cluster.nodes["c"].new_messages(watcher)
    stop(cluster.nodes["a"])
    assert types(ada.messages)[-1] == "GOING_AWAY"
    assert bob.closed_with is not None
    cluster.run(0.5)
    moved = resume(cluster, "b", ada, "ada")
    assert established(moved)["resumed"] is True
    returned = cluster.nodes["b"].connect("bob")
    cluster.run(1.0)
    assert statuses(cluster.nodes["c"].new_messages(watcher)) == []
    for client in (moved, returned):
        cluster.nodes["b"].end(client)
    cluster.run()
    left = statuses(cluster.nodes["c"].new_messages(watcher))
    assert sorted(left) == [("ada", "offline"), ("bob", "offline")], "the stopped node has nothing left of them"


def test_users_of_a_stopping_node_who_do_not_return_leave_with_cause_drain() -> None:
    cluster = ClusterHarness("ab", show_causes=True)
    watcher = cluster.nodes["b"].watch("ada")
    cluster.nodes["a"].enter("userId=ada")
    cluster.run(1.0)
    cluster.nodes["b"].new_messages(watcher)
    stop(cluster.nodes["a"], leave_grace_s=5.0)
    cluster.run(4.5, step=0.01)
    assert statuses(cluster.nodes["b"].new_messages(watcher)) == []
    cluster.run(4, step=0.01)
    [message] = cluster.nodes["b"].new_messages(watcher)
    assert [(user["status"], user["cause"]) for user in message["users"]] == [("offline", "drain")]


def test_a_classic_user_who_reconnects_to_another_node_is_there_once() -> None:
    cluster = ClusterHarness(grace_lost=20)
    watcher = cluster.nodes["b"].watch("ada")
    ada = cluster.nodes["a"].connect("ada")
    cluster.run()
    cluster.nodes["a"].end(ada, Ending.LOST)
    cluster.run(1.0)
    again = cluster.nodes["b"].connect("ada")
    cluster.run()
    cluster.nodes["b"].new_messages(watcher)
    assert len(cluster.nodes["b"].service.sessions_of("ada")) == 1
    cluster.nodes["b"].end(again)
    cluster.run()
    assert statuses(cluster.nodes["b"].new_messages(watcher)) == [("ada", "offline")], "no grace period is left"


def test_a_backend_continues_after_a_cursor_of_another_node() -> None:
    cluster = ClusterHarness()
    a, b = (cluster.nodes[name].service for name in "ab")
    cluster.nodes["a"].connect("ada")
    cluster.run(1.0)
    cursor = a.position_text(a.position)
    cluster.nodes["a"].connect("bob")
    cluster.run(1.0)
    after = b.position_of(cursor)
    changes = b.changes_since(after, 10)
    assert changes is not None
    assert [change.user_id for change in changes] == ["bob"]


def test_a_stopped_cluster_part_forgets_what_it_asked_for() -> None:
    cluster = ClusterHarness()
    client = cluster.nodes["a"].watch("ada")
    cluster.run(1.0)
    cluster.nodes["a"].kill()
    waiting = cluster.nodes["b"].open(f"userId=watcher&session={session_of(client)}")
    cluster.nodes["b"].cluster.stop()
    cluster.run(1.0)
    assert waiting.messages == []


def test_a_session_of_a_node_that_has_just_begun_to_stop_resumes_on_another_node() -> None:
    """The other node asks before it has learned that, and nobody answers."""
    cluster = ClusterHarness()
    client = cluster.nodes["a"].watch("ada")
    cluster.run(1.0)
    stop(cluster.nodes["a"])
    cluster.run(0.005)
    cluster.nodes["a"].backend.kill()
    b = cluster.nodes["b"]
    seen = b.cluster.members
    b.cluster.members = lambda shard, members: None  # type: ignore[method-assign]  # it looks later
    moved = b.open(f"userId=watcher&session={session_of(client)}&position={position(client)}")
    cluster.run(0.5)
    b.cluster.members = seen  # type: ignore[method-assign]  # the original
    assert established(moved)["resumed"] is True


def test_nothing_is_left_of_a_session_that_cannot_be_had_from_a_stopped_node() -> None:
    cluster = ClusterHarness("abc", grace_lost=20)
    watcher = cluster.nodes["c"].watch("ada")
    ada = cluster.nodes["a"].enter("userId=ada")
    cluster.run(1.0)
    cluster.hub.put = lambda *_: None  # type: ignore[method-assign]  # the store loses it
    stop(cluster.nodes["a"], leave_grace_s=30)
    cluster.run(0.005)
    cluster.nodes["a"].backend.kill()
    moved = resume(cluster, "b", ada, "ada")
    cluster.run(1.0)
    assert established(moved)["resumed"] is False
    cluster.nodes["c"].new_messages(watcher)
    cluster.nodes["b"].end(moved)
    cluster.run()
    assert statuses(cluster.nodes["c"].new_messages(watcher)) == [("ada", "offline")]


def test_a_session_that_was_left_behind_and_closed_elsewhere_leaves_no_device() -> None:
    cluster = ClusterHarness("abc", grace_lost=20)
    laptop = cluster.nodes["b"].enter("userId=ada&device=web")
    phone = cluster.nodes["a"].enter("userId=ada&device=phone")
    cluster.run(1.0)
    stop(cluster.nodes["a"], leave_grace_s=30)
    cluster.run(0.005)
    moved = resume(cluster, "b", phone, "ada")
    assert established(moved)["resumed"] is True
    cluster.nodes["b"].end(moved)
    cluster.run(4, step=0.01)
    assert laptop.closed_with is None
    for name in "bc":
        [change] = cluster.nodes[name].node.directory.users.changes_of(["ada"])
        assert change is not None
        assert change.view.devices == ("web",)


def test_a_session_that_a_stopping_node_has_given_away_is_not_in_the_store() -> None:
    cluster = ClusterHarness("abc")
    client = cluster.nodes["a"].watch("ada")
    cluster.run(1.0)
    cluster.nodes["a"].end(client, Ending.LOST)
    cluster.run(0.1)
    cluster.nodes["a"].cluster.leave(5.0)  # saves sessions without a connection
    query = f"userId=watcher&session={session_of(client)}&position={position(client)}"
    moved = cluster.nodes["b"].open(query)
    cluster.run(0.1)
    assert established(moved)["resumed"] is True
    assert cluster.hub.take(StoredKey(SESSION, digest_of(session_of(client)))) is None


def test_a_client_receives_what_its_new_node_had_not_committed_when_it_logged_its_position() -> None:
    cluster = ClusterHarness()
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    client = b.enter("userId=watcher")
    b.send(client, "JOIN", id=1, room="hall")
    dora = a.enter("userId=dora")
    cluster.run(1.2)
    cluster.hub.cut("a")
    a.send(dora, "JOIN", id=1, room="hall")
    cluster.run(0.7)
    b.end(client, Ending.LOST)
    cluster.hub.heal("a")
    cluster.run(3, step=0.01)
    moved = resume(cluster, "a", client)
    assert established(moved)["resumed"] is True
    members = [one["userId"] for message in moved.messages for one in message.get("members", ())]
    assert "dora" in members


@pytest.mark.parametrize("is_graceful", [True, False])
def test_if_all_nodes_stop_their_users_have_the_settling_time_of_the_next_ones_to_return(is_graceful: bool) -> None:
    """As after a restart of a single node. Clients wait up to 30 s before they reconnect."""
    cluster = ClusterHarness(settling=35)
    before = [cluster.nodes[name] for name in "ab"]
    for node, user_id in zip(before, ("ada", "bob"), strict=True):
        node.connect(user_id)
    cluster.run(4, step=0.05)
    for node in before:
        if is_graceful:
            stop(node, leave_grace_s=16)
        else:
            node.kill()
    cluster.run(12, step=0.05)
    cluster.nodes = {name: cluster.start(name) for name in "cd"}
    cluster.run(1, step=0.05)
    watcher = cluster.nodes["c"].watch("ada", "bob")
    cluster.run(29, step=0.05)
    cluster.nodes["d"].connect("ada")
    cluster.run(3, step=0.05)
    assert statuses(cluster.nodes["c"].new_messages(watcher)) == [], "nobody has noticed anything"
    cluster.run(8, step=0.05)
    assert statuses(cluster.nodes["c"].new_messages(watcher)) == [("bob", "offline")], "bob has not returned"
