"""JSON Web Tokens (RFC 7519), verified with PyJWT under the rules of RFC 8725.

Checks run in this order, and the first that fails decides. `kind` is the label in the metrics. A *genuine* token was
signed by the issuer, so presenting it is not a guess and does not count against the client's address.

| # | check | `kind` | genuine | why |
|---|---|---|---|---|
| 1 | at most 8,192 ASCII characters, decodable header | malformed | no | RFC 7519 section 7.2 |
| 2 | `alg` is in `ALGORITHMS`; `none` is not | algorithm | no | RFC 8725 sections 3.1 and 3.2 |
| 3 | no `crit` | algorithm | no | RFC 7515 section 4.1.11 |
| 4 | a key fits `kid` and may be used with `alg` | unknown_key | if retired | RFC 8725 sections 3.1 and 3.10 |
| 5 | the signature matches one of these keys | signature | if retired | RFC 8725 section 3.3 |
| 6 | required claims; `exp`, `nbf`, `iat`, with leeway | expired, claims | yes | RFC 7519 sections 4.1.4 to 4.1.6 |
| 7 | `iss`, `aud` | claims | yes | RFC 8725 sections 3.8 and 3.9 |
| 8 | `sub` is a user id, `jti` is short, `exp` is near | claims | yes | RFC 7519 sections 4.1.2 and 4.1.7 |
| 9 | the claim `presence` is valid | claims | yes | a misspelt restriction would restrict nothing |

A key decides which algorithms it may be used with, regardless of the header. Servers that let the header choose have
accepted HMAC signatures made with the public key as secret (CVE-2017-11424, CVE-2022-29217). Keys and URLs in the
header (`jwk`, `jku`, `x5u`, `x5c`) are never read.

"If retired" means that a key that recently left the JWK Set verifies the token (`jwks`). Texts of refusals go to the
client, and into logs. Of the token, they contain only names of claims, and of characters that are not allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from jwt import exceptions as faults

from presenced.auth.authenticator import Authenticator, AuthResult, OnAuthResult, refusal_if_too_long, token_digest
from presenced.auth.grants import InvalidGrants, with_grants
from presenced.auth.keys import ALGORITHMS, Key
from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.errors import BadToken, BadUserId
from presenced.presence.identity import parse_user_id
from presenced.runtime.instant import Instant

MAX_TOKEN_ID_CHARACTERS = 128
"""Maximum number of characters of a `jti`. Tokens with a longer one are refused, because revocations store it."""

UNUSABLE_CLAIM = "one of the token's claims can't be used"
"""Text of a refusal."""


class JwtAuthenticator(Authenticator):
    """Authenticator for `auth = "jwt"`.

    Args:
        keys: Keys that verify tokens. They may be replaced at any time.
    """

    def __init__(self, keys: Sequence[Key], settings: Settings) -> None:
        self.keys = keys
        self.retired_keys: Sequence[Key] = ()
        """Keys whose tokens are refused, but do not count as guesses."""
        self._settings = settings

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult:
        """Verify a token."""
        try:
            return self.verify(token, now.epoch_ms / 1000)
        except BadToken as error:
            return error

    def verify(self, token: str, now: float) -> Principal:
        """Return the user of a token.

        Args:
            now: Current time in epoch seconds.

        Raises:
            BadToken: The token is refused.
        """
        return self._principal(self._decode(token), token_digest(token), now)

    def _decode(self, token: str) -> dict[str, Any]:
        """Return the claims of a token after checks 1 to 7."""
        if (refusal := refusal_if_too_long(token)) is not None:
            raise refusal
        if not token.isascii():
            raise BadToken("malformed", "the token is not a JSON Web Token")
        try:
            header = jwt.get_unverified_header(token)
        except (faults.PyJWTError, ValueError, RecursionError):
            raise BadToken("malformed", "the token is not a JSON Web Token") from None
        algorithm, key_id = header.get("alg"), header.get("kid", "")
        if algorithm not in ALGORITHMS:
            raise BadToken("algorithm", "the token is not signed by an algorithm that is accepted")
        if "crit" in header:  # RFC 7515 section 4.1.11: an unknown critical header must not be ignored (CVE-2026-32597)
            raise BadToken("algorithm", "the token has critical headers that are not supported")
        candidates = _candidates(self.keys, algorithm, key_id)
        for key in candidates:
            try:
                return self._decode_with_key(token, key, str(algorithm))
            except faults.InvalidSignatureError:
                continue
        retired = _candidates(self.retired_keys, algorithm, key_id)
        is_genuine = any(_is_signed_by(key, token, str(algorithm)) for key in retired)
        if not candidates:
            raise BadToken(
                "unknown_key", "the token is signed with a key or algorithm that is not accepted", is_genuine
            )
        raise BadToken("signature", "the token's signature does not fit any key", is_genuine)

    def _decode_with_key(self, token: str, key: Key, algorithm: str) -> dict[str, Any]:
        """Return the claims of a token after checks 5 to 7.

        Raises:
            InvalidSignatureError: Another key may fit.
            BadToken: Another check fails.
        """
        settings = self._settings
        try:
            return jwt.decode(
                token,
                key.material,
                algorithms=[algorithm],
                issuer=settings.jwt_issuer or None,
                # Without an audience in the settings, a token with `aud` is refused (RFC 7519 section 4.1.3).
                audience=settings.jwt_audience or None,
                leeway=settings.jwt_leeway,
                # PyJWT accepts a string as `sub` only. Numbers are user ids, too, and `_principal` checks both.
                options={"require": ["sub", *settings.jwt_required_claims], "verify_sub": False},
            )
        except faults.InvalidSignatureError:
            raise
        except faults.DecodeError:  # the token is damaged, or a time in it is not a number
            if _is_signed_by(key, token, algorithm):
                raise _bad_claim(UNUSABLE_CLAIM) from None
            raise BadToken("malformed", "the token is damaged") from None
        except faults.PyJWTError as error:
            raise _refusal(error) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise BadToken("malformed", "the token holds values that can't be used") from None

    def _principal(self, claims: Mapping[str, Any], digest: str, now: float) -> Principal:
        """Return the user that these claims name, after checks 8 and 9."""
        settings, subject, expires = self._settings, claims["sub"], _time(claims, "exp")
        if isinstance(subject, bool) or not isinstance(subject, str | int):
            raise _bad_claim("the token's sub must be a string or a number")
        try:
            user_id = parse_user_id(subject)
        except BadUserId as error:
            raise _bad_claim(f"the token's sub is not a user id: {error}") from None
        # A revocation is forgotten after `token_lifetime`. A token that is valid for longer would be accepted again.
        if expires is not None and expires > now + settings.token_lifetime + settings.jwt_leeway:
            raise _bad_claim(f"the token is valid for longer than {settings.token_lifetime:g} s from now")
        token_id = claims.get("jti", "")
        if not isinstance(token_id, str) or len(token_id) > MAX_TOKEN_ID_CHARACTERS:
            raise _bad_claim(f"the token's jti must be a string of at most {MAX_TOKEN_ID_CHARACTERS} characters")
        principal = Principal(
            user_id=user_id,
            expires_at=None if expires is None else expires + settings.jwt_leeway,
            token_id=token_id or digest,
            issued_at=_time(claims, "iat"),
        )
        if "presence" not in claims:
            return principal
        try:
            return with_grants(principal, claims["presence"])
        except InvalidGrants as error:  # its text may quote the token, so only the field is named
            claim = f"presence.{error.field}" if error.field else "presence"
            fault = "is not a known field" if error.field and not error.is_field_known else "is invalid"
            raise _bad_claim(f"the token's claim {claim} {fault}") from None


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a time in epoch seconds; None if the token has none. PyJWT has checked that it is a number."""
    value = claims.get(name)
    try:
        return None if value is None else float(value)
    except OverflowError:
        raise _bad_claim(UNUSABLE_CLAIM) from None


def _candidates(keys: Sequence[Key], algorithm: object, key_id: object) -> list[Key]:
    """Return the keys that may have signed a token with this header, starting with the keys of its `kid`."""
    found = [key for key in keys if algorithm in key.algorithms and key_id in (key.key_id, "")]
    return found + [key for key in keys if algorithm in key.algorithms and key_id and not key.key_id]


def _is_signed_by(key: Key, token: str, algorithm: str) -> bool:
    try:
        jwt.PyJWS().decode(token, key.material, algorithms=[algorithm])
    except (faults.PyJWTError, ValueError, TypeError):
        return False
    return True


def _bad_claim(detail: str) -> BadToken:
    """Return the refusal of a token whose signature is valid."""
    return BadToken("claims", detail, is_genuine=True)


def _refusal(error: faults.PyJWTError) -> BadToken:
    """Return the refusal for an error of PyJWT, whose own text may quote the token.

    PyJWT checks claims after the signature, so a fault in a claim means that the issuer signed the token.
    """
    match error:
        case faults.ExpiredSignatureError():
            return BadToken("expired", "the token has expired", is_genuine=True)
        case faults.ImmatureSignatureError():
            return _bad_claim("the token is not valid yet")
        case faults.InvalidAudienceError():
            return _bad_claim("the token is for another audience")
        case faults.InvalidIssuerError():
            return _bad_claim("the token is from another issuer")
        case faults.MissingRequiredClaimError():
            return _bad_claim(f"the token has no {error.claim}")
        case faults.InvalidIssuedAtError() | faults.InvalidJTIError():
            return _bad_claim(UNUSABLE_CLAIM)
    return BadToken("claims", UNUSABLE_CLAIM)
