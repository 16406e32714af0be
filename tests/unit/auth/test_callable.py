"""Authentication by a function of the program."""

from __future__ import annotations

import asyncio
import logging

import pytest

from presenced.auth.callable import ByFunction, Said
from presenced.auth.principal import Principal
from presenced.presence.model import Display
from presenced.testing import FakeClock

pytestmark = pytest.mark.anyio


def ask(said: Said) -> object:
    return ByFunction(lambda _: said, 1.0).ask("token", FakeClock().now(), lambda _: None)


def test_display_data_of_the_program_is_passed_on_in_one_line() -> None:
    answer = ask(Principal("ada", display=Display(b'{"name":\n\r "Ada"}', 5.0)))
    assert isinstance(answer, Principal)
    assert answer.display == Display(b'{"name":"Ada"}', 5.0)


async def test_the_place_where_a_function_failed_is_logged_in_one_line_without_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(token: str) -> str:
        raise KeyError(token)

    caplog.set_level(logging.ERROR)
    ByFunction(fail, 1.0).ask("the-token", FakeClock().now(), lambda _: None)
    await asyncio.sleep(0)
    (message,) = caplog.messages
    assert message.startswith("the authentication function failed: KeyError at ")
    assert " in fail, from " in message
    assert "\n" not in message
    assert "the-token" not in message
