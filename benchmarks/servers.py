"""Servers to compare: starting them on a port, pinned to a core, and ending them."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.clients import PATIENCE
from benchmarks.load import LoadError
from benchmarks.machine import SERVER_CORES

HERE = Path(__file__).parent
BUILD = HERE / ".build"
WS = HERE.parent / "tests/js/node_modules/ws"
BUN_PROGRAM = HERE / "peers/node_modules/.bin/bun"

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # prctl(2)

NO_PINGS = ["--heartbeat-interval=3600", "--pong-timeout=3600"]
"""Options for a load that answers no pings, because it does not parse its input."""

V1 = ["--request-rate=10000", "--request-burst=100000", "--status-pause=0", *NO_PINGS]
"""Options for a load that speaks presenced.v1: it exceeds the default rates, and answers no pings."""

QUIET = 0.3
"""Seconds after the start of a server in which it finishes deferred work."""

FLOOR, NODE, BUN, PRESENCED = "C floor", "Node ws", "Bun", "presenced"
"""Names in the tables of `peers/floor.c`, of `peers/node-ws.cjs`, of `peers/bun.js`, and of this server."""


def available() -> tuple[list[str], list[str]]:
    """Return the servers that can be measured here, and a sentence for each missing one."""
    missing = []
    if not shutil.which("cc"):
        missing.append(f"{FLOOR}: there is no C compiler (`cc`).")
    if not shutil.which("node") or not WS.is_dir():
        missing.append(f"{NODE}: Node or its package `ws` is missing (`make setup` installs both).")
    if not BUN_PROGRAM.exists():
        missing.append(f"{BUN}: `npm --prefix benchmarks/peers ci` installs it, as `make bench` does.")
    return [name for name in (FLOOR, NODE, BUN, PRESENCED) if not any(m.startswith(name) for m in missing)], missing


def versions() -> str:
    """Return the versions of other projects' servers."""
    found = []
    if shutil.which("node") and WS.is_dir():
        found.append(f"Node {_version('node')}, ws {json.loads((WS / 'package.json').read_text())['version']}")
    if BUN_PROGRAM.exists():
        found.append(f"Bun {_version(str(BUN_PROGRAM))}")
    return ", ".join(found) or "no other servers"


def _version(program: str) -> str:
    return subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start(name: str, port: int, options: Sequence[str] = (), cores: Set[int] = SERVER_CORES) -> subprocess.Popen[bytes]:
    """Start a server without waiting until it listens. Its output is discarded, and its errors are shown.

    Args:
        options: Options of `presenced serve`.
        cores: Cores to run on.
    """
    return spawn([*_command(name, port), *options], cores)


def spawn(
    command: Sequence[str],
    cores: Set[int],
    environ: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a program that ends with this one. Its output is discarded by default, and its errors are shown.

    Args:
        cores: Cores to run on.
        environ: Variables to add to the environment.
        stdin: Standard input of the program, as for `Popen`.
        stdout: Standard output, too.
    """
    BUILD.mkdir(exist_ok=True)
    inherited = {variable: value for variable, value in os.environ.items() if not variable.startswith("PRESENCED_")}
    return subprocess.Popen(
        command,
        cwd=BUILD,  # a directory without presenced.toml
        env=inherited | dict(environ or {}),
        stdin=stdin,
        stdout=stdout,
        preexec_fn=partial(_pin_and_bind, cores),
    )


def _pin_and_bind(cores: Set[int]) -> None:
    """Bind the new process to its cores, and let it end with the measuring process, even if that is killed."""
    os.sched_setaffinity(0, cores)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a server if it still runs."""
    process.kill()
    process.wait()


@contextmanager
def running(
    name: str, options: Sequence[str] = (), cores: Set[int] = SERVER_CORES
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a server that accepts connections. Yield its port and its process.

    Args:
        options: As in `start`.
        cores: As in `start`.

    Raises:
        LoadError: The server does not start.
    """
    port = free_port()
    process = start(name, port, options, cores)
    try:
        wait_listening(name, port, process)
        time.sleep(QUIET)
        yield port, process
    finally:
        end(process)


def wait_listening(name: str, port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server accepts connections.

    Raises:
        LoadError: It ended, or does not listen within `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while not _accepts(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise LoadError(f"{name} does not listen")
        time.sleep(0.01)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def _command(name: str, port: int) -> list[str]:
    if name.startswith(PRESENCED):
        return [sys.executable, "-m", "presenced", "serve", "--host", "127.0.0.1", "--port", str(port)]
    if name == NODE:
        return ["node", str(HERE / "peers/node-ws.cjs"), str(port)]
    if name == BUN:
        return [str(BUN_PROGRAM), str(HERE / "peers/bun.js"), str(port)]
    source, built = HERE / "peers/floor.c", BUILD / "floor"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-o", str(built), str(source)], check=True)
    return [str(built), str(port)]
