"""Key rotation by an issuer: when the server requests new keys, and the fate of tokens with old keys."""

from __future__ import annotations

import pytest
from tests.support.callback_server import CallbackServer, callback_server, come, key_server, refusing
from websockets.exceptions import InvalidStatus

from presenced.auth import jwks as key_set

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("old", "new"), [("", ""), ("a", "a"), ("a", ""), ("", "a")])
async def test_a_signature_that_fits_no_key_requests_the_keys_for_any_key_id(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_set, "MIN_PAUSE", 0.0)
    async with callback_server() as issuer:
        issuer.new_key(old)
        async with key_server(issuer) as running:
            assert await come(running, issuer.token()) == (0, "ada")
            issuer.keys.clear()
            issuer.new_key(new)
            assert await come(running, issuer.token("bo")) == (0, "bo")
            assert len(issuer.requests) == 2


async def test_forged_signatures_do_not_make_it_ask_without_end() -> None:
    """Once in `MIN_PAUSE`, however many tokens arrive."""
    async with callback_server() as issuer:
        issuer.new_key("")
        async with key_server(issuer) as running:
            assert await come(running, issuer.token()) == (0, "ada")
            for _ in range(50):
                forger = CallbackServer()
                forger.new_key("")
                assert await come(running, forger.token()) == (4401, "the token's signature does not fit any key")
            assert len(issuer.requests) == 1


async def test_a_new_key_s_token_may_be_retried_while_the_issuer_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It cannot be distinguished from a forgery, and 4401 would declare it invalid."""
    monkeypatch.setattr(key_set, "MIN_PAUSE", 0.0)
    async with callback_server() as issuer:
        issuer.new_key("")
        async with key_server(issuer) as running:
            old = issuer.token()
            assert await come(running, old) == (0, "ada")
            issuer.new_key("")
            issuer.keys, issuer.handler = issuer.keys[1:], refusing
            assert (await come(running, issuer.token()))[0] == 1013
            assert await come(running, old) == (0, "ada")
            issuer.handler = issuer.keys_handler
            assert await come(running, issuer.token()) == (0, "ada")
            assert (await come(running, old))[0] == 4401


async def test_a_key_that_left_the_set_is_accepted_no_longer_and_its_tokens_shut_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a weekend, pages return with expired tokens whose key the issuer has replaced."""
    monkeypatch.setattr(key_set, "MIN_PAUSE", 0.0)
    limits = {"trusted_proxies": "127.0.0.1", "address_failure_burst": 1, "address_failure_rate": 0.001}
    office = {"x-forwarded-for": "203.0.113.7"}
    async with callback_server() as issuer:
        issuer.new_key("a")
        async with key_server(issuer, **limits) as running:
            current, expired = issuer.token(), issuer.token(seconds=-3600)
            assert await come(running, current) == (0, "ada")
            issuer.keys.clear()
            issuer.new_key("b")
            assert await come(running, issuer.token()) == (0, "ada")
            for left in (current, expired, current):
                assert (await come(running, left, **office))[0] == 4401
            assert await come(running, issuer.token(), **office) == (0, "ada")
            forger = CallbackServer()
            forger.new_key("b")
            assert (await come(running, forger.token(), **office))[0] == 4401
            with pytest.raises(InvalidStatus):
                await come(running, issuer.token(), **office)


async def test_keys_that_left_the_set_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_set, "MIN_PAUSE", 0.0)
    monkeypatch.setattr(key_set, "MAX_RETIRED", 2)
    limits = {"trusted_proxies": "127.0.0.1", "address_failure_burst": 1, "address_failure_rate": 0.001}
    tokens = []
    async with callback_server() as issuer:
        issuer.new_key("")
        async with key_server(issuer, **limits) as running:
            for _ in range(4):
                assert await come(running, issuer.token()) == (0, "ada")
                tokens.append(issuer.token())
                issuer.keys.clear()
                issuer.new_key("")
            assert await come(running, issuer.token()) == (0, "ada")
            for number, (token, counts) in enumerate(zip(tokens, (True, True, False, False), strict=True)):
                there = {"x-forwarded-for": f"203.0.113.{number}"}
                assert (await come(running, token, **there))[0] == 4401
                if counts:
                    with pytest.raises(InvalidStatus):
                        await come(running, token, **there)
                else:
                    assert (await come(running, token, **there))[0] == 4401
