"""A program that queues and delivers events until it is killed: `python -m tests.support.webhook_sender FILE URL`.

The n-th change is of user `u{n % USERS}` and differs from the one before, so each is an event. If the file has
changes already, the program continues after them. With `drain` as a third argument it adds nothing, and ends when no
event waits.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.webhooks import change, config_for, make_tables, now_ms, sqlite, tell

from presenced.storage.schema import webhook_states, webhooks
from presenced.webhooks.dispatcher import WebhookDispatcher

USERS = 7
AT_ONCE = 11
"""Number of changes in one transaction."""


async def main(file: Path, url: str, drain: bool) -> None:
    """Run the program."""
    database = sqlite(file)
    await make_tables(database)
    hooks = WebhookDispatcher(database, config_for(url, batch_size=20), now_ms)
    delivering = asyncio.create_task(hooks.run())
    async with database.connect() as connection:
        number = (await connection.execute(select(func.max(webhook_states.c.version)))).scalar() or 0
    if drain:
        await _until_nothing_waits(hooks, database)
    while not drain:
        changes = [
            change(f"u{n % USERS}", n, ("online", "away")[n // USERS % 2])
            for n in range(number + 1, number + 1 + AT_ONCE)
        ]
        await tell(hooks, database, *changes)
        number += AT_ONCE
        await asyncio.sleep(0.002)
    delivering.cancel()
    await asyncio.gather(delivering, return_exceptions=True)
    await database.dispose()


async def _until_nothing_waits(hooks: WebhookDispatcher, database: AsyncEngine) -> None:
    while True:
        async with database.connect() as connection:
            if not (await connection.execute(select(func.count()).select_from(webhooks))).scalar():
                return
        hooks.wake()
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:] == ["drain"]))
