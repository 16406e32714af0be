"""Pauses between reads and commits."""

from __future__ import annotations

import pytest

from presenced.cluster.redis.pace import commit_pause_s, read_pause_s


@pytest.mark.parametrize(("nodes", "shards", "masters"), [(1, 1, 1), (10, 1, 1), (50, 8, 3), (64, 16, 16)])
def test_reads_take_at_most_a_third_of_a_core(nodes: int, shards: int, masters: int) -> None:
    reads_per_second = nodes * shards / masters / read_pause_s(nodes, shards, masters)
    assert reads_per_second * 25e-6 <= 0.31
    assert commit_pause_s(nodes, shards, masters) >= read_pause_s(nodes, shards, masters) >= 0.002


def test_fifty_nodes_on_one_store() -> None:
    assert read_pause_s(50, 1, 1) == pytest.approx(0.004, abs=0.0002)
    assert commit_pause_s(50, 1, 1) == pytest.approx(0.010, abs=0.0005)
