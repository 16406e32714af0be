"""Calls from the server to its storage worker. Their results are JSON that the HTTP API passes on unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from presenced.errors import BadParameter, StorageUnavailable
from presenced.storage.records import StoredUser
from presenced.worker.rpc import CallResult, Method, WorkerCall, encode_message

MAX_CALLS = 100
"""Maximum number of calls without a result. A further call fails with `StorageUnavailable`."""

CALL_TIMEOUT_S = 5.0
"""Seconds until a call without a result fails with `StorageUnavailable`."""


class StorageCalls:
    """Methods of the storage worker. Each may raise `StorageUnavailable`.

    Bounds: `MAX_CALLS` at a time, `CALL_TIMEOUT_S` for each.

    Args:
        send: Function that sends a message to the worker, or raises `StorageUnavailable`.
        forget: Function that discards the records about a user that are not stored yet.
        unstored: Function that returns the state of users whose newest records may not be stored.
    """

    def __init__(
        self,
        *,
        send: Callable[[bytes], None],
        forget: Callable[[str], None],
        unstored: Callable[[Sequence[str]], dict[str, StoredUser]],
    ) -> None:
        self._send = send
        self._forget = forget
        self._unstored = unstored
        self._number = 0
        self._calls: dict[int, asyncio.Future[bytes]] = {}

    async def last_seen(self, user_ids: Sequence[str]) -> bytes:
        """Return when these users were last seen: a list of `answers.StoredLastSeen` of those with a row."""
        return await self._call(Method.LAST_SEEN, list(user_ids))

    def unstored(self, user_ids: Sequence[str]) -> Mapping[str, StoredUser]:
        """Return the state of each of these users whose newest record the database may not have.

        Call this before `last_seen`. In the other order, a record stored in between would be missing in both results.
        """
        return self._unstored(user_ids)

    async def history(self, user_id: str, after: str, limit: int) -> bytes:
        """Return a page of a user's changes, newest first: `answers.UserHistory`.

        Args:
            after: `next` of the previous page; empty for the first page.

        Raises:
            BadParameter: `after` is not the `next` of a page.
        """
        return await self._call(Method.HISTORY, user_id, _number_in(after) if after else 0, limit)

    async def sessions(self, user_id: str, after: str, limit: int) -> bytes:
        """Return a page of a user's sessions, newest first: `answers.PastSessions`.

        Args:
            after: `next` of the previous page; empty for the first page.

        Raises:
            BadParameter: `after` is not the `next` of a page.
        """
        opened, _, key = after.partition("-")
        if after and not key:
            raise _bad_after()
        return await self._call(Method.SESSIONS, user_id, (_number_in(opened), key) if after else None, limit)

    async def erase(self, user_id: str) -> bytes:
        """Delete everything about a user, stored or waiting. Return `{"stored": rows}`."""
        number = self._start(Method.ERASE, user_id)
        # Only after `_start` has succeeded: if the worker cannot be called, nothing is erased. The waiting records are
        # then still needed to store that the user has left, and to notify receivers of webhooks.
        self._forget(user_id)
        return await self._result(number)

    async def dead_letters(self, after: str, limit: int) -> bytes:
        """Return a page of the webhooks that could not be delivered: `answers.DeadLetters`."""
        return await self._call(Method.DEAD_LETTERS, after, limit)

    async def retry_dead(self, ids: Sequence[str] | None) -> bytes:
        """Send these dead letters again, or all if None. Return `{"retried": number}`."""
        return await self._call(Method.RETRY_DEAD, None if ids is None else list(ids))

    async def _call(self, method: Method, *arguments: Any) -> bytes:
        return await self._result(self._start(method, *arguments))

    def _start(self, method: Method, *arguments: Any) -> int:
        """Send a call and return its number."""
        if len(self._calls) >= MAX_CALLS:
            raise StorageUnavailable(f"{MAX_CALLS} requests wait for the database already; try again later")
        self._number += 1
        number = self._number
        self._send(encode_message(WorkerCall(number, method, arguments)))
        self._calls[number] = asyncio.get_running_loop().create_future()
        return number

    async def _result(self, number: int) -> bytes:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self._calls[number]
        except TimeoutError:
            raise StorageUnavailable("the database does not answer in time") from None
        finally:
            self._calls.pop(number, None)

    # Called by the client.

    def returned(self, result: CallResult) -> None:
        """Complete the call with this result. No-op if the call has timed out."""
        future = self._calls.get(result.number)
        if future is None or future.done():
            return
        if result.error:
            future.set_exception(StorageUnavailable(f"the database is unavailable: {result.error}"))
        else:
            future.set_result(result.json)

    def lost(self) -> None:
        """Fail all calls, because the worker that had them has ended."""
        for future in self._calls.values():
            if not future.done():
                future.set_exception(StorageUnavailable("the database is unavailable"))


def _number_in(text: str) -> int:
    """Return the number in a part of `after`. It is below 10^18, so every database can compare it with a column."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _bad_after()
    return int(text)


def _bad_after() -> BadParameter:
    return BadParameter("after is not the `next` of a page")
