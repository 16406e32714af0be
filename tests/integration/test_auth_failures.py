"""Failures of an address: guesses count, genuine tokens that are no longer valid do not."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.support.api_client import api_client, problem
from tests.support.server import server
from tests.support.tokens import KEY, call_api, close_of, first_message, token, token_server, url
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from presenced import PresenceServer, Principal, Settings

pytestmark = pytest.mark.anyio

OFFICE = {"x-forwarded-for": "203.0.113.7"}

LIMITS = {"trusted_proxies": "127.0.0.1", "address_failure_burst": 1, "address_failure_rate": 0.001}
"""Settings that limit an address to one failure."""


async def refused(running: PresenceServer, given: str, query: str = "") -> int:
    """Return the close code for a token."""
    shown = url(running, f"?token={given}{query}")
    async with connect(shown, additional_headers=OFFICE, proxy=None) as socket:
        return (await close_of(socket))[0]


async def may_connect(running: PresenceServer, given: str) -> bool:
    try:
        async with connect(url(running, f"?token={given}"), additional_headers=OFFICE, proxy=None) as socket:
            await first_message(socket)
            return True
    except InvalidStatus as refusal:
        if refusal.response.status_code == 429:
            return False
        raise


@pytest.mark.parametrize(
    ("settings", "address"),
    [({}, ""), ({"keep_addresses": True}, "203.0.113.7"), ({"keep_addresses": True, "log_anonymous": True}, "")],
    ids=["default", "kept", "anonymous"],
)
async def test_the_log_has_the_address_of_a_guess_if_addresses_are_kept(
    settings: dict[str, Any], address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "presenced")
    async with token_server(trusted_proxies="127.0.0.1", **settings) as running:
        assert await refused(running, token("ada", seconds=-3600)) == 4401
        assert await refused(running, "guessed") == 4401
    expired, guess = (record for record in caplog.records if record.__dict__.get("event") == "refused")
    assert (expired.__dict__["fields"]["address"], guess.__dict__["fields"]["address"]) == ("", address)
    assert guess.getMessage().endswith(f"; from {address}") is bool(address)
    assert "203.0.113.7" not in expired.getMessage()
    assert ("203.0.113.7" in caplog.text) is bool(address)


@pytest.mark.parametrize(
    ("bad", "query", "code"),
    [
        (token("ada", seconds=-3600), "", 4401),
        (token("ada", nbf=int(time.time()) + 3600), "", 4401),
        (token("ada", seconds=80_000, aud="another-service"), "", 4401),
        (token("revoked", seconds=80_000), "", 4401),
        (token("ada", seconds=80_000), "&userId=bo", 4403),
    ],
    ids=["expired", "not yet valid", "for another service", "revoked", "of another user"],
)
async def test_a_genuine_token_does_not_count_as_a_guess(bad: str, query: str, code: int) -> None:
    async with token_server(**LIMITS) as running:
        await call_api(running, "POST", "/api/users/revoked/revoke")
        for _ in range(3):
            assert await refused(running, bad, query) == code
        async with api_client(running) as page:
            for _ in range(3 if not query else 0):
                answer = await page.ask("GET", f"/watch?users=bo&token={bad}", **OFFICE)
                assert problem(answer) == (401, "UNAUTHORIZED")
        assert await may_connect(running, token("colleague"))
        assert await refused(running, bad[:-4] + "AAAA") == 4401
        assert not await may_connect(running, token("colleague")), "a forged token is a guess"


async def test_a_used_ticket_does_not_count_as_a_guess() -> None:
    async with server(auth="ticket", api_keys=[KEY.entry], **LIMITS) as running:

        async def ticket() -> str:
            made = (await call_api(running, "POST", "/api/tickets", body={"userId": "ada"})).json()
            return str(made["ticket"])

        used = await ticket()
        assert await may_connect(running, used)
        for _ in range(3):
            assert await refused(running, used) == 4401
        assert await may_connect(running, await ticket())
        assert await refused(running, "ticket_" + "x" * 59) == 4401
        assert not await may_connect(running, await ticket())


async def test_a_function_can_report_a_token_as_expired() -> None:
    def whose(given: str) -> Any:
        return {"old": Principal("ada", time.time() - 60), "good": "bo"}.get(given)

    settings = Settings.model_validate({"port": 0, "auth": "callable", "stats_interval": 0, **LIMITS})
    async with PresenceServer(settings, whose) as running:
        for _ in range(3):
            assert await refused(running, "old") == 4401
        assert await may_connect(running, "good")
        assert await refused(running, "guess") == 4401
        assert not await may_connect(running, "good")
