"""One node of a cluster stores for all: everything once, in order, and whichever node dies."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.cluster_harness import ClusterHarness, ClusterNode
from tests.support.cluster_storage import FakeDatabase
from tests.support.fakes import FakeConnection

from presenced.cluster.backend import Excerpt
from presenced.cluster.directory import OTHERS_END_S
from presenced.cluster.history.write_behind import SharedWriteBehind
from presenced.presence.model import AS_DETECTED, Choice, Display, Status, StatusDetails
from presenced.presence.status import Claim
from presenced.storage.records import RestoredChoices, StoredClaim, StoredRevocation, choice_json

BUSY = Choice(Status.BUSY, StatusDetails("deploying"))


def database_of(cluster: ClusterHarness) -> FakeDatabase:
    assert cluster.database
    return cluster.database


def writers(cluster: ClusterHarness) -> list[ClusterNode]:
    """Return the living nodes that store a shard."""
    alive = [node for node in cluster.nodes.values() if node.worker and not node.worker.is_dead]
    return [node for node in alive if node.count("presenced_cluster_designated_writer")]


def writer(cluster: ClusterHarness) -> ClusterNode:
    [found] = writers(cluster)
    return found


def other(cluster: ClusterHarness) -> ClusterNode:
    return next(node for node in cluster.nodes.values() if node is not writer(cluster))


def storing(names: str = "ab", **settings: Any) -> ClusterHarness:
    cluster = ClusterHarness(names, stores=True, **settings)
    cluster.run(4, step=0.05)
    return cluster


def applied(node: ClusterNode) -> int:
    entry = node.cluster.shards[0].replica.applied
    return entry.n if entry else 0


def journal_of(node: ClusterNode, user_id: str) -> list[tuple[str, int]]:
    found = node.node.directory.users.journal.since(0, 1_000_000) or []
    return [(change.status.value, change.version) for change in found if change.user_id == user_id]


def test_one_node_stores_the_changes_of_all_in_order() -> None:
    cluster = storing("abc")
    for number in range(6):
        for name in "abc":
            connection = cluster.nodes[name].connect(f"u{number}")
            cluster.run(0.02)
            cluster.nodes[name].end(connection)
            cluster.run(0.02)
    cluster.run(1, step=0.01)
    database = database_of(cluster)
    assert len(writers(cluster)) == 1
    assert database.stored_twice == 0
    for number in range(6):
        assert database.history(f"u{number}") == journal_of(cluster.nodes["a"], f"u{number}")
        assert database.users[f"u{number}"].status == "offline"
    assert list(database.changes) == sorted(database.changes)


def test_an_entry_that_arrives_before_an_older_answer_about_the_log_is_in_the_history() -> None:
    """Two connections to the store have no order between them."""
    cluster = storing()
    node = writer(cluster)
    storage = node.node.storage
    assert isinstance(storage, SharedWriteBehind)
    late: list[Callable[[Excerpt], None]] = []
    read_log = storage._log.read_log
    storage.designated(0, is_writer=False)
    storage._log.read_log = lambda shard, after, on_answer: late.append(on_answer)  # type: ignore[method-assign]
    storage.designated(0, is_writer=True)
    cluster.run(0.5, step=0.01)
    storage._shards[0].collected_n = applied(node)  # as if the database had everything
    storage._shards[0].lacks_states = False
    node.connect("ada")
    cluster.run(0.5, step=0.01)
    storage._log.read_log = read_log  # type: ignore[method-assign]
    [answer] = late
    answer(Excerpt((), is_whole=True))
    cluster.run(1, step=0.01)
    assert journal_of(node, "ada")
    assert database_of(cluster).history("ada") == journal_of(node, "ada")


def test_a_node_that_stores_a_shard_again_collects_as_before() -> None:
    cluster = storing()
    node = writer(cluster)
    storage = node.node.storage
    assert isinstance(storage, SharedWriteBehind)
    node.connect("ada")
    cluster.run(0.005)
    assert storage._shards[0].waiting
    storage.designated(0, is_writer=False)
    assert not storage._shards[0].waiting
    storage.designated(0, is_writer=True)
    cluster.run(2, step=0.01)
    assert not storage._shards[0]._ending


def test_a_killed_writer_is_followed_by_one_that_continues_where_it_ended() -> None:
    cluster = storing("abc")
    killed, left = writer(cluster), other(cluster)
    connections = [left.connect(f"u{number}") for number in range(20)]
    cluster.run(0.021)
    killed.kill()
    for connection in connections:
        left.end(connection)
    cluster.run(25, step=0.02)
    assert writer(cluster) is not killed
    database = database_of(cluster)
    for number in range(20):
        history = database.history(f"u{number}")
        assert [status for status, _ in history] == ["online", "offline"]
        assert history == journal_of(left, f"u{number}")
        assert database.users[f"u{number}"].status == "offline"


def test_a_writer_whose_node_was_frozen_stores_nothing_any_more() -> None:
    cluster = storing("abc")
    old, left = writer(cluster), other(cluster)
    cluster.hub.cut(old.name)
    cluster.run(20, step=0.05)
    left.connect("ada")
    cluster.run(1, step=0.02)
    database = database_of(cluster)
    assert [status for status, _ in database.history("ada")] == ["online"]
    old.connect("bob")  # local to it
    cluster.run(2, step=0.05)
    assert database.history("bob") == []
    cluster.hub.heal(old.name)
    cluster.run(20, step=0.05)
    assert [status for status, _ in database.history("bob")] == ["online"]
    assert len(writers(cluster)) == 1


def test_a_node_whose_database_fails_hands_over() -> None:
    cluster = storing()
    old, left = writer(cluster), other(cluster)
    assert old.worker
    old.worker.is_storing = False
    left.connect("ada")
    cluster.run(10, step=0.02)
    assert writer(cluster) is left
    assert [status for status, _ in database_of(cluster).history("ada")] == ["online"]


def test_a_store_that_lost_everything_repeats_nothing_in_the_history() -> None:
    cluster = storing()
    connections = [cluster.nodes["a"].connect(f"u{number}") for number in range(5)]
    cluster.run(1, step=0.02)
    cluster.hub.flush()
    cluster.run(30, step=0.05)
    cluster.nodes["a"].end(connections[0])
    cluster.run(1, step=0.02)
    database = database_of(cluster)
    assert [status for status, _ in database.history("u0")] == ["online", "offline"]
    assert [status for status, _ in database.history("u1")] == ["online"]
    assert database.users["u1"].version == cluster.nodes["b"].node.directory.users.user("u1").version  # type: ignore[union-attr]  # known


def test_a_gap_is_counted_and_the_current_states_follow() -> None:
    cluster = storing("ab")
    [shard] = cluster.hub.shards
    shard._log_items = 20  # the log of this store is short
    killed, left = writer(cluster), other(cluster)
    left.connect("first")
    cluster.run(1, step=0.02)
    killed.kill()
    left.connect("ada")
    for number in range(50):
        connection = left.connect(f"u{number}")
        cluster.run(0.01)
        left.end(connection)
        cluster.run(0.01)
    cluster.run(25, step=0.05)
    database = database_of(cluster)
    assert writer(cluster) is left
    assert left.count("presenced_cluster_history_gaps_total") == 1
    assert [status for status, _ in database.history("ada")] == ["online"]
    assert [status for status, _ in database.history("u49")] == ["online", "offline"]
    assert database.history("u1") == []
    assert database.absence_checks[-1].users, "users who left meanwhile have to be found"
    left.connect("bob")
    cluster.run(1, step=0.02)
    assert [status for status, _ in database.history("bob")] == ["online"]


def test_while_no_node_has_a_working_database_the_last_writer_keeps_its_records() -> None:
    cluster = storing("ab")
    last = writer(cluster)
    for node in cluster.nodes.values():
        assert node.worker
        node.worker.is_storing = False
    cluster.run(8, step=0.05)
    other(cluster).connect("ada")
    cluster.run(8, step=0.05)
    assert writer(cluster) is last
    assert database_of(cluster).history("ada") == []
    for node in cluster.nodes.values():
        assert node.worker
        node.worker.is_storing = True
    cluster.run(8, step=0.05)
    assert [status for status, _ in database_of(cluster).history("ada")] == ["online"]


def test_a_cluster_without_changes_keeps_its_checkpoint_near_the_end_of_the_log() -> None:
    cluster = storing()
    ada = cluster.nodes["a"].enter("userId=ada")
    for _ in range(300):
        for room in ("r1", "r2", "r3", "r4"):
            cluster.nodes["a"].send(ada, "JOIN", id=1, room=room)
            cluster.run(0.003)
            cluster.nodes["a"].send(ada, "LEAVE", id=1, room=room)
            cluster.run(0.003)
    cluster.run(3, step=0.05)
    _, n, _ = database_of(cluster).log[0]
    assert applied(writer(cluster)) - n < 1_100


def test_rooms_are_stored_by_the_writer_with_rising_versions() -> None:
    cluster = storing(
        "abc", webhook_urls=("https://example.com/",), webhook_secrets="whsec_" + "a" * 32, database="sqlite"
    )
    old, left = writer(cluster), other(cluster)
    ada = left.enter("userId=ada")
    left.send(ada, "JOIN", id=1, room="lobby")
    cluster.run(1, step=0.02)
    old.kill()
    cluster.run(20, step=0.05)
    left.send(ada, "LEAVE", id=1, room="lobby")
    cluster.run(1, step=0.02)
    found = database_of(cluster).rooms
    assert [one.occupied for one in found] == [True, True, False], "the new writer says what is, and receivers know it"
    assert [one.position for one in found] == sorted({one.position for one in found})


def test_the_sessions_of_a_dead_node_are_ended() -> None:
    cluster = storing("abc")
    killed = other(cluster)
    assert killed.worker
    killed.kill()
    cluster.run(25, step=0.05)
    assert [(one.node, one.epoch) for one in database_of(cluster).ended] == [(killed.name, killed.worker.epoch)]


def test_the_sessions_of_a_dead_writer_are_ended() -> None:
    cluster = storing("abc")
    killed = writer(cluster)
    assert killed.worker
    killed.kill()
    cluster.run(25, step=0.05)
    assert [(one.node, one.epoch) for one in database_of(cluster).ended] == [(killed.name, killed.worker.epoch)]


def test_a_node_that_was_declared_dead_stores_its_sessions_again() -> None:
    cluster = storing("abc")
    frozen = other(cluster)
    frozen.connect("ada")
    cluster.run(1, step=0.02)
    before = len(database_of(cluster).sessions)
    cluster.hub.cut(frozen.name)
    cluster.run(25, step=0.05)
    cluster.hub.heal(frozen.name)
    cluster.run(25, step=0.05)
    assert [one.user_id for one in database_of(cluster).sessions[before:]] == ["ada"]


def test_a_session_that_moves_to_another_node_ends_in_the_row_of_the_first() -> None:
    cluster = storing()
    here, there = cluster.nodes["a"], cluster.nodes["b"]
    client = here.enter("userId=ada")
    session_id = client.session.session_id
    cluster.run(2, step=0.02)
    moved = there.open(f"userId=ada&session={session_id}")
    cluster.run(2, step=0.02)
    assert moved.session.session_id == session_id
    rows = {one.session_key: one for one in database_of(cluster).sessions}
    ends = {key: (one.session, one.closed_ms is not None) for key, one in rows.items()}
    assert sorted(is_over for _, is_over in ends.values()) == [False, True]
    assert len({digest for digest, _ in ends.values()}) == 1


def test_choices_and_claims_are_stored_from_the_log() -> None:
    cluster = storing()
    there = other(cluster).service
    there.set_status("ada", BUSY)
    there.set_claim("ada", Claim("calendar", Status.AWAY, StatusDetails("meeting"), 3))
    cluster.run(1, step=0.02)
    database = database_of(cluster)
    assert database.users["ada"].chosen == choice_json(BUSY)
    claim = database.claims["ada", "calendar"]
    assert (claim.status, claim.text, claim.priority) == ("away", "meeting", 3)
    there.clear_claim("ada", "calendar")
    cluster.run(1, step=0.02)
    assert database.claims["ada", "calendar"] == StoredClaim(
        "ada", "calendar", set_ms=database.claims["ada", "calendar"].set_ms
    )


def test_choices_of_a_user_whom_the_nodes_have_forgotten_replace_the_row() -> None:
    """Others see no change, so the item has no version."""
    cluster = storing(log_age=1, heartbeat_interval=1, pong_timeout=1)
    there, database = other(cluster), database_of(cluster)
    connection, now = there.connect("ada"), cluster.clock.now()
    there.node.publisher.apply(there.node.directory.update_display("ada", Display(b'{"name":"Ada"}', 1.0), now), now)
    cluster.run(1, step=0.02)
    there.end(connection)
    cluster.run(3, step=0.02)
    for node in cluster.nodes.values():
        node.node.publisher.expire()  # trims the log of recent changes
    assert all(node.node.directory.users.user("ada") is None for node in cluster.nodes.values())
    before = database.users["ada"]
    there.service.set_status("ada", Choice(Status.INVISIBLE))
    cluster.run(1, step=0.02)
    hidden = database.users["ada"]
    assert hidden.chosen == choice_json(Choice(Status.INVISIBLE))
    there.service.set_status("ada", None)
    cluster.run(1, step=0.02)
    cleared = database.users["ada"]
    assert cleared.chosen == b""
    assert before.display == hidden.display == cleared.display == b'{"name":"Ada"}'
    there.connect("ada")
    cluster.run(1, step=0.02)
    assert before.version < hidden.version < cleared.version < database.users["ada"].version
    assert database.users["ada"].status == "online"


def test_an_erased_user_is_in_no_row_and_no_journal() -> None:
    cluster = storing("abc")
    here, there = cluster.nodes["a"], cluster.nodes["b"]
    here.connect("ada")
    there.service.set_status("ada", BUSY)
    cluster.run(1, step=0.02)
    there.service.forget("ada")
    assert there.node.other_nodes
    there.node.other_nodes.erase("ada")
    cluster.run(8, step=0.02)
    database = database_of(cluster)
    assert "ada" not in database.users
    assert database.history("ada") == []
    for node in cluster.nodes.values():
        found = node.node.directory.users.journal.since(0, 100) or []
        assert {change.view.details.text for change in found} == {""}
        assert {change.seen_ms for change in found} == {0}


def test_a_user_who_is_erased_during_an_outage_of_the_store_is_in_no_row() -> None:
    """The user leaves the other node only after the outage, which is a change to be stored."""
    cluster = storing()
    here, there = cluster.nodes["a"], cluster.nodes["b"]
    there.connect("ada")
    cluster.run(2, step=0.02)
    cluster.hub.is_reachable = False
    cluster.run(3, step=0.05)
    here.service.forget("ada")
    assert here.node.other_nodes
    here.node.other_nodes.erase("ada")
    database = database_of(cluster)
    database.users.pop("ada")
    for position in [position for position, one in database.changes.items() if one.user_id == "ada"]:
        del database.changes[position]
    cluster.run(10, step=0.05)
    cluster.hub.is_reachable = True
    cluster.run(20, step=0.05)
    assert cluster.statuses("ada") == {"a": "offline", "b": "offline"}
    assert "ada" not in database.users
    assert database.history("ada") == []


# Restoring.


def test_only_the_first_node_of_a_new_cluster_restores_choices() -> None:
    cluster = ClusterHarness("", stores=True)
    first = cluster.start("a")
    first.storage.restore([RestoredChoices("ada", choice_json(BUSY))])
    cluster.nodes["a"] = first
    cluster.run(4, step=0.05)
    second = cluster.start("b")
    second.storage.restore(
        [RestoredChoices("bob", choice_json(BUSY)), RestoredChoices("ada", choice_json(Choice(Status.AWAY)))]
    )
    cluster.nodes["b"] = second
    cluster.run(4, step=0.05)
    for node in (first, second):
        known = {user_id: node.node.directory.users.user(user_id) for user_id in ("ada", "bob")}
        assert known["ada"]
        assert known["ada"].chosen == BUSY
        assert known["bob"] is None
    assert (first.cluster.has_joined_running_cluster, second.cluster.has_joined_running_cluster) == (False, True)
    for node, settling in ((first, 35), (second, 0)):
        node.node.start()  # as a server does: after it has joined
        [established] = [message for message in node.open("userId=eve").messages if "settling" in message]
        assert established["settling"] == settling


def test_a_decision_of_any_node_is_newer_than_what_is_restored_late() -> None:
    cluster = storing()
    other(cluster).service.set_status("ada", Choice(Status.AWAY))
    cluster.run(1, step=0.02)
    first = next(node for node in cluster.nodes.values() if not node.cluster.has_joined_running_cluster)
    first.storage.restore([RestoredChoices("ada", choice_json(BUSY)), RestoredChoices("bob", choice_json(BUSY))])
    cluster.run(1, step=0.02)
    for node in cluster.nodes.values():
        users = node.node.directory.users
        assert users.user("ada").chosen == Choice(Status.AWAY)  # type: ignore[union-attr]  # known
        assert users.user("bob").chosen == BUSY  # type: ignore[union-attr]  # known


def test_the_store_continues_above_the_numbers_in_the_database() -> None:
    cluster = ClusterHarness("", stores=True)
    cluster.nodes["a"] = cluster.start("a")
    cluster.nodes["a"].storage.finish_restore(7_000_000_000)
    cluster.run(4, step=0.05)
    cluster.nodes["a"].connect("ada")
    cluster.run(1, step=0.02)
    [(_, version)] = database_of(cluster).history("ada")
    assert version > 7_000_000_000


def test_revocations_are_restored_on_every_node() -> None:
    cluster = storing()
    found: list[object] = []
    storage = other(cluster).storage
    storage._restore_revocations = found.extend
    storage.restore([StoredRevocation("user", "ada", 1.0, 2.0)])
    assert len(found) == 1


# Ends of choices and claims.


@pytest.mark.parametrize("database", [True, False])
def test_the_end_of_an_absent_users_choice_is_committed_once(database: bool) -> None:
    cluster = ClusterHarness("abcd", stores=database)
    cluster.run(4, step=0.05)
    cluster.nodes["a"].service.set_status("ada", BUSY, lasts=10)
    cluster.nodes["b"].service.set_claim("bob", Claim("calendar", Status.AWAY, StatusDetails()), lasts=10)
    cluster.run(1, step=0.02)
    n = applied(cluster.nodes["a"])
    cluster.run(12, step=0.02)
    assert applied(cluster.nodes["a"]) == n + 2
    for node in cluster.nodes.values():
        for user_id in ("ada", "bob"):
            user = node.node.directory.users.user(user_id)
            assert user is None or (user.timed is None and not user.claims and user.chosen == AS_DETECTED)


def test_another_node_ends_a_choice_a_second_later_if_the_one_that_should_does_not() -> None:
    cluster = ClusterHarness("abc", stores=True)
    cluster.run(4, step=0.05)
    cluster.nodes["a"].service.set_claim("ada", Claim("calendar", Status.BUSY, StatusDetails()), lasts=10)
    cluster.nodes["a"].service.announce("ada", online=True)
    cluster.run(8, step=0.02)
    assert set(cluster.statuses("ada").values()) == {"busy"}
    killed = writer(cluster)
    killed.kill()
    del cluster.nodes[killed.name]
    cluster.run(3 + OTHERS_END_S, step=0.02)
    assert set(cluster.statuses("ada").values()) == {"online"}


# Whatever happens.


class Disturbed:
    """Users come and go on three nodes, two of which are killed and replaced, while databases fail and return."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.cluster = ClusterHarness("abc", stores=True, shards=self.chance.choice((1, 3)))
        self.cluster.run(4, step=0.05)
        self._connections: dict[str, tuple[ClusterNode, FakeConnection]] = {}

    def step(self) -> None:
        """Do something."""
        action, name = self.chance.random(), self.chance.choice("abc")
        if action < 0.75:
            self._turn(f"u{self.chance.randrange(8)}", self.cluster.nodes[name])
        elif action < 0.85 and name != "a":
            self.cluster.nodes[name].kill()
            self.cluster.nodes[name] = self.cluster.start(name)
        elif action < 0.95 and (worker := self.cluster.nodes[name].worker):
            worker.is_storing = not worker.is_storing
        self.cluster.run(self.chance.choice((0.005, 0.03, 0.3, 2)), step=0.01)

    def calm(self) -> None:
        """Let everything work."""
        for node in self.cluster.nodes.values():
            assert node.worker
            node.worker.is_storing = True
        self.cluster.run(30, step=0.02)

    def _turn(self, user_id: str, node: ClusterNode) -> None:
        if not node.cluster.is_ready:
            return
        if user_id not in self._connections:
            self._connections[user_id] = node, node.connect(user_id)
            return
        former, connection = self._connections.pop(user_id)
        if former in self.cluster.nodes.values():
            former.end(connection)


@pytest.mark.parametrize("seed", [*range(12), 148])
def test_the_history_is_complete_whichever_nodes_die(seed: int) -> None:
    """`a` lives throughout, and has seen everything. The database has all of it, in order, and nothing else."""
    disturbed = Disturbed(seed)
    for _ in range(60):
        disturbed.step()
    disturbed.calm()
    cluster = disturbed.cluster
    database = database_of(cluster)
    for number in range(8):
        user_id = f"u{number}"
        assert database.history(user_id) == journal_of(cluster.nodes["a"], user_id)
        if user_id in database.users:
            assert database.users[user_id].status == cluster.statuses(user_id)["a"]
    assert not any(node.count("presenced_cluster_history_gaps_total") for node in cluster.nodes.values())
