"""Deliveries per second, and the time until users who join at once have received all others.

Watchers stay connected and count. Other clients make changes, and each watcher receives each change. In the classic
protocol users connect and disconnect, in presenced.v1 they become idle and active. The load is a closed loop: the
window limits the number of outstanding changes, which not every watcher has received. So each measured rate is
sustained, and everything is delivered. Some watchers count, and the bytes of the others are compared with theirs. The
benchmark fails if a message is missing or doubled. A larger window lets a server merge more changes. It is tried as
long as the delay stays below `MAX_DELAY`.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.load import Churn, Load
from benchmarks.report import Report, Table, beside, times
from benchmarks.servers import NO_PINGS, PRESENCED, V1, available, running

WATCHERS = (300, 1_000, 5_000, 10_000)
QUICK_WATCHERS = (200,)

WINDOWS = (16, 128, 1024, 2000)
"""Numbers of outstanding changes. 2,000 are 200 KB per watcher, which any socket buffer holds, so none falls behind."""

MAX_DELAY = 1.0
"""Maximum average delay in seconds. A window that would exceed it is not tried."""

SECONDS = 2.5
QUICK_SECONDS = 0.3

COUNTING = 5
"""Number of watchers that count. If all did, the load would limit the rate."""

USERS = 100
"""User ids that the watchers share."""

NEW, SQUEEZED = f"{PRESENCED}.v1", f"{PRESENCED}.v1, compressed"
"""Names of presenced.v1 in the tables, without and with compression."""

JOINING = 2_000
QUICK_JOINING = 300

JOIN_REPEATS = 3
QUICK_JOIN_REPEATS = 1
JOIN_SECONDS = 5.0
"""Total seconds of joining after which it is not repeated. `JOIN_REPEATS` limits the repetitions, too."""


def run(quick: bool) -> Report:
    """Measure all available servers."""
    names, notes = available()
    seconds = QUICK_SECONDS if quick else SECONDS
    joining = QUICK_JOINING if quick else JOINING
    found = {
        watchers: {name: churn(name, watchers, seconds) for name in (*names, NEW, SQUEEZED)}
        for watchers in (QUICK_WATCHERS if quick else WATCHERS)
    }
    repeats = QUICK_JOIN_REPEATS if quick else JOIN_REPEATS
    joined = {name: join(name, joining, repeats) for name in names}
    return _report(found, joining, joined, notes)


def _report(
    found: dict[int, dict[str, list[Churn]]], joining: int, joined: dict[str, float], notes: list[str]
) -> Report:
    rows, answers, figures = [], [], []
    for watchers, by_server in found.items():
        best = {name: max(churns, key=lambda c: c.deliveries.per_second) for name, churns in by_server.items()}
        rows += [row(watchers, name, churns, best) for name, churns in by_server.items()]
        rates = {name: c.deliveries.per_second for name, c in best.items()}
        answers.append(f"{best[PRESENCED].deliveries} with {watchers:,} watchers{beside(PRESENCED, rates)}")
        figures += [
            {
                "watchers": watchers,
                "server": name,
                "window": window,
                "per_second": c.deliveries.per_second,
                "median_s": c.median,
                "p99_s": c.p99,
            }
            for name, churns in by_server.items()
            for window, c in zip(WINDOWS, churns, strict=False)
        ]
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
                    "median, p99 at best",
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
            "Figures are deliveries per second: changes received by the watchers, all that were due.",
            "“Outstanding” are changes that not every watcher has heard of yet; the delay is from the beginning of a "
            "change to its delivery.",
            f"{COUNTING} of the watchers count, inflate what is compressed, and see the delay. The others receive as "
            "many bytes, which is checked, and don't look at them: nothing to the server, much to the load.",
            f"{PRESENCED} sends no pings meanwhile; what they cost: `benchmarks/endurance.py`.",
            "“≥”: the load was near its own limit; the server might do more.",
            f"“-”: not tried, the average delay would have been longer than {MAX_DELAY:.0f} s.",
            *notes,
        ],
        {"churns": figures, "joining": joining, "joined_s": joined},
    )


def row(watchers: int, name: str, churns: list[Churn], best: dict[str, Churn]) -> list[str]:
    """Return the row of one server."""
    its_best = best[name]
    return [
        f"{watchers:,} {name}",
        *(str(churns[i].deliveries) if i < len(churns) else "-" for i in range(len(WINDOWS))),
        times(its_best.deliveries.per_second, best[PRESENCED].deliveries.per_second),
        f"{its_best.median * 1000:.0f}, {its_best.p99 * 1000:.0f} ms",
        f"{its_best.deliveries.server_share:.0%}",
        f"{its_best.deliveries.load_share:.0%}",
    ]


def churn(name: str, watchers: int, seconds: float) -> list[Churn]:
    """Measure one server with one window after the other."""
    churns: list[Churn] = []
    is_new, squeezed = name in (NEW, SQUEEZED), name == SQUEEZED
    options = [*(V1 if is_new else NO_PINGS), *(["--compression"] if squeezed else [])]
    with (
        running(name, options if name.startswith(PRESENCED) else []) as (port, server),
        Load(port, server.pid, USERS, v1=is_new, deflate=squeezed, one_of=watchers // COUNTING) as load,
    ):
        load.open(watchers)
        load.rest()  # each user was announced to the earlier ones
        if is_new:
            load.open_actors()
        for i, window in enumerate(WINDOWS):
            if churns and churns[-1].delay * window / WINDOWS[i - 1] > MAX_DELAY:
                break
            churns.append(load.churn(watchers, window, seconds))
    return churns


def join(name: str, users: int, repeats: int) -> float:
    """Return the seconds until users who join at once have received all who joined after them: the median of trials."""
    trials: list[float] = []
    while len(trials) < repeats and sum(trials) < JOIN_SECONDS:
        with running(name) as (port, server), Load(port, server.pid, users) as load:
            started = time.monotonic()
            load.open(users)
            load.wait_heard(users * (users - 1) // 2)
            trials.append(time.monotonic() - started)
    return statistics.median(trials)
