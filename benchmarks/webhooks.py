"""Events per second of an endpoint, with one request at a time and with several.

Events wait in an SQLite file. A receiver in its own process answers after a fixed time. Several concurrent requests are
measured as several endpoints that share the events, because those have the same queries, requests and connections.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from aiohttp import web
from benchmarks.report import Report, Table
from tests.support.webhooks import change, config_for, make_tables, now_ms, sqlite

from presenced.webhooks.dispatcher import WebhookDispatcher

DELAYS = (0.0, 0.01, 0.05, 0.2)
"""Seconds until the receiver answers."""

WAYS = ((1, 100), (2, 100), (4, 100), (1, 400))
"""Concurrent requests, and events in each."""

EVENTS, QUICK_EVENTS = 20_000, 1_200
USERS = 500
CHUNK = 1_000


def run(quick: bool) -> Report:
    """Measure presenced."""
    events = QUICK_EVENTS if quick else EVENTS
    figures: dict[str, float] = {}
    rows = []
    for delay in DELAYS:
        with receiver(delay) as port:
            rates = [asyncio.run(_rate(events // (1 + round(5 * delay)), *way, port)) for way in WAYS]
        rows.append([f"{delay * 1000:g} ms", *(f"{rate:,.0f}" for rate in rates)])
        figures |= {
            f"events_per_second_{delay * 1000:g}ms_{lanes}x{batch}": rate
            for (lanes, batch), rate in zip(WAYS, rates, strict=True)
        }
    header = ["answer takes", *(f"{lanes} x {batch}" for lanes, batch in WAYS)]
    answer = "Larger batches gain as much as concurrent requests, because the wait for answers is the limit."
    question = "How many events per second does an endpoint get, with one request at a time and with several?"
    return Report(question, answer, [Table(header, rows)], ["concurrent requests x events"], figures)


async def _rate(events: int, lanes: int, batch: int, port: int) -> float:
    """Return the events per second."""
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite(Path(folder) / "presenced.db")
        await make_tables(database)
        urls = [f"http://127.0.0.1:{port}/{lane}" for lane in range(lanes)]
        share = events // lanes
        for lane, url in enumerate(urls):
            hooks = WebhookDispatcher(database, config_for(url), now_ms)
            for first in range(0, share, CHUNK):
                changes = [
                    change(f"l{lane}u{n % USERS}", n + 1, ("online", "away")[n // USERS % 2])
                    for n in range(first, min(share, first + CHUNK))
                ]
                async with database.begin() as connection:
                    await hooks.producer.enqueue(connection, changes)
        hooks = WebhookDispatcher(database, msgspec.structs.replace(config_for(*urls), batch_size=batch), now_ms)
        began = time.monotonic()
        task = asyncio.create_task(hooks.run())
        while hooks.stats().delivered < share * lanes:  # noqa: ASYNC110  # a count has no event
            await asyncio.sleep(0.005)
        took = time.monotonic() - began
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.dispose()
    return share * lanes / took


@contextmanager
def receiver(delay: float) -> Iterator[int]:
    """Run a receiver in its own process, on the cores of this one, and yield its port."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_receive, args=(delay, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _receive(delay: float, port: Connection[int, int]) -> None:
    asyncio.run(_receive_on(delay, port))


async def _receive_on(delay: float, port: Connection[int, int]) -> None:
    """Answer requests after `delay` seconds, and send the port of the receiver through `port`."""

    async def hook(request: web.BaseRequest) -> web.Response:
        await request.read()
        if delay:
            await asyncio.sleep(delay)
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(hook))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port.send(runner.addresses[0][1])
    await asyncio.Event().wait()
