"""Several nodes look like one server to their clients."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.cluster_harness import ClusterHarness, ClusterNode
from tests.support.node_harness import statuses

from presenced.cluster.backend import Member, State
from presenced.cluster.memory.hub import MemoryBackend, MemoryHub
from presenced.cluster.sharding import shard_of
from presenced.delivery import broadcaster
from presenced.http.api.explain import live_session, sentence
from presenced.presence.model import Choice, Ending, Status
from presenced.presence.status import Claim, choice_of


def test_a_user_who_connects_to_one_node_is_online_on_all() -> None:
    cluster = ClusterHarness("abc")
    watchers = {name: node.watch("ada") for name, node in cluster.nodes.items()}
    cluster.run()
    ada = cluster.nodes["a"].connect("ada")
    cluster.run()
    assert cluster.statuses("ada") == dict.fromkeys("abc", "online")
    cluster.nodes["a"].end(ada)
    cluster.run()
    for name, watcher in watchers.items():
        messages = cluster.nodes[name].new_messages(watcher)
        assert statuses(messages)[-2:] == [("ada", "online"), ("ada", "offline")]


def test_a_user_on_two_nodes_is_online_until_the_last_connection_closes() -> None:
    cluster = ClusterHarness()
    first = cluster.nodes["a"].connect("ada")
    cluster.run()
    second = cluster.nodes["b"].connect("ada")
    cluster.run()
    cluster.nodes["a"].end(first)
    cluster.run()
    assert cluster.statuses("ada") == {"a": "online", "b": "online"}
    cluster.nodes["b"].end(second)
    cluster.run()
    assert cluster.statuses("ada") == {"a": "offline", "b": "offline"}


def test_users_of_a_killed_node_are_offline_within_the_lease_and_two_seconds_once() -> None:
    cluster = ClusterHarness()
    watcher = cluster.nodes["b"].watch("ada", "bob")
    cluster.nodes["a"].connect("ada")
    cluster.nodes["b"].connect("bob")
    cluster.run()
    cluster.nodes["b"].new_messages(watcher)
    cluster.nodes["a"].kill()
    cluster.run(11, step=0.05)
    assert statuses(cluster.nodes["b"].new_messages(watcher)) == []
    cluster.run(6, step=0.05)
    assert statuses(cluster.nodes["b"].new_messages(watcher)) == [("ada", "offline")]
    cluster.run(60, step=0.1)
    assert statuses(cluster.nodes["b"].new_messages(watcher)) == []


def test_a_watcher_that_many_arrivals_on_another_node_make_slow_is_notified_of_every_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The room's changes take positions above those of all users, and the batch is flushed before the last user."""
    monkeypatch.setattr(broadcaster, "MAX_BATCH_EVENTS", 3)
    cluster = ClusterHarness()
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    watcher = b.enter("userId=watcher")
    cluster.run()
    b.new_messages(watcher)
    for number in range(6):
        a.send(a.enter(f"userId={number}&watch=none"), "JOIN", room="lobby")
    watcher.full_after, watcher.on_full = 1, lambda: b.node.paused(watcher)
    cluster.run()
    assert watcher.paused
    watcher.paused = False
    b.node.resumed(watcher)
    assert set(statuses(b.new_messages(watcher))) == {(number, "online") for number in range(6)}


def test_users_of_a_killed_node_leave_although_their_arrival_is_too_old_to_be_remembered() -> None:
    """The remover knows of no session of theirs any more, and its log of changes has dropped their last one."""
    cluster = ClusterHarness(log_size=2)
    users = [f"user{number}" for number in range(6)]
    for user in users:
        cluster.nodes["a"].connect(user)
    watcher = cluster.nodes["b"].watch(*users)
    cluster.run()
    assert sorted(statuses(cluster.nodes["b"].new_messages(watcher))) == [(user, "online") for user in users]
    cluster.nodes["a"].kill()
    cluster.run(20, step=0.05)
    assert sorted(statuses(cluster.nodes["b"].new_messages(watcher))) == [(user, "offline") for user in users]
    assert cluster.nodes["b"].node.directory.users.online_users == 1  # the watcher


def test_users_of_a_killed_node_who_came_back_to_another_one_never_flicker() -> None:
    cluster = ClusterHarness()
    watcher = cluster.nodes["b"].watch("ada")
    cluster.nodes["a"].connect("ada")
    cluster.run()
    cluster.nodes["b"].new_messages(watcher)
    cluster.nodes["a"].kill()
    cluster.run(5, step=0.05)
    cluster.nodes["b"].connect("ada")
    cluster.run(30, step=0.05)
    assert statuses(cluster.nodes["b"].new_messages(watcher)) == []


def test_a_choice_made_on_one_node_counts_on_all() -> None:
    cluster = ClusterHarness()
    phone = cluster.nodes["b"].enter("userId=ada")
    watcher = cluster.nodes["b"].watch("ada")
    laptop = cluster.nodes["a"].enter("userId=ada")
    cluster.run()
    cluster.nodes["b"].new_messages(phone)
    cluster.nodes["a"].send(laptop, "SET_STATUS", id=1, status="busy", text="deploying")
    cluster.run()
    assert cluster.statuses("ada") == {"a": "busy", "b": "busy"}
    [own] = [message for message in cluster.nodes["b"].new_messages(phone) if message["type"] == "SELF"]
    assert (own["status"], own["text"]) == ("busy", "deploying")
    cluster.nodes["b"].new_messages(watcher)
    cluster.nodes["b"].send(phone, "SET_STATUS", id=1, status="invisible")
    cluster.run()
    assert statuses(cluster.nodes["b"].new_messages(watcher)) == [("ada", "offline")]
    assert cluster.statuses("ada") == {"a": "offline", "b": "offline"}


def test_members_of_a_room_are_seen_on_all_nodes() -> None:
    cluster = ClusterHarness()
    ada = cluster.nodes["a"].enter("userId=ada")
    bob = cluster.nodes["b"].enter("userId=bob")
    cluster.nodes["a"].send(ada, "JOIN", id=1, room="lobby", data={"seat": 1})
    cluster.run()
    late = cluster.start("c")
    cluster.run(3, step=0.05)
    rooms = [node.node.rooms.get("lobby") for node in (*cluster.nodes.values(), late)]
    assert len({room and room.members["ada"].joined_ms for room in rooms}) == 1, "also on a node that started later"
    answer = cluster.nodes["b"].send(bob, "JOIN", id=1, room="lobby")
    [snapshot] = [message for message in answer if message["type"] == "ROOM_SNAPSHOT"]
    assert {member["userId"]: member.get("data") for member in snapshot["members"]} == {"ada": {"seat": 1}, "bob": None}
    cluster.run()
    cluster.nodes["a"].end(ada, Ending.CLOSED)
    cluster.run()
    [change] = [message for message in cluster.nodes["b"].new_messages(bob) if message["type"] == "ROOM_CHANGES"]
    assert change["left"] == ["ada"]


def test_without_the_store_a_node_shows_its_own_users_and_all_is_right_when_it_returns() -> None:
    cluster = ClusterHarness()
    watcher = cluster.nodes["b"].watch("ada", "bob", "carl")
    cluster.nodes["a"].connect("ada")
    cluster.run()
    cluster.hub.cut("b")
    assert cluster.nodes["b"].service.warnings() == []
    cluster.run(3, step=0.05)
    assert cluster.nodes["b"].cluster.is_local
    [warning] = cluster.nodes["b"].service.warnings()
    assert warning.startswith("the store has been out of reach for ")
    cluster.nodes["b"].connect("bob")
    cluster.run()
    cluster.nodes["a"].connect("carl")
    cluster.run()
    assert cluster.statuses("bob") == {"a": "offline", "b": "online"}
    cluster.hub.heal("b")
    cluster.run(2, step=0.05)
    assert cluster.nodes["b"].service.warnings() == []
    assert (
        cluster.statuses("bob") == cluster.statuses("carl") == cluster.statuses("ada") == {"a": "online", "b": "online"}
    )
    seen = statuses(cluster.nodes["b"].new_messages(watcher))
    assert [status for user, status in seen if user == "bob"][-1:] == ["online"]


def test_versions_are_the_same_on_all_nodes() -> None:
    cluster = ClusterHarness()
    for number in range(5):
        cluster.nodes["ab"[number % 2]].connect(f"u{number}")
        cluster.run()
    versions = [
        {change.user_id: change.version for change in node.node.directory.users.snapshot()}
        for node in cluster.nodes.values()
    ]
    assert versions[0] == versions[1]
    assert len(set(versions[0].values())) == 5


def test_a_user_who_was_unknown_comes_with_a_higher_version_in_every_shard() -> None:
    """Otherwise clients would take the news for old ones."""
    cluster = ClusterHarness(shards=4)
    for number in range(20):
        cluster.nodes["a"].connect(f"early{number}")
    cluster.run()
    users = [f"late{number}" for number in range(20)]
    watcher = cluster.nodes["b"].watch()
    [snapshot] = [
        message
        for message in cluster.nodes["b"].send(watcher, "WATCH", id=2, users=users)
        if message["type"] == "PRESENCE_SNAPSHOT"
    ]
    before = {record["userId"]: record["version"] for record in snapshot["users"]}
    assert before.keys() == set(users)
    assert len(set(before.values())) > 1, "the shards have numbers of their own"
    for user in users:
        cluster.nodes["a"].connect(user)
    cluster.run(1, step=0.005)
    after = {
        record["userId"]: record["version"]
        for message in cluster.nodes["b"].new_messages(watcher)
        for record in message.get("users", ())
    }
    assert after.keys() == set(users)
    assert [user for user in users if after[user] <= before[user]] == []


def test_a_backend_closes_the_connections_of_a_user_on_all_nodes() -> None:
    cluster = ClusterHarness("abc")
    here, there = cluster.nodes["a"].connect("ada"), cluster.nodes["b"].connect("ada")
    cluster.run()
    assert cluster.nodes["c"].service.disconnect("ada") == 2
    cluster.run()
    assert here.closed_with
    assert there.closed_with
    assert cluster.statuses("ada") == dict.fromkeys("abc", "offline")


def test_sessions_of_other_nodes_are_listed_with_the_name_of_their_node() -> None:
    cluster = ClusterHarness()
    cluster.nodes["a"].enter("userId=ada&device=web")
    here = cluster.nodes["b"].enter("userId=ada&device=phone")
    cluster.run()
    b = cluster.nodes["b"]
    found = [live_session(one, b.clock.now(), b.service.node_of(one)) for one in b.service.sessions_of("ada")]
    assert sorted((one.device, one.connected, one.node) for one in found) == [("phone", True, ""), ("web", True, "a")]
    assert "1 connection is open" in sentence(b.service.explain("ada"))
    b.end(here)
    cluster.run()
    assert "1 session is on another node" in sentence(b.service.explain("ada"))


def test_a_user_who_leaves_before_a_node_has_read_that_the_user_came_is_offline() -> None:
    """The store has accepted that the user came, and its answer overtakes the entry of the log."""
    cluster = ClusterHarness()
    a = cluster.nodes["a"]
    entries, held = a.cluster.entries, list[Any]()
    a.cluster.entries = lambda *report: held.append(report)  # type: ignore[method-assign]  # the reader is slow
    ada = a.connect("ada")
    cluster.run()
    a.end(ada)
    cluster.run()
    a.cluster.entries = entries  # type: ignore[method-assign]  # the original
    for report in held:
        entries(*report)
    cluster.run(1)
    assert cluster.statuses("ada") == {"a": "offline", "b": "offline"}


def test_a_decision_replaces_one_of_a_node_whose_clock_is_ahead() -> None:
    cluster = ClusterHarness()
    for name in "ab":
        cluster.nodes[name].service.announce("ada", online=True)
        cluster.nodes[name].service.set_status("ada", Choice(Status.BUSY))
        cluster.run()
        cluster.clock.step_wall_clock(-5)
        cluster.nodes["ba"[name == "b"]].service.set_status("ada", None)
        cluster.run()
        ada = cluster.nodes[name].connect("ada")  # so that this node decides about the user again
        cluster.run()
        assert cluster.statuses("ada") == {"a": "online", "b": "online"}
        cluster.nodes[name].end(ada)
        cluster.nodes[name].service.announce("ada", online=False)
        cluster.run()
        assert cluster.statuses("ada") == {"a": "offline", "b": "offline"}


def test_each_user_stays_in_one_shard_when_the_store_loses_everything() -> None:
    cluster = ClusterHarness("")
    hub = MemoryHub(cluster.clock, shards=3)
    nodes = [ClusterNode(name, hub, cluster.clock) for name in "ab"]
    cluster.run(1, step=0.05)
    users = [f"u{number}" for number in range(12)]
    for number, user in enumerate(users):
        nodes[number % 2].connect(user)
    cluster.run()
    hub.flush()
    hub.fail_over()
    cluster.run(40, step=0.05)
    found = {user: [index for index, shard in enumerate(hub.shards) if user in shard.users] for user in users}
    assert found == {user: [shard_of(user, 3)] for user in users}


def test_what_is_cleared_for_an_absent_user_is_cleared_on_all_nodes() -> None:
    cluster = ClusterHarness("abc")
    first, second = cluster.nodes["a"].service, cluster.nodes["b"].service
    first.set_claim("ada", Claim("calendar", Status.BUSY))
    first.set_status("bob", choice_of("busy"))
    cluster.run()
    assert second.clear_claim("ada", "calendar")
    second.set_status("bob", None)
    cluster.run()
    assert [node.service.claims_of("ada") for node in cluster.nodes.values()] == [(), (), ()]
    cluster.nodes["a"].connect("bob")
    cluster.nodes["c"].connect("ada")
    cluster.run()
    assert cluster.statuses("ada") == cluster.statuses("bob") == dict.fromkeys("abc", "online")


def test_each_shard_has_its_own_users_only_also_after_it_was_loaded_again() -> None:
    cluster = ClusterHarness("ab", shards=3)
    for number in range(9):
        cluster.nodes["ab"[number % 2]].connect(f"u{number}")
    cluster.run(1, step=0.02)
    cluster.hub.flush()
    cluster.run(20, step=0.05)
    for index, shard in enumerate(cluster.hub.shards):
        users = {item.user_id for logged in shard.log for item in logged.entry.items}
        assert {shard_of(user_id, 3) for user_id in users} <= {index}
    assert all(set(cluster.statuses(f"u{number}").values()) == {"online"} for number in range(9))


def test_a_choice_that_is_repeated_on_a_node_without_the_store_is_the_last_one() -> None:
    cluster = ClusterHarness()
    phone, laptop = cluster.nodes["a"].enter("userId=ada"), cluster.nodes["b"].enter("userId=ada")
    cluster.nodes["a"].send(phone, "SET_STATUS", id=1, status="away")
    cluster.run(1)
    cluster.hub.cut("a")
    cluster.run(2, step=0.01)
    cluster.nodes["b"].send(laptop, "SET_STATUS", id=2, status="busy")
    cluster.run(2, step=0.01)
    cluster.nodes["a"].send(phone, "SET_STATUS", id=3, status="away")
    cluster.run(1, step=0.01)
    cluster.hub.heal("a")
    cluster.run(3, step=0.01)
    assert cluster.statuses("ada") == {"a": "away", "b": "away"}


def test_a_load_that_was_cut_off_leaves_nothing_behind() -> None:
    cluster = ClusterHarness()
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    b.enter("userId=ada")
    phone = a.enter("userId=ada")
    a.send(phone, "JOIN", id=1, room="lobby")
    cluster.run(1)
    cluster.hub.set_delay("b", 0.1)
    b.cluster.interrupted(0)  # so that it loads
    cluster.run(0.7)
    cluster.hub.cut("b")
    a.end(phone)
    cluster.run(0.5)
    cluster.hub.heal("b")
    cluster.run(30, step=0.01)
    assert [list(node.node.rooms.of("ada")) for node in (a, b)] == [[], []]


def test_a_follower_has_the_versions_of_its_node_after_that_has_loaded_everything_again() -> None:
    cluster = ClusterHarness()
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    ada = a.connect("ada")
    cluster.run()
    while b.service.digest() is None:
        pass
    cluster.hub.cut("b")
    cluster.run(25, step=0.05)
    a.end(ada)
    cluster.run()
    a.connect("ada")
    cluster.run()
    cluster.hub.heal("b")
    cluster.run(30, step=0.05)
    changes = b.service.changes_since(0, 100)
    assert changes is not None
    followed = {change.user_id: change.version for change in changes}
    assert followed == {change.user_id: change.version for change in b.node.directory.users.snapshot()}
    while (digest := b.service.digest()) is None:
        pass
    while (other := a.service.digest()) is None:
        pass
    assert (digest.value, digest.users) == (other.value, 1)


def test_versions_are_the_same_after_a_user_was_away_for_a_moment_on_a_node_without_the_store() -> None:
    cluster = ClusterHarness(grace_lost=0)
    first = cluster.nodes["a"].connect("ada")
    cluster.run()
    cluster.hub.cut("a")
    cluster.run(3, step=0.05)
    cluster.nodes["a"].end(first)
    cluster.run()
    cluster.nodes["a"].connect("ada")
    cluster.run()
    cluster.hub.heal("a")
    cluster.run(3, step=0.05)
    versions = [node.node.directory.users.changes_of(["ada"])[0] for node in cluster.nodes.values()]
    assert len({change.version for change in versions if change}) == 1


def test_users_of_a_node_stay_if_the_store_loses_that_the_node_was_declared_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = ClusterHarness("abc")
    cluster.nodes["b"].connect("ada")
    cluster.run()
    asked: list[str] = []
    remove = MemoryBackend.remove

    def counting(backend: MemoryBackend, shard: int, member: Member) -> None:
        asked.append(member.name)
        assert len(asked) < 100, "the store is asked again and again"
        remove(backend, shard, member)

    monkeypatch.setattr(MemoryBackend, "remove", counting)
    cluster.hub.cut("b")
    cluster.run(14, step=0.05)
    nodes, writes = cluster.hub.shards[0].nodes, 0
    while not any(member.state is State.DEAD for member in nodes.values()):
        writes = cluster.hub.writes
        cluster.run(0.001)
    cluster.run(0.002)
    cluster.hub.heal("b")
    cluster.hub.fail_over(cluster.hub.writes - writes)
    assert not any(member.state is State.DEAD for member in nodes.values())
    cluster.run(30, step=0.05)
    assert cluster.statuses("ada") == dict.fromkeys("abc", "online")
    assert [len(node.service.sessions_of("ada")) for node in cluster.nodes.values()] == [1, 1, 1]
    assert [session.slot >= 0 for session in cluster.nodes["a"].service.sessions_of("ada")] == [True]
