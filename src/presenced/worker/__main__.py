"""Run `python -m presenced.worker FD [LOG_FORMAT LOG_TIME NODE]`, where FD is the socket to the server.

The process ends at the end of the stream. It ignores signals, because a terminal and systemd send them to all processes
of a group, while the server decides when the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys

from presenced.runtime import logs
from presenced.worker.program import run_worker

NICENESS = 5
"""Added to the nice value, so that the live process gets three quarters of a core that both want. With less than a
quarter of a core the worker is more than a second behind on a busy machine."""

COLLECT_EVERY = 50_000
"""Number of new objects after which a garbage collection starts (default in Python 3.11: 700). A transaction makes
thousands of objects that are still in use. Collections over these, and over everything imported, took an eighth of the
CPU of this process."""

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logs.configure_helper(*sys.argv[2:])
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.nice(NICENESS)
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)
    asyncio.run(run_worker(socket.socket(fileno=int(sys.argv[1]))))
