"""How many messages does the server deliver per second, and how soon have users who join at once all heard of all?

Watchers stay connected and count; other users come and go, each of which is a change that every watcher is told of.
The load is a closed loop: there are at most so many changes (the window) that not every watcher has heard of. So
whatever rate comes out is sustained, and all of it is delivered: the load counts, and fails when one message is
missing or too many. A larger window lets a server merge more; it is tried as long as the delay stays within bounds.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.load import Churn, Load
from benchmarks.report import Report, Table, beside, times
from benchmarks.servers import PRESENCED, available, running

WATCHERS = (1_000, 5_000)
QUICK_WATCHERS = (200,)

WINDOWS = (16, 128, 1024)
"""Changes outstanding. 1,024 are 85 KB per watcher, which any socket buffer holds: no watcher falls behind."""

MAX_DELAY = 1.0
"""Seconds: a window that would make the average delay longer is not tried."""

SECONDS = 2.5
QUICK_SECONDS = 0.3

USERS = 100
"""User ids that the watchers share."""

JOINING = 2_000
QUICK_JOINING = 300

JOIN_REPEATS = 3
QUICK_JOIN_REPEATS = 1
JOIN_SECONDS = 5.0
"""The joining is repeated, so often at most, until it has taken so long altogether."""


def run(quick: bool) -> Report:
    """Measure all servers there are."""
    names, notes = available()
    seconds = QUICK_SECONDS if quick else SECONDS
    joining = QUICK_JOINING if quick else JOINING
    rows, answers = [], []
    for watchers in QUICK_WATCHERS if quick else WATCHERS:
        found = {name: churn(name, watchers, seconds) for name in names}
        best = {name: max(churns, key=lambda c: c.deliveries.per_second) for name, churns in found.items()}
        rows += [row(watchers, name, churns, best) for name, churns in found.items()]
        rates = {name: c.deliveries.per_second for name, c in best.items()}
        answers.append(f"{best[PRESENCED].deliveries} with {watchers:,} watchers{beside(PRESENCED, rates)}")
    repeats = QUICK_JOIN_REPEATS if quick else JOIN_REPEATS
    joined = {name: join(name, joining, repeats) for name in names}
    own = joined[PRESENCED]
    return Report(
        "How many messages are delivered per second, and how soon have users who join at once all heard of all?",
        f"Deliveries per second: {'; '.join(answers)}. {joining:,} users who join at once have all heard of all "
        f"within {own:.2f} s{beside(PRESENCED, joined)}.",
        [
            Table(
                [
                    "watchers, server",
                    *(f"{window:,} outstanding" for window in WINDOWS),
                    f"best beside {PRESENCED}",
                    "delay at best",
                    "server's CPU",
                    "busiest load's CPU",
                ],
                rows,
            ),
            Table(
                [f"{joining:,} users join", "seconds until all have heard all", f"beside {PRESENCED}"],
                [[name, f"{took:.3f}", times(took, own)] for name, took in joined.items()],
            ),
        ],
        [
            "Figures are deliveries per second: messages received by the watchers, all that were due.",
            "“Outstanding” are changes that not every watcher has heard of yet; the delay is from a change to its "
            "delivery, on average.",
            "“≥”: the load was near its own limit; the server might do more.",
            f"“-”: not tried, the average delay would have been longer than {MAX_DELAY:.0f} s.",
            *notes,
        ],
    )


def row(watchers: int, name: str, churns: list[Churn], best: dict[str, Churn]) -> list[str]:
    """The figures of one server."""
    its_best = best[name]
    return [
        f"{watchers:,} {name}",
        *(str(churns[i].deliveries) if i < len(churns) else "-" for i in range(len(WINDOWS))),
        times(its_best.deliveries.per_second, best[PRESENCED].deliveries.per_second),
        f"{its_best.delay * 1000:.0f} ms",
        f"{its_best.deliveries.server_share:.0%}",
        f"{its_best.deliveries.load_share:.0%}",
    ]


def churn(name: str, watchers: int, seconds: float) -> list[Churn]:
    """One server, with one window after the other."""
    churns: list[Churn] = []
    with running(name) as (port, server), Load(port, server.pid, USERS) as load:
        load.open(USERS)
        load.wait_heard(USERS * (USERS - 1) // 2)  # each user is announced to those who were there
        load.open(watchers)
        for i, window in enumerate(WINDOWS):
            if churns and churns[-1].delay * window / WINDOWS[i - 1] > MAX_DELAY:
                break
            churns.append(load.churn(watchers, window, seconds))
    return churns


def join(name: str, users: int, repeats: int) -> float:
    """Seconds until `users` who join at once have all heard of all who came after them: the median of some trials."""
    trials: list[float] = []
    while len(trials) < repeats and sum(trials) < JOIN_SECONDS:
        with running(name) as (port, server), Load(port, server.pid, users) as load:
            started = time.monotonic()
            load.open(users)
            load.wait_heard(users * (users - 1) // 2)
            trials.append(time.monotonic() - started)
    return statistics.median(trials)
