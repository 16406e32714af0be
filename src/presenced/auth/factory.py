"""Builds the authenticator that the settings select. No other module constructs one."""

from __future__ import annotations

from pathlib import Path

from presenced.auth.authenticator import Authenticator
from presenced.auth.callable import AuthenticateFunction, CallableAuthenticator
from presenced.auth.callbacks import Callback, CallbackAuthenticator, CallbackVisibility
from presenced.auth.jwks import JwksAuthenticator
from presenced.auth.jwt import JwtAuthenticator
from presenced.auth.keys import HMAC_ALGORITHMS, Key, check_keys, keys_from_file, keys_from_text, restrict_algorithms
from presenced.auth.tickets import Tickets
from presenced.config.settings import Settings
from presenced.errors import ConfigError
from presenced.net.http_client import HttpClient
from presenced.runtime.clock import Clock

JWKS_TIMEOUT_S = 10.0
"""Timeout in seconds of a request for the JWK Set."""


def make_authenticator(
    settings: Settings, *, tickets: Tickets, clock: Clock, function: AuthenticateFunction | None
) -> Authenticator | None:
    """Return the authenticator that the settings select; None if `auth` is none: clients may then claim any id.

    Args:
        tickets: Tickets for `auth = "ticket"`.
        function: Function for `auth = "callable"`.

    Raises:
        ConfigError: A key cannot be read or used, a URL is invalid, or the function is missing.
    """
    authenticator: Authenticator
    match settings.auth:
        case "none":
            return None
        case "jwt":
            authenticator = jwt = make_jwt_authenticator(settings)
            if settings.jwt_jwks_url:
                client = HttpClient("jwt_jwks_url", settings.jwt_jwks_url, JWKS_TIMEOUT_S, settings.outgoing_private)
                authenticator = JwksAuthenticator(jwt, client, settings, clock)
        case "ticket":
            authenticator = tickets
        case "callback":
            authenticator = CallbackAuthenticator(_callback("callback_url", settings.callback_url, settings, clock))
        case "callable":
            if function is None:
                raise ConfigError("auth is callable, which needs PresenceServer(settings, authenticate=function)")
            authenticator = CallableAuthenticator(function, timeout=settings.auth_timeout, clock=clock)
    if settings.visibility == "callback":
        callback = _callback("visibility_url", settings.visibility_url, settings, clock)
        authenticator = CallbackVisibility(authenticator, callback)
    return authenticator


def _callback(name: str, url: str, settings: Settings, clock: Clock) -> Callback:
    client = HttpClient(name, url, settings.callback_timeout, settings.outgoing_private)
    return Callback(name, client, settings, clock)


def make_jwt_authenticator(settings: Settings) -> JwtAuthenticator:
    """Return the verifier of tokens, with the keys that the settings contain. Keys from a URL are added by `jwks`.

    Raises:
        ConfigError: A key cannot be read or used.
    """
    keys = configured_keys(settings)
    if not keys and not settings.jwt_jwks_url:
        raise ConfigError(
            "there is no key to verify tokens with: set auth to jwt, and jwt_key, jwt_key_file or jwt_jwks_url"
        )
    if settings.jwt_jwks_url and any(key.algorithms[0] in HMAC_ALGORITHMS for key in keys):
        raise ConfigError(
            "jwt_key is a shared secret, and jwt_jwks_url has public keys: they can't be used together, so remove one"
        )
    if keys:
        keys = restrict_algorithms(check_keys(keys), settings.jwt_algorithms)
    return JwtAuthenticator(keys, settings)


def configured_keys(settings: Settings) -> list[Key]:
    """Return the keys of `jwt_key`, then those of `jwt_key_file`.

    Raises:
        ConfigError: A key cannot be read or used.
    """
    keys = []
    if secret := settings.jwt_key.get_secret_value():
        try:
            keys += keys_from_text(secret)
        except ConfigError as error:
            raise ConfigError(f"jwt_key can't be used: {error}") from None
    if settings.jwt_key_file:
        keys += keys_from_file(Path(settings.jwt_key_file))
    return keys
