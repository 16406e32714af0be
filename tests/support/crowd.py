"""A crowd of cheap clients of both protocols that reconnect as good libraries do.

A client is an `asyncio.Protocol` without a task while it is connected. Clients of presenced.v1 keep the statuses of the
users that they watch, by the rules for a server that has just started (`settling`). Classic clients only search their
input for `USER_OFFLINE`, because each of them receives a message about every user.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import ssl
import time
from collections.abc import Iterator
from typing import Any, cast

import msgspec

FIRST_WAIT_S, MAX_WAIT_S = 0.3, 10.0
"""Seconds until the next attempt after a failure: doubled each time, up to the maximum, with a random share."""

CONNECT_TIMEOUT_S = 20.0
"""Timeout of one attempt in seconds."""

HOST = "127.0.0.1"

WATCHED = 20
"""Number of users that most clients of presenced.v1 watch in `mixed_crowd`. One in a hundred watches everyone."""

TEXT, CLOSE = 0x1, 0x8

_CLASSIC_END = b"\x03\xe9the server is stopping"
"""Payload of the close frame 1001 of a stopping server, which is the last thing that it sends."""


class Crowd:
    """Clients of one URL.

    Args:
        tls: Context for the connections; None for plain ones.
        seed: Seed of all random waits.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None, seed: int) -> None:
        self.port = port
        self.tls = tls
        self.random = random.Random(seed)
        self.members: list[Client] = []
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, member: Client) -> None:
        """Add a client, which connects when `connect` is called."""
        self.members.append(member)

    async def connect(self, per_second: float) -> None:
        """Connect all clients, one after the other, and return when all are connected."""
        for number, member in enumerate(self.members):
            self._tasks.append(asyncio.create_task(member.live(number / per_second)))
        await self.until_connected(self.members)

    async def until_connected(self, members: list[Client], seconds: float = 60) -> None:
        """Wait until these clients are connected.

        Raises:
            AssertionError: They are not, after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while waiting := [member for member in members if not member.is_connected]:
            for task in self._tasks:
                if task.done():
                    task.result()
            refusals = {member.refusal for member in waiting}
            assert time.monotonic() < deadline, f"{len(waiting)} clients are not connected: {refusals}"
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        """End all clients."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for member in self.members:
            member.abort()


class Client(asyncio.Protocol):
    """One client, and its connections one after the other."""

    subprotocol = ""
    query = ""

    def __init__(self, crowd: Crowd, user_id: str) -> None:
        self.crowd = crowd
        self.user_id = user_id
        self.is_connected = False
        self.connections = 0
        """Number of connections that were established."""
        self.will_return = True
        self.heard_offline: dict[str, str] = {}
        """Users who went offline on this client's screen, and why."""
        self.refusal = ""
        """First line of the last response that was no success."""
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._is_open = False
        self._wait: float | None = None
        self._ended: asyncio.Future[None] | None = None

    # The life of a client.

    async def live(self, start_after: float) -> None:
        """Connect, and connect again after each loss, until the client is not to return."""
        await asyncio.sleep(start_after)
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            self._received.clear()
            self._is_open, self._wait, self._ended = False, None, loop.create_future()
            before = self.connections
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    host = None if self.crowd.tls is None else HOST
                    await loop.create_connection(
                        lambda: self, HOST, self.crowd.port, ssl=self.crowd.tls, server_hostname=host
                    )
                await self._ended
            except (OSError, TimeoutError):
                pass
            finally:
                self.is_connected = False
            if not self.will_return:
                return
            if self.connections > before:
                failures = 0
                wait = self._wait if self._wait is not None else FIRST_WAIT_S * self.crowd.random.uniform(0.5, 3)
            else:
                wait = min(FIRST_WAIT_S * 2**failures, MAX_WAIT_S) * self.crowd.random.uniform(0.5, 1.5)
                failures += 1
            await asyncio.sleep(wait)

    def abort(self) -> None:
        """Break the connection."""
        if self._transport is not None:
            self._transport.abort()

    # Events of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports have no such base class
        protocol = f"Sec-WebSocket-Protocol: {self.subprotocol}\r\n" if self.subprotocol else ""
        self._transport.write(
            f"GET /ws-online-status?userId={self.user_id}{self.query} HTTP/1.1\r\nHost: {HOST}:{self.crowd.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{protocol}\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._is_open:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._received.startswith(b"HTTP/1.1 101 "):
                self.refusal = self._received.partition(b"\r")[0].decode()
                self.abort()  # 502 of the proxy, or 503
                return
            self._is_open = True
            del self._received[: end + 4]
        self.read()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    # Shared by the protocols.

    def read(self) -> None:
        """Process what was received."""
        raise NotImplementedError

    def established(self) -> None:
        """Record that the server has greeted the client."""
        self.is_connected = True
        self.connections += 1

    def send(self, opcode: int, payload: bytes) -> None:
        """Send a frame of at most 64 KiB."""
        assert self._transport is not None, "it is connected"
        mask = os.urandom(4)
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self._transport.write(bytes([0x80 | opcode]) + size + mask + masked)

    def answer_close(self) -> None:
        """Answer the close frame of a stopping server."""
        self.is_connected = False
        self.send(CLOSE, b"\x03\xe9")


class ClassicClient(Client):
    """Client of the classic protocol, which watches everyone."""

    _WORD = b'"USER_OFFLINE","userId":'

    def read(self) -> None:
        data = self._received
        if not self.is_connected and b'"CONNECTION_ESTABLISHED"' in data:
            self.established()
        if self._WORD in data:
            for user_id in re.findall(self._WORD + rb'"?([^",]+)', data):
                self.heard_offline[user_id.decode()] = f"USER_OFFLINE on connection {self.connections}"
        if data.endswith(_CLASSIC_END):
            self.answer_close()
        # Data that may continue in the next piece stays.
        del data[: max(0, len(data) - 100)]
        data[:] = data.replace(self._WORD, b"")


class V1Client(Client):
    """Client of presenced.v1.

    Args:
        watched: Users that it watches; None for everyone.
    """

    subprotocol = "presenced.v1"

    def __init__(self, crowd: Crowd, user_id: str, watched: list[str] | None) -> None:
        super().__init__(crowd, user_id)
        self.watched = watched
        self.query = "&watch=none" if watched is not None else ""
        self.statuses: dict[str, str] = {}
        """Status of each user that the client shows."""
        self.uncertain: set[str] = set()
        """Users that an earlier server showed, and about which this one has said nothing."""
        self.settled_at = 0.0
        """Time of the loop at which users who are still uncertain are offline."""
        self._snapshot: set[str] = set()

    def read(self) -> None:
        for opcode, payload in _frames(self._received):
            if opcode == TEXT:
                self._take(msgspec.json.decode(payload))
            elif opcode == CLOSE:
                self.answer_close()

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "CONNECTION_ESTABLISHED":
                self.established()
                self.uncertain = set(self.statuses)
                self.settled_at = 0.0
                if message["settling"] and self.uncertain:
                    loop = asyncio.get_running_loop()
                    self.settled_at = loop.time() + message["settling"]
                    loop.call_at(self.settled_at, self._settle)
                if self.watched is not None:
                    self.send(TEXT, msgspec.json.encode({"type": "WATCH", "users": self.watched, "id": 1}))
            case "PRESENCE_SNAPSHOT":
                self._see(message["users"])
                if message["watch"] == "everyone":
                    self._complete(message)
            case "PRESENCE_CHANGES":
                self._see(message["users"])
            case "GOING_AWAY":
                self._wait = message["retryAfter"]

    def _see(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            user_id = str(record["userId"])
            if self.settled_at and user_id in self.uncertain and record["since"] == 0:
                continue  # the server does not know the user yet
            self.uncertain.discard(user_id)
            self._show(user_id, record["status"], f"{record} on connection {self.connections}")

    def _complete(self, message: dict[str, Any]) -> None:
        """Apply that users on no page of a snapshot of everyone are offline."""
        self._snapshot = set() if message["page"] == 1 else self._snapshot
        self._snapshot.update(str(record["userId"]) for record in message["users"])
        if message["page"] == message["pages"]:
            kept = self.uncertain if self.settled_at else set()
            for user_id in set(self.statuses) - self._snapshot - kept:
                self._show(user_id, "offline", f"not in the snapshot of connection {self.connections}")

    def _settle(self) -> None:
        self.settled_at = 0.0
        for user_id in self.uncertain:
            self._show(user_id, "offline", "not back when the server had settled")
        self.uncertain = set()

    def _show(self, user_id: str, status: str, reason: str) -> None:
        if status == "offline" and self.statuses.get(user_id, "offline") != "offline":
            self.heard_offline[user_id] = reason
        self.statuses[user_id] = status


def mixed_crowd(port: int, tls: ssl.SSLContext | None, size: int) -> Crowd:
    """Return `size` clients, half of them of each protocol, that have not connected yet."""
    crowd = Crowd(port, tls, seed=7)
    users = [f"u{number}" for number in range(size)]
    for number, user in enumerate(users):
        if number % 2:
            crowd.add(ClassicClient(crowd, user))
        else:
            watched = None if number % 100 == 0 else crowd.random.sample(users, min(WATCHED, size))
            crowd.add(V1Client(crowd, user, watched))
    crowd.random.shuffle(crowd.members)
    return crowd


def _frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Remove the complete frames from `buffer`, and yield opcode and payload of each. A server does not mask them."""
    start = 0
    while len(buffer) - start >= 2:
        size, head = buffer[start + 1], 2
        if size >= 126:
            head = 4 if size == 126 else 10
            if len(buffer) - start < head:
                break
            size = int.from_bytes(buffer[start + 2 : start + head], "big")
        if len(buffer) - start < head + size:
            break
        yield buffer[start] & 0xF, bytes(buffer[start + head : start + head + size])
        start += head + size
    del buffer[:start]
