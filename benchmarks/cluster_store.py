"""Cost of commits and loads for the store: its CPU time per item and per page.

One process stands in for a node and commits users in batches, one batch after the other. No node reads the log
meanwhile: `cluster_changes` has the cost of readers. The pages are those of a node that starts.
"""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

from benchmarks.machine import LOAD_CORES, cpu_seconds
from benchmarks.nodes import stand_in, store
from benchmarks.report import Report, Table
from redis import Redis as Client
from tests.support.services import Redis

BATCHES = (1, 5, 20, 100, 200)
QUICK_BATCHES = (20,)
USERS, QUICK_USERS = 20_000, 2_000
SINGLE_USERS = 5_000
"""Number of users with batches of one."""

RECORD_BYTES = (0, 2_000)
"""Bytes of data in a record, beside about 40 for everything else."""

LOADED, QUICK_LOADED = (100_000, 1_000_000), (10_000,)
PAGE_SIZE = 1_000
"""Users in a page of a load (`presenced.cluster.redis`)."""

USERS_KEY, LOG_KEY = "presenced:{0ax}:users", "presenced:{0ax}:log"


class Commits(NamedTuple):
    """Cost of committing."""

    store_s: float
    """Seconds of the store's CPU per item."""
    node_s: float
    """Seconds of the committing process's CPU per item."""
    per_second: float


class Pages(NamedTuple):
    """Cost of reading all records in pages."""

    store_bytes: float
    """Memory of the store per user: record and contribution."""
    store_s: float
    """Seconds of the store's CPU for all."""
    seconds: float
    longest_s: float
    """Seconds of the slowest page, as the client sees it."""
    at_once_s: float
    """Seconds for which one HGETALL would block the store."""


def run(quick: bool) -> Report:
    """Measure commits by batch and record size, and loads by number of users."""
    users = QUICK_USERS if quick else USERS
    batches = QUICK_BATCHES if quick else BATCHES
    found = {
        (size, batch): commits(min(users, SINGLE_USERS) if batch == 1 else users, batch, size)
        for size in RECORD_BYTES
        for batch in batches
    }
    loads = {count: pages(count) for count in (QUICK_LOADED if quick else LOADED)}
    small, large = (found[size, batches[-1]] for size in RECORD_BYTES)
    return Report(
        "What do commits and loads cost the store?",
        f"In batches of {batches[-1]}, an item takes {small.store_s * 1e6:.1f} µs of the store's core, and "
        f"{large.store_s * 1e6:.1f} µs with a record of {RECORD_BYTES[-1]:,} bytes. A page of {PAGE_SIZE:,} users "
        f"takes {statistics.mean(one.store_s * PAGE_SIZE / count for count, one in loads.items()) * 1e3:.1f} ms.",
        [
            Table(
                ["µs of the store's core per item, batch of", *map(str, batches)],
                [
                    [_name(size), *(f"{found[size, batch].store_s * 1e6:.1f}" for batch in batches)]
                    for size in RECORD_BYTES
                ],
            ),
            Table(
                ["items/s of one committing process, batch of", *map(str, batches)],
                [
                    [_name(size), *(f"{found[size, batch].per_second:,.0f}" for batch in batches)]
                    for size in RECORD_BYTES
                ],
            ),
            Table(
                ["load of records", "pages", "wall", "store's core", "slowest page", "one HGETALL", "bytes/user"],
                [
                    [
                        f"{count:,} users",
                        f"{-(-count // PAGE_SIZE):,}",
                        f"{one.seconds:.2f} s",
                        f"{one.store_s:.2f} s",
                        f"{one.longest_s * 1e3:.0f} ms",
                        f"{one.at_once_s * 1e3:,.0f} ms",
                        f"{one.store_bytes:,.0f}",
                    ]
                    for count, one in loads.items()
                ],
            ),
        ],
        [
            "An item is a user with a record of some 40 bytes, and a session of 12.",
            f"Store and reader of the pages share core {LOAD_CORES[0]}. The slowest page includes the reader's wait.",
        ],
        {
            "commits": [{"bytes": key[0], "batch": key[1], **one._asdict()} for key, one in found.items()],
            "loads": {count: one._asdict() for count, one in loads.items()},
        },
    )


def _name(size: int) -> str:
    return f"records of {size:,} bytes" if size else "small records"


def commits(users: int, batch: int, record_bytes: int) -> Commits:
    """Commit all users twice: as new ones, and then as changed ones. The second time counts."""
    with store() as redis, stand_in(redis, users, batch, record_bytes) as node:
        node.commit()
        before = cpu_seconds(redis.pid)
        done = node.commit()
        spent = cpu_seconds(redis.pid) - before
        items = done["changes"]
        return Commits(spent / items, done["cpu_s"] / items, items / done["seconds"])


def pages(users: int) -> Pages:
    """Read all records as a node does."""
    with store() as redis:
        empty = _used_bytes(redis)
        with stand_in(redis, users) as node:
            node.commit()
        redis.cli("DEL", LOG_KEY)  # it has a bound, whatever the number of users
        used = _used_bytes(redis) - empty
        took: list[float] = []
        before, cursor = cpu_seconds(redis.pid), 0
        with Client(port=redis.port) as client:
            while True:
                began = time.monotonic()
                cursor, _ = client.hscan(USERS_KEY, cursor, count=PAGE_SIZE)
                took.append(time.monotonic() - began)
                if not cursor:
                    break
            spent = cpu_seconds(redis.pid) - before
            client.config_resetstat()
            client.hgetall(USERS_KEY)
            at_once = client.info("commandstats")["cmdstat_hgetall"]["usec"] / 1e6
        return Pages(used / users, spent, sum(took), max(took), at_once)


def _used_bytes(redis: Redis) -> int:
    return int(redis.cli("MEMORY", "STATS").split("total.allocated\n")[1].split()[0])
