"""Commands for webhooks: `webhook secret`, `webhook test`."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from cyclopts import App

from presenced.cli.options import ConfigFile
from presenced.config.sources import load
from presenced.errors import ConfigError, PresencedError
from presenced.webhooks.config import webhook_config
from presenced.webhooks.sender import display_url, send_test_events
from presenced.webhooks.signing import new_secret


class RefusedError(PresencedError):
    """An endpoint did not accept the test event."""


webhook = App("webhook", help="Test webhooks, and create secrets for them.")


@webhook.command
def secret() -> None:
    """Print a new secret that signs webhooks, for the setting webhook_secrets and for the receiver."""
    sys.stdout.write(new_secret() + "\n")


@webhook.command(name="test")
def send_test(*, config: ConfigFile = None) -> None:
    """Send a signed test event once to each endpoint in the settings, and print the responses.

    The exit code is 1 if an endpoint did not accept it. The server need not run.
    """
    webhooks = webhook_config(load({}, os.environ, config).settings)
    if webhooks is None:
        raise ConfigError("there are no endpoints: set webhook_urls")
    results = asyncio.run(send_test_events(webhooks, time.time_ns() // 1_000_000))
    for url, result in zip(webhooks.urls, results, strict=True):
        outcome = f"NOT ACCEPTED: {result.error}" if result.error else "accepted"
        sys.stdout.write(
            f"{display_url(url)}\n  {outcome} ({result.status or 'no response'}, {round(result.duration_s, 3):g} s)\n"
        )
    if failed := sum(bool(result.error) for result in results):
        raise RefusedError(f"{failed} of {len(results)} endpoints did not accept the test event")
