"""A program that contains a presence server. Start it with `python program.py`, and stop it with Ctrl+C."""

import asyncio

from presenced import PresenceChange, PresenceServer, Settings


def report(change: PresenceChange) -> None:
    if change.went_online or change.went_offline:
        print(f"{change.user_id} is {change.status}")


async def main() -> None:
    async with PresenceServer(Settings(port=3001)) as server:
        server.on_change(report)
        server.announce("robot")  # a user who has no connection
        print(f"Listening on {server.url}?userId=ID")
        await server.wait_for_signal()
    print("Stopped")


asyncio.run(main())
