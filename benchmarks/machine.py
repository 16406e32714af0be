"""Measuring machine: its cores and limits, and the kernel's figures of a process. Linux only."""

from __future__ import annotations

import os
import platform
import re
import resource
from pathlib import Path

MAX_FILES = 20_000
"""Maximum number of open files of a process. Each server and load process stays below."""

_CORES = sorted(os.sched_getaffinity(0))

SERVER_CORES = {_CORES[0]}
"""Core of the measured server. The load uses others if there are any."""

TWO_CORES = set(_CORES[:2])
"""Cores of a server that is measured with two."""

LOAD_CORES = _CORES[1:4] or _CORES
"""Cores of the load processes, one for each. Three are enough for the fastest server."""

_TICKS = os.sysconf("SC_CLK_TCK")


def prepare() -> None:
    """Raise the limit of open files, and leave the server's core to the server, also for processes started later."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    os.sched_setaffinity(0, LOAD_CORES)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, without the kernel's memory, such as socket buffers.

    Raises:
        ProcessLookupError: The process has ended.
    """
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if not found:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(found[1]) * 1024


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process with all its threads, in steps of 10 ms."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS  # utime and stime: fields 14 and 15 in proc(5)


def description() -> str:
    """Return processor, cores, kernel and Python, in one line."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    processor = found[1] if found else platform.machine()
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    shared = " that server and load share" if set(LOAD_CORES) == SERVER_CORES else ""
    return (
        f"{processor}, {len(_CORES)} cores{shared}, Linux {platform.release()} (TCP {congestion}), "
        f"{platform.python_implementation()} {platform.python_version()}"
    )
