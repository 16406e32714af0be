"""The ways to show who one is that ask another server: keys from a URL (JWKS), and a hook of the application."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from presenced.auth.allowed import with_allowed
from presenced.auth.authenticator import UNAVAILABLE, Answer, Answered
from presenced.auth.keys import Key, keys_from_jwks, restricted
from presenced.auth.outgoing import Outgoing, OutgoingError, signed
from presenced.auth.principal import Principal
from presenced.auth.tokens import MAX_TOKEN, Tokens, digest
from presenced.core.identity import parse_user_id
from presenced.core.model import Instant
from presenced.errors import BadToken, ConfigError

MIN_PAUSE = 10.0
"""Seconds between two requests for keys because of a token whose key is not known: anybody can make up tokens."""

MAX_WAITING = 1_000
"""Tokens that wait for new keys, or for the hook; one more is told to come back."""

MAX_CACHED = 10_000
"""Answers of the hook; some 3 MB. One more makes the oldest forgotten."""

_logger = logging.getLogger("presenced")


class Moments(Protocol):
    """Tells the time."""

    def now(self) -> Instant:
        """This moment on both clocks."""


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
            found = [*self._given, *keys_from_jwks(answer.body)]
            self._tokens.keys = restricted(found, self._algorithms)
        except (OutgoingError, ConfigError) as error:
            _logger.error("jwt_jwks_url gave no keys, those known stay: %s", error)

    def _answer_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        now = self._clock.now()
        for token, answered in waiting:
            answered(self._verify(token, now) if self._tokens.keys else UNAVAILABLE)


class HookAnswer(Struct, rename="camel"):
    """What the hook answers with status 200; other statuses below 500 mean that the token is not accepted."""

    user_id: int | str
    expires_in: float | None = None
    """Seconds for which the connection may stay; for good when not given."""
    token_id: str = ""
    presence: Any = None
    """Whom they may see, and where they may go: `Allowed`."""


class ByHook:
    """Implements `Authenticator` for `auth = "callback"`: the application's own backend says whose a token is.

    Bounds: `concurrency` requests at a time, `MAX_WAITING` with those that wait; `MAX_CACHED` answers, for `cached`
    seconds.
    """

    def __init__(self, outgoing: Outgoing, secret: str, concurrency: int, cached: float, clock: Moments) -> None:
        self._outgoing = outgoing
        self._secret = secret
        self._cached = cached
        self._clock = clock
        self._free = asyncio.Semaphore(concurrency)
        self._asking: set[asyncio.Task[None]] = set()
        self._answers: dict[str, tuple[float, Answer]] = {}  # until when, by the token's digest; oldest first

    def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Ask no more."""
        for task in list(self._asking):
            await _end(task)
        await self._outgoing.close()

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer | None:
        """At once when it was asked lately."""
        if len(token) > MAX_TOKEN:
            return BadToken("malformed", f"the token has more than {MAX_TOKEN} characters")
        while self._answers and next(iter(self._answers.values()))[0] <= now.monotonic:
            del self._answers[next(iter(self._answers))]
        known = self._answers.get(key := digest(token))
        if known is not None:
            return known[1]
        if len(self._asking) >= MAX_WAITING:
            return UNAVAILABLE
        task = asyncio.create_task(self._find_out(token, key, answered), name="presenced: hook")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return None

    async def _find_out(self, token: str, key: str, answered: Answered) -> None:
        async with self._free:
            try:
                answer = await self._from_hook(token, key)
            except OutgoingError as error:
                _logger.error("callback_url: %s", error)
                answered(UNAVAILABLE)
                return
        if self._cached:
            self._answers.pop(key, None)
            self._answers[key] = self._clock.now().monotonic + self._cached, answer
            if len(self._answers) > MAX_CACHED:
                del self._answers[next(iter(self._answers))]
        answered(answer)

    async def _from_hook(self, token: str, key: str) -> Answer:
        now = self._clock.now().epoch_ms / 1000
        body = msgspec.json.encode({"token": token.encode("utf-8", "replace").decode()})
        headers = signed(self._secret, int(now), body) if self._secret else {}
        found = await self._outgoing.post(body, headers)
        if found.status >= 500 or found.status in (408, 429) or 300 <= found.status < 400:
            raise OutgoingError(f"it answered with status {found.status}")
        if found.status != 200:
            return BadToken("refused", "the token is not accepted")
        try:
            said = msgspec.json.decode(found.body, type=HookAnswer)
            ends = None if said.expires_in is None else now + said.expires_in
            principal = Principal(parse_user_id(said.user_id), ends, said.token_id or key, now)
            return principal if said.presence is None else with_allowed(principal, said.presence)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise OutgoingError(f"its answer can't be used: {error}") from None


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
