"""Commands and messages that a node gets long after they were sent have no effect any more."""

from __future__ import annotations

import pytest
from tests.support.cluster_harness import ClusterHarness

from presenced.cluster.commands.commands import COMMAND_S


def test_a_disconnect_reaches_the_other_nodes_after_a_short_outage_of_the_store() -> None:
    cluster = ClusterHarness()
    ada = cluster.nodes["b"].connect("ada")
    cluster.run()
    cluster.hub.is_reachable = False
    cluster.run(5, step=0.05)
    cluster.nodes["a"].service.disconnect("ada")
    cluster.run(5, step=0.05)
    assert ada.closed_with is None
    cluster.hub.is_reachable = True
    cluster.run(5, step=0.05)
    assert ada.closed_with is not None


def test_a_disconnect_that_waits_out_an_outage_of_the_store_has_no_effect_elsewhere() -> None:
    cluster = ClusterHarness()
    ada = cluster.nodes["b"].connect("ada")
    cluster.run()
    cluster.hub.is_reachable = False
    cluster.run(5, step=0.05)
    cluster.nodes["a"].service.disconnect("ada")
    cluster.run(COMMAND_S, step=0.05)
    cluster.hub.is_reachable = True
    cluster.run(10, step=0.05)
    assert ada.closed_with is None
    assert cluster.statuses("ada") == {"a": "online", "b": "online"}


@pytest.mark.parametrize("clock_step", [0, 3600, -3600])
def test_a_disconnect_has_no_effect_on_a_node_that_was_cut_off_for_long(clock_step: float) -> None:
    cluster = ClusterHarness("abc")
    cluster.run(5, step=0.05)
    ada, late = cluster.nodes["b"].connect("ada"), cluster.nodes["c"].connect("ada")
    cluster.run()
    cluster.clock.step_wall_clock(clock_step)
    cluster.hub.cut("c")
    cluster.run(5, step=0.05)
    cluster.nodes["a"].service.disconnect("ada")
    cluster.run(COMMAND_S + 5, step=0.05)
    cluster.hub.heal("c")
    cluster.run(20, step=0.05)
    assert ada.closed_with is not None
    assert late.closed_with is None


def test_a_disconnect_that_a_frozen_store_executes_late_has_no_effect() -> None:
    cluster = ClusterHarness()
    ada = cluster.nodes["b"].connect("ada")
    cluster.run(1)
    cluster.hub.freeze()
    cluster.nodes["a"].service.disconnect("ada")
    cluster.run(COMMAND_S + 5, step=0.05)
    cluster.hub.thaw()
    cluster.run(10, step=0.05)
    assert ada.closed_with is None


@pytest.mark.parametrize("clock_step", [3600, -3600])
def test_a_disconnect_is_executed_although_the_clocks_step(clock_step: float) -> None:
    cluster = ClusterHarness()
    ada = cluster.nodes["b"].connect("ada")
    cluster.run(1)
    cluster.clock.step_wall_clock(clock_step)
    cluster.nodes["a"].service.disconnect("ada")
    cluster.run(1)
    assert ada.closed_with is not None


def test_a_node_that_was_frozen_does_not_give_a_session_away_to_a_node_that_no_longer_waits_for_it() -> None:
    cluster = ClusterHarness()
    client = cluster.nodes["a"].watch("ada")
    cluster.run(1)
    session = client.messages[0]["sessionId"]
    cluster.hub.freeze_node("a")
    cluster.nodes["b"].open(f"userId=watcher&session={session}")
    cluster.run(10, step=0.05)
    cluster.hub.thaw_node("a")
    cluster.run(1)
    assert client.closed_with is None


def test_erasing_a_user_holds_after_a_long_outage() -> None:
    cluster = ClusterHarness()
    ada = cluster.nodes["b"].connect("ada")
    cluster.run()
    cluster.hub.is_reachable = False
    cluster.run(5, step=0.05)
    cluster.nodes["a"].service.forget("ada")
    cluster.run(COMMAND_S + 30, step=0.05)
    cluster.hub.is_reachable = True
    cluster.run(10, step=0.05)
    assert ada.closed_with is not None
