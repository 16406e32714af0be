"""Messages between nodes, and values that one node leaves for another, in Redis."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from presenced.cluster.backend import MESSAGE_TTL_S, StoredKey
from presenced.cluster.redis.connection import Address, Argument, StoreConnection, StoreLost
from presenced.cluster.redis.format import inbox_key
from presenced.errors import BackendError
from presenced.runtime.logs import logger

if TYPE_CHECKING:
    from presenced.cluster.redis.backend import RedisBackend

MAX_WAITING_CALLS = 10_000
"""Maximum number of calls that wait for the store. At the bound, further messages and values are lost."""

PIPELINE_SIZE = 100
"""Maximum number of calls in one round trip."""

MAX_INBOX = 1000
"""Approximate maximum number of messages waiting for a node. At the bound, the oldest are lost."""

READ_MESSAGES = 100
"""Maximum number of messages in one read."""

BLOCK_MS = 1000
"""Milliseconds that a read of the inbox waits for a message."""

CALL_TIMEOUT_S = 1.0
"""Seconds without a reply after which the connection for calls is closed."""

READ_TIMEOUT_S = 3.0
"""Seconds without a reply after which the connection for the inbox is closed. It must be more than `BLOCK_MS`."""

FLUSH_TIMEOUT_S = 2.0
"""Maximum number of seconds that `RedisMessages.flush` waits."""

RETRY_S = 0.25
"""Seconds between attempts to connect."""

OnAnswer = Callable[[Any], None]
"""Gets the reply to a command."""


class _Call(NamedTuple):
    """Command that waits to be sent. The arguments of `RedisMessages.call`."""

    key: bytes
    command: tuple[Argument, ...]
    on_answer: OnAnswer | None
    on_lost: Callable[[], None] | None


class RedisMessages:
    """Messages and values of one node. They are best effort: a failed call is not repeated."""

    def __init__(self, backend: RedisBackend) -> None:
        self._backend = backend
        self._calls: deque[_Call] = deque()
        self._has_calls = asyncio.Event()
        self._must_connect = False  # the connections may be dead, which would make the next call fail
        self._read_slot = -1  # slot whose inbox was read last
        self._last = b""  # id of the last message that was read

    def send(self, slot: int, message: bytes) -> None:
        """Send a message to another node."""
        key = inbox_key(self._backend.cluster_name, slot)
        stamped = bytes([max(self._backend.slot, 0)]) + message
        self.call(key, ("XADD", key, "MAXLEN", "~", MAX_INBOX, "*", "m", stamped))

    def put(self, key: StoredKey, value: bytes, seconds: float) -> None:
        """Leave a value."""
        name = self._name(key)
        self.call(name, ("SET", name, value, "PX", max(1, round(seconds * 1000))))

    def take(
        self,
        key: StoredKey,
        on_answer: Callable[[bytes | None], None],
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """Take a value."""
        name = self._name(key)
        self.call(name, ("GETDEL", name), on_answer, on_lost or (lambda: on_answer(None)))

    def connect_again(self) -> None:
        """Use new connections, because another one was lost."""
        self._must_connect = True

    async def flush(self) -> None:
        """Wait until all calls so far are done, for at most `FLUSH_TIMEOUT_S`."""
        done = asyncio.Event()
        self.call(b"", ("PING",), lambda _: done.set(), done.set)  # calls are answered in their order
        with suppress(TimeoutError):  # the rest may be lost, as any call may be
            await asyncio.wait_for(done.wait(), FLUSH_TIMEOUT_S)

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return the coroutines that have to run until the node stops."""
        return [self._forever(self._execute_calls), self._forever(self._read_inbox)]

    def _name(self, key: StoredKey) -> bytes:
        return f"{self._backend.cluster_name}:{key.kind}:{key.digest}".encode()

    def call(
        self,
        key: bytes,
        command: tuple[Argument, ...],
        on_answer: OnAnswer | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """Execute a command.

        Args:
            key: Key of the command, which determines the server.
            on_answer: Gets the reply.
            on_lost: Called instead if there is no reply.
        """
        if len(self._calls) < MAX_WAITING_CALLS:
            self._calls.append(_Call(key, command, on_answer, on_lost))
            self._has_calls.set()
        elif on_lost is not None:
            asyncio.get_running_loop().call_soon(on_lost)

    async def _forever(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a step again each time that it ends because a connection was lost."""
        while True:
            try:
                await step()
            except (StoreLost, BackendError) as error:
                logger.debug("messages between nodes: %s", error)
            except Exception:
                logger.exception("messages between nodes: unexpected error")
            await asyncio.sleep(RETRY_S)

    # Calls.

    async def _execute_calls(self) -> None:
        connections: dict[Address, StoreConnection] = {}
        try:
            while True:
                await self._has_calls.wait()
                calls = [self._calls.popleft() for _ in range(min(len(self._calls), PIPELINE_SIZE))]
                if not calls:
                    self._has_calls.clear()
                    continue
                if self._must_connect:
                    self._must_connect = False
                    while connections:
                        connections.popitem()[1].close()
                await self._execute(calls, connections)
        finally:
            for connection in connections.values():
                connection.close()

    async def _execute(self, calls: list[_Call], connections: dict[Address, StoreConnection]) -> None:
        """Execute some calls, one round trip for each server."""
        answers: dict[int, Any] = {}
        try:
            groups: dict[Address, list[int]] = {}
            for index, call in enumerate(calls):
                groups.setdefault(await self._backend.find(call.key), []).append(index)
            for server, indexes in groups.items():
                if server not in connections:
                    connections[server] = await self._backend.connect(calls[indexes[0]].key, CALL_TIMEOUT_S)
                replies = await connections[server].pipeline([calls[index].command for index in indexes])
                answers |= zip(indexes, replies, strict=True)
        finally:
            # Each callback runs in a turn of its own, so that an exception of one does not affect the others.
            for index, call in enumerate(calls):
                if index not in answers:
                    if call.on_lost is not None:
                        asyncio.get_running_loop().call_soon(call.on_lost)
                elif call.on_answer is not None:
                    asyncio.get_running_loop().call_soon(call.on_answer, answers[index])

    # Inbox.

    async def _read_inbox(self) -> None:
        await self._backend.has_slot.wait()
        slot = self._backend.slot
        key = inbox_key(self._backend.cluster_name, slot)
        connection = await self._backend.connect(key, READ_TIMEOUT_S)
        if slot != self._read_slot:  # earlier messages are for the node that had the slot before
            self._read_slot, self._last = slot, f"{self._backend.registered_ms}-0".encode()
        try:
            while slot == self._backend.slot:
                began = time.monotonic()
                read = ("XREAD", "COUNT", READ_MESSAGES, "BLOCK", BLOCK_MS, "STREAMS", key, self._last)
                reply, (seconds, _) = await connection.pipeline([read, ("TIME",)])
                # The reply itself may be old, if this process was frozen meanwhile.
                oldest_ms = (int(seconds) + time.monotonic() - began - BLOCK_MS / 1000 - MESSAGE_TTL_S) * 1000
                [[_, messages]] = reply or [[key, ()]]  # one stream was read
                for stream_id, (_, message) in messages:  # one field
                    self._last = stream_id
                    if int(stream_id.partition(b"-")[0]) >= oldest_ms:
                        self._backend.receiver.received(message[0], message[1:])
        finally:
            connection.close()
