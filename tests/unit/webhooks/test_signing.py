"""Signatures of requests, checked with the vectors and the library of the specification."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook

from presenced.errors import ConfigError
from presenced.webhooks.signing import decode_secret, new_secret, signed_headers


def test_the_test_vector_of_the_specification() -> None:
    key = decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_request_signed_with_two_secrets_is_accepted_with_either_and_no_other() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    body = '{"text":"héllo"}'.encode()
    headers = signed_headers([decode_secret(old), decode_secret(new)], "msg_1", int(time.time()), body)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        assert Webhook(secret).verify(body, headers) == {"text": "héllo"}
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(other).verify(body, headers)


def test_new_secrets_differ_and_have_32_bytes() -> None:
    assert new_secret() != new_secret()
    assert len(decode_secret(new_secret())) == 32


@pytest.mark.parametrize("size", [24, 64])
def test_the_smallest_and_the_largest_secret_are_accepted(size: int) -> None:
    assert decode_secret("whsec_" + base64.b64encode(bytes(size)).decode()) == bytes(size)


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        base64.b64encode(bytes(32)).decode(),
        "whsec_!!!notbase64notbase64notbase64not",
        "whsec_",
    ],
)
def test_an_invalid_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ConfigError, match="24 to 64 bytes") as raised:
        decode_secret(secret)
    assert secret.removeprefix("whsec_")[:10] not in str(raised.value) or secret == "whsec_"
