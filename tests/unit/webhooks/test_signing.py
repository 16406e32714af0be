"""Signatures: the vectors that the specification and its libraries publish."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook

from presenced.errors import ConfigError
from presenced.webhooks.signing import key_of, new_secret, signed_headers


def test_the_vector_of_the_specification_s_libraries() -> None:
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_with_two_secrets_a_receiver_with_either_accepts_and_one_with_another_does_not() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    body = '{"text":"héllo"}'.encode()
    headers = signed_headers([key_of(old), key_of(new)], "msg_1", int(time.time()), body)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        assert Webhook(secret).verify(body, headers) == {"text": "héllo"}
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(other).verify(body, headers)


def test_new_secrets_differ_and_have_32_bytes() -> None:
    assert new_secret() != new_secret()
    assert len(key_of(new_secret())) == 32


@pytest.mark.parametrize("size", [24, 64])
def test_sizes_at_the_bounds(size: int) -> None:
    assert key_of("whsec_" + base64.b64encode(bytes(size)).decode()) == bytes(size)


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
def test_a_secret_that_can_not_be_used_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ConfigError, match="24 to 64 bytes") as raised:
        key_of(secret)
    assert secret.removeprefix("whsec_")[:10] not in str(raised.value) or secret == "whsec_"
