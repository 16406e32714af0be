"""Keys that tokens are signed with: a shared secret, public keys as PEM, or a JWK Set (RFC 7517)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
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

SHARED = ("HS256", "HS384", "HS512")
RSA = ("RS256", "RS384", "RS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
ALGORITHMS = (*SHARED, *RSA, *_CURVES.values(), "EdDSA")

MIN_SECRET = 32
"""Bytes of a shared secret: as many as HS256 yields (RFC 7518 section 3.2). Shorter ones have been guessed."""

MIN_RSA = 2048
"""Bits of an RSA key (RFC 7518 section 3.3)."""

MAX_KEYS = 32
"""Keys at once."""

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class Key(NamedTuple):
    """One key. What it is decides by which algorithms it may be used, whatever a token says."""

    key_id: str
    """Empty when it has none."""
    algorithms: tuple[str, ...]
    material: Any


def shared_secret(secret: bytes, key_id: str = "") -> Key:
    """A secret that both sides have.

    Raises:
        ConfigError: It is too short for any algorithm.
    """
    algorithms = tuple(name for name in SHARED if len(secret) >= int(name[2:]) // 8)
    if not algorithms:
        raise ConfigError(
            f"the key is a secret of {len(secret)} bytes; at least {MIN_SECRET} are needed "
            "(`openssl rand -base64 32` makes one)"
        )
    return Key(key_id, algorithms, secret)


def keys_from_text(text: str) -> list[Key]:
    """Of one setting: public keys or certificates as PEM, a JWK Set, or else a shared secret.

    Raises:
        ConfigError: It can't be used.
    """
    if "-----BEGIN" in text:
        return checked([_from_pem(match[0], match[1]) for match in _PEM.finditer(text)])
    if text.lstrip().startswith("{"):
        return keys_from_jwks(text)
    return [shared_secret(text.encode())]


def keys_from_file(path: Path) -> list[Key]:
    """Of a file.

    Raises:
        ConfigError: It can't be read or used.
    """
    text = secret_text(read_text(path, "the key file"))
    if is_masked(text, secret=True):
        raise ConfigError(f"the key file {path} holds a mask such as ***, not a key: write the real key into it")
    try:
        return keys_from_text(text)
    except ConfigError as error:
        raise ConfigError(f"the key file {path} can't be used: {error}") from None


def keys_from_jwks(text: str | bytes) -> list[Key]:
    """Of a JWK Set; keys in it that are of no use here, such as those for encryption, are passed over.

    Raises:
        ConfigError: It is not a JWK Set, or none of its keys can be used.
    """
    try:
        entries = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError('it is not a JWK Set, which looks like {"keys": [...]}') from None
    if not isinstance(entries, list):
        raise ConfigError('its "keys" are not a list')
    found = [key for entry in entries[:MAX_KEYS] if isinstance(entry, dict) and (key := _from_jwk(entry))]
    return checked(found)


def checked(keys: Iterable[Key]) -> list[Key]:
    """The keys, when they can be used together.

    A public key is no secret: where both kinds are accepted, somebody will one day have a token accepted that was made
    with a public key taken for a secret one. So both at once are refused.

    Raises:
        ConfigError: There is none, there are too many, or both kinds.
    """
    found = list(keys)
    if not found:
        raise ConfigError("there is no key in it that tokens can be verified with")
    if len(found) > MAX_KEYS:
        raise ConfigError(f"there are {len(found)} keys; at most {MAX_KEYS} are taken")
    if len({key.algorithms[0] in SHARED for key in found}) > 1:
        raise ConfigError("shared secrets and public keys can't be used together: use one kind")
    return found


def restricted(keys: Sequence[Key], algorithms: Sequence[str]) -> list[Key]:
    """The keys with these algorithms only; all of theirs when none is named.

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
        raise ConfigError("it holds a private key, which only who makes tokens should have; give the public key")
    try:
        if label == "CERTIFICATE":
            return _public(load_pem_x509_certificate(text.encode()).public_key(), "")
        return _public(load_pem_public_key(text.encode()), "")
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"its {label.lower()} is damaged or of an unknown kind") from None


def _from_jwk(entry: dict[str, Any]) -> Key | None:
    if entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    key_id = entry.get("kid", "")
    if not isinstance(key_id, str):
        return None
    try:
        if entry.get("kty") == "oct":
            key = shared_secret(PyJWK.from_dict(entry, "HS256").key, key_id)
        else:
            key = _public(PyJWK.from_dict(entry).key, key_id)
    except (PyJWTError, ConfigError, ValueError, TypeError, KeyError):
        return None
    only = entry.get("alg")
    if only is None:
        return key
    return key._replace(algorithms=(only,)) if only in key.algorithms else None


def _public(material: object, key_id: str) -> Key:
    """Raises ConfigError: no token can be signed with it, or it is too weak."""
    match material:
        case RSAPublicKey():
            if material.key_size < MIN_RSA:
                raise ConfigError(f"its RSA key has {material.key_size} bits; at least {MIN_RSA} are needed")
            return Key(key_id, RSA, material)
        case EllipticCurvePublicKey() if material.curve.name in _CURVES:
            return Key(key_id, (_CURVES[material.curve.name],), material)
        case Ed25519PublicKey() | Ed448PublicKey():
            return Key(key_id, ("EdDSA",), material)
    raise ConfigError("its key is of a kind that no supported algorithm uses")
