"""A bot that shows its status and greets everyone who comes online.

    pip install ./clients/python
    presenced serve                      # in another terminal
    python examples/bot.py

SIGTERM and Ctrl+C end it. It is then offline immediately. With TOKEN, the server takes the user from the token.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from presenced_client import Presence, PresenceError

URL = os.environ.get("PRESENCE_URL", "ws://localhost:3001")
TOKEN = os.environ.get("TOKEN")


async def main() -> None:
    end_on_signals()
    async with Presence(URL, user_id=None if TOKEN else "bot", device="bot", token=TOKEN) as presence:
        await presence.set_status("online", text="says hello", emoji="🤖")
        print("ready")
        async for change in presence.changes():
            if change.current.online and not change.previous.online:
                name = (change.current.display or {}).get("name", change.user)
                print(f"hello {name}")


def end_on_signals() -> None:
    """Cancel the current task on SIGTERM and Ctrl+C, so that the client disconnects."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("call this from a task")
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except asyncio.CancelledError:
        print("bye")
    except PresenceError as error:  # refused for good; everything else is retried
        sys.exit(str(error))
