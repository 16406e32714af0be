"""Key rotation by an issuer: when the server requests new keys, and the fate of tokens with old keys."""

from __future__ import annotations

import pytest
from tests.support.callback_server import CallbackServer, callback_server, connect_with, jwks_server, refusing
from websockets.exceptions import InvalidStatus

from presenced.auth import jwks

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("old", "new"), [("", ""), ("a", "a"), ("a", ""), ("", "a")])
async def test_a_signature_that_fits_no_key_requests_the_keys_for_any_key_id(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "MIN_REFETCH_S", 0.0)
    async with callback_server() as issuer:
        issuer.new_key(old)
        async with jwks_server(issuer) as running:
            assert await connect_with(running, issuer.token()) == (0, "ada")
            issuer.keys.clear()
            issuer.new_key(new)
            assert await connect_with(running, issuer.token("bo")) == (0, "bo")
            assert len(issuer.requests) == 2


async def test_forged_signatures_cause_a_bounded_number_of_requests() -> None:
    """There is one request per `MIN_REFETCH_S`, however many tokens arrive."""
    async with callback_server() as issuer:
        issuer.new_key("")
        async with jwks_server(issuer) as running:
            assert await connect_with(running, issuer.token()) == (0, "ada")
            for _ in range(50):
                forger = CallbackServer()
                forger.new_key("")
                assert await connect_with(running, forger.token()) == (
                    4401,
                    "the token's signature does not fit any key",
                )
            assert len(issuer.requests) == 1


async def test_a_token_of_a_new_key_may_be_retried_while_the_issuer_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The token cannot be distinguished from a forgery, and 4401 would declare it invalid."""
    monkeypatch.setattr(jwks, "MIN_REFETCH_S", 0.0)
    async with callback_server() as issuer:
        issuer.new_key("")
        async with jwks_server(issuer) as running:
            old = issuer.token()
            assert await connect_with(running, old) == (0, "ada")
            issuer.new_key("")
            issuer.keys, issuer.handler = issuer.keys[1:], refusing
            assert (await connect_with(running, issuer.token()))[0] == 1013
            assert await connect_with(running, old) == (0, "ada")
            issuer.handler = issuer.keys_handler
            assert await connect_with(running, issuer.token()) == (0, "ada")
            assert (await connect_with(running, old))[0] == 4401


async def test_a_key_that_left_the_set_is_refused_but_its_tokens_are_no_guesses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a weekend, pages return with expired tokens whose key the issuer has replaced."""
    monkeypatch.setattr(jwks, "MIN_REFETCH_S", 0.0)
    limits = {"trusted_proxies": "127.0.0.1", "address_failure_burst": 1, "address_failure_rate": 0.001}
    office = {"x-forwarded-for": "203.0.113.7"}
    async with callback_server() as issuer:
        issuer.new_key("a")
        async with jwks_server(issuer, **limits) as running:
            current, expired = issuer.token(), issuer.token(seconds=-3600)
            assert await connect_with(running, current) == (0, "ada")
            issuer.keys.clear()
            issuer.new_key("b")
            assert await connect_with(running, issuer.token()) == (0, "ada")
            for left in (current, expired, current):
                assert (await connect_with(running, left, **office))[0] == 4401
            assert await connect_with(running, issuer.token(), **office) == (0, "ada")
            forger = CallbackServer()
            forger.new_key("b")
            assert (await connect_with(running, forger.token(), **office))[0] == 4401
            with pytest.raises(InvalidStatus):
                await connect_with(running, issuer.token(), **office)


async def test_keys_that_left_the_set_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "MIN_REFETCH_S", 0.0)
    monkeypatch.setattr(jwks, "MAX_RETIRED_KEYS", 2)
    limits = {"trusted_proxies": "127.0.0.1", "address_failure_burst": 1, "address_failure_rate": 0.001}
    tokens = []
    async with callback_server() as issuer:
        issuer.new_key("")
        async with jwks_server(issuer, **limits) as running:
            for _ in range(4):
                assert await connect_with(running, issuer.token()) == (0, "ada")
                tokens.append(issuer.token())
                issuer.keys.clear()
                issuer.new_key("")
            assert await connect_with(running, issuer.token()) == (0, "ada")
            for number, (token, counts) in enumerate(zip(tokens, (True, True, False, False), strict=True)):
                there = {"x-forwarded-for": f"203.0.113.{number}"}
                assert (await connect_with(running, token, **there))[0] == 4401
                if counts:
                    with pytest.raises(InvalidStatus):
                        await connect_with(running, token, **there)
                else:
                    assert (await connect_with(running, token, **there))[0] == 4401
