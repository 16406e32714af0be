"""Loading a shard of a `MemoryHub`, and reading its log."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from presenced.cluster.backend import ContributionUpdate, Entry, StoreRecord
from presenced.cluster.log import Position
from presenced.cluster.memory.store import MemoryShard
from presenced.runtime.clock import Action

if TYPE_CHECKING:
    from presenced.cluster.memory.link import Link

BLOCK_S = 1.0
"""Seconds that a read of the log waits for an entry."""

READ_TIMEOUT_S = 3.0
"""Seconds without a reply to a read of the log after which a link fails."""

READ_ENTRIES = 100
"""Maximum number of entries in one read of the log."""


class LogReader:
    """Reader of the log of one shard, with its position.

    The reader is idle until `load`, and again after it has reported `interrupted`. Each load has a number, so that late
    results of an earlier one are dropped. If a load is cut off after some pages, `interrupted` is reported as well,
    because the receiver has to drop these pages.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._load_number = 0
        self._is_loading = False
        self._has_pages = False  # whether the receiver has some of the pages
        self._position: Position | None = None
        self._generation = 0  # generation of the store when the position was last known to be valid
        self._blocked: Action | None = None  # completes the read that waits at the store

    def stop(self) -> None:
        """Do nothing until `load`."""
        self.wake()
        self._load_number += 1
        self._is_loading = False
        self._position = self._blocked = None

    def disconnected(self) -> None:
        """Stop until `attached`."""
        self._load_number += 1
        self._blocked = None

    def attached(self) -> None:
        """Load again, or read on if the log continues where the node is."""
        if self._is_loading and self._has_pages:
            self.stop()
            self._link.receiver.interrupted(self._link.index)
        elif self._is_loading:
            self.load()
        elif self._position is not None:
            self._check(self._position)

    def wake(self) -> None:
        """Complete the read that waits for an entry."""
        if self._blocked is not None:
            self._link.hub.execute(self._blocked)

    # Loading.

    def load(self) -> None:
        """Read all records, then all contributions, then the log from before the first page.

        The order matters: a contribution is never older than the record of its user. A receiver may therefore skip the
        items of the log that are not newer than the record.
        """
        self.stop()
        self._is_loading, self._has_pages = True, False
        self._ask(lambda store: (store.end, list(store.users)), lambda begun: self._load_users(*begun))

    def _load_users(self, position: Position, user_ids: list[str]) -> None:
        if not user_ids:
            self._ask(lambda store: list(store.contributions()), partial(self._load_contributions, position))
            return
        size = self._link.hub.page_size
        page, rest = user_ids[:size], user_ids[size:]

        def on_reply(users: list[StoreRecord]) -> None:
            self._has_pages = True
            self._link.receiver.page(self._link.index, users, ())
            self._load_users(position, rest)

        self._ask(lambda store: [store.users[user_id] for user_id in page if user_id in store.users], on_reply)

    def _load_contributions(self, position: Position, updates: list[tuple[str, ContributionUpdate]]) -> None:
        self._has_pages, size = True, self._link.hub.page_size
        for start in range(0, len(updates), size):
            self._link.receiver.page(self._link.index, (), updates[start : start + size])
        self._ask(lambda store: store.end.n, lambda n: self._loaded(position, n))

    def _loaded(self, position: Position, n: int) -> None:
        link, number = self._link, self._load_number

        def again() -> None:
            if number == self._load_number:
                self._loaded(position, n)

        link.raise_floor(n)
        if not link.receiver.loaded(link.index, position.last, n):
            link.hub.clock.call_soon(lambda: link.backend.run_here(again))
        elif number == self._load_number:
            self._is_loading = False
            self._position, self._generation = position, link.known.generation
            self._read(must_block=False)

    def _ask(self, execute: Callable[[MemoryShard], Any], on_reply: Callable[[Any], None]) -> None:
        """Execute a function at the store. The answer is dropped if another load has begun."""
        number = self._load_number

        def current(result: object) -> None:
            if number == self._load_number:
                on_reply(result)

        self._link.request(execute, current, lambda: None)

    # Reading the log.

    def _check(self, position: Position) -> None:
        generation = self._link.known.generation
        is_lost = position.last is None and generation != self._generation

        def checked(continues: bool) -> None:
            if continues and not is_lost:
                self._generation = generation
                self._read(must_block=False)
            else:
                self._interrupt()

        self._ask(lambda store: store.continues(position), checked)

    def _interrupt(self) -> None:
        self.stop()
        self._link.receiver.interrupted(self._link.index)

    def _read(self, must_block: bool) -> None:
        """Read the next entries. If there are none, the read waits at the store."""
        position, number, hub = self._position, self._load_number, self._link.hub
        if position is None:
            return

        def execute(reply: Callable[[object], None]) -> None:
            def complete() -> None:
                self._blocked = None
                store = self._link.store
                reply((store.entries_after(position, READ_ENTRIES), store.end.n))

            def end_block() -> None:
                if self._blocked is complete:
                    hub.execute(complete)

            if must_block and number == self._load_number and self._link.store.entries_after(position, 1) == []:
                self._blocked = complete
                hub.clock.call_at(hub.clock.monotonic() + BLOCK_S, end_block)
            else:
                complete()

        def on_reply(result: tuple[list[Entry] | None, int]) -> None:
            if number == self._load_number:
                self._answered(*result)

        self._link.send(execute, on_reply, lambda: None, timeout=READ_TIMEOUT_S)

    def _answered(self, found: list[Entry] | None, n: int) -> None:
        if found is None:
            self._interrupt()
            return
        if found:
            last = found[-1]
            n = max(n, last.n) if len(found) == READ_ENTRIES else last.n
            self._position = Position(last.key, last.n)
        number = self._load_number
        self._link.raise_floor(n)
        self._link.receiver.entries(self._link.index, found, n)
        if number == self._load_number:
            self._read(must_block=True)
