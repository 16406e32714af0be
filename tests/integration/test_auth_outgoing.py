"""Names with several addresses in the server's own requests: JWKS, callbacks and webhooks, all through `HttpClient`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest

from presenced.net.http_client import MAX_ADDRESSES_OF_NAME, HttpClient, HttpClientError, Resolve

pytestmark = pytest.mark.anyio

HERE, DEAD, MUTE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
"""Addresses that respond, refuse connections, or never accept any."""


class CountingServer:
    """Server that counts the requests it responds to."""

    def __init__(self) -> None:
        self.requests = 0
        self.hosts: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        self.hosts += [line[6:] for line in head.split(b"\r\n") if line.lower().startswith(b"host: ")]
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()


@asynccontextmanager
async def receiver() -> AsyncIterator[CountingServer]:
    made = CountingServer()
    listening = await asyncio.start_server(made.answer, HERE, 0)
    made.port = listening.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        listening.close()


@contextmanager
def mute(port: int) -> Iterator[None]:
    """Machine that accepts no connection, because its accept queue is full."""
    with ExitStack() as sockets:
        listening = sockets.enter_context(socket.socket())
        listening.bind((MUTE, port))
        listening.listen(0)
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((MUTE, port))
        yield


def resolving_to(*answers: Sequence[str]) -> Resolve:
    """Resolver with these results. The last one repeats."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


@asynccontextmanager
async def outgoing(port: int, resolve: Resolve, within: float = 5) -> AsyncIterator[HttpClient]:
    made = HttpClient("webhook_urls", f"http://name.example:{port}/", within, allow_private=True, resolve=resolve)
    try:
        yield made
    finally:
        await made.close()


async def test_the_next_address_is_tried_when_one_refuses() -> None:
    async with receiver() as there, outgoing(there.port, resolving_to([DEAD, HERE])) as door:
        assert (await door.get()).status == 204
        assert (await door.post(b"{}", {})).status == 204
        assert there.requests == 2
        assert there.hosts == [f"name.example:{there.port}".encode()] * 2, "the name, not the address"


async def test_the_next_address_is_tried_when_one_does_not_respond_within_one_timeout_for_all() -> None:
    async with receiver() as there:
        with mute(there.port):
            started = asyncio.get_running_loop().time()
            async with outgoing(there.port, resolving_to([MUTE, HERE]), within=4) as door:
                assert (await door.get()).status == 204
            took = asyncio.get_running_loop().time() - started
            assert 1 < took < 4, "half of the time for each"
            async with outgoing(there.port, resolving_to([MUTE, MUTE]), within=0.5) as door:
                with pytest.raises(HttpClientError, match=r"did not respond within 0.5 s|127.0.0.3: ConnectTimeout"):
                    await door.get()


async def test_an_address_that_failed_is_tried_last_for_a_while() -> None:
    """A dead first address does not cost each request a share of its timeout."""
    async with receiver() as there:
        with mute(there.port):
            async with outgoing(there.port, resolving_to([MUTE, HERE]), within=4) as door:
                await door.get()
                started = asyncio.get_running_loop().time()
                for _ in range(3):
                    await door.get()
                assert asyncio.get_running_loop().time() - started < 2
            async with outgoing(there.port, resolving_to([DEAD], [DEAD, HERE], [HERE]), within=4) as door:
                with pytest.raises(HttpClientError):
                    await door.get()
                assert (await door.get()).status == 204
                assert (await door.get()).status == 204


async def test_when_no_address_accepts_the_connection_the_error_names_each() -> None:
    async with receiver() as there:
        pass  # its port is free now
    async with outgoing(there.port, resolving_to([DEAD, HERE, DEAD])) as door:
        with pytest.raises(
            HttpClientError, match=r"name\.example can't be reached: 127\.0\.0\.2: .*; 127\.0\.0\.1: "
        ) as c:
            await door.get()
        assert str(c.value).count(DEAD) == 1, "once each"


async def test_a_request_that_was_sent_is_not_repeated_at_another_address() -> None:
    """The first address may have processed it, so the application would receive the webhook twice."""

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with receiver() as there:
        dropping = await asyncio.start_server(drop, DEAD, there.port)
        async with dropping, outgoing(there.port, resolving_to([DEAD, HERE])) as door:
            with pytest.raises(HttpClientError, match=r"the request to name\.example failed"):
                await door.post(b"{}", {})
        assert there.requests == 0


async def test_the_number_of_addresses_tried_is_bounded() -> None:
    many = [f"127.0.1.{number}" for number in range(MAX_ADDRESSES_OF_NAME)]
    async with receiver() as there, outgoing(there.port, resolving_to([*many, HERE])) as door:
        with pytest.raises(HttpClientError) as caught:
            await door.get()
        assert str(caught.value).count("127.0.1.") == MAX_ADDRESSES_OF_NAME
        assert there.requests == 0


@pytest.mark.parametrize("order", [lambda a: a, reversed], ids=["last", "first"])
async def test_a_name_with_one_private_address_is_refused_whole(
    order: Callable[[Sequence[str]], Sequence[str]],
) -> None:
    """Each address is checked before any connection."""
    resolve = resolving_to(list(order(["93.184.215.14", "10.0.0.1"])))
    door = HttpClient("jwt_jwks_url", "https://name.example/", 1, allow_private=False, resolve=resolve)
    with pytest.raises(HttpClientError, match="private address"):
        await door.get()
    await door.close()
