"""Commands for authentication: `api-key`, `token`, `verify-token`."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cyclopts import Parameter

from presenced.auth.api_keys import DEFAULT_SCOPE, Scope, new_key
from presenced.auth.authenticator import MAX_TOKEN_CHARACTERS
from presenced.auth.factory import configured_keys, make_jwt_authenticator
from presenced.auth.keys import Key, keys_from_text
from presenced.cli.options import ConfigFile
from presenced.config.settings import Settings
from presenced.config.sources import load
from presenced.errors import BadToken, BadUserId, ConfigError
from presenced.presence.identity import parse_user_id


def api_key(
    *,
    scope: Annotated[
        Scope,
        Parameter(
            metavar="SCOPE",
            help="Scope of the key; each includes those before it. [one of read, write, admin; default read]",
        ),
    ] = DEFAULT_SCOPE,
) -> None:
    """Create a key for a backend, and print it with its entry for the setting api_keys.

    The default scope is the least privilege: read. Creating tickets, announcing and setting statuses need write.
    Erasing, revoking and seeing sessions, history and invisible users need admin.
    """
    new = new_key(scope)
    sys.stdout.write(
        f"{new.key}\n\n"
        f"This is the key, with scope {scope}. Store it in the backend: it is shown only once. Add to the settings:\n\n"
        f'api_keys = ["{new.entry}"]\n'
    )


def token(
    user: Annotated[str, Parameter(metavar="ID", help="User id, which becomes sub.")],
    *,
    expires_in: Annotated[
        float, Parameter(metavar="SECONDS", help="Seconds until the token expires. [default 3600]")
    ] = 3600,
    claim: Annotated[
        tuple[str, ...],
        Parameter(metavar="NAME=VALUE", help="Another claim. The value is JSON, or else text. May be repeated."),
    ] = (),
    signing_key: Annotated[
        Path | None,
        Parameter(metavar="FILE", help="PEM file with a private key. Needed if the server verifies with public keys."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Print a token that the server would accept, for a first test.

    It is signed with jwt_key or jwt_key_file, if that is a shared secret, and otherwise with --signing-key.
    """
    settings = load({}, os.environ, config).settings
    try:
        claims: dict[str, Any] = {"sub": parse_user_id(user, settings.placeholder_ids)}
    except BadUserId as error:
        raise ConfigError(str(error)) from None
    if not math.isfinite(expires_in):
        raise ConfigError(f"can't use --expires-in {expires_in}: expected a number of seconds")
    now = int(time.time())
    claims |= {"iat": now, "exp": now + int(expires_in)}
    if settings.jwt_issuer:
        claims["iss"] = settings.jwt_issuer
    if settings.jwt_audience:
        claims["aud"] = settings.jwt_audience[0]
    claims |= dict(map(_claim, claim))
    key = _signing_key(signing_key, settings)
    try:
        encoded = jwt.encode(claims, key.material, key.algorithms[0], {"kid": key.key_id} if key.key_id else None)
    except TypeError as error:  # PyJWT checks that iss is a string
        raise ConfigError(f"can't make a token with these claims: {error}") from None
    sys.stdout.write(encoded + "\n")


def verify_token(*, config: ConfigFile = None) -> None:
    """Read a token from standard input, and print its user, or the reason why the server would not accept it."""
    settings = load({}, os.environ, config).settings
    given = sys.stdin.read(2 * MAX_TOKEN_CHARACTERS).strip()
    out = sys.stdout.write
    for name, part in zip(("header", "claims"), _unverified(given), strict=False):
        out(f"{name}: {json.dumps(part, ensure_ascii=True)}\n")
    try:
        found = make_jwt_authenticator(settings).verify(given, time.time())
    except BadToken as error:
        raise ConfigError(f"not accepted ({error.kind}): {error}") from None
    out(f"accepted: it is user {json.dumps(found.user_id)}")
    if found.expires_at is not None:
        out(f", for {found.expires_at - time.time():.0f} s more, leeway included")
    out("\n")


def _claim(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"can't use the claim {text!r}: expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _signing_key(path: Path | None, settings: Settings) -> Key:
    if path is None:
        keys = configured_keys(settings)
        if not keys or not isinstance(keys[0].material, bytes):
            raise ConfigError(
                "there is no key to sign with: set jwt_key or jwt_key_file to a shared secret, or use --signing-key"
            )
        return keys[0]
    try:
        private = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"can't use the private key {path}: {error}") from None
    # The server verifies with the public half, so its parser chooses the algorithm and the key id.
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return keys_from_text(pem.decode())[0]._replace(material=private)


def _unverified(given: str) -> list[Any]:
    """Return the header and the claims of a token without checking them; nothing if it is not a token."""
    try:
        return [jwt.get_unverified_header(given), jwt.decode(given, options={"verify_signature": False})]
    except (jwt.PyJWTError, ValueError, RecursionError):
        return []
