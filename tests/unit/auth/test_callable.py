"""Authentication by a function of the program."""

from __future__ import annotations

import asyncio
import logging

import pytest

from presenced.auth import pending
from presenced.auth.authenticator import UNAVAILABLE, AuthResult
from presenced.auth.callable import CallableAuthenticator
from presenced.auth.principal import Principal
from presenced.presence.model import Display
from presenced.testing import FakeClock

pytestmark = pytest.mark.anyio


def authenticator(function: object) -> CallableAuthenticator:
    return CallableAuthenticator(function, timeout=1.0, clock=FakeClock())  # type: ignore[arg-type]  # each test's own


def test_display_data_of_the_program_is_passed_on_in_one_line() -> None:
    principal = Principal("ada", display=Display(b'{"name":\n\r "Ada"}', 5.0))
    result = authenticator(lambda _: principal).authenticate("token", FakeClock().now(), lambda _: None)
    assert isinstance(result, Principal)
    assert result.display == Display(b'{"name":"Ada"}', 5.0)


def test_the_place_where_a_function_failed_is_logged_in_one_line_without_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(token: str) -> str:
        raise KeyError(token)

    caplog.set_level(logging.ERROR)
    authenticator(fail).authenticate("the-token", FakeClock().now(), lambda _: None)
    (message,) = caplog.messages
    assert message.startswith("the authentication function failed: KeyError at ")
    assert " in fail, from " in message
    assert "\n" not in message
    assert "the-token" not in message


async def test_at_the_bound_of_pending_calls_clients_retry_and_the_function_is_not_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pending, "MAX_PENDING_CALLS", 2)
    called: list[str] = []
    results: list[AuthResult] = []

    async def whose(token: str) -> str:
        await asyncio.Event().wait()
        return token

    def function(token: str) -> object:
        called.append(token)
        return whose(token)

    under_test, now = authenticator(function), FakeClock().now()
    returned = [under_test.authenticate(token, now, results.append) for token in ("ada", "bo", "carl")]
    assert returned == [None, None, UNAVAILABLE]
    assert called == ["ada", "bo"]
    await asyncio.sleep(0)
    await under_test.stop()
    assert results == [], "results are dropped when the server stops"
