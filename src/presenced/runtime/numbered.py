"""A list from which pages are read, while items come and go."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

MIN_GAPS = 64
"""Number of gaps up to which `NumberedItems` does not compact itself."""


class NumberedItems(Generic[T]):
    """Items in the order in which they were added, each with a number.

    A page starts after the number of the last item of the previous page. A dict has the same order, but cannot start in
    the middle, so each page would go through all items before it. This list finds the start by bisection. A removed
    item leaves a gap. When there are more gaps than items, the list closes them.

    Adding and removing are O(log items), amortised. Reading a page is O(page + gaps in it).
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._items: list[T | None] = []
        self.gaps = 0
        """Number of gaps."""
        self._last = 0

    def __len__(self) -> int:
        return len(self._items) - self.gaps

    def add(self, item: T) -> int:
        """Add an item and return its number, which is above all earlier ones."""
        self._last += 1
        self._numbers.append(self._last)
        self._items.append(item)
        return self._last

    def remove(self, number: int) -> None:
        """Remove the item with this number."""
        self._items[self._index(number)] = None
        self.gaps += 1
        if self.gaps > max(MIN_GAPS, len(self)):
            present = [index for index, item in enumerate(self._items) if item is not None]
            self._numbers = [self._numbers[index] for index in present]
            self._items = [self._items[index] for index in present]
            self.gaps = 0

    def replace(self, number: int, item: T) -> None:
        """Replace the item with this number."""
        self._items[self._index(number)] = item

    def _index(self, number: int) -> int:
        index = bisect_left(self._numbers, number)
        assert self._numbers[index] == number, "every number is removed once"
        assert self._items[index] is not None, "every number is removed once"
        return index

    def after(self, number: int) -> Iterator[T]:
        """Yield the items with a higher number, in order. Do not add or remove items meanwhile."""
        for index in range(bisect_right(self._numbers, number), len(self._items)):
            if (item := self._items[index]) is not None:
                yield item
