"""Several nodes with a store that fails, with fixed seeds. `python -m tests.simulation.nodes` tries others."""

from __future__ import annotations

import pytest
from tests.simulation.node_world import NodeWorld


@pytest.mark.parametrize("seed", [5, 6, 16, 19, 31, 44, 94])
def test_all_nodes_and_clients_show_the_truth_in_the_end(seed: int) -> None:
    NodeWorld(seed).run()
