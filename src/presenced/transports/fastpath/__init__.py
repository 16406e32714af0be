"""Writes one batch to many sockets without their asyncio transports, optionally with the help of other processes."""
