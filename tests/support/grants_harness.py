"""Node whose tokens contain grants: the harness of the tests of features."""

from __future__ import annotations

from typing import Any

from msgspec import json
from tests.support.fakes import FakeConnection
from tests.support.node_harness import NodeHarness

from presenced.auth.authenticator import Authenticator, AuthResult, OnAuthResult
from presenced.auth.grants import with_grants
from presenced.auth.principal import Principal
from presenced.runtime.instant import Instant


class GrantsAuthenticator(Authenticator):
    """Tokens are JSON: `{"sub": "ada", "presence": {...}}`."""

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult:
        """Return the principal of a token immediately."""
        claims = json.decode(token)
        principal = Principal(claims["sub"], None, token)
        return with_grants(principal, claims["presence"]) if "presence" in claims else principal


def token(user_id: str, **presence: Any) -> str:
    """Return a token for a user with these grants."""
    return json.encode({"sub": user_id, **({"presence": presence} if presence else {})}).decode()


class GrantsHarness(NodeHarness):
    """Node and its clients, with the presence rules in their tokens."""

    def __init__(self, visibility: str = "claims", **more: Any) -> None:
        super().__init__(GrantsAuthenticator(), auth="ticket", visibility=visibility, **more)

    def come(self, user_id: str, query: str = "", classic: bool = False, **presence: Any) -> FakeConnection:
        """Connect a user whose token has these grants."""
        return self.open(query, "" if classic else "presenced.v1", token(user_id, **presence))
