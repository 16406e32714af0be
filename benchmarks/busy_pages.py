"""Pages that show 10,000 users while 100 of them change each second: frame times, CPU and memory of the page.

A backend announces the users, and chooses the statuses of others in turn. Each page watches everyone. It is measured
without changes first. At the end every dot must be right.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlencode

from benchmarks.load import LoadError
from benchmarks.machine import LOAD_CORES, SERVER_CORES
from benchmarks.pages import FRIENDS, check_installed, page_code, serving, zipped
from benchmarks.report import Report, Table
from benchmarks.servers import PRESENCED, running
from playwright.sync_api import Browser, CDPSession, Page, Playwright, sync_playwright
from tests.support.chromium import launch

USERS, QUICK_USERS = 10_000, 1_000
RATE = 100
"""Changes per second."""

SECONDS, QUICK_SECONDS = 60.0, 4.0
IDLE_SECONDS, QUICK_IDLE_SECONDS = 15.0, 2.0
PATIENCE = 60.0

ENOUGH = 0.95
"""Share of the changes that must have been made, except in a quick run."""

LANES = 4
"""Connections of the backend."""

STEP = 7919
"""Distance between two users who change one after the other. It has no common factor with the users of a connection."""

LONG_TASK_MS = 50

PAGES = {
    "plain, everyone": "busy-plain",
    "React, useEveryone": "busy-react",
    "React, OnlineDot each": "busy-react-dots",
}
"""Names in the tables of the files in `peers/friends/pages`."""


class Work(NamedTuple):
    """Work of a page in a period."""

    frames_ms: Sequence[float]
    long_tasks_ms: Sequence[float]
    busy: float
    """Share of the time in which the main thread was busy."""
    script: float
    """Share of the time in which it ran JavaScript."""
    heap_mb: float
    """Live JavaScript heap at the end, in 1,000,000 bytes."""


class Measured(NamedTuple):
    """All about one page."""

    shown_ms: float
    """From the navigation until all users are shown."""
    idle: Work
    changing: Work


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that `percent` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def run(quick: bool) -> Report:
    """Measure all pages."""
    check_installed()
    codes = {page: zipped(page_code(page)) for page in PAGES.values()}
    loads = [os.getloadavg()[0]]
    with (
        running(PRESENCED, ["--status-pause=0"]) as (port, _),
        serving(codes) as pages_port,
        sync_playwright() as playwright,
        _launch(playwright) as browser,
    ):
        chromium = browser.version
        backend = Backend(port, QUICK_USERS if quick else USERS)
        backend.announce()
        found = {
            name: _measure(browser, f"http://127.0.0.1:{pages_port}/{page}", backend, quick)
            for name, page in PAGES.items()
        }
    loads.append(os.getloadavg()[0])
    return _report(found, QUICK_USERS if quick else USERS, loads, chromium)


def _launch(playwright: Playwright) -> Browser:
    """Start a browser on all cores, because it needs several, and the server needs little."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, SERVER_CORES | set(LOAD_CORES))
    try:
        return launch(playwright)
    finally:
        os.sched_setaffinity(0, before)


class Backend:
    """Announces users and chooses their statuses, over several connections at a time."""

    def __init__(self, port: int, users: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._lanes = [HTTPConnection("127.0.0.1", port, timeout=PATIENCE) for _ in range(LANES)]
        self._changed = [0] * LANES
        self.statuses = dict.fromkeys((f"user{number}" for number in range(users)), "online")

    def announce(self) -> None:
        """Announce all users as online."""
        with ThreadPoolExecutor(LANES) as threads:
            list(threads.map(self._announce, range(LANES)))

    @contextmanager
    def changing(self, enough: float = ENOUGH) -> Iterator[None]:
        """Change the status of one user after another, `RATE` per second, until the block ends.

        Args:
            enough: Share of the changes that must have been made.

        Raises:
            LoadError: There were fewer changes.
        """
        ended = threading.Event()
        before = sum(self._changed)
        began = time.monotonic()
        with ThreadPoolExecutor(LANES) as threads:
            changing = [threads.submit(self._change, lane, ended) for lane in range(LANES)]
            try:
                yield
            finally:
                took = time.monotonic() - began
                ended.set()
        for lane in changing:
            lane.result()
        if (changes := sum(self._changed) - before) < enough * RATE * took:
            raise LoadError(f"only {changes / took:.0f} changes per second")

    def _announce(self, lane: int) -> None:
        for user in self._users(lane):
            self._request(lane, "POST", f"{user}/announce", {"online": True})

    def _change(self, lane: int, ended: threading.Event) -> None:
        users = self._users(lane)
        due = time.monotonic() + lane / RATE
        while not ended.wait(max(0.0, due - time.monotonic())):
            user = users[self._changed[lane] * STEP % len(users)]
            status = self.statuses[user] = "busy" if self.statuses[user] == "online" else "online"
            self._request(lane, "PUT", f"{user}/status", {"status": "auto" if status == "online" else status})
            self._changed[lane] += 1
            due += LANES / RATE

    def _users(self, lane: int) -> list[str]:
        """Return the users of a connection."""
        return list(self.statuses)[lane::LANES]

    def _request(self, lane: int, method: str, path: str, body: dict[str, Any]) -> None:
        http = self._lanes[lane]
        http.request(method, f"/api/v1/users/{path}", json.dumps(body))
        response = http.getresponse()
        answer = response.read()
        if response.status != 200:
            raise LoadError(f"{method} {path}: {response.status} {answer[:200]!r}")


def _measure(browser: Browser, address: str, backend: Backend, quick: bool) -> Measured:
    context = browser.new_context()
    try:
        page = context.new_page()
        page.add_init_script(path=FRIENDS / "pages/meter.js")
        query = {"me": "viewer", "friends": "", "url": backend.url, "users": len(backend.statuses)}
        page.goto(f"{address}?{urlencode(query)}")
        _wait_right(page, backend)
        shown = float(page.evaluate("meter.shownAt"))
        devtools = context.new_cdp_session(page)
        devtools.send("Performance.enable")
        idle = _work(page, devtools, QUICK_IDLE_SECONDS if quick else IDLE_SECONDS)
        with backend.changing(0.0 if quick else ENOUGH):
            changing = _work(page, devtools, QUICK_SECONDS if quick else SECONDS)
        _wait_right(page, backend)
        return Measured(shown, idle, changing)
    finally:
        context.close()


def _wait_right(page: Page, backend: Backend) -> None:
    """Wait until the page shows the right status of every user."""
    page.wait_for_function("meter.shownAt", timeout=PATIENCE * 1000)
    script = """() => [...document.querySelectorAll("li")].map((item) =>
        [item.textContent.trim(), item.querySelector("[data-status]").dataset.status])"""
    deadline = time.monotonic() + PATIENCE
    while {user: shown for user, shown in page.evaluate(script) if user in backend.statuses} != backend.statuses:
        if time.monotonic() > deadline:
            raise LoadError(f"{page.url} does not show every user correctly")
        time.sleep(0.5)


def _work(page: Page, devtools: CDPSession, seconds: float) -> Work:
    before = _metrics(devtools)
    page.evaluate("Object.assign(meter, { frames: [], longTasks: [], isOn: true })")
    time.sleep(seconds)
    meter = page.evaluate("Object.assign(meter, { isOn: false })")
    after = _metrics(devtools)
    devtools.send("HeapProfiler.collectGarbage")
    took = after["Timestamp"] - before["Timestamp"]
    busy, script = ((after[name] - before[name]) / took for name in ("TaskDuration", "ScriptDuration"))
    return Work(meter["frames"], meter["longTasks"], busy, script, _metrics(devtools)["JSHeapUsedSize"] / 1e6)


def _metrics(devtools: CDPSession) -> dict[str, float]:
    return {entry["name"]: entry["value"] for entry in devtools.send("Performance.getMetrics")["metrics"]}


def _report(found: dict[str, Measured], users: int, loads: Sequence[float], chromium: str) -> Report:
    rows = []
    for name, measured in found.items():
        for what, work in (("without", measured.idle), (f"{RATE}/s", measured.changing)):
            frames = [f"{percentile(work.frames_ms, percent):.1f}" for percent in (50, 95, 99)]
            frames.append(f"{max(work.frames_ms):.0f}")
            tasks = f"{len(work.long_tasks_ms)} ({max(work.long_tasks_ms, default=0):.0f})"
            shares = [f"{work.busy:.0%}", f"{work.script:.0%}"]
            rows.append([f"{name}, {what}", *frames, tasks, *shares, f"{work.heap_mb:.1f}"])
    worst = max(percentile(measured.changing.frames_ms, 99) for measured in found.values())
    return Report(
        f"Does a page with {users:,} users stay smooth while {RATE} of them change each second?",
        f"99 % of its frames come within {worst:.0f} ms of the one before.",
        [
            Table(
                ["changes", "frame p50, ms", "p95", "p99", "most", "long tasks", "busy", "script", "heap, MB"],
                rows,
            ),
            Table(
                ["", "all users shown after, ms"],
                [[name, f"{measured.shown_ms:,.0f}"] for name, measured in found.items()],
            ),
        ],
        [
            f"Long tasks: number of tasks above {LONG_TASK_MS} ms, and the longest in ms. Busy: share of time in which "
            "the main thread did anything. Script: in which it ran JavaScript.",
            "Heap: live JavaScript objects at the end of the period, without DOM nodes.",
            f"Chromium {chromium} uses all cores, which it shares with server and backend, and draws without a GPU.",
            f"Average load of the machine before and after: {loads[0]:.1f} and {loads[1]:.1f}.",
        ],
        {
            name: {
                "shown_ms": measured.shown_ms,
                **{
                    what: {
                        **{f"frame_p{p}_ms": percentile(work.frames_ms, p) for p in (50, 95, 99)},
                        "frame_most_ms": max(work.frames_ms),
                        "frames": len(work.frames_ms),
                        "long_tasks_ms": work.long_tasks_ms,
                        "busy": work.busy,
                        "script": work.script,
                        "heap_mb": work.heap_mb,
                    }
                    for what, work in (("idle", measured.idle), ("changing", measured.changing))
                },
            }
            for name, measured in found.items()
        },
    )
