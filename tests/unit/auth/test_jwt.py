"""JSON Web Tokens: the principal of a valid one, and each reason for a refusal (attack A1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from contextlib import suppress
from typing import Any

import jwt
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt import PyJWK
from pydantic import SecretStr

from presenced.auth.authenticator import MAX_TOKEN_CHARACTERS
from presenced.auth.factory import make_jwt_authenticator
from presenced.auth.jwt import JwtAuthenticator
from presenced.auth.keys import (
    MAX_KEYS,
    Key,
    check_keys,
    keys_from_jwks,
    keys_from_text,
    restrict_algorithms,
    shared_secret,
)
from presenced.config.settings import Settings
from presenced.errors import BadToken, ConfigError

SECRET = "s" * 40
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def pem(private: Any) -> str:
    return str(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def private_pem(private: Any) -> str:
    return str(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {"sub": "ada", "iat": now, "exp": now + 600, **changes}
    return {name: value for name, value in made.items() if value is not None}


def token(key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, headers)


def by_hand(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def verify(given: str, keys: str = SECRET, **rules: Any) -> str:
    settings = Settings.model_validate({f"jwt_{name}": value for name, value in rules.items()})
    return JwtAuthenticator(keys_from_text(keys), settings).verify(given, time.time()).user_id


def is_genuine(given: str, keys: str = SECRET, **rules: Any) -> bool:
    with pytest.raises(BadToken) as caught:
        verify(given, keys, **rules)
    return caught.value.is_genuine


def why_not(given: str, keys: str = SECRET, **rules: Any) -> tuple[str, str]:
    with pytest.raises(BadToken) as caught:
        verify(given, keys, **rules)
    assert len(str(caught.value).encode()) <= 123, "it fits into a close frame"
    assert not any(part in str(caught.value) for part in given.split(".") if len(part) >= 10), (
        "the text contains nothing of the token"
    )
    return caught.value.kind, str(caught.value)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_shared_secret_verifies_tokens(algorithm: str) -> None:
    secret = "x" * 64
    assert verify(token(secret, algorithm), secret) == "ada"


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [(RSA_KEY, "RS256"), (RSA_KEY, "RS512"), (EC_KEY, "ES256"), (ED_KEY, "EdDSA")],
    ids=["RS256", "RS512", "ES256", "EdDSA"],
)
def test_public_keys_verify_tokens(private: Any, algorithm: str) -> None:
    assert verify(token(private, algorithm), pem(private)) == "ada"


def test_several_keys_verify_tokens_during_a_rotation() -> None:
    both = pem(RSA_KEY) + pem(EC_KEY)
    assert verify(token(RSA_KEY, "RS256"), both) == "ada"
    assert verify(token(EC_KEY, "ES256"), both) == "ada"
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert verify(token(other, "RS256"), pem(RSA_KEY) + pem(other)) == "ada"


def test_keys_of_a_jwk_set_are_chosen_by_their_ids() -> None:
    entries = [
        json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key())) | {"kid": "a", "alg": "RS256"},
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key())) | {"kid": "b", "use": "sig"},
        {"kty": "RSA", "kid": "c", "use": "enc", "n": "AQAB", "e": "AQAB"},
        {"kty": "future", "kid": "d"},
        "nonsense",
    ]
    keys = json.dumps({"keys": entries})
    assert verify(token(RSA_KEY, "RS256", {"kid": "a"}), keys) == "ada"
    assert verify(token(EC_KEY, "ES256", {"kid": "b"}), keys) == "ada"
    assert verify(token(EC_KEY, "ES256"), keys) == "ada"
    assert why_not(token(EC_KEY, "ES256", {"kid": "a"}), keys)[0] == "unknown_key"
    assert why_not(token(RSA_KEY, "RS384", {"kid": "a"}), keys)[0] == "unknown_key"
    assert why_not(token(EC_KEY, "ES256", {"kid": "new"}), keys)[0] == "unknown_key"


def test_sub_may_be_a_text_or_a_number() -> None:
    assert verify(token(sub="ada")) == "ada"
    assert verify(token(sub=7)) == "7"


@pytest.mark.parametrize("sub", [True, 1.5, [], {}, "", "a\nb", "x" * 129, "\u202eada"])
def test_a_sub_that_is_not_a_user_id_is_refused(sub: Any) -> None:
    assert why_not(token(sub=sub))[0] == "claims"


def test_text_that_is_not_a_token_is_refused() -> None:
    for text in ("", "x", "a.b", "a.b.c", "....", "{}", "ey" * 3000, "é", "\ud800", "a" * (MAX_TOKEN_CHARACTERS + 1)):
        assert why_not(text)[0] in ("malformed", "algorithm")


def test_alg_none_is_refused_in_any_spelling() -> None:
    for name in ("none", "None", "NONE", "nOnE", "", None, 7, ["HS256"]):
        assert why_not(by_hand({"alg": name, "typ": "JWT"}, claims()))[0] in ("algorithm", "malformed")
    assert why_not(by_hand({"typ": "JWT"}, claims()))[0] in ("algorithm", "malformed")


def test_a_public_key_taken_for_a_secret_is_refused() -> None:
    public = pem(RSA_KEY)
    signed = by_hand({"alg": "HS256", "typ": "JWT"}, claims()).rpartition(".")[0]
    signature = hmac.digest(public.encode(), signed.encode(), hashlib.sha256)
    forged = f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert why_not(forged, public)[0] == "unknown_key"


def test_a_key_in_the_token_is_not_used() -> None:
    own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key()))
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    headers = {"jwk": own, "jku": "http://169.254.169.254/", "x5u": "http://localhost/", "x5c": ["AAAA"]}
    assert why_not(token(RSA_KEY, "RS256", headers), pem(other))[0] == "signature"


def test_critical_headers_are_refused() -> None:
    assert why_not(token(headers={"crit": ["exp"], "exp": 1}))[0] in ("algorithm", "malformed")
    assert why_not(token(headers={"crit": ["b64"], "b64": False}))[0] in ("algorithm", "malformed")


def test_a_changed_token_is_refused() -> None:
    head, _, signature = token().split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(sub="eve")).encode()).rstrip(b"=").decode()
    assert why_not(f"{head}.{body}.{signature}")[0] == "signature"
    assert why_not(token("t" * 40))[0] == "signature"


def test_times_are_checked_with_leeway() -> None:
    now = int(time.time())
    assert verify(token(exp=now - 5)) == "ada", "within the leeway"
    assert why_not(token(exp=now - 15)) == ("expired", "the token has expired")
    assert why_not(token(nbf=now + 60))[0] == "claims"
    assert why_not(token(iat=now + 60))[0] == "claims"
    assert why_not(token(exp=now + 90_000)) == ("claims", "the token is valid for longer than 86400 s from now")
    unusable: tuple[Any, ...] = (10**30, 10**400, "soon", [], {})
    assert [why_not(token(exp=exp))[0] for exp in unusable] == ["claims"] * len(unusable)
    assert why_not(token(iat=-(10**400)))[0] == "claims"
    assert why_not(token(exp=None)) == ("claims", "the token has no exp")
    assert verify(token(exp=None), required_claims=()) == "ada"


def test_a_token_that_the_issuer_signed_is_genuine_despite_any_other_fault() -> None:
    now = int(time.time())
    for made in (
        token(exp=now - 3600),
        token(nbf=now + 60),
        token(iat=now + 60),
        token(iat="soon"),
        token(exp="soon"),
        token(nbf=[]),
        token(exp=10**400),
        token(exp=now + 90_000),
        token(exp=None),
        token(aud="chat"),
        token(sub=None),
        token(sub="a\nb"),
        token(sub=1.5),
        token(jti="x" * 129),
        token(jti=7),
        token(presence={"blok": ["eve"]}),
    ):
        assert is_genuine(made)
    rules: dict[str, Any] = {"issuer": "https://login.example", "audience": ("chat",)}
    for made in (token(iss="https://other.example", aud="chat"), token(iss="https://login.example", aud="calls")):
        assert is_genuine(made, **rules)


def test_a_token_that_anyone_could_have_made_is_not_genuine() -> None:
    now = int(time.time())
    for made in (
        token("t" * 40),
        token("t" * 40, exp=now - 3600),
        token(RSA_KEY, "RS256", exp=now - 3600),
        by_hand({"alg": "none"}, claims(exp=now - 3600)),
        token(headers={"crit": ["exp"], "exp": 1}, exp=now - 3600),
        token(exp=now - 3600)[:-3],
        "a.b.c",
        "",
    ):
        assert not is_genuine(made)


def test_issuer_audience_and_required_claims_are_checked() -> None:
    rules: dict[str, Any] = {
        "issuer": "https://login.example",
        "audience": ("chat", "calls"),
        "required_claims": ("exp", "role"),
    }
    good: dict[str, Any] = {"iss": "https://login.example", "aud": "chat", "role": "x"}
    assert verify(token(**good), **rules) == "ada"
    assert verify(token(**good | {"aud": ["other", "calls"]}), **rules) == "ada"
    assert why_not(token(**good | {"aud": "other"}), **rules)[1] == "the token is for another audience"
    assert why_not(token(**good | {"aud": None}), **rules)[0] == "claims"
    assert (
        why_not(token(**good | {"iss": "https://login.example.evil"}), **rules)[1] == "the token is from another issuer"
    )
    assert why_not(token(**good | {"iss": None}), **rules)[0] == "claims"
    assert why_not(token(**good | {"role": None}), **rules)[1] == "the token has no role"
    assert why_not(token(aud="chat"))[0] == "claims", "the token is for an audience, and this server is none"


def test_a_token_yields_a_principal() -> None:
    tokens, now = JwtAuthenticator(keys_from_text(SECRET), Settings()), int(time.time())
    found = tokens.verify(token(iat=now, exp=now + 60, jti="t1"), now)
    assert (found.user_id, found.expires_at, found.token_id, found.issued_at) == ("ada", now + 70, "t1", now)
    one, two = (tokens.verify(token(iat=now, exp=now + 60 + more), now).token_id for more in (0, 1))
    assert one.startswith("sha256:")
    assert one != two
    assert why_not(token(jti="x" * 129))[0] == "claims"


def test_a_token_contains_grants() -> None:
    tokens, now = JwtAuthenticator(keys_from_text(SECRET), Settings()), time.time()
    found = tokens.verify(token(presence={"watch": [7, "bo"], "rooms": ["lobby"], "block": [8, "eve"]}), now)
    assert (found.watch, found.rooms) == (frozenset({"7", "bo"}), frozenset({"lobby"}))
    found = tokens.verify(token(presence={"watch": "*"}), now)
    assert (found.watch, found.watch_everyone, found.rooms) == (None, True, None)


@pytest.mark.parametrize(
    ("presence", "reason"),
    [
        ({"blok": ["secret"]}, "presence.blok is not a known field"),
        ({"watch": "secret"}, "presence.watch is invalid"),
        ({"watch": [7, ""]}, "presence.watch is invalid"),
        ({"rooms": ["x", 7]}, "presence.rooms is invalid"),
        ({"rooms": None}, "presence.rooms is invalid"),
        ({"block": ["secret\n"]}, "presence.block is invalid"),
        ({"display": {"secret": "x" * 5000}}, "presence.display is invalid"),
        ({"display": "secret"}, "presence.display is invalid"),
        ({"roles": ["secret\n"]}, "presence.roles is invalid"),
        ("secret", "presence is invalid"),
        (["secret"], "presence is invalid"),
        ({"a\n\0`b": 1}, "presence.a\\n\\x00`b is not a known field"),
        ({"🦊" * 99: 1}, "presence." + "\\U0001f98a" * 4 + " is not a known field"),
    ],
)
def test_a_refused_token_names_the_field_that_is_wrong_and_nothing_else(presence: object, reason: str) -> None:
    found = why_not(token(presence=presence))
    assert found == ("claims", f"the token's claim {reason}")
    assert len(found[1].encode()) <= 123, "the reason of a close frame"


def test_unusable_keys_are_errors_that_state_the_reason() -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  # refused
    for text, says in (
        ("short", "at least 32"),
        (private_pem(RSA_KEY), "private key"),
        (pem(small), "1024 bits"),
        (pem(RSA_KEY).replace("M", "!"), "damaged"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "kind"),
        ("{}", "JWK Set"),
        ('{"keys": 7}', "not a list"),
        ('{"keys": []}', "no key"),
        ('{"keys":' * 10_000, "JWK Set"),
    ):
        with pytest.raises(ConfigError, match=says):
            keys_from_text(text)


def test_shared_secrets_and_public_keys_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="one kind"):
        check_keys([*keys_from_text(SECRET), *keys_from_text(pem(RSA_KEY))])
    with pytest.raises(ConfigError, match="at most 32"):
        check_keys([shared_secret(b"x" * 32)] * (MAX_KEYS + 1))


def test_a_shared_secret_beside_a_url_of_public_keys_is_refused_at_the_start() -> None:
    settings = Settings(auth="jwt", jwt_key=SecretStr(SECRET), jwt_jwks_url="https://issuer.example/keys")
    with pytest.raises(ConfigError, match="remove one"):
        make_jwt_authenticator(settings)


def test_a_key_of_a_kind_that_this_machine_cannot_use_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def unusable(*_: object) -> PyJWK:
        raise UnsupportedAlgorithm("Ed448 is not supported by this version of OpenSSL")

    monkeypatch.setattr(PyJWK, "from_dict", unusable)
    with pytest.raises(ConfigError, match="no key"):
        keys_from_jwks('{"keys": [{"kty": "OKP", "crv": "Ed448", "x": "AAAA"}]}')


def test_algorithms_can_be_restricted() -> None:
    keys = restrict_algorithms(keys_from_text("x" * 64), ["HS512"])
    assert JwtAuthenticator(keys, Settings()).verify(token("x" * 64, "HS512"), time.time()).user_id == "ada"
    with pytest.raises(BadToken):
        JwtAuthenticator(keys, Settings()).verify(token("x" * 64, "HS256"), time.time())
    with pytest.raises(ConfigError, match="HS256, HS384"):
        restrict_algorithms(keys_from_text("x" * 48), ["RS256"])


def test_a_jwk_set_may_contain_shared_secrets() -> None:
    encoded = base64.urlsafe_b64encode(b"k" * 32).rstrip(b"=").decode()
    keys = keys_from_jwks(json.dumps({"keys": [{"kty": "oct", "k": encoded, "kid": "1"}, {"kty": "oct", "k": "AA"}]}))
    assert keys == [Key("1", ("HS256",), b"k" * 32)]


@given(st.text(max_size=200))
def test_all_text_is_refused_with_a_reason(given_text: str) -> None:
    assert why_not(given_text)


@given(st.lists(st.binary(max_size=60), min_size=3, max_size=3))
def test_all_encoded_input_is_refused_with_a_reason(parts: list[bytes]) -> None:
    assert why_not(".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9), st.lists, max_leaves=4
)


@given(st.dictionaries(st.sampled_from(["sub", "exp", "iat", "nbf", "aud", "iss", "jti"]), JSON))
def test_signed_nonsense_is_refused_or_a_user(payload: dict[str, Any]) -> None:
    parts = by_hand({"alg": "HS256", "typ": "JWT"}, payload).rpartition(".")[0]
    signature = hmac.digest(SECRET.encode(), parts.encode(), hashlib.sha256)
    made = f"{parts}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    with suppress(BadToken):  # a refusal is right, any other exception is not
        assert verify(made)
