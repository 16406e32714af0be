"""Keys from a URL (JWKS)."""

from __future__ import annotations

import asyncio
import logging
import math

from presenced.auth.authenticator import UNAVAILABLE, Answer, Answered
from presenced.auth.callbacks import Moments
from presenced.auth.jwt import Tokens
from presenced.auth.keys import SHARED, Key, checked, keys_from_jwks, restricted
from presenced.errors import BadToken, ConfigError
from presenced.net.http_client import Outgoing, OutgoingError
from presenced.runtime.instant import Instant

MIN_PAUSE = 10.0
"""Minimum number of seconds between two requests for keys that tokens trigger, because anyone can invent tokens."""

MAX_WAITING = 1_000
"""Maximum number of tokens waiting for new keys. At the bound a client gets a close code that makes it retry."""

MAX_RETIRED = 4
"""Maximum number of keys remembered after they left the set. At the bound the one that left first is evicted. Tokens
signed with a remembered key are refused, but count as genuine."""

_MAY_BE_NEW = ("unknown_key", "signature")
"""Faults of a token whose key may have been added since the last request for keys. A `kid` is optional and chosen by
the issuer (RFC 7517 section 4.5), so a signature that fits no key is as inconclusive as an unknown `kid`."""

_logger = logging.getLogger("presenced")


class ByKeySet:
    """`Authenticator` for `auth = "jwt"` with keys from a URL.

    The keys are requested at the start and every `refresh` seconds. A token whose signature fits no key triggers
    another request, at most once in `MIN_PAUSE`. If the URL does not respond, the known keys stay in use.

    Bounds: `MAX_WAITING` for tokens; `keys.MAX_KEYS` and `MAX_RETIRED` for keys.
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
        """Start to request keys."""
        self._main = asyncio.create_task(self._keep_fresh(), name="presenced: keys")

    async def stop(self) -> None:
        """Ask no more."""
        await _end(self._main)
        await self._outgoing.close()

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer | None:
        """Return the result at once, unless the token's key is unknown and may be among newer keys."""
        answer = self._verify(token, now)
        if not _may_be_new(answer):
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
            is_fresh = await self._fetch()
            self._wanted.clear()
            self._answer_all(is_fresh)
            try:
                async with asyncio.timeout(self._refresh):
                    await self._wanted.wait()
                    since = self._clock.now().monotonic - self._asked_at
                    await asyncio.sleep(max(0.0, MIN_PAUSE - since))
            except TimeoutError:
                pass

    async def _fetch(self) -> bool:
        """Replace the keys. Return False if there is no usable response."""
        self._asked_at = self._clock.now().monotonic
        try:
            answer = await self._outgoing.get()
            if answer.status != 200:
                raise OutgoingError(f"it answered with status {answer.status}")
            # What everybody can read is no secret, whatever it says it is.
            public = [key for key in keys_from_jwks(answer.body) if key.algorithms[0] not in SHARED]
            keys = restricted(checked([*self._given, *public]), self._algorithms)
        except (OutgoingError, ConfigError) as error:
            _logger.error("jwt_jwks_url gave no keys, those known stay: %s", error)
            return False
        retired = [key for key in (*self._tokens.keys, *self._tokens.retired) if key not in keys]
        self._tokens.keys, self._tokens.retired = keys, retired[:MAX_RETIRED]
        return True

    def _answer_all(self, is_fresh: bool) -> None:
        waiting, self._waiting = self._waiting, []
        now = self._clock.now()
        for token, answered in waiting:
            answer = self._verify(token, now)
            # Old keys cannot distinguish a token signed with a new key from a forgery, so the client may retry.
            answered(UNAVAILABLE if not is_fresh and _may_be_new(answer) else answer)


def _may_be_new(answer: Answer) -> bool:
    return isinstance(answer, BadToken) and answer.kind in _MAY_BE_NEW


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
