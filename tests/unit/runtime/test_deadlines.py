"""Deadlines: set, cancel, next, due."""

from hypothesis import given
from hypothesis import strategies as st

from presenced.runtime.deadlines import Deadlines


def test_due_keys_are_returned_once_earliest_first() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("b", 2.0)
    deadlines.set("a", 1.0)
    deadlines.set("c", 3.0)
    assert deadlines.next() == 1.0
    assert [deadlines.pop_due(2.0) for _ in range(3)] == ["a", "b", None]
    assert deadlines.next() == 3.0


def test_deadlines_can_be_replaced_and_cancelled() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 1.0)
    deadlines.set("a", 5.0)
    deadlines.set("b", 2.0)
    deadlines.cancel("b")
    deadlines.cancel("never set")
    assert "a" in deadlines
    assert "b" not in deadlines
    assert deadlines.pop_due(4.0) is None
    assert deadlines.next() == 5.0


def test_without_a_deadline_nothing_is_next() -> None:
    deadlines: Deadlines[str] = Deadlines()
    assert deadlines.next() is None
    assert len(deadlines) == 0


def test_cancelled_entries_do_not_accumulate() -> None:
    deadlines: Deadlines[int] = Deadlines()
    for key in range(10_000):
        deadlines.set(key, 1e9)
        deadlines.cancel(key)
    assert len(deadlines._heap) < 200


@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "cancel", "pop"]), st.integers(0, 5), st.integers(0, 20)),
        max_size=200,
    )
)
def test_deadlines_agree_with_a_dictionary(steps: list[tuple[str, int, int]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    model: dict[int, int] = {}
    for step, key, at in steps:
        if step == "set":
            deadlines.set(key, at)
            model[key] = at
        elif step == "cancel":
            deadlines.cancel(key)
            model.pop(key, None)
        else:
            due = deadlines.pop_due(at)
            earliest = min((v for v in model.values() if v <= at), default=None)
            assert (None if due is None else model.pop(due)) == earliest
        assert deadlines.next() == min(model.values(), default=None)
        assert len(deadlines) == len(model)
