"""Keys from a URL (JWKS)."""

from __future__ import annotations

import asyncio
import logging
import math

from presenced.auth.authenticator import UNAVAILABLE, Answer, Answered
from presenced.auth.hooks import Moments
from presenced.auth.keys import SHARED, Key, checked, keys_from_jwks, restricted
from presenced.auth.outgoing import Outgoing, OutgoingError
from presenced.auth.tokens import Tokens
from presenced.core.model import Instant
from presenced.errors import BadToken, ConfigError

MIN_PAUSE = 10.0
"""Seconds between two requests for keys because of a token whose key is not known: anybody can make up tokens."""

MAX_WAITING = 1_000
"""Tokens that wait for new keys; one more is told to come back."""

_logger = logging.getLogger("presenced")


class ByKeySet:
    """Implements `Authenticator` for `auth = "jwt"` with keys from a URL.

    The keys are asked for at the start, every `refresh` seconds, and when a token names one that is not known,
    `MIN_PAUSE` apart at least. While the URL does not answer the keys known stay.

    Bounds: `MAX_WAITING`; the keys by `keys.MAX_KEYS`.
    """

    def __init__(
        self, tokens: Tokens, outgoing: Outgoing, algorithms: tuple[str, ...], refresh: float, clock: Moments
    ) -> None:
        self._tokens = tokens
        self._given: list[Key] = list(tokens.keys)
        self._outgoing = outgoing
        self._algorithms = algorithms
        self._refresh = refresh
        self._clock = clock
        self._waiting: list[tuple[str, Answered]] = []
        self._asked_at = -math.inf
        self._wanted = asyncio.Event()
        self._main: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask for keys."""
        self._main = asyncio.create_task(self._keep_fresh(), name="presenced: keys")

    async def stop(self) -> None:
        """Ask no more."""
        await _end(self._main)
        await self._outgoing.close()

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer | None:
        """At once, unless the token's key is not known and may be among new ones."""
        answer = self._verify(token, now)
        if not (isinstance(answer, BadToken) and answer.kind == "unknown_key"):
            return answer
        pause_over = now.monotonic - self._asked_at >= MIN_PAUSE
        if self._tokens.keys and not self._waiting and not pause_over:
            return answer
        if len(self._waiting) >= MAX_WAITING:
            return UNAVAILABLE
        self._waiting.append((token, answered))
        self._wanted.set()
        return None

    def _verify(self, token: str, now: Instant) -> Answer:
        try:
            return self._tokens.verify(token, now.epoch_ms / 1000)
        except BadToken as error:
            return error

    async def _keep_fresh(self) -> None:
        while True:
            await self._fetch()
            self._wanted.clear()
            self._answer_all()
            try:
                async with asyncio.timeout(self._refresh):
                    await self._wanted.wait()
                    since = self._clock.now().monotonic - self._asked_at
                    await asyncio.sleep(max(0.0, MIN_PAUSE - since))
            except TimeoutError:
                pass

    async def _fetch(self) -> None:
        self._asked_at = self._clock.now().monotonic
        try:
            answer = await self._outgoing.get()
            if answer.status != 200:
                raise OutgoingError(f"it answered with status {answer.status}")
            # What everybody can read is no secret, whatever it says it is.
            public = [key for key in keys_from_jwks(answer.body) if key.algorithms[0] not in SHARED]
            self._tokens.keys = restricted(checked([*self._given, *public]), self._algorithms)
        except (OutgoingError, ConfigError) as error:
            _logger.error("jwt_jwks_url gave no keys, those known stay: %s", error)

    def _answer_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        now = self._clock.now()
        for token, answered in waiting:
            answered(self._verify(token, now) if self._tokens.keys else UNAVAILABLE)


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
