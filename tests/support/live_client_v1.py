"""A client of presenced.v1 over a real socket, with the `websockets` library."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

import pytest
from tests.support.raw import PATIENCE
from tests.support.v1_replica import V1Replica
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

QUIET = {"heartbeat_interval": 3600, "pong_timeout": 3600}
"""Settings for clients that read only while the test waits for messages, and so do not answer pings."""


class LiveV1Client(V1Replica):
    """A session over a real socket. `heard` holds all messages, newest last."""

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__()
        self.connection = connection
        self.heard: list[dict[str, Any]] = []

    async def until(self, type_: str, **fields: object) -> dict[str, Any]:
        """Apply messages up to the first one of this type with these fields, and return it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message: dict[str, Any] = json.loads(await self.connection.recv())
                self.take(message)
                self.heard.append(message)
                if message["type"] == type_ and fields.items() <= message.items():
                    return message

    async def sees(self, user_id: str, status: str) -> dict[str, Any]:
        """Apply messages until the client sees this status of the user, and return the record."""
        while self.seen(user_id)["status"] != status:
            await self.until("PRESENCE_CHANGES")
        return self.seen(user_id)

    async def request(self, type_: str, **fields: object) -> dict[str, Any]:
        """Send a request, and return its response."""
        await self.connection.send(json.dumps({"type": type_, "id": len(self.heard), **fields}))
        async with asyncio.timeout(PATIENCE):
            while True:
                message: dict[str, Any] = json.loads(await self.connection.recv())
                self.take(message)
                self.heard.append(message)
                if message["type"] in ("ACK", "ERROR", "PONG"):
                    return message

    async def closed(self) -> int:
        """Wait for the close frame of the server, and return its code."""
        with pytest.raises(ConnectionClosed) as ended:
            while True:
                message = json.loads(await self.connection.recv())
                self.heard.append(message)
        assert ended.value.rcvd
        return ended.value.rcvd.code

    def cut(self) -> None:
        """Reset the connection, as a change of networks does."""
        raw: socket.socket = self.connection.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.transport.abort()
