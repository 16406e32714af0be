"""A cluster shows every user as they are, in worlds with random faults (`tests.support.cluster_world`)."""

from __future__ import annotations

import pytest
from tests.support.cluster_world import DirectoryPresence, NaivePresence, World


@pytest.mark.parametrize("seed", range(6))
def test_all_nodes_agree_on_the_truth(seed: int) -> None:
    World(seed, presence=NaivePresence if seed % 3 else DirectoryPresence).run()
