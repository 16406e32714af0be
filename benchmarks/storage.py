"""Cost of storage and webhooks for the live service, and number of changes that are stored and delivered per second.

One server without and one with storage: SQLite on the disk, and a receiver on loopback that answers 204 at once. The
storage worker is a process of its own. It is bound to the cores of the load, as on any machine with several cores. Both
servers run, and one at a time has load, in turn for a second or two: the machine drifts more than the difference to be
measured, but not from one second to the next.

Two more legs separate the cost in the server from the cost of a busy process beside it, which shares memory and caches,
and here the core of the load. In one the worker is paused, and records wait. Then it goes on, and meanwhile the server
without storage is measured. That one is unrelated to the worker, so any busy neighbour costs what it loses.
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
from typing import Any, NamedTuple

from benchmarks.clients import PATIENCE
from benchmarks.fan_out import COUNTING
from benchmarks.load import Churn, Load, LoadError
from benchmarks.machine import LOAD_CORES, cpu_seconds
from benchmarks.probe import metric
from benchmarks.report import Report, Table
from benchmarks.servers import NO_PINGS, PRESENCED, V1, running
from benchmarks.webhooks import receiver
from benchmarks.write_behind import measure as measure_write_behind
from tests.support.webhooks import SECRET

from presenced.presence.model import Status

WATCHERS = (300, 1_000, 5_000)
"""With fewer watchers, more of the server's time goes into changes than into their delivery."""

QUICK_WATCHERS = (200,)

WINDOW = 2_000
"""Changes outstanding in the closed loop: so many that the server decides how many share a write, not the load."""

LIGHT = 40
"""Changes a second at light load. All watchers get each before the next."""

PAIRS, QUICK_PAIRS = 3, 1
"""Pairs of servers, one after the other. Two equal servers differ by some percent for as long as they run."""

ROUNDS = {False: 6, True: 3}
"""Rounds of each pair: of the classic protocol, and of presenced.v1, which leaves more to store. A ratio varies by 3 %
from one round to the next."""

QUICK_ROUNDS = 2
LIGHT_ROUNDS = 1
SECONDS, QUICK_SECONDS = 0.9, 0.3
USERS = 100

CHANGES_FOR, QUICK_CHANGES_FOR = 5.0, 1.0
"""Seconds of changes that must all be stored and delivered."""

BACKLOG_RATE = 4_000
"""Changes a second: few enough that all wait below the bound, so that none is merged with a later one."""

FEW = 10
"""Number of watchers while changes are stored and delivered."""

_STORING = ("presenced_storage_waiting_facts", "presenced_storage_unstored_facts")
_WAITING = (*_STORING, "presenced_webhooks_waiting")
_MERGED = "presenced_storage_facts_merged_total"
_CHANGES = [f'presenced_changes_total{{status="{status.value}"}}' for status in Status]

WITHOUT, WITH, STOPPED, BESIDE = LEGS = "without", "with", "with, worker paused", "without, beside a busy worker"

ORDERS = (STOPPED, BESIDE, WITH, WITHOUT), (WITHOUT, WITH, STOPPED, BESIDE)
"""Orders of the legs, in turn. Records that wait while the worker is paused keep it busy in the next leg."""


class Round(NamedTuple):
    """Result of one server under full load."""

    full: Churn
    cpu_us: float
    """Microseconds of the server's CPU per change."""
    worker_share: float
    """Share of a core that the worker used meanwhile."""


class Trials(NamedTuple):
    """Results of one leg."""

    rounds: list[Round]
    light: list[Churn]
    merged: float = 0.0
    """Share of changes that were not stored, because too many waited and a newer one did, too."""


def run(quick: bool) -> Report:
    """Measure presenced with storage and without."""
    rows, costs, figures, merged = [], [], [], []
    write_behind = measure_write_behind()
    for watchers in QUICK_WATCHERS if quick else WATCHERS:
        for v1 in (False, True):
            protocol = "presenced.v1" if v1 else "classic"
            found = alternate(watchers, v1, quick)
            rows += [row(f"{watchers:,} watchers, {protocol}, {leg}", found[leg], found[WITHOUT]) for leg in LEGS]
            figures += [
                {"watchers": watchers, "protocol": protocol, "leg": leg, **figures_of(found[leg])} for leg in LEGS
            ]
            merged.append(found[WITH].merged)
            more, stopped, beside = (_more(found[WITHOUT], found[leg]) for leg in (WITH, STOPPED, BESIDE))
            costs.append(
                f"{watchers:,} watchers, {protocol}: {more:+.1%}, while the worker is paused {stopped:+.1%}, "
                f"a server without, beside another's busy worker, {beside:+.1%}"
            )
    changes, took_storing, took = stored_and_delivered(QUICK_CHANGES_FOR if quick else CHANGES_FOR)
    return Report(
        "What do storage and webhooks cost the live service, and how many changes per second are stored and delivered?",
        f"Deliveries a second at most, with storage and webhooks beside without: {'; '.join(costs)}. "
        f"The write-behind takes {write_behind.classic[1] - write_behind.classic[0]:.1f} µs of the server's CPU per "
        "change of the classic protocol, "
        f"{write_behind.v1[1] - write_behind.v1[0]:.1f} of presenced.v1. "
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
                    "worker's CPU",
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
            f"Write-behind: the node without sockets, in one process, without and with in turn. A change of classic "
            f"takes {write_behind.classic[0]:.1f} and {write_behind.classic[1]:.1f} µs, of presenced.v1 "
            f"{write_behind.v1[0]:.1f} and {write_behind.v1[1]:.1f}.",
            f"The server has a core for itself; load, worker (at lower priority) and receiver share {len(LOAD_CORES)}.",
            "In the closed loop more changes happen than can be stored. At the bound, those with a newer change of the "
            f"same user are not stored: {min(merged):.0%} to {max(merged):.0%} of all.",
            f"Stored and delivered: {changes:,} changes, {BACKLOG_RATE:,} a second, of users who connect and leave, "
            f"{FEW} watchers, the worker paused; from where it goes on until the last one is in the database and the "
            "receiver has accepted it. Nothing else happens then.",
        ],
        {
            "write_behind_us": {"classic": write_behind.classic, "v1": write_behind.v1},
            "rounds": figures,
            "changes": changes,
            "stored_per_second": changes / took_storing,
            "delivered_per_second": changes / took,
        },
    )


def alternate(watchers: int, v1: bool, quick: bool) -> dict[str, Trials]:
    """Measure all legs: two servers on one core, one at a time under load, pair after pair."""
    found = {leg: Trials([], []) for leg in LEGS}
    merged = changes = 0.0
    for _ in range(QUICK_PAIRS if quick else PAIRS):
        with ExitStack() as stack:
            without, storing = (stack.enter_context(prepared(watchers, v1, storing)) for storing in (False, True))
            for number in range(QUICK_ROUNDS if quick else ROUNDS[v1]):
                for leg in ORDERS[number % 2]:
                    one = storing if leg in (WITH, STOPPED) else without
                    measure_leg(found[leg], leg, one, storing, light=number < LIGHT_ROUNDS, quick=quick)
            merged += metric(storing.port, _MERGED)
            changes += sum(metric(storing.port, name) for name in _CHANGES)
    found[WITH] = found[WITH]._replace(merged=merged / changes)
    return found


def measure_leg(found: Trials, leg: str, one: Running, storing: Running, light: bool, quick: bool) -> None:
    """Measure one round of one leg, and light load, too, if wanted."""
    seconds = QUICK_SECONDS if quick else SECONDS
    if light and leg in (WITHOUT, WITH):
        pause = len(LOAD_CORES) * (1 if one.v1 else 2) / LIGHT  # a user who connects and leaves makes two changes
        found.light.append(one.load.churn(one.watchers, 4, seconds, pause))
    with stopped(workers(one.server) if leg is STOPPED else []):
        found.rounds.append(one_round(one, one.watchers, seconds, workers(storing.server)))
    if leg is not STOPPED:
        wait_drained(storing.port)


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Pause these processes during the body."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class Running(NamedTuple):
    """Server with connected clients."""

    port: int
    server: int
    load: Load
    watchers: int
    v1: bool


@contextmanager
def prepared(watchers: int, v1: bool, storing: bool) -> Iterator[Running]:
    """Start a server and connect all clients."""
    with (
        serving(storing, V1 if v1 else NO_PINGS) as (port, server),
        Load(port, server, USERS, v1=v1, one_of=watchers // COUNTING) as load,
    ):
        load.open(watchers)
        load.rest()  # each user was announced to those who were connected
        if v1:
            load.open_actors()
        yield Running(port, server, load, watchers, v1)


def one_round(one: Running, watchers: int, seconds: float, pids: Sequence[int]) -> Round:
    """Measure one server, and a worker that may be busy."""
    before, began = sum(map(cpu_seconds, pids)), time.monotonic()
    full = one.load.churn(watchers, WINDOW, seconds)
    worker_share = (sum(map(cpu_seconds, pids)) - before) / (time.monotonic() - began)
    cpu_us = 1e6 * full.deliveries.server_share * watchers / full.deliveries.per_second
    return Round(full, cpu_us, worker_share)


def stored_and_delivered(seconds: float) -> tuple[int, float, float]:
    """Return the number of changes, and the seconds until all were stored, and delivered, too."""
    with serving(storing=True) as (port, server), Load(port, server, FEW) as load:
        load.open(FEW)
        load.wait_heard(FEW * (FEW - 1) // 2)
        wait_drained(port)
        heard = load.heard
        with stopped(workers(server)):
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
def serving(storing: bool, options: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """Start a server without or with storage and webhooks. Yield its port and its process id."""
    with tempfile.TemporaryDirectory() as folder, receiver(0) as hook:
        config = (
            f'database = "sqlite"\ndata_dir = "{folder}"\nwebhook_urls = ["http://127.0.0.1:{hook}/"]\n'
            f'webhook_secrets = "{SECRET}"\noutgoing_private = true\n'
        )
        with configured(config if storing else "", options) as found:
            yield found


@contextmanager
def configured(config: str, options: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """Start a server with this configuration, its worker on the load's cores. Yield its port and its process id."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "presenced.toml"
        file.write_text(config)
        with running(PRESENCED, ["--config", str(file), *options]) as (port, server):
            for worker in workers(server.pid):
                for thread in Path(f"/proc/{worker}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), LOAD_CORES)  # it was started on the cores of the server
            try:
                yield port, server.pid
            finally:
                for worker in workers(server.pid):
                    os.kill(worker, signal.SIGKILL)  # it would continue for some time


def workers(server: int) -> list[int]:
    """Return the process ids of a server's storage workers: one, or none."""
    return [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


def wait_drained(port: int, waiting: Sequence[str] = _WAITING) -> None:
    """Wait until nothing waits to be stored, or to be delivered.

    Raises:
        LoadError: Something still waits after `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while left := {name: number for name in waiting if (number := metric(port, name))}:
        if time.monotonic() > deadline:
            raise LoadError(f"waited {PATIENCE:.0f} s in vain until all was stored and delivered: {left}")
        time.sleep(0.05)


def row(name: str, trials: Trials, without: Trials) -> list[str]:
    """Return a row of the table: the medians of one leg."""

    def middle(of: Callable[[Round], float]) -> float:
        return statistics.median(map(of, trials.rounds))

    return [
        name,
        f"{middle(lambda one: one.full.deliveries.per_second):,.0f}",
        f"{_more(without, trials):+.1%}",
        f"{middle(lambda one: one.cpu_us):,.1f} µs",
        f"{middle(lambda one: one.full.deliveries.load_share):.0%}",
        f"{middle(lambda one: one.worker_share):.0%}",
        *(
            f"{1e3 * statistics.median(delays):.1f} ms" if delays else "-"
            for delays in ([one.median for one in trials.light], [one.p99 for one in trials.light])
        ),
    ]


def figures_of(trials: Trials) -> dict[str, Any]:
    """Return the figures of one leg for programs."""
    return {
        "per_second": [one.full.deliveries.per_second for one in trials.rounds],
        "server_us_per_change": [one.cpu_us for one in trials.rounds],
        "worker_share": [one.worker_share for one in trials.rounds],
        "light_median_s": [one.median for one in trials.light],
        "light_p99_s": [one.p99 for one in trials.light],
        "merged": trials.merged,
    }


def _more(without: Trials, trials: Trials) -> float:
    """Return the median of the rounds' ratios, minus one."""
    pairs = zip(without.rounds, trials.rounds, strict=True)
    return statistics.median(b.full.deliveries.per_second / a.full.deliveries.per_second for a, b in pairs) - 1
