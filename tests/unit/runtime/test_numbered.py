"""A list from which pages are read, while items come and go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from presenced.runtime.numbered import MIN_GAPS, NumberedItems


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=400))
def test_pages_have_the_same_items_as_a_dict(steps: list[tuple[bool, int]]) -> None:
    items: NumberedItems[int] = NumberedItems()
    model: dict[int, int] = {}
    for is_new, which in steps:
        if is_new or not model:
            model[items.add(which)] = which
        else:
            number = list(model)[which % len(model)]
            del model[number]
            items.remove(number)
        assert len(items) == len(model)
        assert list(items.after(which)) == [value for number, value in model.items() if number > which]
    assert list(items.after(0)) == list(model.values())


def test_gaps_are_closed_when_they_outnumber_the_items() -> None:
    items: NumberedItems[int] = NumberedItems()
    numbers = [items.add(number) for number in range(1000)]
    for number in numbers[:-1]:
        items.remove(number)
        assert items.gaps <= max(MIN_GAPS, len(items))
    assert list(items.after(0)) == [999]
    assert items.add(1) == 1001, "a number is never used again"


def test_another_item_takes_the_place_of_one() -> None:
    items: NumberedItems[str] = NumberedItems()
    numbers = [items.add(item) for item in "abc"]
    items.replace(numbers[1], "x")
    assert list(items.after(0)) == ["a", "x", "c"]
