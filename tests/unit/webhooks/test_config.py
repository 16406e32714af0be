"""Configuration of webhooks from the settings."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.webhooks import SECRET

from presenced.config.settings import Settings
from presenced.errors import ConfigError
from presenced.webhooks.config import EVENTS, MAX_ENDPOINTS, webhook_config
from presenced.webhooks.signing import new_secret

URL = "https://example.com/hook"


def settings(**changes: Any) -> Settings:
    values = {"webhook_urls": URL, "webhook_secrets": SECRET, "database": "sqlite", **changes}
    return Settings.model_validate({name: value for name, value in values.items() if name in Settings.model_fields})


def test_without_urls_there_are_no_webhooks() -> None:
    assert webhook_config(Settings()) is None


def test_all_events_are_sent_unless_some_are_named() -> None:
    every, some = webhook_config(settings()), webhook_config(settings(webhook_events="user.online,room.vacated"))
    assert every
    assert some
    assert every.events == EVENTS
    assert some.events == ("user.online", "room.vacated")


def test_urls_without_a_secret_are_refused() -> None:
    with pytest.raises(ValidationError, match="presenced webhook secret"):
        settings(webhook_secrets="")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"webhook_urls": "http://example.com/"}, "not https"),
        ({"webhook_urls": "https://a:b@example.com/"}, "must not hold a user name or password"),
        ({"webhook_urls": [f"{URL}/{n}" for n in range(MAX_ENDPOINTS + 1)]}, "at most 16"),
        ({"webhook_events": "user.onlin"}, "user.online"),
        ({"webhook_secrets": "hunter2"}, "24 to 64 bytes"),
        ({"webhook_secrets": f"{SECRET} {SECRET} {SECRET}"}, "3 secrets"),
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises((ConfigError, ValidationError), match=says):
        webhook_config(settings(**changes))


def test_the_configuration_does_not_show_its_secrets() -> None:
    other = new_secret()
    config = webhook_config(settings(webhook_secrets=f"{SECRET} {other}"))
    assert config
    assert config.secrets == (SECRET, other)
    assert SECRET not in repr(config)
