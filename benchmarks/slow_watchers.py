"""Effect of watchers that stop reading on the others and on memory, and the time until they are correct again.

Under a steady load, 100 of 5,000 watchers stop reading for a minute. Meanwhile the users of the load connect and
disconnect, and some others connect and stay. Then the slow watchers read again. Each must see exactly the users who are
online.
"""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from benchmarks.clients import PATIENCE
from benchmarks.load import Churn, Load, LoadError
from benchmarks.machine import resident_bytes
from benchmarks.probe import Probe, metric
from benchmarks.report import Report, Table
from benchmarks.servers import PRESENCED, running

WATCHERS = 5_000
QUICK_WATCHERS = 200

SLOW = 100
QUICK_SLOW = 5

SECONDS = 60.0
QUICK_SECONDS = 1.0

WINDOW = 16
"""Number of outstanding changes, about 450 a second."""

STAYING = 50
"""Number of users who connect and stay while the slow watchers do not read."""

BUFFER = 65_536
"""Bytes of the receive buffers of slow watchers, so that they are soon full."""

IDS = 512
"""Number of users per load process who connect and disconnect in turn."""

OPTIONS = ["--log-size=20000", "--behind-timeout=3600", "--heartbeat-interval=3600"]
"""By default the server closes a watcher that has been slow for 30 s, or has not answered a ping within 10. The log is
full before the minute begins, so that the slow watchers cause all growth afterwards."""

REST = 0.5
"""Seconds for reading the last messages."""

USERS = 100
_SLOW_USER, _FIRST_STAYING = 40_000_000, 50_000_000


def run(quick: bool) -> Report:
    """Measure presenced."""
    watchers, slow = (QUICK_WATCHERS, QUICK_SLOW) if quick else (WATCHERS, SLOW)
    seconds, others = QUICK_SECONDS if quick else SECONDS, watchers - slow
    with (
        running(PRESENCED, OPTIONS) as (port, server),
        Load(port, server.pid, USERS, ids=IDS) as load,
        ExitStack() as stack,
    ):
        load.open(USERS)
        load.wait_heard(USERS * (USERS - 1) // 2)  # each user is announced to the earlier ones
        load.open(others)
        heard = load.heard
        probes = [stack.enter_context(Probe(port, _SLOW_USER, BUFFER)) for _ in range(slow)]
        load.wait_heard(heard + others)
        with reading(probes):
            before = load.churn(others, WINDOW, seconds)
        resident = [resident_bytes(server.pid)]
        during = [load.churn(others, WINDOW, seconds / 2)]
        heard = load.heard
        staying = [stack.enter_context(Probe(port, _FIRST_STAYING + number)) for number in range(STAYING)]
        with reading(staying):
            load.wait_heard(heard + STAYING * others)
            during.append(load.churn(others, WINDOW, seconds / 2))
            behind = int(metric(port, "presenced_slow_watchers"))
        resident.append(resident_bytes(server.pid))
        took = until_right(probes, {_FIRST_STAYING + number for number in range(STAYING)})
    return _report(slow, watchers, seconds, before, during, resident, behind, took)


def _report(
    slow: int,
    watchers: int,
    seconds: float,
    before: Churn,
    during: Sequence[Churn],
    resident: Sequence[int],
    behind: int,
    took: float,
) -> Report:
    p99 = max(churn.p99 for churn in during)
    growth = resident[1] - resident[0]
    return Report(
        "What do watchers that stop reading cost the others, and how soon are they right again?",
        f"While {slow} of {watchers:,} do not read for {seconds:.0f} s, the others' p99 is {p99 * 1e3:.0f} ms "
        f"({p99 / before.p99 - 1:+.0%}), and the server grows by {growth / slow / 1024:.0f} KiB for each of them. "
        f"When they read again, all see exactly who is there after {took:.2f} s.",
        [
            Table(
                ["", "all read", "some don't, 1st half", "2nd half"],
                [
                    ["deliveries/s to the others", *(str(c.deliveries) for c in (before, *during))],
                    ["delay, median", *(f"{c.median * 1e3:.1f} ms" for c in (before, *during))],
                    ["delay, p99", *(f"{c.p99 * 1e3:.1f} ms" for c in (before, *during))],
                    ["server's memory", f"{resident[0] / 2**20:.1f} MiB", "", f"{resident[1] / 2**20:.1f} MiB"],
                    ["behind", "0", "", str(behind)],
                ],
            )
        ],
        [
            "The bound for each of them: `write_buffer` (64 KiB) and one batch of changes (256 KiB at most).",
            f"With `{' '.join(OPTIONS)}`: by default they are closed after 30 s, and come back.",
        ],
        {
            "p99_s": {"all_read": before.p99, "some_do_not": p99},
            "grown_bytes_each": growth / slow,
            "behind": behind,
            "right_after_s": took,
        },
    )


@contextmanager
def reading(probes: Sequence[Probe]) -> Iterator[None]:
    """Read from these probes during the body, and everything that has arrived at its end."""
    ended = threading.Event()

    def read() -> None:
        with selectors.DefaultSelector() as ready:
            for probe in probes:
                ready.register(probe.socket, selectors.EVENT_READ, probe)
            while not ended.is_set():
                for key, _ in ready.select(0.1):
                    key.data.read_turns()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
        time.sleep(REST)
    finally:
        ended.set()
        reader.join()


def until_right(probes: Sequence[Probe], staying: set[int]) -> float:
    """Read from all probes, and return the seconds until each sees exactly the users `staying` online.

    Raises:
        LoadError: A probe does not within `PATIENCE`.
    """
    seen: dict[Probe, set[int]] = {probe: set() for probe in probes}
    wrong, started = set(probes), time.monotonic()
    with selectors.DefaultSelector() as ready:
        for probe in probes:
            ready.register(probe.socket, selectors.EVENT_READ, probe)
        while wrong:
            if time.monotonic() > started + PATIENCE:
                raise LoadError(f"{len(wrong)} watchers that were slow do not see who is there")
            for key, _ in ready.select(0.1):
                users = seen[key.data]
                for online, user in key.data.read_turns():
                    (users.add if online else users.discard)(user)
                (wrong.discard if users == staying else wrong.add)(key.data)
    return time.monotonic() - started
