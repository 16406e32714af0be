"""Users of a node that was killed with SIGKILL: how long other nodes show them, and which notices watchers get.

Each kind of server runs twice with one store, and some users connect to the first one and never return. For comparison,
servers written with other libraries, as their documentation recommends (`peers/cluster`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.load import LoadError
from benchmarks.machine import LOAD_CORES, SERVER_CORES
from benchmarks.probe import metric
from benchmarks.report import Report, Table
from benchmarks.servers import BUILD, NO_PINGS, PRESENCED, end, free_port, running, spawn, wait_listening
from tests.support.services import Redis

PEERS = Path(__file__).parent / "peers/cluster"
KINDS = {
    "presenced": "presenced",
    "streams": "Socket.IO with Redis Streams",
    "pubsub": "Socket.IO with Redis",
    "set": "hand-kept set in Redis",
    "tracker": "Phoenix.Tracker",
}
TRACKER = BUILD / "phoenix_pubsub"
"""Clone of https://github.com/phoenixframework/phoenix_pubsub."""

EPMD_PORT = 14_369
"""Port of the name server that the nodes of Phoenix.Tracker find each other with."""

USERS, QUICK_USERS = 100, 10
SECONDS, QUICK_SECONDS = 60.0, 6.0
"""Seconds for which the other node is asked after the kill."""

LEASE_S, QUICK_LEASE_S = 15.0, 1.0
EVERY_S = 0.25


class Ghosts(NamedTuple):
    """Answers of the other node after the kill."""

    gone_after_s: float | None
    """When it named none of the dead node's users any more; None: it still does."""
    left: int
    """Number of these users that its last answer contains."""
    failed: int
    """Number of its answers that were errors, or took longer than `TIMEOUT_S`."""
    told: int
    """Number of notices that a user left which its watcher received."""


TIMEOUT_S = 2.0


def run(quick: bool) -> Report:
    """Measure all kinds."""
    if not (PEERS / "node_modules").is_dir():
        raise LoadError("`npm --prefix benchmarks/peers/cluster ci` installs the other servers, as `make bench` does")
    users = QUICK_USERS if quick else USERS
    kinds, notes = [kind for kind in KINDS if kind != "tracker"], []
    if shutil.which("elixir") and TRACKER.is_dir():
        kinds.append("tracker")
    else:
        notes.append("Phoenix.Tracker was left out: Elixir or a clone of phoenix_pubsub is missing.")
    found = {kind: measure(kind, users, quick) for kind in kinds}
    silent = [KINDS[kind] for kind, one in found.items() if not one.told]
    own = found["presenced"]
    after = "never" if own.gone_after_s is None else f"after {own.gone_after_s:.1f} s"
    seconds = QUICK_SECONDS if quick else SECONDS
    return Report(
        "For how long do the users of a killed node stay online on the others?",
        f"presenced shows none of them {after}, and notifies its watchers of each, with a lease of "
        f"{QUICK_LEASE_S if quick else LEASE_S:g} s. These notify nobody: {', '.join(silent)}.",
        [
            Table(
                [
                    f"{users} users of a killed node",
                    "none shown after",
                    "still shown",
                    "notifications",
                    "errors",
                ],
                [
                    [
                        KINDS[kind],
                        "-" if one.gone_after_s is None else f"{one.gone_after_s:.1f} s",
                        f"{one.left}",
                        f"{one.told}",
                        f"{one.failed}",
                    ]
                    for kind, one in found.items()
                ],
            )
        ],
        [
            f"The other node was asked every {EVERY_S:g} s for {seconds:g} s. Errors: its answers that failed, or took "
            f"longer than {TIMEOUT_S:g} s.",
            "A call of `fetchSockets` (Socket.IO) that is on its way when the node dies fails after 5 s.",
            "The users of Phoenix.Tracker are processes without sockets, and its notifications go to its own code.",
            *notes,
        ],
        {kind: one._asdict() for kind, one in found.items()},
    )


def measure(kind: str, users: int, quick: bool) -> Ghosts:
    """Kill a node with users, and ask the other one."""
    seconds, lease = (QUICK_SECONDS, QUICK_LEASE_S) if quick else (SECONDS, LEASE_S)
    with Redis() as store, ExitStack() as stack:
        if kind == "tracker":
            stack.enter_context(_name_server())
        first, process = stack.enter_context(_server(kind, store, lease))
        second, _ = stack.enter_context(_server(kind, store, lease, first))
        crowd: _Crowd | _TrackedUsers
        if kind == "tracker":
            crowd = _TrackedUsers(first, second, users)
        else:
            crowd = stack.enter_context(_crowd(kind, first, second, users))
            crowd.wait_ready()
        deadline = time.monotonic() + TIMEOUT_S * 5
        while (_online(kind, second) or 0) < users:
            if time.monotonic() > deadline:
                raise LoadError(f"{kind}: the users of one node do not come to the other")
            time.sleep(EVERY_S)
        began = time.monotonic()
        end(process)
        gone, failed, left = None, 0, users
        while time.monotonic() < began + seconds:
            online = _online(kind, second)
            if online is None:
                failed += 1
            else:
                left = online
                gone = None if left else (gone if gone is not None else time.monotonic() - began)
            time.sleep(EVERY_S)
        return Ghosts(gone, left, failed, crowd.told)


def _online(kind: str, port: int) -> int | None:
    """Return how many users the node shows, without the watcher; None if it fails to say."""
    try:
        if kind == "presenced":
            return round(metric(port, "presenced_users_online")) - 1
        with urlopen(f"http://127.0.0.1:{port}/", timeout=TIMEOUT_S) as answer:
            return len(set(json.load(answer)) - {"watcher"})
    except (URLError, TimeoutError):
        return None


@contextmanager
def _server(kind: str, store: Redis, lease_s: float, other: int = 0) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a server of a kind. `other` is the port of the one that runs already."""
    if kind == "presenced":
        options = [f"--backend={store.url('0')}", f"--cluster-lease={lease_s:g}", *NO_PINGS]
        with running(PRESENCED, options) as started:
            yield started
        return
    port = free_port()
    if kind == "tracker":
        process = spawn(_tracker_command(port, other), SERVER_CORES, {"ERL_EPMD_PORT": str(EPMD_PORT)})
    else:
        program = "set.js" if kind == "set" else "socketio.js"
        process = spawn(["node", str(PEERS / program), str(port), store.url("0"), kind], SERVER_CORES)
    try:
        wait_listening(KINDS[kind], port, process)
        yield port, process
    finally:
        end(process)


def _tracker_command(port: int, other: int) -> list[str]:
    """Return the command of a node of Phoenix.Tracker. The library is compiled before the first one."""
    compiled = TRACKER / "ebin"
    if not compiled.is_dir():
        compiled.mkdir()
        sources = map(str, TRACKER.glob("lib/**/*.ex"))
        subprocess.run(["elixirc", "-o", str(compiled), *sources], check=True, capture_output=True)
    name, peer = (f"n{number}@127.0.0.1" for number in (port, other))
    options = ["--name", name, "--cookie", "benchmark", "-pa", str(compiled)]
    return ["elixir", *options, str(PEERS / "tracker.exs"), str(port), peer if other else "none"]


@contextmanager
def _name_server() -> Iterator[None]:
    process = spawn(["epmd", "-port", str(EPMD_PORT)], set(LOAD_CORES))
    try:
        yield
    finally:
        end(process)


class _TrackedUsers:
    """Users of Phoenix.Tracker, which are processes of the first node, and what the other node reports of them."""

    def __init__(self, first: int, second: int, users: int) -> None:
        self._second = second
        _get(first, f"track/{users}")

    @property
    def told(self) -> int:
        """Number of leaves that the other node has reported to the application."""
        return int(_get(self._second, "left"))


def _get(port: int, path: str) -> str:
    with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=TIMEOUT_S) as answer:
        text: str = answer.read().decode()
        return text


class _Crowd:
    """The users, and the watcher of the other node."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.told = 0
        self._process = process
        self._ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_ready(self) -> None:
        """Wait until all are connected."""
        if not self._ready.wait(60):
            raise LoadError("the users do not connect")

    def _read(self) -> None:
        for line in self._process.stdout or ():
            word, _, number = line.decode().strip().partition(" ")
            if word == "ready":
                self._ready.set()
            elif word == "left":
                self.told = int(number)


@contextmanager
def _crowd(kind: str, first: int, second: int, users: int) -> Iterator[_Crowd]:
    command = ["node", str(PEERS / "crowd.js"), kind, str(first), str(second), str(users)]
    process = spawn(command, set(LOAD_CORES), stdout=subprocess.PIPE)
    try:
        yield _Crowd(process)
    finally:
        end(process)
