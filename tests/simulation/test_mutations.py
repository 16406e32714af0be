"""The simulation of nodes notices when a rule of the cluster is taken out. The seeds are those that fail first."""

from __future__ import annotations

import pytest
from tests.simulation.mutations import MUTATIONS, first_failure
from tests.support.soak import ONLY_IN_SOAK

FIRST = {
    "no comparison": 1,
    "no verification": 3,
    "versions not compared": 0,
    "serving before loading": 0,
    "no continuity check": 0,
    "frozen time counted": 4,
    "nothing retained": 8,
    "unsettled users committed at once": 8,
    "cleared decisions forgotten": 18,
    "marks are not translated down": 16,
}

MORE_SEEDS = 12
"""Number of further worlds that are tried, because a change of the code may make others fail."""


SLOW = {"unsettled users committed at once", "no continuity check"}
"""Rules without which worlds do far more work before they fail."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=ONLY_IN_SOAK) if name in SLOW else name for name in MUTATIONS]
)
def test_a_world_fails_without_the_rule(name: str) -> None:
    seeds = range(FIRST[name], FIRST[name] + MORE_SEEDS)
    assert first_failure(MUTATIONS[name], seeds) is not None
