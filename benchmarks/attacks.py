"""Effect of attacks on good clients, and on the memory of the server.

One process runs one attack after the other, as fast as it can. Meanwhile one good client sends pings, and another one
connects again and again. Limits of addresses do not apply, because all connections come from this machine. The bounds
of each connection hold.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jwt
from benchmarks.machine import resident_bytes
from benchmarks.probe import Probe
from benchmarks.report import Report, Table
from benchmarks.servers import PRESENCED, running
from benchmarks.strangers import ATTACKS, attacking

SECONDS = 6.0
QUICK_SECONDS = 0.5

EVERY = 0.01
"""Seconds between two probes of a good client."""

REST = 1.0
"""Seconds in which the server closes the connections of an attack before its memory is read."""

SECRET = "for this benchmark alone, and no secret"  # noqa: S105  # it protects nothing
GOOD = 1
STRANGERS = 50
"""Number of users whose tokens the attackers have, because insiders do more harm."""

OPTIONS = ["--auth=jwt", "--compression", "--head-timeout=5", "--user-connections=1000"]


class Noticed(NamedTuple):
    """Seconds that good clients waited, and the memory of the server afterwards."""

    pings: list[float]
    connects: list[float]
    sent: int
    opened: int
    resident: int


def run(quick: bool) -> Report:
    """Measure presenced."""
    seconds = QUICK_SECONDS if quick else SECONDS
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder, "key")
        key.write_text(SECRET)
        with running(PRESENCED, [*OPTIONS, f"--jwt-key-file={key}"]) as (port, server):
            before = resident_bytes(server.pid)
            found = {"none": measure(port, server.pid, "", seconds)}
            for name in ATTACKS:
                found[name] = measure(port, server.pid, name, seconds)
    return _report(found, before, seconds)


def _report(found: dict[str, Noticed], before: int, seconds: float) -> Report:
    worst = max(list(found)[1:], key=lambda name: _p99(found[name].pings))
    grown = max(noticed.resident for noticed in found.values()) - before
    rows = [
        [
            name,
            *(f"{figure(waited) * 1e3:.1f}" for waited in (n.pings, n.connects) for figure in (_median, _p99, max)),
            f"{n.sent / 1e6:,.1f} MB",
            f"{n.opened:,}",
            f"{(n.resident - before) / 2**20:+.1f} MiB",
        ]
        for name, n in found.items()
    ]
    return Report(
        "What do good clients notice while strangers attack, and what does the server keep of it?",
        f"A ping is answered within {_p99(found[worst].pings) * 1e3:.0f} ms in 99 of 100 cases under every attack "
        f"(the worst: {worst}), instead of {_p99(found['none'].pings) * 1e3:.0f} ms; no good client was dropped, and "
        f"after all of them the server has grown by {grown / 2**20:.0f} MiB at most.",
        [
            Table(
                [
                    f"attack, {seconds:g} s each",
                    *(f"{what}, {figure}" for what in ("ping", "connect") for figure in ("median", "p99", "max ms")),
                    "sent",
                    "connections",
                    "memory since the start",
                ],
                rows,
            )
        ],
        [
            "Server and attackers have a core each; the attackers' is also that of the good clients, which go first.",
            "All come from this machine, for which limits by address don't count, and they have tokens: a "
            "stranger elsewhere is kept out after 50 bad tokens, and has 20 handshakes a second.",
            f"With `{' '.join(OPTIONS)}`.",
        ],
        {
            name: {
                "ping_p99_s": _p99(n.pings),
                "ping_max_s": max(n.pings),
                "connect_p99_s": _p99(n.connects),
                "connect_max_s": max(n.connects),
                "sent_bytes": n.sent,
                "connections": n.opened,
                "grown_bytes": n.resident - before,
            }
            for name, n in found.items()
        },
    )


def measure(port: int, pid: int, attack: str, seconds: float) -> Noticed:
    """Return the effect of one attack.

    Raises:
        LoadError: The server closed a good client.
    """
    token = f"&token={_token(GOOD)}"
    pings: list[float] = []
    connects: list[float] = []
    counts = (0, 0)
    with Probe(port, GOOD, more=token) as pinging:
        ended = threading.Event()
        faults: list[Exception] = []
        threads = [
            threading.Thread(target=_repeat, args=(ended, pings, pinging.ping, faults)),
            threading.Thread(target=_repeat, args=(ended, connects, lambda: _connect(port, token), faults)),
        ]
        for thread in threads:
            thread.start()
        try:
            if attack:
                with attacking(attack, port, [_token(1000 + n) for n in range(STRANGERS)], seconds) as found:
                    time.sleep(seconds)
                counts = found[0], found[1]
            else:
                time.sleep(seconds)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    if faults:
        raise faults[0]
    time.sleep(REST)
    return Noticed(pings, connects, *counts, resident_bytes(pid))


def _connect(port: int, token: str) -> float:
    with Probe(port, GOOD, more=token) as probe:  # the user is online already, so nothing is broadcast
        return probe.greeted_after


def _repeat(ended: threading.Event, samples: list[float], probe: Callable[[], float], faults: list[Exception]) -> None:
    try:
        while not ended.wait(EVERY):
            samples.append(probe())
    except Exception as fault:  # the main thread raises it again
        faults.append(fault)


def _token(user: int) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + 3600}, SECRET, "HS256")


def _median(waited: list[float]) -> float:
    return statistics.median(waited)


def _p99(waited: list[float]) -> float:
    return sorted(waited)[len(waited) * 99 // 100]
