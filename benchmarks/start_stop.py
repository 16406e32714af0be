"""Time to start, and to stop with many open connections.

Start: from the launch of `presenced serve` to the first successful response of /healthz. Stop: from SIGTERM to the end
of the process. The clients answer the close frame, as browsers do. Each client is a different user. If the server
broadcast the users that it closes, each client would receive many USER_OFFLINE. The clients count them.
"""

from __future__ import annotations

import http.client
import signal
import statistics
import subprocess
import time
from typing import NamedTuple

from benchmarks.clients import PATIENCE
from benchmarks.load import Load, LoadError
from benchmarks.report import Report, Table
from benchmarks.servers import PRESENCED, end, free_port, running, start

STARTS = 9
QUICK_STARTS = 3
START_TARGET = 0.5
"""Target for the start in seconds."""

CONNECTIONS = 5_000
QUICK_CONNECTIONS = 500
STOP_TARGET = 10.0
"""Target for the stop in seconds."""

SETTLE = 0.5
"""Seconds after the end of the server in which the clients read the last messages."""

LOOK_EVERY = 0.002
"""Seconds between two requests that check whether the server has started."""


class Stop(NamedTuple):
    """Figures of a server that was stopped with open connections."""

    seconds: float
    exit_code: int
    messages: int
    """Number of messages that the clients received after the signal. They can only be USER_OFFLINE."""
    dismissed: int
    """Number of clients that received a close frame."""


def run(quick: bool) -> Report:
    """Measure presenced."""
    connections = QUICK_CONNECTIONS if quick else CONNECTIONS
    starts = sorted(measure_start() for _ in range(QUICK_STARTS if quick else STARTS))
    stop = measure_stop(connections)
    median = statistics.median(starts)
    return Report(
        "How long does the server take to start, and to stop with many connections open?",
        f"It answers {median:.2f} s after its launch and has stopped {stop.seconds:.2f} s after SIGTERM with "
        f"{connections:,} connections; no client received that another left."
        if not stop.messages
        else f"It stopped, but its clients received {stop.messages:,} messages that somebody left.",
        [
            Table(
                ["", "figure", "target"],
                [
                    [f"start, median of {len(starts)}", f"{median:.3f} s", f"< {START_TARGET} s"],
                    ["start, fastest and slowest", f"{starts[0]:.3f} to {starts[-1]:.3f} s", ""],
                    [f"stop with {connections:,} connections", f"{stop.seconds:.3f} s", f"< {STOP_TARGET:.0f} s"],
                    ["exit code", str(stop.exit_code), "0"],
                    ["USER_OFFLINE the others saw", f"{stop.messages:,}", "0"],
                    ["clients that received a close frame", f"{stop.dismissed:,}", f"{connections:,}"],
                ],
            )
        ],
        [],
        {"starts_s": starts, "stop_s": stop.seconds, "connections": connections, "told_by_mistake": stop.messages},
    )


def measure_start() -> float:
    """Return the seconds from the launch of the command to the first 200 of /healthz.

    Raises:
        LoadError: The server does not start.
    """
    port = free_port()
    started = time.monotonic()
    process = start(PRESENCED, port)
    try:
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > started + PATIENCE:
                raise LoadError("presenced does not start")
            time.sleep(LOOK_EVERY)
        return time.monotonic() - started
    finally:
        end(process)


def measure_stop(connections: int) -> Stop:
    """Stop a server with `connections`, each of another user.

    Raises:
        LoadError: The server does not stop.
    """
    with running(PRESENCED) as (port, server), Load(port, server.pid, connections) as load:
        load.open(connections)
        load.wait_heard(connections * (connections - 1) // 2)  # each is announced to the earlier ones
        heard, started = load.heard, time.monotonic()
        server.send_signal(signal.SIGTERM)
        try:
            exit_code = server.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"presenced still runs {PATIENCE:.0f} s after SIGTERM") from error
        took = time.monotonic() - started
        time.sleep(SETTLE)
        return Stop(took, exit_code, load.heard - heard, load.dismissed)


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except ConnectionError:
        return False
    finally:
        connection.close()
