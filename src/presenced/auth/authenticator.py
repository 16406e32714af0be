"""The interface behind the setting `auth`: it turns a token into a user, or into the reason for a refusal.

| setting | module | when the result is available |
|---|---|---|
| `auth = "jwt"` | `jwt` | immediately |
| `auth = "jwt"` with `jwt_jwks_url` | `jwks` | immediately, or after a request for newer keys |
| `auth = "ticket"` | `tickets` | immediately |
| `auth = "callback"` | `callbacks` | immediately if cached, otherwise after a request |
| `auth = "callable"` | `callable` | immediately, unless the function returns an awaitable |
| `visibility = "callback"` | `callbacks` | after the authenticator above, which it wraps; cached as well |

`authenticate` is a plain call that returns the result if it is available. Most results are, and a coroutine for each
handshake would cost a task. A result that takes time is passed to the callback `on_result` instead.

`factory` builds the authenticator that the settings select. `gatekeeper` adds the rules that are the same for all of
them: expiry, revocation and placeholder ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from presenced.auth.principal import Principal
from presenced.errors import BadToken
from presenced.runtime.instant import Instant

AuthResult = Principal | BadToken
OnAuthResult = Callable[[AuthResult], None]

UNAVAILABLE = BadToken("unavailable", "the user cannot be authenticated now; retry later")
"""Result when a backend does not respond, or when too many calls are pending."""

MAX_TOKEN_CHARACTERS = 8_192
"""Maximum number of characters of a token. Longer ones are refused without parsing. The limit leaves room for the other
headers of a request head of 16 KiB."""


class Authenticator(Protocol):
    """Turns tokens into users. Implementations inherit from this class; most have no background work."""

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult | None:
        """Authenticate a token.

        Returns:
            The result. None if it is not available yet; then `on_result` is called with it later, exactly once unless
            the server stops.
        """

    def start(self) -> None:
        """Start background work on the running loop."""
        return

    async def stop(self) -> None:
        """Stop background work. Pending results are dropped."""
        return


def refusal_if_too_long(token: str) -> BadToken | None:
    """Return the refusal of a token longer than `MAX_TOKEN_CHARACTERS`; None for other tokens."""
    if len(token) <= MAX_TOKEN_CHARACTERS:
        return None
    return BadToken("malformed", f"the token has more than {MAX_TOKEN_CHARACTERS} characters")


def token_digest(token: str) -> str:
    """Return the id of a token without a `jti`. It can be stored and logged, because it does not reveal the token."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
