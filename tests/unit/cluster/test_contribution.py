"""Contributions to one user, as a value."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from presenced.cluster.contribution import Contribution, UserContributions, as_tuple, find, with_contribution

contributions = st.builds(Contribution, st.integers(0, 3), st.sampled_from([b"", b"s"]), st.sampled_from([b"", b"r"]))


@given(st.lists(contributions, max_size=12))
def test_contributions_are_those_set_last_by_slot(changes: list[Contribution]) -> None:
    found: UserContributions = None
    model: dict[int, Contribution] = {}
    for new in changes:
        found = with_contribution(found, new)
        model.pop(new.slot, None)
        if not new.is_empty:
            model[new.slot] = new
        assert {one.slot: one for one in as_tuple(found)} == model
        assert len(as_tuple(found)) == len(model)
        assert [find(found, slot) for slot in range(4)] == [model.get(slot) for slot in range(4)]


def test_a_contribution_of_the_only_node_is_the_value_itself() -> None:
    """A directory and a replica then share it, and neither has a container of its own."""
    new = Contribution(3, b"s")
    assert with_contribution(Contribution(3, b"t"), new) is new
    assert with_contribution((Contribution(2, b"s"), new), Contribution(2)) is new
