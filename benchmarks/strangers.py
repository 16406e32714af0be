"""Attacks of strangers, as fast as one process can run them. `attacks.py` measures their effect."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import socket
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from benchmarks.clients import REQUEST
from websockets.frames import Frame, Opcode

CROWD = 20
"""Number of simultaneous attackers if a few keep the server busy."""

MANY = 500
"""Number of simultaneous attackers if their number does the harm."""

V1 = "Sec-WebSocket-Protocol: presenced.v1\r\n"
DEFLATE = f"{V1}Sec-WebSocket-Extensions: permessage-deflate\r\n"

_AGAIN = 0.01
"""Seconds before an attacker that was cut off connects again."""


class Attack:
    """Methods of attack against one port. Each method is one attacker."""

    def __init__(self, port: int, tokens: list[str]) -> None:
        self.port = port
        self.tokens = tokens
        self.sent = 0
        """Number of bytes sent."""
        self.opened = 0
        """Number of connections opened."""

    @asynccontextmanager
    async def connected(self, reads: bool = True) -> AsyncIterator[asyncio.StreamWriter]:
        """Open a TCP connection. Read and discard its input, or read nothing."""
        sock = socket.socket()
        sock.setblocking(False)
        if not reads:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        self.opened += 1
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        reading = asyncio.create_task(_drain(reader, writer)) if reads else None
        try:
            yield writer
        finally:
            if reading is not None:
                reading.cancel()
            writer.transport.abort()

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Write at the pace at which the server reads."""
        writer.write(data)
        self.sent += len(data)
        await writer.drain()
        if writer.is_closing():
            raise ConnectionResetError
        await asyncio.sleep(0)

    def handshake(self, number: int, fields: str = "", token: str = "") -> bytes:
        """Return the head of a handshake, with a valid token unless another one is given."""
        shown = token or self.tokens[number % len(self.tokens)]
        return REQUEST.format(user=f"&token={shown}", more="", fields=fields).replace("userId=&", "").encode()

    async def flood(self, number: int, data: bytes, fields: str = "", reads: bool = True) -> None:
        """Authenticate, and send the same data again and again."""
        async with self.connected(reads) as writer:
            await self.send(writer, self.handshake(number, fields))
            while True:
                await self.send(writer, data)

    async def half_open(self, number: int) -> None:
        """Send a handshake byte by byte, with a pause after each."""
        async with self.connected() as writer:
            for byte in self.handshake(number):
                await self.send(writer, bytes([byte]))
                await asyncio.sleep(0.2)

    async def nonsense(self, number: int) -> None:
        """Send bytes that are not HTTP."""
        async with self.connected() as writer:
            await self.send(writer, b"\0\xff nonsense\r\n\r\n" * 20)
            await asyncio.sleep(_AGAIN)

    async def bad_token(self, number: int) -> None:
        """Connect with a token whose signature is wrong."""
        async with self.connected() as writer:
            token = self.tokens[0][:-8] + f"{number:08d}"
            await self.send(writer, self.handshake(number, token=token))
            await asyncio.sleep(_AGAIN)

    async def churn(self, number: int) -> None:
        """Connect, and reset the connection."""
        async with self.connected() as writer:
            await self.send(writer, self.handshake(number))
            await asyncio.sleep(_AGAIN)

    async def requests(self, number: int) -> None:
        """Send pipelined HTTP requests."""
        async with self.connected() as writer:
            while True:
                await self.send(writer, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)

    async def never_reads(self, number: int) -> None:
        """Send requests without reading the answers."""
        await self.flood(number, masked(Opcode.TEXT, b'{"type":"PING","id":"%060d"}' % number) * 5, V1, reads=False)


def masked(opcode: Opcode, payload: bytes = b"", fin: bool = True) -> bytes:
    """Return a frame as a client sends it."""
    return Frame(opcode, payload, fin).serialize(mask=True)


def bomb() -> bytes:
    """Return a message of 64 MiB of zeros, compressed to 64 KiB."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = squeeze.compress(bytes(64 << 20)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    frame = masked(Opcode.TEXT, data[:65_000])
    return bytes([frame[0] | 0x40]) + frame[1:]


def _flood(data: bytes, fields: str = "") -> Callable[[Attack, int], Awaitable[None]]:
    return lambda attack, number: attack.flood(number, data, fields)


ATTACKS: dict[str, tuple[int, Callable[[Attack, int], Awaitable[None]]]] = {
    "half-open handshakes, a byte at a time": (MANY, Attack.half_open),
    "nonsense instead of HTTP": (CROWD, Attack.nonsense),
    "tokens of somebody else": (CROWD, Attack.bad_token),
    "connections that come and go": (CROWD, Attack.churn),
    "pipelined HTTP requests": (CROWD, Attack.requests),
    "pings of 125 bytes": (CROWD, _flood(masked(Opcode.PING, b"x" * 125) * 100)),
    "empty messages": (CROWD, _flood(masked(Opcode.TEXT) * 500)),
    "fragments of a byte": (CROWD, _flood(masked(Opcode.TEXT, b"x", False) + masked(Opcode.CONT, b"x", False) * 900)),
    "messages of 64 KB": (CROWD, _flood(masked(Opcode.BINARY, b"x" * 65_000))),
    "newer tokens, again and again": (CROWD, _flood(masked(Opcode.TEXT, b'{"type":"AUTH","token":"a.b.c"}') * 50, "")),
    "requests of presenced.v1": (CROWD, _flood(masked(Opcode.TEXT, b'{"type":"WATCH","users":[1,2,3]}') * 20, V1)),
    "compression bombs": (CROWD, _flood(bomb(), DEFLATE)),
    "clients that never read": (100, Attack.never_reads),
}


@contextmanager
def attacking(name: str, port: int, tokens: list[str], seconds: float) -> Iterator[tuple[int, int]]:
    """Attack in a separate process during the body. Yield its bytes and connections, which are set at its end."""
    context = multiprocessing.get_context("fork")
    counts = context.Array("Q", 2, lock=False)
    process = context.Process(target=_run, args=(name, port, tokens, seconds, counts), daemon=True)
    process.start()
    try:
        yield counts
    finally:
        process.join(seconds + 5)
        process.kill()
        process.join()


def _run(name: str, port: int, tokens: list[str], seconds: float, counts: list[int]) -> None:
    os.nice(10)  # the measuring process shares the core, and must not wait for the attack
    counts[:] = asyncio.run(_all(name, Attack(port, tokens), time.monotonic() + seconds))


async def _all(name: str, attack: Attack, until: float) -> tuple[int, int]:
    size, one = ATTACKS[name]

    async def again(number: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                await one(attack, number)
            await asyncio.sleep(_AGAIN)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(until - time.monotonic()):
            await asyncio.gather(*(again(number) for number in range(size)))
    return attack.sent, attack.opened


async def _drain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass
    writer.transport.abort()
