"""The opening handshake: what is accepted, and what each refusal says."""

import pytest

from presenced.errors import Problem
from presenced.transports.handshake import Accepted, Handshake, Refusal

GOOD = {
    b"host": b"localhost:3001",
    b"upgrade": b"websocket",
    b"connection": b"keep-alive, Upgrade",
    b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ==",
    b"sec-websocket-version": b"13",
}

answer = Handshake().answer


def refusal(change: dict[bytes, bytes | None], http_version: str = "1.1") -> Refusal:
    headers = [(name, value) for name, value in {**GOOD, **change}.items() if value is not None]
    refused = answer(http_version, headers)
    assert isinstance(refused, Refusal)
    return refused


def test_the_example_of_rfc_6455_section_1_3() -> None:
    accepted = answer("1.1", GOOD.items())
    assert isinstance(accepted, Accepted)
    head = accepted.response
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert head.endswith(b"\r\n\r\n")


def test_extensions_and_subprotocols_offered_are_not_taken_up() -> None:
    offers = [(b"sec-websocket-extensions", b"permessage-deflate"), (b"sec-websocket-protocol", b"chat")]
    accepted = answer("1.1", [*GOOD.items(), *offers])
    assert isinstance(accepted, Accepted)
    head = accepted.response
    assert accepted.subprotocol == ""
    assert b"Sec-WebSocket-Extensions" not in head
    assert b"Sec-WebSocket-Protocol" not in head


def test_presenced_v1_is_agreed_on_by_whoever_offers_it() -> None:
    accepted = answer("1.1", [*GOOD.items(), (b"sec-websocket-protocol", b"chat, presenced.v1")])
    assert isinstance(accepted, Accepted)
    assert accepted.subprotocol == "presenced.v1"
    assert b"\r\nSec-WebSocket-Protocol: presenced.v1\r\n" in accepted.response


@pytest.mark.parametrize(
    ("change", "problem", "says"),
    [
        ({b"sec-websocket-version": b"8"}, Problem.WEBSOCKET_VERSION, "13"),
        ({b"sec-websocket-version": None}, Problem.WEBSOCKET_VERSION, "13"),
        ({b"sec-websocket-key": None}, Problem.BAD_HANDSHAKE, "Sec-WebSocket-Key"),
        ({b"sec-websocket-key": b"short"}, Problem.BAD_HANDSHAKE, "Sec-WebSocket-Key"),
        ({b"sec-websocket-key": b"\xff" * 24}, Problem.BAD_HANDSHAKE, "Sec-WebSocket-Key"),
        ({b"upgrade": b"websocket, h2c"}, Problem.BAD_HANDSHAKE, "Upgrade"),
        ({b"sec-websocket-protocol": b"a b,,"}, Problem.BAD_HANDSHAKE, "Sec-WebSocket-Protocol"),
    ],
)
def test_a_refusal_names_the_header_at_fault(change: dict[bytes, bytes | None], problem: Problem, says: str) -> None:
    refused = refusal(change)
    assert refused.problem is problem
    assert says in refused.detail


def test_a_wrong_version_is_answered_with_the_right_one() -> None:
    assert (b"sec-websocket-version", b"13") in refusal({b"sec-websocket-version": b"8"}).headers


def test_http_1_0_cannot_be_upgraded() -> None:
    assert refusal({}, http_version="1.0").problem is Problem.HTTP_VERSION


def test_doubled_headers_are_refused() -> None:
    refused = answer("1.1", [*GOOD.items(), (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")])
    assert isinstance(refused, Refusal)
    assert "multiple" in refused.detail


def test_what_a_client_sent_is_quoted_only_so_far() -> None:
    assert len(refusal({b"sec-websocket-key": b"x" * 10_000}).detail) < 300
