"""A function of the program that the server runs in says whose a token is."""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable

from presenced.auth.authenticator import UNAVAILABLE, Answer, Answered
from presenced.auth.jwt import MAX_TOKEN, digest
from presenced.auth.principal import Principal
from presenced.errors import BadToken
from presenced.presence.identity import parse_user_id
from presenced.presence.model import Display
from presenced.protocols.v1.codec import compact, is_display
from presenced.runtime.instant import Instant
from presenced.runtime.limits import COMPLAINTS, Bucket

MAX_WAITING = 1_000
"""Answers waited for at a time; one more client is told to come back."""

Said = int | str | Principal | None
Authenticate = Callable[[str], Said | Awaitable[Said]]
"""A token's user id, or a `Principal`, at once or as something to await; None for one that is not accepted."""

_logger = logging.getLogger("presenced")


class ByFunction:
    """Implements `Authenticator` for `auth = "callable"`.

    When the function fails, the kind and the place of its exception are logged, and not its text, which may hold the
    token (`SESSIONS[token]`).

    Bounds: `MAX_WAITING`; the time by the `auth_timeout` of the connection.
    """

    def __init__(self, function: Authenticate, timeout: float) -> None:
        self._function = function
        self._timeout = timeout
        self._asking: set[asyncio.Task[None]] = set()
        self._complaints = Bucket(COMPLAINTS, 0.0)

    def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Wait for no answer any more."""
        for task in list(self._asking):
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer | None:
        """At once, unless the function's answer has to be awaited."""
        if len(token) > MAX_TOKEN:
            return BadToken("malformed", f"the token has more than {MAX_TOKEN} characters")
        if len(self._asking) >= MAX_WAITING:
            return UNAVAILABLE
        try:
            said = self._function(token)
            if not inspect.isawaitable(said):
                return self._answer(said, token, now)
        except Exception as error:
            self._complain(error)
            return UNAVAILABLE
        task = asyncio.create_task(self._wait(said, token, now, answered), name="presenced: authenticate")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return None

    async def _wait(self, said: Awaitable[Said], token: str, now: Instant, answered: Answered) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                answer = self._answer(await said, token, now)
        except Exception as error:
            self._complain(error)
            answer = UNAVAILABLE
        answered(answer)

    def _complain(self, error: Exception) -> None:
        if self._complaints.take(COMPLAINTS, COMPLAINTS, asyncio.get_running_loop().time()):
            frames = traceback.extract_tb(error.__traceback__)
            place = ", from ".join(f"{one.filename}:{one.lineno} in {one.name}" for one in reversed(frames))
            _logger.error("the authentication function failed: %s at %s", type(error).__name__, place)

    def _answer(self, said: Said, token: str, now: Instant) -> Answer:
        if said is None:
            return BadToken("refused", "the token is not accepted")
        if isinstance(said, Principal):
            if said.display is not None and said.display.data:
                if not is_display(said.display.data):
                    raise ValueError("display is not a valid JSON object")
                said = said._replace(display=Display(compact(said.display.data), said.display.issued))
            return said._replace(user_id=parse_user_id(said.user_id), token_id=said.token_id or digest(token))
        return Principal(parse_user_id(said), None, digest(token), now.epoch_ms / 1000)
