"""Callbacks: the effect of each response, the cache, signatures, and how grants combine."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Mapping

import pytest

from presenced.auth.authenticator import UNAVAILABLE, Authenticator, AuthResult, OnAuthResult
from presenced.auth.callbacks import (
    Callback,
    CallbackAuthenticator,
    CallbackVisibility,
    merge_grants,
    signature_headers,
)
from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.errors import BadToken
from presenced.net.http_client import HttpClient, HttpClientError, HttpResponse
from presenced.runtime.instant import Instant
from presenced.testing import FakeClock

pytestmark = pytest.mark.anyio

REFUSED = "the token is not accepted"


class Backend(HttpClient):
    """Client whose requests get the response that the test sets."""

    def __init__(self, status: int = 200, body: bytes = b'{"userId": "ada"}') -> None:
        super().__init__("callback_url", "https://app.example.com/", timeout=1, allow_private=False)
        self.response: HttpResponse | None = HttpResponse(status, body)
        self.requests: list[bytes] = []

    async def post(self, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
        self.requests.append(body)
        await asyncio.sleep(0)
        if self.response is None:
            raise HttpClientError("app.example.com did not respond within 1 s")
        return self.response


def callback(backend: Backend, clock: FakeClock, cache: float = 60, caches_refusals: bool = True) -> Callback:
    name = "callback_url" if caches_refusals else "visibility_url"
    return Callback(name, backend, Settings(callback_concurrency=2, callback_cache=cache), clock)


async def result(authenticator: Authenticator, clock: FakeClock, token: str = "t") -> AuthResult:
    """Return the result of one authentication, immediate or late."""
    late: asyncio.Future[AuthResult] = asyncio.get_running_loop().create_future()
    immediate = authenticator.authenticate(token, clock.now(), late.set_result)
    return immediate if immediate is not None else await asyncio.wait_for(late, 5)


ACCEPTED, DENIED, RETRY = "accepted", "denied", "retry"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"userId": "ada"}', ACCEPTED),
        (200, b'{"userId": "ada", "expires_in": 5}', RETRY),
        (200, b"<html>", RETRY),
        (200, b"[" * 100_000, RETRY),
        (200, b'{"userId": "a\\nb"}', RETRY),
        (204, b"", DENIED),
        (401, b"", DENIED),
        (404, b"", DENIED),
        (302, b"", RETRY),
        (408, b"", RETRY),
        (429, b"", RETRY),
        (500, b"", RETRY),
        (0, b"", RETRY),
    ],
    ids=str,
)
async def test_a_failing_backend_makes_clients_retry_and_only_the_backend_refuses(
    status: int, body: bytes, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    backend, clock = Backend(status, body), FakeClock()
    backend.response = backend.response if status else None
    authenticator = CallbackAuthenticator(callback(backend, clock))
    found = [await result(authenticator, clock) for _ in range(2)]
    assert found[0] == found[1] or str(found[0]) == str(found[1])
    if expected == ACCEPTED:
        assert isinstance(found[0], Principal)
    else:
        assert str(found[0]) == (REFUSED if expected == DENIED else str(UNAVAILABLE))
    assert len(backend.requests) == (2 if expected == RETRY else 1), "only results are cached, not failures"
    assert len(caplog.messages) == (2 if expected == RETRY else 0)


async def test_a_result_is_cached_for_a_time_and_by_token() -> None:
    backend, clock = Backend(), FakeClock()
    authenticator = CallbackAuthenticator(callback(backend, clock, cache=60))
    for token, seconds, requests in (("t", 0.0, 1), ("t", 59.0, 1), ("u", 0.0, 2), ("t", 1.0, 3)):
        clock.advance(seconds)
        await result(authenticator, clock, token)
        assert len(backend.requests) == requests


async def test_a_cached_result_that_has_expired_is_asked_for_again() -> None:
    """The client presents the same token when the time of the result is over, and the backend may accept it again."""
    backend, clock = Backend(body=b'{"userId": "ada", "expiresIn": 10}'), FakeClock()
    authenticator = CallbackAuthenticator(callback(backend, clock, cache=60))
    for seconds, requests in ((0.0, 1), (9.0, 1), (1.0, 2), (9.0, 2), (1.0, 3)):
        clock.advance(seconds)
        found = await result(authenticator, clock)
        assert isinstance(found, Principal)
        assert (found.expires_at or 0) > clock.now().epoch_ms / 1000
        assert len(backend.requests) == requests


async def test_without_a_cache_each_connection_calls_the_backend() -> None:
    backend, clock = Backend(), FakeClock()
    authenticator = CallbackAuthenticator(callback(backend, clock, cache=0))
    for _ in range(3):
        await result(authenticator, clock)
    assert len(backend.requests) == 3


class Inner(Authenticator):
    """Authenticator that knows `ada`, and refuses every other token."""

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult:
        return Principal(token) if token == "ada" else BadToken("signature", "forged")


@pytest.mark.parametrize(("status", "body", "requests"), [(200, b'{"watch": ["bo"]}', 1), (403, b"", 2)])
async def test_visibility_is_looked_up_by_user_and_cached_unless_refused(
    status: int, body: bytes, requests: int
) -> None:
    backend, clock = Backend(status, body), FakeClock()
    authenticator = CallbackVisibility(Inner(), callback(backend, clock, caches_refusals=False))
    for _ in range(2):
        found = await result(authenticator, clock, "ada")
        if status == 200:
            assert isinstance(found, Principal)
            assert found.watch == frozenset({"bo"})
        else:
            assert str(found) == REFUSED
            assert isinstance(found, BadToken)
            assert found.is_genuine, "it does not count as a guess of its address"
    forged = await result(authenticator, clock, "eve")
    assert str(forged) == "forged"
    assert isinstance(forged, BadToken)
    assert not forged.is_genuine
    assert backend.requests == [b'{"userId":"ada"}'] * requests


def test_the_signature_covers_the_time_and_the_body() -> None:
    headers = signature_headers("secret", 1_700_000_000, b"{}")
    expected = hmac.digest(b"secret", b"1700000000.{}", hashlib.sha256).hex()
    assert headers == {"presenced-timestamp": "1700000000", "presenced-signature": f"v1={expected}"}


def test_a_callback_decides_visibility_and_cannot_lift_a_block_of_the_token() -> None:
    of_token = Principal("ada", block=frozenset({"eve"}), watch=frozenset({"bo"}), roles=("a", "b"))
    of_callback = Principal("ada", watch_everyone=True, rooms=frozenset({"lobby"}), block=frozenset({"mallory"}))
    merged = merge_grants(of_token, of_callback)
    assert merged.block == {"eve", "mallory"}
    assert (merged.watch, merged.watch_everyone, merged.rooms) == (None, True, frozenset({"lobby"}))
    assert merged.roles == ("a", "b")
