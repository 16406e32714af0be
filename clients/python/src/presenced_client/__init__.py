"""asyncio client of presenced, the self-hosted presence server."""
