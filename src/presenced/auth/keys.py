"""Keys that verify tokens: a shared secret, public keys as PEM, or a JWK Set (RFC 7517).

| key | algorithms | minimum |
|---|---|---|
| shared secret | HS256, HS384, HS512 with at least 32, 48, 64 bytes | RFC 7518 section 3.2 |
| RSA | RS256, RS384, RS512 | 2,048 bits, RFC 7518 section 3.3 |
| P-256, P-384, P-521 | ES256, ES384, ES512, one per curve | RFC 7518 section 3.4 |
| Ed25519, Ed448 | EdDSA | RFC 8037 section 3.1 |

The key decides which algorithms are accepted, not the token (`jwt`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from presenced.config.text_files import read_text
from presenced.config.types import is_masked, secret_text
from presenced.errors import ConfigError

HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
RSA_ALGORITHMS = ("RS256", "RS384", "RS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
ALGORITHMS = (*HMAC_ALGORITHMS, *RSA_ALGORITHMS, *_CURVES.values(), "EdDSA")
"""Algorithms of the setting `jwt_algorithms`."""

MIN_SECRET_BYTES = 32
"""Minimum number of bytes of a shared secret: the size of an HS256 signature. Shorter secrets are refused, because
attackers have guessed such secrets."""

MIN_RSA_BITS = 2048
"""Minimum number of bits of an RSA key. Shorter keys are refused."""

MAX_KEYS = 32
"""Maximum number of keys. Settings with more are refused. In a longer JWK Set, only the first `MAX_KEYS` entries are
read."""

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class Key(NamedTuple):
    """Key that verifies tokens."""

    key_id: str
    """Id that a token's `kid` refers to; empty if it has none."""
    algorithms: tuple[str, ...]
    """Algorithms that the key may be used with, regardless of the token."""
    material: Any
    """Secret as bytes, or a public key of `cryptography`."""


def shared_secret(secret: bytes, key_id: str = "") -> Key:
    """Return the key for a secret that issuer and server share.

    Raises:
        ConfigError: The secret is too short for any algorithm.
    """
    algorithms = tuple(name for name in HMAC_ALGORITHMS if len(secret) >= int(name[2:]) // 8)
    if not algorithms:
        raise ConfigError(
            f"the key is a secret of {len(secret)} bytes; at least {MIN_SECRET_BYTES} are needed "
            "(`openssl rand -base64 32` makes one)"
        )
    return Key(key_id, algorithms, secret)


def keys_from_text(text: str) -> list[Key]:
    """Return the keys in a text: public keys or certificates as PEM, a JWK Set, or otherwise a shared secret.

    Raises:
        ConfigError: The text cannot be used.
    """
    if "-----BEGIN" in text:
        return check_keys([_from_pem(match[0], match[1]) for match in _PEM.finditer(text)])
    if text.lstrip().startswith("{"):
        return keys_from_jwks(text)
    return [shared_secret(text.encode())]


def keys_from_file(path: Path) -> list[Key]:
    """Return the keys in a file.

    Raises:
        ConfigError: The file cannot be read or used.
    """
    text = secret_text(read_text(path, "the key file"))
    if is_masked(text, secret=True):
        raise ConfigError(f"the key file {path} holds a mask such as ***, not a key: write the real key into it")
    try:
        return keys_from_text(text)
    except ConfigError as error:
        raise ConfigError(f"the key file {path} can't be used: {error}") from None


def keys_from_jwks(text: str | bytes) -> list[Key]:
    """Return the keys of a JWK Set. Keys that cannot verify tokens, such as encryption keys, are skipped.

    Unknown kinds of keys are skipped as well (RFC 7517 section 5), so that an issuer can add some.

    Raises:
        ConfigError: The text is not a JWK Set, or none of its keys can be used.
    """
    try:
        entries = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError('it is not a JWK Set, which looks like {"keys": [...]}') from None
    if not isinstance(entries, list):
        raise ConfigError('its "keys" are not a list')
    found = [key for entry in entries[:MAX_KEYS] if isinstance(entry, dict) and (key := _from_jwk(entry))]
    return check_keys(found)


def check_keys(keys: list[Key]) -> list[Key]:
    """Return the keys if they can be used together.

    Shared secrets and public keys are not accepted together. With both, one mistake lets anyone sign tokens with a
    public key as secret (RFC 8725 section 2.1).

    Raises:
        ConfigError: There are no keys, too many, or both kinds.
    """
    if not keys:
        raise ConfigError("there is no key in it that tokens can be verified with")
    if len(keys) > MAX_KEYS:
        raise ConfigError(f"there are {len(keys)} keys; at most {MAX_KEYS} are allowed")
    if len({key.algorithms[0] in HMAC_ALGORITHMS for key in keys}) > 1:
        raise ConfigError("shared secrets and public keys can't be used together: use one kind")
    return keys


def restrict_algorithms(keys: Sequence[Key], algorithms: Sequence[str]) -> list[Key]:
    """Return the keys restricted to these algorithms, without the keys that have none of them.

    Args:
        algorithms: Allowed algorithms; empty for all.

    Raises:
        ConfigError: No key is left.
    """
    if not algorithms:
        return list(keys)
    found = [key._replace(algorithms=tuple(name for name in key.algorithms if name in algorithms)) for key in keys]
    if not any(key.algorithms for key in found):
        possible = sorted({name for key in keys for name in key.algorithms})
        raise ConfigError(f"jwt_algorithms names {', '.join(algorithms)}, and the keys are for {', '.join(possible)}")
    return [key for key in found if key.algorithms]


def _from_pem(text: str, label: str) -> Key:
    if "PRIVATE" in label:
        raise ConfigError("it holds a private key, which belongs to the issuer of the tokens alone; use the public key")
    try:
        if label == "CERTIFICATE":
            return _public(load_pem_x509_certificate(text.encode()).public_key(), "")
        return _public(load_pem_public_key(text.encode()), "")
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"its {label.lower()} is damaged or of an unknown kind") from None


def _from_jwk(entry: dict[str, Any]) -> Key | None:
    """Return the key in an entry of a JWK Set; None if tokens cannot be verified with it."""
    if entry.get("use", "sig") != "sig" or "d" in entry:  # for encryption, or a private key
        return None
    key_id = entry.get("kid", "")
    if not isinstance(key_id, str):
        return None
    try:
        if entry.get("kty") == "oct":
            key = shared_secret(PyJWK.from_dict(entry, "HS256").key, key_id)
        else:
            key = _public(PyJWK.from_dict(entry).key, key_id)
    except (PyJWTError, ConfigError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return None
    algorithm = entry.get("alg")
    if algorithm is None:
        return key
    return key._replace(algorithms=(algorithm,)) if algorithm in key.algorithms else None


def _public(material: object, key_id: str) -> Key:
    """Return the key for a public key.

    Raises:
        ConfigError: No supported algorithm uses it, or it is too weak.
    """
    match material:
        case RSAPublicKey():
            if material.key_size < MIN_RSA_BITS:
                raise ConfigError(f"its RSA key has {material.key_size} bits; at least {MIN_RSA_BITS} are needed")
            return Key(key_id, RSA_ALGORITHMS, material)
        case EllipticCurvePublicKey() if material.curve.name in _CURVES:
            return Key(key_id, (_CURVES[material.curve.name],), material)
        case Ed25519PublicKey() | Ed448PublicKey():
            return Key(key_id, ("EdDSA",), material)
    raise ConfigError("its key is of a kind that no supported algorithm uses")
