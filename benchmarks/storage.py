"""What do storage and webhooks cost the live service, and how many changes a second are stored and delivered?

The same server without and with: SQLite on the disk, and a receiver on loopback that answers 204 at once. The keeper,
which stores and delivers, is a process of its own; it is put on the load's cores, as it is on any machine with more
than one. Both servers run, and one at a time has something to do, in turn for a second or two: the machine drifts more
than what is looked for, but not from one second to the next.

Two more legs tell the server's own part from what it costs to have a busy process beside it, which shares the memory
and the caches, and here the load's core. In one the keeper is stopped, and what is noted waits. Then it goes on, and
meanwhile the server without is measured, to which that keeper is a stranger: what this loses, any neighbour costs.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.clients import PATIENCE
from benchmarks.fan_out import COUNTING
from benchmarks.load import Churn, Load, LoadError
from benchmarks.machine import LOAD_CORES, cpu_seconds
from benchmarks.noting import measure as measure_noting
from benchmarks.probe import metric
from benchmarks.report import Report, Table
from benchmarks.servers import NO_PINGS, PRESENCED, V1, running
from benchmarks.webhooks import receiver
from tests.support.webhooks import SECRET

from presenced.presence.model import Status

WATCHERS = (300, 1_000, 5_000)
"""The fewer, the more of the server's time goes to what happens instead of to telling it."""

QUICK_WATCHERS = (200,)

WINDOW = 2_000
"""Changes outstanding in the closed loop: so many that the server, and not the load, says how many ride in a write."""

LIGHT = 40
"""Changes a second at light load; each is heard by all before the next."""

PAIRS, QUICK_PAIRS = 3, 1
"""Pairs of servers, one after the other: two of the same differ by some percent for as long as they run."""

ROUNDS = {False: 6, True: 3}
"""Of each pair, of the classic protocol, and of presenced.v1, after each of which more has to be stored. A ratio varies
by 3 % from one to the next."""

QUICK_ROUNDS = 2
LIGHT_ROUNDS = 1
SECONDS, QUICK_SECONDS = 0.9, 0.3
USERS = 100

CHANGES_FOR, QUICK_CHANGES_FOR = 5.0, 1.0
"""Seconds of changes, all of which are to be stored and delivered."""

BACKLOG_RATE = 4_000
"""Of these a second: few enough that none is merged with a later one."""

FEW = 10
"""Watchers while that is measured."""

_STORING = ("presenced_storage_waiting_facts", "presenced_storage_unstored_facts")
_WAITING = (*_STORING, "presenced_webhooks_waiting")
_MERGED = "presenced_storage_facts_merged_total"
_CHANGES = [f'presenced_changes_total{{status="{status.value}"}}' for status in Status]

WITHOUT, WITH, STOPPED, BESIDE = LEGS = "without", "with", "with, keeper stopped", "without, beside a busy keeper"

ORDERS = (STOPPED, BESIDE, WITH, WITHOUT), (WITHOUT, WITH, STOPPED, BESIDE)
"""In turn; what is noted while the keeper is stopped keeps it busy in the leg that follows."""


class Round(NamedTuple):
    """One server under full load."""

    full: Churn
    cpu_us: float
    """Microseconds of the server's CPU per change."""
    keeper_share: float
    """Of a core that the keeper used meanwhile."""


class Trials(NamedTuple):
    """What was found of one leg."""

    rounds: list[Round]
    light: list[Churn]
    merged: float = 0.0
    """Of all changes those that were not written down, because a newer one followed."""


def run(quick: bool) -> Report:
    """Measure presenced with and without."""
    rows, costs, figures, merged = [], [], [], []
    noting = measure_noting()
    for watchers in QUICK_WATCHERS if quick else WATCHERS:
        for v1 in (False, True):
            protocol = "presenced.v1" if v1 else "classic"
            found = alternate(watchers, v1, quick)
            rows += [row(f"{watchers:,} watchers, {protocol}, {leg}", found[leg], found[WITHOUT]) for leg in LEGS]
            figures += [
                {
                    "watchers": watchers,
                    "protocol": protocol,
                    "leg": leg,
                    "per_second": [one.full.deliveries.per_second for one in found[leg].rounds],
                    "server_us_per_change": [one.cpu_us for one in found[leg].rounds],
                    "keeper_share": [one.keeper_share for one in found[leg].rounds],
                    "light_median_s": [one.median for one in found[leg].light],
                    "light_p99_s": [one.p99 for one in found[leg].light],
                    "merged": found[leg].merged,
                }
                for leg in LEGS
            ]
            merged.append(found[WITH].merged)
            more, stopped, beside = (_more(found[WITHOUT], found[leg]) for leg in (WITH, STOPPED, BESIDE))
            costs.append(
                f"{watchers:,} watchers, {protocol}: {more:+.1%}, while the keeper is stopped {stopped:+.1%}, "
                f"a server without, beside another's busy keeper, {beside:+.1%}"
            )
    changes, took_storing, took = stored_and_delivered(QUICK_CHANGES_FOR if quick else CHANGES_FOR)
    return Report(
        "What do storage and webhooks cost the live service, and how many changes a second are stored and delivered?",
        f"Deliveries a second at most, with storage and webhooks beside without: {'; '.join(costs)}. "
        "Noting what is to be stored and told takes "
        f"{noting.classic[1] - noting.classic[0]:.1f} µs of the server per change of the classic protocol, "
        f"{noting.v1[1] - noting.v1[0]:.1f} of presenced.v1. "
        f"Of a backlog {changes / took_storing:,.0f} changes a second are stored, {changes / took:,.0f} stored and "
        "delivered.",
        [
            Table(
                [
                    "",
                    "deliveries a second",
                    "beside without",
                    "server's CPU per change",
                    "load's CPU",
                    "keeper's CPU",
                    f"delay at {LIGHT} changes/s, median",
                    "p99",
                ],
                rows,
            )
        ],
        [
            f"Medians of {ROUNDS[False]} rounds, of presenced.v1 {ROUNDS[True]}, of each of {PAIRS} pairs of servers, "
            f"the legs in turn; a closed loop of {WINDOW:,} changes outstanding. Beside without: the "
            "median of the rounds' ratios.",
            f"Noting: the node without sockets, in one process, without and with in turn; per change of the classic "
            f"protocol {noting.classic[0]:.1f} and {noting.classic[1]:.1f} µs, of presenced.v1 {noting.v1[0]:.1f} and "
            f"{noting.v1[1]:.1f}.",
            f"The server has a core for itself; load, keeper (at lower priority) and receiver share {len(LOAD_CORES)}.",
            "In the closed loop more than 5,000 changes a second happen. Then those that a newer one of the same user "
            f"follows within half a second are not written down: {min(merged):.0%} to {max(merged):.0%} of all.",
            f"Stored and delivered: {changes:,} changes, {BACKLOG_RATE:,} a second, of users who come and go, {FEW} "
            "watchers, the keeper stopped; from where it goes on until the last one is in the database and has been "
            "taken by the receiver. Nothing else happens then.",
        ],
        {
            "noting_us": {"classic": noting.classic, "v1": noting.v1},
            "rounds": figures,
            "changes": changes,
            "stored_per_second": changes / took_storing,
            "delivered_per_second": changes / took,
        },
    )


def alternate(watchers: int, v1: bool, quick: bool) -> dict[str, Trials]:
    """All legs: two servers on one core, of which one at a time has something to do; pair after pair."""
    found = {leg: Trials([], []) for leg in LEGS}
    merged = changes = 0.0
    for _ in range(QUICK_PAIRS if quick else PAIRS):
        with ExitStack() as stack:
            without, kept = (stack.enter_context(prepared(watchers, v1, kept)) for kept in (False, True))
            for number in range(QUICK_ROUNDS if quick else ROUNDS[v1]):
                for leg in ORDERS[number % 2]:
                    house = kept if leg in (WITH, STOPPED) else without
                    measure_leg(found[leg], leg, house, kept, light=number < LIGHT_ROUNDS, quick=quick)
            merged += metric(kept.port, _MERGED)
            changes += sum(metric(kept.port, name) for name in _CHANGES)
    found[WITH] = found[WITH]._replace(merged=merged / changes)
    return found


def measure_leg(found: Trials, leg: str, house: House, kept: House, light: bool, quick: bool) -> None:
    """One round of one leg, at light load, too, if wanted."""
    seconds = QUICK_SECONDS if quick else SECONDS
    if light and leg in (WITHOUT, WITH):
        pause = len(LOAD_CORES) * (1 if house.v1 else 2) / LIGHT  # a user who comes and goes makes two changes
        found.light.append(house.load.churn(house.watchers, 4, seconds, pause))
    with stopped(keepers(house.server) if leg is STOPPED else []):
        found.rounds.append(one_round(house, house.watchers, seconds, keepers(kept.server)))
    if leg is not STOPPED:
        wait_drained(kept.port)


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """These processes do nothing meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class House(NamedTuple):
    """A server and its clients, all of whom are there."""

    port: int
    server: int
    load: Load
    watchers: int
    v1: bool


@contextmanager
def prepared(watchers: int, v1: bool, kept: bool) -> Iterator[House]:
    """One with everybody connected."""
    with (
        serving(kept, V1 if v1 else NO_PINGS) as (port, server),
        Load(port, server, USERS, v1=v1, one_of=watchers // COUNTING) as load,
    ):
        load.open(watchers)
        load.rest()  # each user was announced to those who were there
        if v1:
            load.open_actors()
        yield House(port, server, load, watchers, v1)


def one_round(house: House, watchers: int, seconds: float, pids: Sequence[int]) -> Round:
    """One server, and the keeper that may be busy."""
    before, began = sum(map(cpu_seconds, pids)), time.monotonic()
    full = house.load.churn(watchers, WINDOW, seconds)
    keeper_share = (sum(map(cpu_seconds, pids)) - before) / (time.monotonic() - began)
    cpu_us = 1e6 * full.deliveries.server_share * watchers / full.deliveries.per_second
    return Round(full, cpu_us, keeper_share)


def stored_and_delivered(seconds: float) -> tuple[int, float, float]:
    """How many changes, and seconds until all were stored, and delivered, too."""
    with serving(kept=True) as (port, server), Load(port, server, FEW) as load:
        load.open(FEW)
        load.wait_heard(FEW * (FEW - 1) // 2)
        wait_drained(port)
        heard = load.heard
        with stopped(keepers(server)):
            load.churn(FEW, WINDOW, seconds, 2 * len(LOAD_CORES) / BACKLOG_RATE)
            changes = (load.heard - heard) // FEW
            began = time.monotonic()
        wait_drained(port, _STORING)
        took_storing = time.monotonic() - began
        wait_drained(port)
        if merged := metric(port, _MERGED):
            raise LoadError(f"{merged:,.0f} changes were merged with later ones: it is not known how long all take")
        return changes, took_storing, time.monotonic() - began


@contextmanager
def serving(kept: bool, options: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """A server without or with storage and webhooks: its port and its process id."""
    with tempfile.TemporaryDirectory() as folder, receiver(0) as hook:
        config = (
            f'database = "sqlite"\ndata_dir = "{folder}"\nwebhook_urls = ["http://127.0.0.1:{hook}/"]\n'
            f'webhook_secrets = "{SECRET}"\noutgoing_private = true\n'
        )
        with configured(config if kept else "", options) as found:
            yield found


@contextmanager
def configured(config: str, options: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """A server with such a configuration file, its keeper on the load's cores: its port and its process id."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "presenced.toml"
        file.write_text(config)
        with running(PRESENCED, ["--config", str(file), *options]) as (port, server):
            for keeper in keepers(server.pid):
                for thread in Path(f"/proc/{keeper}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), LOAD_CORES)  # it was started on the server's own
            try:
                yield port, server.pid
            finally:
                for keeper in keepers(server.pid):
                    os.kill(keeper, signal.SIGKILL)  # it would go on for a little


def keepers(server: int) -> list[int]:
    """The process ids of a server's keepers: one, or none."""
    return [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


def wait_drained(port: int, waiting: Sequence[str] = _WAITING) -> None:
    """Wait until nothing waits to be stored, or to be delivered.

    Raises:
        LoadError: Something does after `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while left := {name: number for name in waiting if (number := metric(port, name))}:
        if time.monotonic() > deadline:
            raise LoadError(f"waited {PATIENCE:.0f} s in vain until all was stored and delivered: {left}")
        time.sleep(0.05)


def row(name: str, trials: Trials, without: Trials) -> list[str]:
    """The medians of one leg."""

    def middle(of: Callable[[Round], float]) -> float:
        return statistics.median(map(of, trials.rounds))

    return [
        name,
        f"{middle(lambda one: one.full.deliveries.per_second):,.0f}",
        f"{_more(without, trials):+.1%}",
        f"{middle(lambda one: one.cpu_us):,.1f} µs",
        f"{middle(lambda one: one.full.deliveries.load_share):.0%}",
        f"{middle(lambda one: one.keeper_share):.0%}",
        *(
            f"{1e3 * statistics.median(delays):.1f} ms" if delays else "-"
            for delays in ([one.median for one in trials.light], [one.p99 for one in trials.light])
        ),
    ]


def _more(without: Trials, trials: Trials) -> float:
    """The median of the rounds' ratios, less one."""
    pairs = zip(without.rounds, trials.rounds, strict=True)
    return statistics.median(b.full.deliveries.per_second / a.full.deliveries.per_second for a, b in pairs) - 1
