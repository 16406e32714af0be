"""Authentication by a function of the program that embeds the server."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable

from presenced.auth.authenticator import (
    UNAVAILABLE,
    Authenticator,
    AuthResult,
    OnAuthResult,
    refusal_if_too_long,
    token_digest,
)
from presenced.auth.pending import PendingCalls
from presenced.auth.principal import Principal
from presenced.errors import BadToken
from presenced.presence.identity import parse_user_id
from presenced.presence.model import Display
from presenced.protocols.v1.codec import compact, is_display
from presenced.runtime.clock import Clock
from presenced.runtime.instant import Instant

FunctionResult = int | str | Principal | None
AuthenticateFunction = Callable[[str], FunctionResult | Awaitable[FunctionResult]]
"""Function that returns the user id of a token or a `Principal`, or None to refuse the token. It may be async."""


class CallableAuthenticator(Authenticator):
    """Authenticator for `auth = "callable"`.

    If the function fails, the client is asked to retry. The log has the type and place of the exception but not its
    text, which may contain the token (`KeyError` of `sessions[token]`).

    Bounds: as `PendingCalls`; `timeout` seconds for an asynchronous function.
    """

    def __init__(self, function: AuthenticateFunction, timeout: float, clock: Clock) -> None:
        self._function = function
        self._timeout = timeout
        self._pending = PendingCalls(clock)

    async def stop(self) -> None:
        """Cancel pending calls."""
        await self._pending.stop()

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult | None:
        """Call the function; return its result unless it has to be awaited."""
        if (refusal := refusal_if_too_long(token)) is not None:
            return refusal
        if self._pending.is_full:
            return UNAVAILABLE
        try:
            returned = self._function(token)
            if not inspect.isawaitable(returned):
                return _result_of(returned, token, now)
        except Exception as error:
            self._log(error)
            return UNAVAILABLE
        self._pending.start(self._await(returned, token, now, on_result))
        return None

    async def _await(
        self, returned: Awaitable[FunctionResult], token: str, now: Instant, on_result: OnAuthResult
    ) -> None:
        result: AuthResult = UNAVAILABLE
        try:
            async with asyncio.timeout(self._timeout):
                result = _result_of(await returned, token, now)
        except Exception as error:
            self._log(error)
        on_result(result)

    def _log(self, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = ", from ".join(f"{one.filename}:{one.lineno} in {one.name}" for one in reversed(frames))
        self._pending.log_failure("the authentication function failed: %s at %s", type(error).__name__, place)


def _result_of(returned: FunctionResult, token: str, now: Instant) -> AuthResult:
    """Return the result for a value of the function.

    Raises:
        ValueError: The value is invalid.
    """
    if returned is None:
        return BadToken("refused", "the token is not accepted")
    if not isinstance(returned, Principal):
        return Principal(parse_user_id(returned), None, token_digest(token), now.epoch_ms / 1000)
    display = returned.display
    if display is not None and display.data:
        if not is_display(display.data):
            raise ValueError("display is not a valid JSON object")
        display = Display(compact(display.data), display.issued)  # messages and SSE need it on one line
    return returned._replace(
        user_id=parse_user_id(returned.user_id), token_id=returned.token_id or token_digest(token), display=display
    )
