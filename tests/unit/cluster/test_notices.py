"""What operators learn: log lines, and warnings of `/readyz`."""

from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec import msgpack
from tests.support.cluster_harness import ClusterHarness, ClusterNode
from tests.unit.cluster.test_handover import stop

from presenced.cluster.backend import Member, State
from presenced.cluster.common_settings import COMMON, conflict, differing, digests_of, figures_from
from presenced.config.settings import Settings


class Log:
    """Lines about the cluster since the last call."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "presenced")
        self._caplog = caplog

    def news(self) -> list[tuple[str, str, str]]:
        """Return level, event and message of each line."""
        found = [
            (record.levelname, event, record.getMessage())
            for record in self._caplog.records
            if (event := str(record.__dict__.get("event"))).startswith("cluster_")
        ]
        self._caplog.clear()
        return found


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


def start(cluster: ClusterHarness, name: str, **settings: Any) -> ClusterNode:
    """Start a node with settings of its own."""
    node = ClusterNode(name, cluster.hub, cluster.clock, **settings)
    cluster.run(1, step=0.01)
    return node


def test_a_node_that_joins_logs_its_name_its_slot_and_what_it_found(log: Log) -> None:
    cluster = ClusterHarness("a")
    for number in range(3):
        cluster.nodes["a"].connect(f"u{number}")
    cluster.run(1, step=0.01)
    log.news()
    b = start(cluster, "b")
    [line] = log.news()
    slot = next(member.slot for member in b.cluster.nodes if member.name == "b")
    text = f"joined the cluster presenced as node b (slot {slot}): 2 nodes, 3 users online"
    assert line == ("INFO", "cluster_joined", text)


def test_a_node_that_stops_has_left_and_one_that_is_killed_is_dead(log: Log) -> None:
    cluster = ClusterHarness("abc", shards=3)
    cluster.run(4, step=0.05)  # each has heard of the others
    log.news()
    stop(cluster.nodes["a"])
    cluster.nodes["b"].kill()
    cluster.run(30, step=0.05)
    assert log.news() == [
        ("INFO", "cluster_left", "node a has left"),
        ("WARNING", "cluster_removes", "node b is dead: its users are taken out"),
    ]


def test_the_end_of_an_outage_is_logged_once_for_all_shards(log: Log) -> None:
    cluster = ClusterHarness("ab", shards=3)
    cluster.run(1, step=0.05)
    log.news()
    cluster.hub.cut("b")
    cluster.run(8, step=0.05)
    assert log.news() == [("WARNING", "cluster_local", "the store is out of reach: this node is on its own")]
    [warning] = cluster.nodes["b"].service.warnings()
    assert warning.startswith("the store has been out of reach for ")
    cluster.hub.heal("b")
    cluster.run(2, step=0.05)
    [(level, event, text)] = log.news()
    assert (level, event) == ("WARNING", "cluster_back")
    assert re.fullmatch(r"the store is back after [678] s: this node has caught up", text)
    assert cluster.nodes["b"].service.warnings() == []


def test_a_store_that_responds_and_refuses_a_node_is_not_only_out_of_reach(log: Log) -> None:
    cluster = ClusterHarness("ab")
    cluster.run(1, step=0.05)
    log.news()
    cluster.hub.cut("b")
    cluster.run(3, step=0.05)
    node = cluster.nodes["b"]
    node.cluster.rejected("the user has no rights")
    assert log.news()[-1] == ("ERROR", "cluster_rejected", "cannot return to the cluster: the user has no rights")
    [warning] = node.service.warnings()
    assert warning.endswith("it responds, but refuses this node: the log says why")
    cluster.hub.heal("b")
    cluster.run(2, step=0.05)
    assert node.service.warnings() == []


def test_a_store_that_was_emptied_is_one_line_for_each_node(log: Log) -> None:
    cluster = ClusterHarness("ab", shards=3)
    cluster.run(1, step=0.05)
    log.news()
    cluster.hub.flush()
    cluster.run(10, step=0.05)
    text = "the store no longer knows this node (declared dead, or the store was emptied): it joins again"
    assert log.news() == [("WARNING", "cluster_fenced", text)] * 2


def test_two_nodes_with_one_name_warn_until_one_of_them_is_gone(log: Log) -> None:
    cluster = ClusterHarness("ab")
    twin = start(cluster, "c", called="b")
    cluster.run(7, step=0.05)
    found = [line for line in log.news() if line[1] == "cluster_name_taken"]
    assert len(found) == 2
    assert all(text.startswith("another node is called b, too (slot ") for _, _, text in found)
    assert cluster.nodes["a"].service.warnings() == []
    for node in (twin, cluster.nodes["b"]):
        [warning] = node.service.warnings()
        assert warning.startswith("another node is called b, too (slot ")
    stop(twin)
    cluster.run(2, step=0.05)
    assert cluster.nodes["b"].service.warnings() == []


def test_a_node_that_was_killed_and_starts_again_has_its_name_to_itself(log: Log) -> None:
    cluster = ClusterHarness("ab")
    cluster.run(5, step=0.05)
    cluster.nodes["b"].kill()
    cluster.restart("b")
    cluster.run(30, step=0.05)
    assert not [line for line in log.news() if line[1] == "cluster_name_taken"]


def test_other_settings_are_a_warning_with_their_names_on_both_nodes(log: Log) -> None:
    cluster = ClusterHarness("ab", grace_lost=15)
    other = start(cluster, "c", grace_lost=20, token_lifetime=60, stats_interval=7)
    cluster.run(5, step=0.05)
    found = [text for _, event, text in log.news() if event == "cluster_settings_differ"]
    assert sorted(found) == [
        f"node {name} has other settings than this one: token_lifetime, grace_lost" for name in "abcc"
    ]
    [here], [there] = cluster.nodes["a"].service.warnings(), other.service.warnings()
    assert here == "node c has other settings than this one: token_lifetime, grace_lost"
    assert there == "nodes a, b have other settings than this one: token_lifetime, grace_lost"
    stop(other)
    cluster.run(2, step=0.05)
    assert cluster.nodes["a"].service.warnings() == []


JWT = Settings(auth="jwt", jwt_key="secret of 32 bytes, the first one")
KEYS = ("read:sha256:" + "0" * 64, "write:sha256:" + "1" * 64)


def member(settings: Settings, state: State = State.READY) -> Member:
    return Member(3, "a", "inc", 1, state, msgpack.encode(figures_from(settings)))


def test_a_node_without_authentication_and_one_with_it_are_not_one_cluster() -> None:
    assert "node a has auth = jwt, and this node has auth = none" in conflict(Settings(), [member(JWT)])
    assert "node a has auth = none, and this node has auth = jwt" in conflict(JWT, [member(Settings())])
    assert conflict(JWT, [member(JWT), member(Settings(auth="ticket"))]) == ""
    assert conflict(Settings(), [member(JWT, State.LEAVING), member(JWT, State.DEAD)]) == ""
    assert conflict(Settings(), [Member(3, "a", "inc", 1, State.READY)]) == "", "a node of an earlier release"


def test_settings_are_compared_without_their_order_and_secrets_by_few_bits() -> None:
    assert differing(figures_from(Settings(api_keys=KEYS)), figures_from(Settings(api_keys=KEYS[::-1]))) == ()
    assert differing(figures_from(Settings(api_keys=KEYS)), figures_from(Settings(api_keys=KEYS[:1]))) == ("api_keys",)
    other = Settings(auth="jwt", jwt_key="secret of 32 bytes, the other one")
    assert differing(figures_from(JWT), figures_from(other)) == ("jwt_key",)
    assert max(digests_of(JWT)) < 1 << 16
    assert set(COMMON) <= set(Settings.model_fields)
