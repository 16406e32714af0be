"""The ways to show who one is: what `Settings.auth` names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from presenced.auth.keys import checked, keys_from_file, keys_from_text, restricted
from presenced.auth.principal import Principal
from presenced.auth.tickets import Tickets
from presenced.auth.tokens import Rules, Tokens
from presenced.core.model import Instant
from presenced.errors import BadToken
from presenced.settings import Settings

Answer = Principal | BadToken
Answered = Callable[[Answer], None]


class Authenticator(Protocol):
    """Says whose a token is."""

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer | None:
        """Whose `token` is, or why it is not accepted; None when that takes a while: `answered` is called then."""


class ByToken:
    """Implements `Authenticator` for `auth = "jwt"`."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer:
        """At once."""
        try:
            return self._tokens.verify(token, now.epoch_ms / 1000)
        except BadToken as error:
            return error


class ByTicket:
    """Implements `Authenticator` for `auth = "ticket"`."""

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer:
        """At once; the ticket is used up."""
        try:
            return self._tickets.redeem(token, now.monotonic, now.epoch_ms / 1000)
        except BadToken as error:
            return error


def make_authenticator(settings: Settings, tickets: Tickets) -> Authenticator | None:
    """The one the settings ask for; None where anybody may claim any user id.

    Raises:
        ConfigError: A key can't be read or used.
    """
    match settings.auth:
        case "jwt":
            return ByToken(make_tokens(settings))
        case "ticket":
            return ByTicket(tickets)
        case "none":
            return None


def make_tokens(settings: Settings) -> Tokens:
    """What verifies tokens by the settings.

    Raises:
        ConfigError: A key can't be read or used.
    """
    keys = []
    if secret := settings.jwt_key.get_secret_value():
        keys += keys_from_text(secret)
    if settings.jwt_key_file:
        keys += keys_from_file(Path(settings.jwt_key_file))
    rules = Rules(
        settings.jwt_issuer,
        settings.jwt_audience,
        settings.jwt_leeway,
        settings.jwt_required_claims,
        settings.token_lifetime,
    )
    return Tokens(restricted(checked(keys), settings.jwt_algorithms), rules)
