"""Keys from the issuer's JWK Set URL (RFC 7517), and when they are requested.

The URL comes from the settings. `jku` and `x5u` in a token are ignored. A server that requests a URL from an unverified
token can be pointed at its internal network (CVE-2026-32301).

A background task requests the set. Between requests it is idle:

    start ──> FETCHING ──────── set usable: replace keys ────────┐
                 ^   └────────── failed: keep known keys ────────┤
                 │                                               v
                 │                      verify the waiting tokens again, in order
                 │                                               │
                 │    `refresh` seconds over, or                 v
                 └─── a token is waiting and `MIN_REFETCH_S` ── IDLE
                      have passed since the last request

| token arrives | result |
|---|---|
| a known key verifies it, or it has another fault | immediately, in every state |
| its key may be new (`_MAY_BE_NEW`), and the last request began `MIN_REFETCH_S` ago | after the next request |
| its key may be new, and another token waits already, or no key is known yet | after the next request |
| its key may be new otherwise | refused immediately |
| after a successful request, its key is still unknown | refused |
| after a failed request, its key is still unknown | `UNAVAILABLE`: with old keys, a new key looks like a forgery |

Bounds: anyone can invent tokens, so tokens trigger one request per `MIN_REFETCH_S` and at most `MAX_WAITING_TOKENS`
wait. A response has at most 256 KiB (`net.http_client`) and at most `keys.MAX_KEYS` usable keys. `MAX_RETIRED_KEYS`
keys are remembered after they left the set. There is one issuer and one URL, so no key of one issuer can verify a token
of another. In CVE-2026-49998, a cache of keys looked them up by `kid` alone.
"""

from __future__ import annotations

import asyncio
import math

from presenced.auth.authenticator import UNAVAILABLE, Authenticator, AuthResult, OnAuthResult
from presenced.auth.jwt import JwtAuthenticator
from presenced.auth.keys import HMAC_ALGORITHMS, MAX_KEYS, Key, check_keys, keys_from_jwks, restrict_algorithms
from presenced.config.settings import Settings
from presenced.errors import BadToken, ConfigError
from presenced.net.http_client import HttpClient, HttpClientError
from presenced.runtime.clock import Clock
from presenced.runtime.instant import Instant
from presenced.runtime.logs import logger

MIN_REFETCH_S = 10.0
"""Minimum number of seconds between two requests that tokens trigger. Until then, most tokens of unknown keys are
refused immediately (see the table above)."""

MAX_WAITING_TOKENS = 1_000
"""Maximum number of tokens waiting for new keys. At the bound, clients get `UNAVAILABLE` and retry later."""

MAX_RETIRED_KEYS = 4
"""Maximum number of keys remembered after they left the set. At the bound the one that left first is evicted. Tokens
signed with a remembered key are refused, but count as genuine (`BadToken.is_genuine`) and not as guesses. A page that
was left open over a weekend presents such a token."""

_MAY_BE_NEW = ("unknown_key", "signature")
"""Faults of a token whose key may have been added since the last request. A `kid` is optional and chosen by the issuer
(RFC 7517 section 4.5). A signature that matches no key is therefore as inconclusive as an unknown `kid`."""


class JwksAuthenticator(Authenticator):
    """Authenticator for `auth = "jwt"` with `jwt_jwks_url`.

    Args:
        jwt: Verifier whose keys are replaced. Its initial keys come from the settings and always stay.
    """

    def __init__(self, jwt: JwtAuthenticator, client: HttpClient, settings: Settings, clock: Clock) -> None:
        self._jwt = jwt
        self._static_keys: list[Key] = list(jwt.keys)
        self._client = client
        self._settings = settings
        self._clock = clock
        self._waiting: list[tuple[str, OnAuthResult]] = []
        self._fetched_at = -math.inf
        """Monotonic time at which the last request began."""
        self._is_fetching = False
        self._fetch_wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Request the keys now and from then on regularly."""
        self._task = asyncio.create_task(self._keep_fresh(), name="presenced: keys")

    async def stop(self) -> None:
        """Stop requesting keys."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._client.close()

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult | None:
        """Verify the token; wait for a request if its key may be among newer keys."""
        result = self._jwt.authenticate(token, now, on_result)
        if not _may_be_new(result):
            return result
        may_fetch = now.monotonic - self._fetched_at >= MIN_REFETCH_S
        if self._jwt.keys and not self._is_fetching and not self._waiting and not may_fetch:
            return result
        if len(self._waiting) >= MAX_WAITING_TOKENS:
            return UNAVAILABLE
        self._waiting.append((token, on_result))
        self._fetch_wanted.set()
        return None

    async def _keep_fresh(self) -> None:
        while True:
            self._is_fetching = True
            is_fresh = await self._fetch()
            self._is_fetching = False
            self._fetch_wanted.clear()
            self._finish_waiting(is_fresh)
            try:
                async with asyncio.timeout(self._settings.jwt_jwks_refresh):
                    await self._fetch_wanted.wait()
                    since = self._clock.monotonic() - self._fetched_at
                    await asyncio.sleep(max(0.0, MIN_REFETCH_S - since))
            except TimeoutError:
                pass

    async def _fetch(self) -> bool:
        """Replace the keys. Return False if there is no usable response."""
        self._fetched_at = self._clock.monotonic()
        try:
            response = await self._client.get()
            if response.status != 200:
                raise HttpClientError(f"it responded with status {response.status}")
            # A secret that everyone can download is not a secret: HMAC keys in the set would let anyone sign tokens.
            public = [key for key in keys_from_jwks(response.body) if key.algorithms[0] not in HMAC_ALGORITHMS]
            together = check_keys([*self._static_keys, *public][:MAX_KEYS])
            keys = restrict_algorithms(together, self._settings.jwt_algorithms)
        except (HttpClientError, ConfigError) as error:
            logger.error("jwt_jwks_url gave no keys, the known keys stay in use: %s", error)
            return False
        retired = [key for key in (*self._jwt.keys, *self._jwt.retired_keys) if key not in keys]
        self._jwt.keys, self._jwt.retired_keys = keys, retired[:MAX_RETIRED_KEYS]
        return True

    def _finish_waiting(self, is_fresh: bool) -> None:
        waiting, self._waiting = self._waiting, []
        now = self._clock.now()
        for token, on_result in waiting:
            result = self._jwt.authenticate(token, now, on_result)
            # Old keys cannot distinguish a token signed with a new key from a forgery, so the client may retry.
            on_result(UNAVAILABLE if not is_fresh and _may_be_new(result) else result)


def _may_be_new(result: AuthResult) -> bool:
    return isinstance(result, BadToken) and result.kind in _MAY_BE_NEW
