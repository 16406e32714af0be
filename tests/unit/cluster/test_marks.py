"""Positions of one node, translated for another one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from presenced.cluster.marks import Mark, Marks, decode_mark, encode_mark

A, B, C = "01ia", "02ib", "03ic"


def test_a_mark_is_the_same_after_writing_and_reading_it() -> None:
    mark = Mark(A, 900, (51, 17))
    assert decode_mark(encode_mark(mark)) == mark


def test_a_position_is_translated_to_what_this_node_has_sent_at_most() -> None:
    marks = Marks(600)
    for mark in (Mark(B, 330, (40, 10)), Mark(A, 900, (51, 17)), Mark(B, 340, (50, 17)), Mark(B, 345, (52, 17))):
        marks.add(mark, 0.0)
    assert marks.translate(A, 905, B) == 340
    assert marks.translate(A, 899, B) is None, "before A's first mark"
    assert marks.translate(C, 905, B) is None, "nothing is known of this node"


def test_marks_end() -> None:
    marks = Marks(600)
    marks.add(Mark(A, 900, (5,)), 0.0)
    marks.add(Mark(B, 100, (4,)), 500.0)
    assert marks.translate(A, 900, B) == 100
    marks.add(Mark(B, 101, (5,)), 601.0)
    assert marks.translate(A, 900, B) is None


@given(st.lists(st.sampled_from("abm"), max_size=60), st.integers(0, 60))
def test_nothing_is_missed(steps: list[str], at: int) -> None:
    """Two nodes apply one log at their own pace. B sends, after the translated position, all that A's client lacks."""
    log, applied, positions, marks = 0, {"a": 0, "b": 0}, {"a": 0, "b": 0}, Marks(600)
    sent: dict[str, list[int]] = {"a": [], "b": []}  # number of the item at each position
    for step in steps:
        if step == "m":
            log += 1
            continue
        if applied[step] < log:
            applied[step] += 1
            positions[step] += 1
            sent[step].append(applied[step])
        marks.add(Mark(A if step == "a" else B, positions[step], (applied[step],)), 0.0)
    position = min(at, positions["a"])
    if (translated := marks.translate(A, position, B)) is not None:
        missing = set(sent["b"]) - set(sent["a"][:position])
        assert missing <= set(sent["b"][translated:])
