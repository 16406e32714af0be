"""What the server asks its keeper: answers are JSON, ready to be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from presenced.errors import BadParameter, StorageUnavailable
from presenced.storage.records import StoredUser
from presenced.worker.rpc import (
    Answer,
    Ask,
    DeadLetters,
    Erase,
    History,
    LastSeen,
    Question,
    RetryDead,
    Sessions,
    encode,
)

MAX_ASKED = 100
"""Questions at a time; one more is not asked."""

QUESTION_PATIENCE = 5.0
"""Seconds for an answer."""


class Questions:
    """Requests to the keeper. Each may raise `StorageUnavailable`.

    Bounds: `MAX_ASKED` at a time, `QUESTION_PATIENCE` for each.

    Args:
        send: Function that sends a message to the keeper, or says why it cannot.
        forget: Function that drops the facts about a user that wait to be stored.
        unstored: Function that returns the state of users whose newest facts may not be stored.
    """

    def __init__(
        self,
        send: Callable[[bytes], str],
        forget: Callable[[str], None],
        unstored: Callable[[Sequence[str]], dict[str, StoredUser]],
    ) -> None:
        self._send = send
        self._forget = forget
        self._unstored = unstored
        self._number = 0
        self._asked: dict[int, asyncio.Future[bytes]] = {}

    async def last_seen(self, user_ids: Sequence[str]) -> bytes:
        """When these users were last there: `storage.answers.Seen` of those of whom it is known."""
        return await self._ask(LastSeen(list(user_ids)))

    def unstored(self, user_ids: Sequence[str]) -> Mapping[str, StoredUser]:
        """Return the state of those of these users whose newest facts the database may not have. Call this before
        `last_seen`. In the other order, a fact stored in between would be missing in both results."""
        return self._unstored(user_ids)

    async def history(self, user_id: str, after: str, limit: int) -> bytes:
        """Changes of a user, newest first, as `storage.answers.History`; `after` is its `next`, or empty.

        Raises:
            BadParameter: `after` is none.
        """
        if after and not (after.isascii() and after.isdigit() and len(after) < 19):
            raise BadParameter("after is not the `next` of a page")
        return await self._ask(History(user_id, int(after or 0), limit))

    async def sessions(self, user_id: str, after: str, limit: int) -> bytes:
        """Sessions of a user, newest first, as `storage.answers.PastSessions`; `after` is its `next`, or empty.

        Raises:
            BadParameter: `after` is none.
        """
        opened, _, key = after.partition("-")
        if after and not (opened.isascii() and opened.isdigit() and len(opened) < 19 and key):
            raise BadParameter("after is not the `next` of a page")
        return await self._ask(Sessions(user_id, (int(opened), key) if after else None, limit))

    async def erase(self, user_id: str) -> bytes:
        """Delete all that is kept of a user, and all that waits to be: `{"stored": rows}`."""
        number = self._put(Erase(user_id))
        # Not before: if the database is not available, nothing is erased. The waiting facts are then still needed to
        # record, and to send to receivers of webhooks, that the user has left.
        self._forget(user_id)
        return await self._answer_to(number)

    async def dead_letters(self, after: str, limit: int) -> bytes:
        """Webhooks that could not be delivered: `Webhooks.dead`."""
        return await self._ask(DeadLetters(after, limit))

    async def retry_dead(self, ids: Sequence[str] | None) -> bytes:
        """Have them delivered after all, None: all of them: `{"retried": how many}`."""
        return await self._ask(RetryDead(None if ids is None else list(ids)))

    async def _ask(self, question: Question) -> bytes:
        return await self._answer_to(self._put(question))

    def _put(self, question: Question) -> int:
        """Send a question and return its number."""
        if len(self._asked) >= MAX_ASKED:
            raise StorageUnavailable(f"{MAX_ASKED} questions are being answered already; ask again later")
        self._number += 1
        number = self._number
        if why_not := self._send(encode(Ask(number, question))):
            raise StorageUnavailable(f"the database can't be asked now: {why_not}")
        self._asked[number] = asyncio.get_running_loop().create_future()
        return number

    async def _answer_to(self, number: int) -> bytes:
        try:
            async with asyncio.timeout(QUESTION_PATIENCE):
                answer: bytes = await self._asked[number]
                return answer
        except TimeoutError:
            raise StorageUnavailable("the database does not answer in time") from None
        finally:
            self._asked.pop(number, None)

    # What the link reports.

    def answered(self, answer: Answer) -> None:
        """No-op for one that was waited for too long."""
        future = self._asked.get(answer.number)
        if future is None or future.done():
            return
        if answer.error:
            future.set_exception(StorageUnavailable(f"the database can't be asked now: {answer.error}"))
        else:
            future.set_result(answer.json)

    def lost(self) -> None:
        """No answer will come to what was asked."""
        for future in self._asked.values():
            if not future.done():
                future.set_exception(StorageUnavailable("the database can't be asked now"))
