"""Client libraries side by side: the same list of friends with dots, written as each documentation recommends.

Each page is bundled by esbuild and opened in headless Chromium. The friends are clients of the same library in one
process of Node.js. All libraries are measured in turn, several times.

- **Start**: from the navigation to the first right dot, and until all are right, on loopback and on a slow network.
- **Outage**: the server is killed and started again. Meanwhile one friend leaves, and afterwards another one arrives.
  The others stay: their clients reconnect like the page itself.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from benchmarks.libraries import ABSENT, ALL_FRIENDS, ARRIVING, LEAVING, LIBRARIES, STAYING, VIEWER, Library, Stage
from benchmarks.load import LoadError
from benchmarks.pages import (
    BYTES_PER_SECOND,
    FRIENDS,
    ROUND_TRIP,
    SlowNetwork,
    bundle,
    check_installed,
    library_versions,
    page_code,
    serving,
    zipped,
)
from benchmarks.report import Report, Table
from playwright.sync_api import Browser, Page, sync_playwright
from tests.support.chromium import launch

REPEATS = 3
LOADS = 3
"""Page loads in each repeat, on each network."""

PAUSE = 1.0
"""Seconds between the end of a server and the start of the next one."""

STABLE = 2.0
"""Seconds for which a page is open before its server is killed."""

HELD = 4.0
"""Seconds after the last change in which all dots must stay right."""

PATIENCE = 90.0
"""Seconds after which a page that shows something wrong fails."""

QUICK_OPTIONS = ["--settling=5"]
"""Options of presenced that make a quick run shorter. Friends may then return too late."""

EMPTY = ("empty", "empty-react")
"""Pages that show how much of a bundle is not the library."""

Frame = tuple[float, Sequence[str]]
"""State of the dots, and when it began in epoch milliseconds."""


class Start(NamedTuple):
    """Milliseconds from a navigation until one dot is right, and until all are."""

    first: float
    whole: float


class Outage(NamedTuple):
    """Effects of an outage on a page. Times count from the end of the server."""

    listening_s: float
    arrived_s: float
    """When the friend who arrived was shown as online for good."""
    left_s: float
    """When the friend who left was shown as offline for good."""
    right_s: float
    """When all dots were right for good."""
    flickers: int
    """How often a friend who stayed was shown as anything but online."""
    wrong_s: float
    """Seconds of all these friends together in which they were."""


def code_lines(text: str) -> int:
    """Return the number of lines that are neither empty nor comments."""
    lines = (line.strip() for line in text.splitlines())
    return sum(bool(line) and not line.startswith("//") for line in lines)


def start_of(frames: Sequence[Frame], right: Sequence[str], navigated: float) -> Start:
    """Return when the first dot and when all dots were right.

    Raises:
        LoadError: They never were.
    """
    first = next((at for at, shown in frames if any(map(str.__eq__, shown, right))), None)
    whole = next((at for at, shown in frames if list(shown) == list(right)), None)
    if first is None or whole is None:
        raise LoadError("a page never showed the right dots")
    return Start(first - navigated, whole - navigated)


def outage_of(
    frames: Sequence[Frame], friends: Sequence[str], right: Mapping[str, str], killed: float, listening: float
) -> Outage:
    """Return the effects of an outage.

    Args:
        frames: From before the end of the server until all dots are right.
        right: Status of each friend after the outage. Friends who are not in `LEAVING` or `ARRIVING` have the same
            status before it.
        killed: When the server ended, in milliseconds since 1970.
        listening: When the next server accepted connections.
    """
    since: dict[str, float] = {}
    flickers, wrong = 0, 0.0
    for index, friend in enumerate(friends):
        states = [(at, shown[index]) for at, shown in frames]
        before = [state for at, state in states if at <= killed][-1]
        steps = list(pairwise([(killed, before), *((at, state) for at, state in states if at > killed)]))
        since[friend] = max(
            (at for (_, state), (at, later) in steps if later == right[friend] != state), default=killed
        )
        if right[friend] == "online" and friend != ARRIVING:
            flickers += sum(state == "online" != later for (_, state), (_, later) in steps)
            wrong += sum(until - at for (at, state), (until, _) in steps if state != "online")
    seconds = {friend: (at - killed) / 1000 for friend, at in since.items()}
    return Outage(
        (listening - killed) / 1000,
        seconds[ARRIVING],
        seconds[LEAVING],
        max(seconds.values()),
        flickers,
        wrong / 1000,
    )


def run(quick: bool) -> Report:
    """Measure all libraries that have a server here, and count the others."""
    check_installed()
    libraries = [library for library in LIBRARIES if library.server]
    pages = {name: page_code(name) for name in [*(library.page for library in LIBRARIES), *EMPTY]}
    starts: dict[str, list[Start]] = {}
    slow_starts: dict[str, list[Start]] = {}
    outages: dict[str, list[Outage]] = {}
    loads = [os.getloadavg()[0]]
    with (
        tempfile.TemporaryDirectory() as folder,
        serving({name: zipped(code) for name, code in pages.items()}) as port,
        sync_playwright() as playwright,
        launch(playwright) as browser,
    ):
        chromium = browser.version
        crowd = Path(folder) / "crowd.cjs"
        crowd.write_bytes(bundle(FRIENDS / "crowd.js", "--platform=node", "--format=cjs"))
        for repeat in range(1 if quick else REPEATS):
            for library in _in_turn(libraries, repeat):
                with Stage(library, crowd, QUICK_OPTIONS if quick else []) as stage:
                    viewer = Viewer(browser, library.page, port, stage)
                    viewer.load()  # waits until all friends are online
                    for _ in range(1 if quick else LOADS):
                        starts.setdefault(library.name, []).append(viewer.load())
                    with SlowNetwork() as network:
                        for _ in range(1 if quick else LOADS):
                            slow_starts.setdefault(library.name, []).append(viewer.load(network))
                    if library.outage:
                        outages.setdefault(library.name, []).append(viewer.outage())
    lines = {library.name: _lines_of(library) for library in LIBRARIES}
    sizes = {library.name: len(zipped(pages[library.page])) / 1000 for library in LIBRARIES}
    common = tuple(len(zipped(pages[name])) / 1000 for name in EMPTY)
    loads.append(os.getloadavg()[0])
    versions = f"Chromium {chromium}, {library_versions()}"
    return _report(lines, sizes, common, starts, slow_starts, outages, loads, versions)


def _in_turn(libraries: Sequence[Library], repeat: int) -> list[Library]:
    """Return the libraries, beginning with another one in each repeat."""
    first = repeat % len(libraries)
    return [*libraries[first:], *libraries[:first]]


def _lines_of(library: Library) -> tuple[int, int]:
    """Return the lines of a page, and of the servers that belong to it."""
    [page] = (FRIENDS / "pages").glob(f"{library.page}.js*")
    servers = [FRIENDS / f"servers/{name}.js" for name in library.written]
    return code_lines(page.read_text()), sum(code_lines(server.read_text()) for server in servers)


class Viewer:
    """Opens the page of one library, which shows all friends."""

    def __init__(self, browser: Browser, page: str, port: int, stage: Stage) -> None:
        self._browser = browser
        self._name = page
        self._port = port
        self._stage = stage

    def load(self, network: SlowNetwork | None = None) -> Start:
        """Open the page in a new context, without anything cached."""
        right = _right(ARRIVING)
        with self._open(network) as page:
            _wait_right(page, self._name, right)
            navigated = float(page.evaluate("performance.timeOrigin"))
            return start_of(_frames(page), list(right.values()), navigated)

    def outage(self) -> Outage:
        """Kill the server below an open page, and start it again."""
        with self._open(None) as page:
            _wait_right(page, self._name, _right(ARRIVING))
            time.sleep(STABLE)
            killed = time.time() * 1000
            self._stage.kill()
            self._stage.order(f"leave {LEAVING}")
            time.sleep(PAUSE)
            self._stage.serve()
            listening = time.time() * 1000
            self._stage.order(f"join {ARRIVING}")
            right = _right(LEAVING)
            _wait_right(page, self._name, right)
            deadline = time.monotonic() + PATIENCE
            while True:
                time.sleep(HELD)
                frames = _frames(page)
                if list(frames[-1][1]) == list(right.values()) and frames[-1][0] < time.time() * 1000 - HELD * 900:
                    return outage_of(frames, ALL_FRIENDS, right, killed, listening)
                if time.monotonic() > deadline:
                    raise LoadError(f"{self._name} is never right for good")

    @contextmanager
    def _open(self, network: SlowNetwork | None) -> Iterator[Page]:
        port, server, auth = self._port, self._stage.port, self._stage.auth_port
        if network:
            port, server, auth = network.relay(port), network.relay(server), network.relay(auth)
        query = {
            "me": VIEWER,
            "friends": ",".join(ALL_FRIENDS),
            "url": f"http://127.0.0.1:{server}",
            "auth": f"http://127.0.0.1:{auth}",
        }
        context = self._browser.new_context()
        try:
            page = context.new_page()
            page.on("pageerror", lambda error: print(f"{self._name}: {error}", file=sys.stderr))
            page.add_init_script(path=FRIENDS / "pages/recorder.js")
            page.goto(f"http://127.0.0.1:{port}/{self._name}?{urlencode(query, safe=',:/')}")
            yield page
        finally:
            context.close()


def _right(offline: str) -> dict[str, str]:
    """Return the status of each friend while `offline` and `ABSENT` are offline."""
    return {friend: "offline" if friend in (offline, ABSENT) else "online" for friend in ALL_FRIENDS}


def _wait_right(page: Page, name: str, right: Mapping[str, str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while (frames := _frames(page)) == [] or list(frames[-1][1]) != list(right.values()):
        if time.monotonic() > deadline:
            raise LoadError(f"{name} shows {frames[-1][1] if frames else 'nothing'} instead of {list(right.values())}")
        time.sleep(0.05)


def _frames(page: Page) -> list[Frame]:
    frames: list[Frame] = page.evaluate("frames_")
    return frames


def _report(
    lines: Mapping[str, tuple[int, int]],
    sizes: Mapping[str, float],
    common: Sequence[float],
    starts: Mapping[str, Sequence[Start]],
    slow_starts: Mapping[str, Sequence[Start]],
    outages: Mapping[str, Sequence[Outage]],
    loads: Sequence[float],
    versions: str,
) -> Report:
    rows = []
    for name, (page, servers) in lines.items():
        first = [
            _range([start.first for start in measured[name]]) if name in measured else "-"
            for measured in (starts, slow_starts)
        ]
        rows.append([name, str(page), str(servers), f"{sizes[name]:.1f}", *first])
    outage_rows = []
    for name, one_by_one in outages.items():
        columns = list(zip(*one_by_one, strict=True))
        outage_rows.append([name, *(_range(column, 1) for column in columns[:4])])
        outage_rows[-1] += [_range(columns[4]), _range(columns[5], 1)]
    own, others = outages["presenced"], [one for name, found in outages.items() if name != "presenced" for one in found]
    return Report(
        "How do client libraries compare for a list of friends with dots?",
        f"presenced needs {lines['presenced'][0]} lines and {sizes['presenced']:.1f} KB. In all outages together, it "
        f"showed friends who stayed as gone {sum(one.flickers for one in own)} times, and the other libraries "
        f"{sum(one.flickers for one in others)} times. It showed the friend who left for "
        f"{statistics.median(one.left_s for one in own):.0f} s.",
        [
            Table(
                ["", "lines", "of server", "KB", "first dot, ms", "slow: first dot, ms"],
                rows,
            ),
            Table(
                ["s after the kill", "listening", "arrived", "left", "all right", "flickers", "friend-seconds"],
                outage_rows,
            ),
        ],
        [
            "Medians, with the least and the most in brackets. KB is 1,000 bytes, minified and gzipped, with "
            f"{common[0]:.1f} KB that all pages share. A page with React and nothing else has {common[1]:.1f} KB.",
            "Lines are those of the page, without empty lines and comments, at most 120 characters wide. Of server: "
            "lines of the servers that you write for it.",
            f"Slow: a round trip of {ROUND_TRIP * 1000:.0f} ms and {BYTES_PER_SECOND * 8 / 1e6:.1f} Mbit/s.",
            f"{len(STAYING)} friends stay, one leaves during the outage, one arrives after it, and one is always "
            f"offline. The server starts {PAUSE:.0f} s after the kill.",
            "Arrived, left: when these friends were shown correctly for good. Flickers: how often a friend who stayed "
            "was shown as anything but online. Friend-seconds: for how long, added up.",
            f"{versions}. There is no server for ably that runs here.",
            f"Average load of the machine before and after: {loads[0]:.1f} and {loads[1]:.1f}.",
        ],
        {
            "lines": {name: {"page": page, "servers": servers} for name, (page, servers) in lines.items()},
            "bundle_kb": dict(sizes),
            "starts_ms": _plain(starts),
            "slow_starts_ms": _plain(slow_starts),
            "outages": _plain(outages),
            "load_average": loads,
        },
    )


def _range(values: Sequence[float], digits: int = 0) -> str:
    low, median, high = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{median} ({low}-{high})" if low != high else median


def _plain(measured: Mapping[str, Sequence[Start | Outage]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [one._asdict() for one in found] for name, found in measured.items()}
