"""Cost of the server's own TLS: memory of each idle connection, and time to connect."""

from __future__ import annotations

import socket
import ssl
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.clients import PATIENCE, REQUEST
from benchmarks.machine import resident_bytes
from benchmarks.report import Report, Table
from benchmarks.servers import PRESENCED, running
from tests.support.certificates import write_certificate

CONNECTIONS = 2_000
QUICK_CONNECTIONS = 50

FIRST = 50
"""Number of connections before memory is first read, because the first ones allocate what all share."""

USERS = 20
REST = 1.0


def run(quick: bool) -> Report:
    """Measure presenced."""
    count = QUICK_CONNECTIONS if quick else CONNECTIONS
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = write_certificate(Path(folder))
        options = [f"--tls-certificate={certificate}", f"--tls-key={key}"]
        plain, by_tls = measure(count, [], None), measure(count, options, _trusting())
    return Report(
        "What does TLS of the server's own cost: memory for each idle connection, and time to connect?",
        f"{by_tls[0] / 1024:.0f} KiB for each idle connection instead of {plain[0] / 1024:.1f}, and "
        f"{by_tls[1] * 1e3:.1f} ms to be greeted instead of {plain[1] * 1e3:.1f}.",
        [
            Table(
                ["", "memory each", "connect, median"],
                [
                    [name, f"{memory / 1024:.1f} KiB", f"{took * 1e3:.1f} ms"]
                    for name, (memory, took) in (("plain", plain), ("TLS 1.3", by_tls))
                ],
            )
        ],
        [f"{count:,} connections, one after the other, of {USERS} users; the server's resident memory."],
        {
            name: {"bytes_each": memory, "connect_median_s": took}
            for name, (memory, took) in (("plain", plain), ("tls", by_tls))
        },
    )


def measure(count: int, options: list[str], context: ssl.SSLContext | None) -> tuple[float, float]:
    """Return the bytes for each connection, and the median seconds until its first message."""
    more = ["--user-connections=100000", "--heartbeat-interval=3600"]
    with running(PRESENCED, [*options, *more]) as (port, server), ExitStack() as stack:
        for number in range(FIRST):
            _connect(stack, port, number, context)
        time.sleep(REST)
        before = resident_bytes(server.pid)
        took = [_connect(stack, port, number, context) for number in range(count)]
        time.sleep(REST)
        return (resident_bytes(server.pid) - before) / count, statistics.median(took)


def _connect(stack: ExitStack, port: int, number: int, context: ssl.SSLContext | None) -> float:
    began = time.monotonic()
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    if context is not None:
        sock = context.wrap_socket(sock)
    stack.enter_context(sock)
    sock.sendall(REQUEST.format(user=number % USERS, more="", fields="").encode())
    head = b""
    while b"CONNECTION_ESTABLISHED" not in head:
        head += sock.recv(4096)
    return time.monotonic() - began


def _trusting() -> ssl.SSLContext:
    """Return a context that accepts every certificate, because the server is this benchmark's own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
