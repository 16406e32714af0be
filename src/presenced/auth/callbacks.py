"""Callbacks to the application's backend: which user a token belongs to, and which users a user may see.

Two settings name a URL, and each URL has a `Callback` of its own:

| setting | request body | cache key | response body |
|---|---|---|---|
| `callback_url`, for `auth = "callback"` | `{"token": "..."}` | digest of the token | `CallbackResponse` |
| `visibility_url`, for `visibility = "callback"` | `{"userId": 7}` | user id | `grants.Grants` |

A response becomes a result as follows. A failure of the backend is never a refusal: a client that is refused discards
its token, so an outage would log everyone out. After `UNAVAILABLE` a client retries (close code 1013).

| response | result | cached | logged |
|---|---|---|---|
| 200 with a valid body | the user | yes | no |
| 200 with any other body | `UNAVAILABLE` | no | yes |
| 3xx, 408, 429, 5xx | `UNAVAILABLE` | no | yes |
| any other status | refused | only for `callback_url` | no |
| timeout, connection error, too large, private address | `UNAVAILABLE` | no | yes |

Concurrency: `callback_concurrency` requests of a URL run at a time. Further calls wait in the order of arrival, up to
`pending.MAX_PENDING_CALLS` in all. A connection that waits for longer than `auth_timeout` is closed by the gatekeeper.
Two clients with the same uncached token cause two requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.json import Decoder

from presenced.auth.authenticator import (
    UNAVAILABLE,
    Authenticator,
    AuthResult,
    OnAuthResult,
    refusal_if_too_long,
    token_digest,
)
from presenced.auth.grants import with_grants
from presenced.auth.pending import PendingCalls
from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.errors import BadToken
from presenced.net.http_client import HttpClient, HttpClientError, HttpResponse
from presenced.presence.identity import parse_user_id
from presenced.protocols.ids import wire_user_id
from presenced.runtime.clock import Clock
from presenced.runtime.instant import Instant
from presenced.runtime.limits import BoundedMap
from presenced.runtime.strict_json import read

MAX_CACHED_RESULTS = 10_000
"""Maximum number of cached results of one URL, some 3 MB. At the bound the oldest is evicted."""

ReadResponse = Callable[[HttpResponse, float], AuthResult]
"""Function that turns a response with status 200 into a result, given the time of the request in epoch seconds."""


# Unknown fields are refused: otherwise a misspelt `presense` would restrict nobody.
class CallbackResponse(Struct, rename="camel", forbid_unknown_fields=True):
    """Response of `callback_url` with status 200."""

    user_id: int | str
    expires_in: float | None = None
    """Seconds until the connection has to be authenticated again; no limit if omitted."""
    token_id: str = ""
    presence: dict[str, Any] | UnsetType = UNSET
    """Grants of the user, as `grants.Grants`."""


_response_decoder = Decoder(CallbackResponse)


class Callback:
    """Client for one callback URL, with a cache.

    Bounds: `callback_concurrency` simultaneous requests; pending calls as `PendingCalls`; `MAX_CACHED_RESULTS` results,
    each for `callback_cache` seconds.

    Args:
        name: Setting that holds the URL.
    """

    def __init__(self, name: str, client: HttpClient, settings: Settings, clock: Clock) -> None:
        self.clock = clock
        self._name = name
        self._client = client
        self._secret = settings.callback_secret.get_secret_value()
        self._request_slots = asyncio.Semaphore(settings.callback_concurrency)
        self._pending = PendingCalls(clock)
        self._cache: BoundedMap[str, AuthResult] = BoundedMap(MAX_CACHED_RESULTS, ttl=settings.callback_cache)
        # `callback_url` decides on a token, and a refused token stays refused. `visibility_url` decides on a user,
        # and the backend may soon decide differently.
        self._caches_refusals = name == "callback_url"

    async def stop(self) -> None:
        """Cancel pending calls and close connections."""
        await self._pending.stop()
        await self._client.close()

    def call(
        self, key: str, body: object, read_response: ReadResponse, now: Instant, on_result: OnAuthResult
    ) -> AuthResult | None:
        """Return the cached result, or `UNAVAILABLE` if too many calls are pending. Otherwise send a request.

        Args:
            key: Cache key.
            body: Request body, encoded as JSON.
            read_response: May raise `HttpClientError`, `ValueError` and what msgspec raises for invalid responses.

        Returns:
            The result. None if a request was sent; then `on_result` is called with the result later.
        """
        cached = self._cache.get(key, now.monotonic)
        has_expired = isinstance(cached, Principal) and (cached.expires_at or math.inf) * 1000 <= now.epoch_ms
        if cached is not None and not has_expired:
            return cached
        if self._pending.is_full:
            return UNAVAILABLE
        self._pending.start(self._call(key, msgspec.json.encode(body), read_response, on_result))
        return None

    async def _call(self, key: str, body: bytes, read_response: ReadResponse, on_result: OnAuthResult) -> None:
        result: AuthResult = UNAVAILABLE
        async with self._request_slots:
            try:
                result = await self._request(body, read_response)
            except (HttpClientError, msgspec.MsgspecError, ValueError, RecursionError) as error:
                self._pending.log_failure("%s gave no usable response: %s", self._name, error)
            else:
                if self._caches_refusals or isinstance(result, Principal):
                    self._cache.set(key, result, self.clock.monotonic())
        on_result(result)

    async def _request(self, body: bytes, read_response: ReadResponse) -> AuthResult:
        requested_at = self.clock.now().epoch_ms / 1000
        headers = signature_headers(self._secret, int(requested_at), body) if self._secret else {}
        response = await self._client.post(body, headers)
        if response.status >= 500 or response.status in (408, 429) or 300 <= response.status < 400:
            raise HttpClientError(f"it responded with status {response.status}")
        if response.status != 200:
            return BadToken("refused", "the token is not accepted")
        return read_response(response, requested_at)


class CallbackAuthenticator(Authenticator):
    """Authenticator for `auth = "callback"`: the backend names the user of a token."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback

    async def stop(self) -> None:
        """Cancel pending calls."""
        await self._callback.stop()

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult | None:
        """Return the cached result, or call the backend."""
        if (refusal := refusal_if_too_long(token)) is not None:
            return refusal
        key = token_digest(token)  # the cache holds no token that a memory dump could reveal
        body = {"token": token.encode("utf-8", "replace").decode()}
        return self._callback.call(key, body, partial(_read_user, key), now, on_result)


class CallbackVisibility(Authenticator):
    """Authenticator for `visibility = "callback"`: the backend names the users that an authenticated user may see.

    Args:
        inner: Authenticator that identifies the user.
    """

    def __init__(self, inner: Authenticator, callback: Callback) -> None:
        self._inner = inner
        self._callback = callback

    def start(self) -> None:
        """Start the inner authenticator."""
        self._inner.start()

    async def stop(self) -> None:
        """Stop the inner authenticator and cancel pending calls."""
        await self._inner.stop()
        await self._callback.stop()

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult | None:
        """Authenticate the token, then look up the visibility of its user."""

        def continue_later(result: AuthResult) -> None:
            merged = self._look_up(result, self._callback.clock.now(), on_result)
            if merged is not None:
                on_result(merged)

        result = self._inner.authenticate(token, now, continue_later)
        return None if result is None else self._look_up(result, now, on_result)

    def _look_up(self, result: AuthResult, now: Instant, on_result: OnAuthResult) -> AuthResult | None:
        """Return the result with the grants of the visibility callback; None if `on_result` receives it later."""
        if isinstance(result, BadToken):
            return result
        principal, user_id = result, result.user_id

        def merge(granted: AuthResult) -> AuthResult:
            if granted is UNAVAILABLE:
                return UNAVAILABLE
            if isinstance(granted, BadToken):  # the token is no guess, because `inner` has accepted it
                return BadToken(granted.kind, str(granted), is_genuine=True)
            return merge_grants(principal, granted)

        body, read_response = {"userId": wire_user_id(user_id)}, partial(_read_grants, user_id)
        granted = self._callback.call(user_id, body, read_response, now, lambda granted: on_result(merge(granted)))
        return None if granted is None else merge(granted)


def _read_user(token_id: str, response: HttpResponse, requested_at: float) -> AuthResult:
    found = read(response.body, _response_decoder, CallbackResponse)
    expires_at = None if found.expires_in is None else requested_at + found.expires_in
    principal = Principal(parse_user_id(found.user_id), expires_at, found.token_id or token_id, requested_at)
    return principal if found.presence is UNSET else with_grants(principal, found.presence)


def _read_grants(user_id: str, response: HttpResponse, requested_at: float) -> AuthResult:
    return with_grants(Principal(user_id, issued_at=requested_at), msgspec.json.decode(response.body))


def merge_grants(principal: Principal, granted: Principal) -> Principal:
    """Return the principal with the grants of the visibility callback.

    Visibility and rooms are the callback's. Blocks and roles of the token stay: a callback cannot lift a block.
    """
    return principal._replace(
        watch=granted.watch,
        watch_everyone=granted.watch_everyone,
        rooms=granted.rooms,
        block=principal.block | granted.block,
        display=principal.display if granted.display is None else granted.display,
        roles=tuple(dict.fromkeys(principal.roles + granted.roles)),
    )


def signature_headers(secret: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """Return the headers that authenticate a request and let the receiver detect replays.

    `Presenced-Signature` is `v1=` and the hexadecimal HMAC-SHA256 of timestamp, full stop and body. Without the
    timestamp in the signed text, an old request could be sent again under a new time.
    """
    signature = hmac.digest(secret.encode(), str(timestamp).encode() + b"." + body, hashlib.sha256).hex()
    return {"presenced-timestamp": str(timestamp), "presenced-signature": f"v1={signature}"}
