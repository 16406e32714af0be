"""The authenticator that the settings name."""

from __future__ import annotations

from pathlib import Path

from presenced.auth.authenticator import Authenticator, ByTicket, ByToken
from presenced.auth.callable import Authenticate, ByFunction
from presenced.auth.callbacks import ByHook, Hook, Moments, SeenByHook
from presenced.auth.jwks import ByKeySet
from presenced.auth.jwt import Rules, Tokens
from presenced.auth.keys import Key, checked, keys_from_file, keys_from_text, restricted
from presenced.auth.tickets import Tickets
from presenced.config.settings import Settings
from presenced.errors import ConfigError
from presenced.net.http_client import Outgoing

JWKS_TIMEOUT = 10.0
"""Seconds for a JWK Set to come."""


def make_authenticator(
    settings: Settings, tickets: Tickets, clock: Moments, function: Authenticate | None
) -> Authenticator | None:
    """The one the settings ask for; None where anybody may claim any user id.

    Raises:
        ConfigError: A key can't be read or used.
    """
    found = _who(settings, tickets, clock, function)
    if found is None or settings.visibility != "callback":
        return found
    return SeenByHook(found, _hook("visibility_url", settings.visibility_url, settings, clock))


def _hook(name: str, url: str, settings: Settings, clock: Moments) -> Hook:
    outgoing = Outgoing(name, url, settings.callback_timeout, settings.outgoing_private)
    secret = settings.callback_secret.get_secret_value()
    return Hook(name, outgoing, secret, settings.callback_concurrency, settings.callback_cache, clock)


def _who(settings: Settings, tickets: Tickets, clock: Moments, function: Authenticate | None) -> Authenticator | None:
    match settings.auth:
        case "jwt" if settings.jwt_jwks_url:
            outgoing = Outgoing("jwt_jwks_url", settings.jwt_jwks_url, JWKS_TIMEOUT, settings.outgoing_private)
            algorithms = settings.jwt_algorithms
            return ByKeySet(make_tokens(settings), outgoing, algorithms, settings.jwt_jwks_refresh, clock)
        case "jwt":
            return ByToken(make_tokens(settings))
        case "callable":
            if function is None:
                raise ConfigError("auth is callable, which needs PresenceServer(settings, authenticate=function)")
            return ByFunction(function, settings.auth_timeout)
        case "callback":
            return ByHook(_hook("callback_url", settings.callback_url, settings, clock))
        case "ticket":
            return ByTicket(tickets)
        case "none":
            return None


def keys_of(settings: Settings) -> list[Key]:
    """Return the keys of `jwt_key`, then those of `jwt_key_file`.

    Raises:
        ConfigError: A key can't be read or used.
    """
    keys = []
    if secret := settings.jwt_key.get_secret_value():
        keys += keys_from_text(secret)
    if settings.jwt_key_file:
        keys += keys_from_file(Path(settings.jwt_key_file))
    return keys


def make_tokens(settings: Settings) -> Tokens:
    """Return the verifier of tokens that the settings describe.

    Raises:
        ConfigError: A key can't be read or used.
    """
    keys = keys_of(settings)
    rules = Rules(
        settings.jwt_issuer,
        settings.jwt_audience,
        settings.jwt_leeway,
        settings.jwt_required_claims,
        settings.token_lifetime,
    )
    if not keys and settings.jwt_jwks_url:
        return Tokens([], rules)
    return Tokens(restricted(checked(keys), settings.jwt_algorithms), rules)
