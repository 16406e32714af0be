"""Broken bytes: valid requests and frames, and mutations of them. A seed decides everything."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from random import Random

from tests.support.echo import frame
from tests.support.raw import upgrade
from websockets.frames import Opcode

SECONDS = float(os.environ.get("PRESENCED_FUZZ_SECONDS", "0"))
"""Seconds for which each test tries new seeds. 0, the default, means a few fixed seeds."""

SEED = int(os.environ.get("PRESENCED_FUZZ_SEED", "0"))
"""Seed of the new seeds."""

REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /stats?limit=2&after=0 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    b"HEAD /metrics HTTP/1.0\r\n\r\n",
    b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 9\r\n\r\nhell",
    b"GET / HTTP/1.1\nHost: localhost\n\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"GET http://localhost/healthz HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\r\nHEAD /healthz HTTP/1.1\r\nHost: localhost \t\r\n\r\n",
    b"POST /api/v1/users/query HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\n"
    b'{"users":[]}',
    b"POST /api/v1/users/query HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'c;a=b\r\n{"users":[]}\r\n0\r\nX: y\r\n\r\n',
    b"POST /api/v1/users/query HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    b"Content-Length: 42\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    upgrade("?userId=fuzz"),
    upgrade("?userId="),
    upgrade("?userId=%ff"),
    upgrade("?userId=fuzz", more="Sec-WebSocket-Extensions: permessage-deflate\r\nOrigin: http://x\r\n"),
    upgrade("?userId=fuzz", method="POST"),
    upgrade("?userId=fuzz", version="1.0"),
    upgrade("?userId=fuzz", path="/"),
    upgrade("?userId=fuzz", more="Content-Length: 3\r\n") + b"abc",
]
FRAMES = [
    frame(Opcode.TEXT, b"hello"),
    frame(Opcode.TEXT, "Zoë 🙂".encode()),
    frame(Opcode.BINARY, bytes(range(256))),
    frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.CONT, b"b", fin=False) + frame(Opcode.CONT, b"c"),
    frame(Opcode.PING, b"ping"),
    frame(Opcode.PONG),
    frame(Opcode.CLOSE, b"\x03\xe8bye"),
    frame(Opcode.CLOSE, b"\x03\xe9"),
    frame(Opcode.CLOSE),
    frame(Opcode.TEXT, b'{"type":"PING"}'),
    b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00",
    b"\x81\x05hello",
]
TOKENS = [
    b"\r\n",
    b"\n",
    b"\x00",
    b"\xff",
    b": ",
    b" ",
    b"HTTP/1.1",
    b"0",
    b"-1",
    b"\x81",
    b"\x88",
    b"%",
    b"userId",
    b"\x80",
]


def seeds(count: int) -> Iterator[int]:
    """Yield `count` fixed seeds, or new ones for `PRESENCED_FUZZ_SECONDS`."""
    if not SECONDS:
        yield from range(count)
        return
    random, ends = Random(SEED), time.monotonic() + SECONDS
    while time.monotonic() < ends:
        yield random.getrandbits(48)


def request(random: Random) -> bytes:
    """Return the bytes of a connection to the front door."""
    kind = random.randrange(10)
    if kind == 0:
        return random.randbytes(random.randrange(1, 400))
    data = random.choice(REQUESTS)
    if data.startswith(b"GET /ws") and random.random() < 0.8:
        data += frames(random)
    return data if kind == 1 else mutated(random, data, random.choice(REQUESTS))


def frames(random: Random) -> bytes:
    """Return the bytes of a connection after the handshake."""
    if random.random() < 0.1:
        return random.randbytes(random.randrange(1, 400))
    data = b"".join(random.choices(FRAMES, k=random.randrange(1, 6)))
    return data if random.random() < 0.2 else mutated(random, data, random.choice(FRAMES))


def mutated(random: Random, data: bytes, other: bytes) -> bytes:
    """Return `data` with one to four mutations: flip a bit, cut, repeat, insert, splice with `other`."""
    for _ in range(random.randrange(1, 5)):
        at, end = sorted((random.randrange(len(data) + 1), random.randrange(len(data) + 1)))
        match random.randrange(6):
            case 0 if data:
                at = random.randrange(len(data))
                data = data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:end] + data[at:end] * random.randrange(1, 4) + data[end:]
            case 3:
                data = data[:at] + random.choice(TOKENS) * random.choice((1, 1, 1, 50)) + data[at:]
            case 4:
                data = data[:at] + other[random.randrange(len(other)) :]
            case _:
                data = data[:at] + random.randbytes(random.randrange(1, 20)) + data[end:]
    return data[:4000]
