"""Clients on a bad network for half a minute, with fixed seeds. `make simulate` tries others."""

from __future__ import annotations

import os

import pytest
from tests.simulation.__main__ import simulate
from tests.simulation.world import World

from presenced_client.presence import UserPresence

SECONDS = float(os.environ.get("PRESENCED_SIMULATION_SECONDS", "30"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_all_views_are_correct_in_the_end() -> None:
    assert simulate(0, SECONDS) > 0


def test_the_same_seed_repeats_a_simulation() -> None:
    first, second = World(7), World(7)
    first.run()
    second.run()
    assert first.trace == second.trace
    assert [client.heard for client in first.clients] == [client.heard for client in second.clients]
    assert sum(client.heard for client in first.clients) > 1000


def test_the_check_detects_a_wrong_view() -> None:
    world = World(3)
    world.run()
    rock = world.rock
    rock.session.roster.users["bot"] = UserPresence("bot", "away", version=10**9)
    with pytest.raises(AssertionError, match="rock/web is wrong on the status of bot"):
        world.check()
