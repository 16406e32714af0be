"""What do storage and webhooks cost the live service, and how many changes a second are stored and delivered?

The same server without and with: SQLite on the disk, and a receiver on loopback that answers 204 at once. The keeper,
which stores and delivers, is a process of its own; it is put on the load's cores, as it is on any machine with more
than one. Both servers run, and one at a time has something to do, in turn for a second or two: the machine drifts more
than what is looked for, but not from one second to the next.
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
from benchmarks.load import Churn, Load, LoadError
from benchmarks.machine import LOAD_CORES, cpu_seconds
from benchmarks.noting import measure as measure_noting
from benchmarks.probe import metric
from benchmarks.report import Report, Table
from benchmarks.servers import PRESENCED, V1, running
from benchmarks.webhooks import receiver
from tests.webhooks import SECRET

WATCHERS = (300, 1_000, 5_000)
"""The fewer, the more of the server's time goes to what happens instead of to telling it."""

QUICK_WATCHERS = (200,)

WINDOW = 128
"""Changes outstanding in the closed loop."""

LIGHT = 40
"""Changes a second at light load; each is heard by all before the next."""

ROUNDS, QUICK_ROUNDS = 12, 2
SECONDS, QUICK_SECONDS = 0.7, 0.3
USERS = 100

CHANGES_FOR, QUICK_CHANGES_FOR = 5.0, 1.0
"""Seconds of changes, all of which are to be stored and delivered; fewer than 100,000 changes, so that all are."""

FEW = 10
"""Watchers while that is measured."""

_STORING = ("presenced_storage_waiting_facts", "presenced_storage_unstored_facts")
_WAITING = (*_STORING, "presenced_webhooks_waiting")


class Round(NamedTuple):
    """One server: under full load, and at light load."""

    full: Churn
    light: Churn
    cpu_us: float
    """Microseconds of the server's CPU per change, under full load."""
    apart_us: float
    """The same without what flushes took: that is the kernel's, and how many changes ride in one is up to the load."""
    light_cpu_us: float
    """The same as `cpu_us`, at light load."""
    keeper_share: float
    """Of a core that the keeper used meanwhile."""


def run(quick: bool) -> Report:
    """Measure presenced with and without."""
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    rows, costs, shares, figures = [], [], [], []
    noting = measure_noting()
    for watchers in QUICK_WATCHERS if quick else WATCHERS:
        for v1 in (False, True):
            without, with_all = alternate(watchers, v1, rounds, seconds)
            for what, trials in (("without", without), ("with", with_all)):
                rows.append(row(f"{watchers:,} watchers, {'v1' if v1 else 'classic'}, {what}", trials))
                figures += [
                    {
                        "watchers": watchers,
                        "protocol": "v1" if v1 else "classic",
                        "kept": what == "with",
                        "per_second": one.full.deliveries.per_second,
                        "server_us_per_change": one.cpu_us,
                        "server_us_per_change_without_flushes": one.apart_us,
                        "light_server_us_per_change": one.light_cpu_us,
                        "light_median_s": one.light.median,
                        "light_p99_s": one.light.p99,
                        "keeper_share": one.keeper_share,
                    }
                    for one in trials
                ]
            alone, noted = noting.v1 if v1 else noting.classic
            shares.append((noted - alone) / quarter(without, _cpu))
            costs.append(
                f"{watchers:,} watchers, {'presenced.v1' if v1 else 'classic'}: "
                f"{_more(without, with_all):+.1%} deliveries a second, "
                f"{quarter(with_all, _cpu) / quarter(without, _cpu) - 1:+.1%} of the server's CPU per change, "
                f"{quarter(with_all, _without_flushes) - quarter(without, _without_flushes):+.1f} µs without flushes"
            )
    changes, took_storing, took = stored_and_delivered(QUICK_CHANGES_FOR if quick else CHANGES_FOR)
    return Report(
        "What do storage and webhooks cost the live service, and how many changes a second are stored and delivered?",
        "Noting what is to be stored and told takes "
        f"{noting.classic[1] - noting.classic[0]:.1f} µs of the server per change of the classic protocol, "
        f"{noting.v1[1] - noting.v1[0]:.1f} of presenced.v1: {min(shares):.1%} to {max(shares):.1%} of all that a "
        f"change takes. The whole, with storage and webhooks: {'; '.join(costs)}. "
        f"{changes / took_storing:,.0f} changes a second are stored, {changes / took:,.0f} stored and delivered.",
        [
            Table(
                [
                    "",
                    "deliveries a second",
                    "server's CPU per change",
                    "without flushes",
                    "load's CPU",
                    "keeper's CPU",
                    f"delay at {LIGHT} changes/s, median",
                    "p99",
                    "server's CPU per change then",
                ],
                rows,
            )
        ],
        [
            f"Medians of {rounds} rounds, without and with in turn; a closed loop of {WINDOW} changes outstanding. "
            "Of CPU per change: what a quarter of the rounds were better than.",
            f"Noting: the engine without sockets, in one process, without and with in turn; per change of the classic "
            f"protocol {noting.classic[0]:.1f} and {noting.classic[1]:.1f} µs, of presenced.v1 {noting.v1[0]:.1f} and "
            f"{noting.v1[1]:.1f}.",
            f"The server has a core for itself; load, keeper (at lower priority) and receiver share {len(LOAD_CORES)}. "
            "Where that is one, the load is slower beside a keeper: fewer changes ride in a write.",
            "In the closed loop more changes may happen than the keeper can write down: the rest waits meanwhile.",
            f"Stored and delivered: {changes:,} changes, users who come and go with {FEW} watchers, until the "
            "last one is in the database and has been taken by the receiver.",
        ],
        {
            "noting_us": {"classic": noting.classic, "v1": noting.v1},
            "noting_shares": shares,
            "rounds": figures,
            "changes": changes,
            "stored_per_second": changes / took_storing,
            "delivered_per_second": changes / took,
        },
    )


def alternate(watchers: int, v1: bool, rounds: int, seconds: float) -> tuple[list[Round], list[Round]]:
    """Without, and with: two servers on one core, of which one at a time has something to do."""
    found: tuple[list[Round], list[Round]] = [], []
    with ExitStack() as stack:
        houses = [stack.enter_context(prepared(watchers, v1, kept)) for kept in (False, True)]
        for number in range(rounds):
            for kept in (False, True) if number % 2 else (True, False):
                found[kept].append(one_round(houses[kept], watchers, v1, seconds))
                wait_drained(houses[True].port)
    return found


class House(NamedTuple):
    """A server and its clients, all of whom are there."""

    port: int
    server: int
    load: Load


@contextmanager
def prepared(watchers: int, v1: bool, kept: bool) -> Iterator[House]:
    """One with everybody connected."""
    with serving(kept, V1 if v1 else []) as (port, server), Load(port, server, USERS, v1=v1) as load:
        load.open(USERS)
        if not v1:
            load.wait_heard(USERS * (USERS - 1) // 2)  # each user is announced to those who were there
        load.open(watchers)
        if v1:
            load.rest()
            load.open_actors()
        yield House(port, server, load)


def one_round(house: House, watchers: int, v1: bool, seconds: float) -> Round:
    """One server: first at light load."""
    # A user who comes and goes makes two changes.
    light = house.load.churn(watchers, 4, seconds, len(LOAD_CORES) * (1 if v1 else 2) / LIGHT)
    pids = keepers(house.server)
    before, began = sum(map(cpu_seconds, pids)), time.monotonic()
    heard, apart = house.load.heard, _apart(house)
    full = house.load.churn(watchers, WINDOW, seconds)
    keeper_share = (sum(map(cpu_seconds, pids)) - before) / (time.monotonic() - began)
    apart_us = 1e6 * (_apart(house) - apart) * watchers / (house.load.heard - heard)
    return Round(full, light, _cpu_us(full, watchers), apart_us, _cpu_us(light, watchers), keeper_share)


def _apart(house: House) -> float:
    """Seconds of the server's CPU so far, without those of flushes."""
    return cpu_seconds(house.server) - metric(house.port, "presenced_flush_duration_seconds_sum")


def _cpu_us(churn: Churn, watchers: int) -> float:
    return 1e6 * churn.deliveries.server_share * watchers / churn.deliveries.per_second


def stored_and_delivered(seconds: float) -> tuple[int, float, float]:
    """How many changes, and seconds until all were stored, and delivered, too."""
    with serving(kept=True) as (port, server), Load(port, server, FEW) as load:
        load.open(FEW)
        load.wait_heard(FEW * (FEW - 1) // 2)
        wait_drained(port)
        heard, began = load.heard, time.monotonic()
        load.churn(FEW, WINDOW, seconds)
        changes = (load.heard - heard) // FEW
        wait_drained(port, _STORING)
        took_storing = time.monotonic() - began
        wait_drained(port)
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


def row(name: str, trials: Sequence[Round]) -> list[str]:
    """The medians of one server."""

    def middle(of: Callable[[Round], float]) -> float:
        return statistics.median(map(of, trials))

    return [
        name,
        f"{middle(lambda one: one.full.deliveries.per_second):,.0f}",
        f"{quarter(trials, _cpu):,.0f} µs",
        f"{quarter(trials, _without_flushes):,.0f} µs",
        f"{middle(lambda one: one.full.deliveries.load_share):.0%}",
        f"{middle(lambda one: one.keeper_share):.0%}",
        f"{1e3 * middle(lambda one: one.light.median):.1f} ms",
        f"{1e3 * middle(lambda one: one.light.p99):.1f} ms",
        f"{statistics.mean(one.light_cpu_us for one in trials):,.0f} µs",
    ]


def quarter(trials: Sequence[Round], of: Callable[[Round], float]) -> float:
    """A quarter of the rounds had less: of CPU time, those in which others on the machine were least in the way."""
    return sorted(map(of, trials))[len(trials) // 4]


def _more(without: Sequence[Round], kept: Sequence[Round]) -> float:
    """The median of the rounds' ratios, less one."""
    pairs = zip(without, kept, strict=True)
    return statistics.median(b.full.deliveries.per_second / a.full.deliveries.per_second for a, b in pairs) - 1


def _cpu(one: Round) -> float:
    return one.cpu_us


def _without_flushes(one: Round) -> float:
    return one.apart_us
