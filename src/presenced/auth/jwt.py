"""JSON Web Tokens (RFC 7519): whose they are, and why one is not accepted. The library is PyJWT."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jwt
from jwt import exceptions as faults

from presenced.auth.grants import with_allowed
from presenced.auth.keys import ALGORITHMS, Key
from presenced.auth.principal import Principal
from presenced.errors import BadToken, BadUserId
from presenced.presence.identity import parse_user_id

MAX_TOKEN = 8_192
"""Characters of a token; a head of 16 KB has to have room for it."""

MAX_TOKEN_ID = 128
"""Characters of a `jti`."""


class Rules(NamedTuple):
    """What a token has to say."""

    issuer: str = ""
    """What `iss` has to be; empty: anything."""
    audience: Sequence[str] = ()
    """One of these has to be in `aud`; empty: a token may have none, and none may be for somebody."""
    leeway: float = 10.0
    """Seconds by which clocks may differ."""
    required: Sequence[str] = ("exp",)
    """Claims that have to be there; `sub` always has."""
    lifetime: float = 86_400.0
    """Seconds from now in which a token has to expire: for so long a revocation is remembered."""


class Tokens:
    """Verifies tokens by some keys, which may be replaced (`keys`)."""

    def __init__(self, keys: Sequence[Key], rules: Rules) -> None:
        self.keys = keys
        self.retired: Sequence[Key] = ()
        """Retired keys. Tokens signed with one are refused, but do not count as guesses."""
        self._rules = rules

    def verify(self, token: str, now: float) -> Principal:
        """Whose token it is.

        Args:
            now: Epoch seconds.

        Raises:
            BadToken: It is not accepted; `str()` says why and holds nothing of the token. `key_id` is set when no
                key of that id is known.
        """
        claims = self._decode(token)
        return self._principal(claims, digest(token), now)

    def _decode(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN:
            raise BadToken("malformed", f"the token has more than {MAX_TOKEN} characters")
        if not token.isascii():
            raise BadToken("malformed", "the token is not a JSON Web Token")
        try:
            header = jwt.get_unverified_header(token)
        except (faults.PyJWTError, ValueError, RecursionError):
            raise BadToken("malformed", "the token is not a JSON Web Token") from None
        algorithm, key_id = header.get("alg"), header.get("kid", "")
        if algorithm not in ALGORITHMS:
            raise BadToken("algorithm", "the token is not signed by an algorithm that is accepted")
        if "crit" in header:  # RFC 7515 section 4.1.11: what is critical and not understood must not be accepted
            raise BadToken("algorithm", "the token has critical headers, of which none is understood")
        fitting = _fitting(self.keys, algorithm, key_id)
        for key in fitting:
            try:
                return self._with_key(token, key, str(algorithm))
            except faults.InvalidSignatureError:
                continue
        is_genuine = any(_signed_by(key, token, str(algorithm)) for key in _fitting(self.retired, algorithm, key_id))
        if not fitting:
            detail = "the token is signed with a key or algorithm that is not accepted"
            raise BadToken("unknown_key", detail, key_id, is_genuine)
        raise BadToken("signature", "the token's signature does not fit any key", is_genuine=is_genuine)

    def _with_key(self, token: str, key: Key, algorithm: str) -> dict[str, Any]:
        rules = self._rules
        try:
            return jwt.decode(
                token,
                key.material,
                algorithms=[algorithm],
                issuer=rules.issuer or None,
                audience=rules.audience or None,
                leeway=rules.leeway,
                options={"require": ["sub", *rules.required], "verify_sub": False},
            )
        except faults.InvalidSignatureError:
            raise
        except faults.PyJWTError as error:
            # PyJWT checks claims after the signature, so a fault in a claim means that the issuer signed the token.
            raise BadToken(*_why(error), is_genuine=isinstance(error, _CLAIM_FAULTS)) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise BadToken("malformed", "the token holds values that can't be used") from None

    def _principal(self, claims: Mapping[str, Any], token_digest: str, now: float) -> Principal:
        subject, expires = claims["sub"], claims.get("exp")
        if isinstance(subject, bool) or not isinstance(subject, str | int):
            raise _unusable("the token's sub must be a text or a number")
        try:
            user_id = parse_user_id(subject)
        except BadUserId as error:
            raise _unusable(f"the token's sub is not a user id: {error}") from None
        if expires is not None and float(expires) > now + self._rules.lifetime + self._rules.leeway:
            raise _unusable(f"the token is valid for longer than {self._rules.lifetime:g} s from now")
        token_id = claims.get("jti", "")
        if not isinstance(token_id, str) or len(token_id) > MAX_TOKEN_ID:
            raise _unusable(f"the token's jti must be a text of at most {MAX_TOKEN_ID} characters")
        issued = claims.get("iat")
        principal = Principal(
            user_id,
            None if expires is None else float(expires) + self._rules.leeway,
            token_id or token_digest,
            None if issued is None else float(issued),
        )
        if "presence" not in claims:
            return principal
        try:
            return with_allowed(principal, claims["presence"])
        except ValueError:  # whose text may hold something of the token
            raise _unusable("the token's claim presence is invalid") from None


def _fitting(keys: Sequence[Key], algorithm: object, key_id: object) -> list[Key]:
    """Return the keys that may have signed a token with this header, starting with the keys of its `kid`."""
    found = [key for key in keys if algorithm in key.algorithms and key_id in (key.key_id, "")]
    return found + [key for key in keys if algorithm in key.algorithms and key_id and not key.key_id]


def _signed_by(key: Key, token: str, algorithm: str) -> bool:
    try:
        jwt.PyJWS().decode(token, key.material, algorithms=[algorithm])
    except (faults.PyJWTError, ValueError, TypeError):
        return False
    return True


def _unusable(detail: str) -> BadToken:
    """Return the fault of a claim in a token with a valid signature."""
    return BadToken("claims", detail, is_genuine=True)


def digest(token: str) -> str:
    """What stands for a token that has no id."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


_CLAIM_FAULTS = (
    faults.ExpiredSignatureError,
    faults.ImmatureSignatureError,
    faults.InvalidAudienceError,
    faults.InvalidIssuedAtError,
    faults.InvalidIssuerError,
    faults.InvalidJTIError,
    faults.MissingRequiredClaimError,
)


def _why(error: faults.PyJWTError) -> tuple[str, str]:
    """The kind of fault, and a sentence for the client: the library's own may quote the token."""
    match error:
        case faults.ExpiredSignatureError():
            return "expired", "the token has expired"
        case faults.ImmatureSignatureError():
            return "claims", "the token is not valid yet"
        case faults.InvalidAudienceError():
            return "claims", "the token is for another audience"
        case faults.InvalidIssuerError():
            return "claims", "the token is from another issuer"
        case faults.MissingRequiredClaimError():
            return "claims", f"the token has no {error.claim}"
        case faults.DecodeError():
            return "malformed", "the token is damaged"
    return "claims", "one of the token's claims can't be used"
