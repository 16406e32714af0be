"""Commands for webhooks: `webhook secret`, `webhook test`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from presenced.config.sources import load
from presenced.errors import ConfigError, PresencedError
from presenced.webhooks.config import webhook_config
from presenced.webhooks.sender import try_all
from presenced.webhooks.signing import new_secret

Config = Annotated[Path | None, Parameter(metavar="FILE", help="Settings file. [default presenced.toml, if it exists]")]


class UntakenError(PresencedError):
    """An endpoint did not accept the test event."""


def add_to(app: App) -> None:
    """Add the commands to `app`."""
    webhook = App("webhook", help="Test webhooks, and make secrets for them.")
    webhook.command(secret)
    webhook.command(send_test, name="test")
    app.command(webhook)


def secret() -> None:
    """Print a new secret that signs webhooks, for the setting webhook_secrets and for the receiver."""
    sys.stdout.write(new_secret() + "\n")


def send_test(*, config: Config = None) -> None:
    """Send a signed test event once to each endpoint in the settings, and print the responses.

    The exit code is 1 if an endpoint did not accept it. The server need not run.
    """
    found = webhook_config(load({}, os.environ, config).settings)
    if found is None:
        raise ConfigError("there are no endpoints: set webhook_urls")
    tried = asyncio.run(try_all(found, time.time_ns() // 1_000_000))
    for one in tried:
        answer = "taken" if one.ok else f"NOT TAKEN: {one.error}"
        sys.stdout.write(f"{one.endpoint}\n  {answer} ({one.status or 'no answer'}, {one.seconds:g} s)\n")
    if failed := sum(not one.ok for one in tried):
        raise UntakenError(f"{failed} of {len(tried)} endpoints did not take the test event")
