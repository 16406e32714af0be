"""Bounds of rooms count on all nodes together, as on a single node."""

from __future__ import annotations

from typing import Any

from tests.support.cluster_harness import ClusterHarness
from tests.support.node_harness import types

from presenced.presence.subscriptions import MAX_ROOMS


def refusals(messages: list[dict[str, Any]]) -> list[str]:
    """Return the names of the errors."""
    return [message["name"] for message in messages if message["type"] == "ERROR"]


def test_a_room_has_at_most_as_many_members_as_on_one_node() -> None:
    cluster = ClusterHarness("ab", room_members=3)
    clients = [cluster.nodes["ab"[number % 2]].enter(f"userId=u{number}") for number in range(4)]
    for number, client in enumerate(clients[:3]):
        assert "ACK" in types(cluster.nodes["ab"[number % 2]].send(client, "JOIN", id=1, room="hall"))
        cluster.run()
    assert refusals(cluster.nodes["b"].send(clients[3], "JOIN", id=1, room="hall")) == ["ROOM_FULL"]
    cluster.nodes["a"].send(clients[0], "LEAVE", id=2, room="hall")
    cluster.run()
    assert "ACK" in types(cluster.nodes["b"].send(clients[3], "JOIN", id=3, room="hall"))


def test_nodes_that_admit_the_last_member_at_the_same_time_exceed_the_bound_by_one() -> None:
    cluster = ClusterHarness("ab", room_members=1)
    clients = {name: node.enter(f"userId={name}") for name, node in cluster.nodes.items()}
    cluster.run()
    for name, client in clients.items():
        cluster.nodes[name].send(client, "JOIN", id=1, room="hall")
    cluster.run()
    for node in cluster.nodes.values():
        room = node.node.rooms.get("hall")
        assert room is not None
        assert len(room.members) == 2, "all nodes have the same members"


def test_a_session_that_moves_to_another_node_is_in_as_many_rooms_as_before_and_no_more() -> None:
    cluster = ClusterHarness("ab", request_rate=1000, request_burst=1000)
    client = cluster.nodes["a"].enter("userId=ada")
    for number in range(MAX_ROOMS):
        cluster.nodes["a"].send(client, "JOIN", id=1, room=f"room-{number}")
    cluster.run(1.0)
    session = client.messages[0]["sessionId"]
    moved = cluster.nodes["b"].open(f"userId=ada&session={session}")
    cluster.run()
    assert moved.messages[0]["resumed"] is True
    assert refusals(cluster.nodes["b"].send(moved, "JOIN", id=1, room="one-more")) == ["TOO_MANY_ROOMS"]
    assert len(list(cluster.nodes["a"].node.rooms.of("ada"))) == MAX_ROOMS
