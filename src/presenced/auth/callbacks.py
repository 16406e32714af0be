"""Hooks of the application: its backend is asked whose a token is, and whom somebody may see."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.json import Decoder

from presenced.auth.authenticator import UNAVAILABLE, Answer, Answered, Authenticator, Remote
from presenced.auth.grants import with_allowed
from presenced.auth.jwt import MAX_TOKEN, digest
from presenced.auth.principal import Principal
from presenced.errors import BadToken
from presenced.net.http_client import Answer as Response
from presenced.net.http_client import Outgoing, OutgoingError, signed
from presenced.presence.identity import parse_user_id
from presenced.protocols.ids import wire_user_id
from presenced.runtime.instant import Instant
from presenced.runtime.limits import COMPLAINTS, Bucket
from presenced.runtime.strict_json import read

MAX_WAITING = 1_000
"""Questions asked or waiting to be; for one more the client is told to come back."""

MAX_CACHED = 10_000
"""Answers; some 3 MB. One more makes the oldest forgotten."""

_logger = logging.getLogger("presenced")


class Moments(Protocol):
    """Tells the time."""

    def now(self) -> Instant:
        """This moment on both clocks."""


class Hook:
    """One URL of the application.

    Bounds: `concurrency` requests at a time, `MAX_WAITING` with those that wait; `MAX_CACHED` answers, for `cached`
    seconds.

    Args:
        name: Of the setting the URL comes from.
        secret: Requests are signed with it; empty: they are not.
    """

    def __init__(
        self, name: str, outgoing: Outgoing, secret: str, concurrency: int, cached: float, clock: Moments
    ) -> None:
        self._name = name
        self._outgoing = outgoing
        self._secret = secret
        self._cached = cached
        self._clock = clock
        self._free = asyncio.Semaphore(concurrency)
        self._asking: set[asyncio.Task[None]] = set()
        self._complaints = Bucket(COMPLAINTS, clock.now().monotonic)
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()  # until when; oldest first

    def now(self) -> Instant:
        """This moment."""
        return self._clock.now()

    async def stop(self) -> None:
        """Ask no more."""
        asking = list(self._asking)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._outgoing.close()

    def known(self, key: str, now: Instant) -> Answer | None:
        """What it answered lately."""
        while self._answers and next(iter(self._answers.values()))[0] <= now.monotonic:
            self._answers.popitem(last=False)
        found = self._answers.get(key)
        return None if found is None else found[1]

    def ask(self, key: str, question: object, read: Callable[[Response, float], Answer], answered: Answered) -> bool:
        """Ask, and call `answered`; False when there is no room for one more question.

        Args:
            key: What the answer is remembered by.
            read: What a response, which came at this time (epoch seconds), comes to. May raise OutgoingError, and
                what decoding raises.
        """
        if len(self._asking) >= MAX_WAITING:
            return False
        task = asyncio.create_task(self._find_out(key, question, read, answered), name="presenced: hook")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return True

    async def _find_out(
        self, key: str, question: object, read: Callable[[Response, float], Answer], answered: Answered
    ) -> None:
        async with self._free:
            try:
                answer = await self._from_hook(question, read)
            except (OutgoingError, msgspec.MsgspecError, ValueError, RecursionError) as error:
                if self._complaints.take(COMPLAINTS, COMPLAINTS, self._clock.now().monotonic):
                    _logger.error("%s gave no answer that can be used: %s", self._name, error)
                answered(UNAVAILABLE)
                return
        if self._cached:
            self._answers.pop(key, None)
            self._answers[key] = self._clock.now().monotonic + self._cached, answer
            if len(self._answers) > MAX_CACHED:
                self._answers.popitem(last=False)
        answered(answer)

    async def _from_hook(self, question: object, read: Callable[[Response, float], Answer]) -> Answer:
        now = self._clock.now().epoch_ms / 1000
        body = msgspec.json.encode(question)
        headers = signed(self._secret, int(now), body) if self._secret else {}
        response = await self._outgoing.post(body, headers)
        if response.status >= 500 or response.status in (408, 429) or 300 <= response.status < 400:
            raise OutgoingError(f"it answered with status {response.status}")
        if response.status != 200:
            return BadToken("refused", "the token is not accepted")
        return read(response, now)


class Said(Struct, rename="camel", forbid_unknown_fields=True):  # `presense` would restrict nothing
    """What the hook answers with status 200; other statuses below 500 mean that the token is not accepted."""

    user_id: int | str
    expires_in: float | None = None
    """Seconds for which the connection may stay; for good when not given."""
    token_id: str = ""
    presence: dict[str, Any] | UnsetType = UNSET
    """Whom they may see, where they may go, what others see of them: `Allowed`."""


_said = Decoder(Said)


class ByHook:
    """Implements `Authenticator` for `auth = "callback"`: the application says whose a token is."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook

    def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Ask no more."""
        await self._hook.stop()

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer | None:
        """At once when it was asked lately."""
        if len(token) > MAX_TOKEN:
            return BadToken("malformed", f"the token has more than {MAX_TOKEN} characters")
        key = digest(token)
        if (known := self._hook.known(key, now)) is not None:
            return known
        question = {"token": token.encode("utf-8", "replace").decode()}
        return None if self._hook.ask(key, question, partial(_whose, key), answered) else UNAVAILABLE


def _whose(key: str, response: Response, now: float) -> Answer:
    said = read(response.body, _said, Said)
    ends = None if said.expires_in is None else now + said.expires_in
    principal = Principal(parse_user_id(said.user_id), ends, said.token_id or key, now)
    return principal if said.presence is UNSET else with_allowed(principal, said.presence)


class SeenByHook:
    """Implements `Authenticator` for `visibility = "callback"`: once it is known who somebody is, the application is
    asked whom they may see.

    Args:
        inner: Says who somebody is.
    """

    def __init__(self, inner: Authenticator, hook: Hook) -> None:
        self._inner = inner
        self._hook = hook

    def start(self) -> None:
        """Begin what says who somebody is."""
        if isinstance(self._inner, Remote):
            self._inner.start()

    async def stop(self) -> None:
        """Ask no more."""
        if isinstance(self._inner, Remote):
            await self._inner.stop()
        await self._hook.stop()

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer | None:
        """At once when it was asked about the user lately."""
        answer = self._inner.ask(token, now, lambda late: self._go_on(late, answered))
        return None if answer is None else self._look(answer, now, answered)

    def _go_on(self, late: Answer, answered: Answered) -> None:
        answer = self._look(late, self._hook.now(), answered)
        if answer is not None:
            answered(answer)

    def _look(self, answer: Answer, now: Instant, answered: Answered) -> Answer | None:
        if isinstance(answer, BadToken):
            return answer
        key = answer.user_id
        known = self._hook.known(key, now)
        if isinstance(known, Principal):
            return _merged(answer, known)
        question = {"userId": wire_user_id(answer.user_id)}

        def merge(found: Answer) -> None:
            answered(_merged(answer, found) if isinstance(found, Principal) else found)

        return None if self._hook.ask(key, question, partial(_whom, key), merge) else UNAVAILABLE


def _whom(user_id: str, response: Response, now: float) -> Answer:
    return with_allowed(Principal(user_id, issued_at=now), msgspec.json.decode(response.body))


def _merged(principal: Principal, allowed: Principal) -> Principal:
    return principal._replace(
        watch=allowed.watch,
        watch_everyone=allowed.watch_everyone,
        rooms=allowed.rooms,
        block=principal.block | allowed.block,
        display=principal.display if allowed.display is None else allowed.display,
        roles=tuple(dict.fromkeys(principal.roles + allowed.roles)),
    )
