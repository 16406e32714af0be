"""The opening handshake: accepted requests, and the detail of each refusal."""

from typing import Any

import pytest

from presenced.errors import Problem
from presenced.net.hosts import AllowedHosts
from presenced.net.refusals import Refusal
from presenced.transports.websocket.handshake import MAX_CACHED_BYTES, MAX_CACHED_HANDSHAKES, Accepted, Handshake

GOOD = {
    b"host": b"localhost:3001",
    b"upgrade": b"websocket",
    b"connection": b"keep-alive, Upgrade",
    b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ==",
    b"sec-websocket-version": b"13",
}

SUBPROTOCOLS = ("presenced.v1", "presenced.classic")


def handshake_with(**options: Any) -> Handshake:
    return Handshake(subprotocols=SUBPROTOCOLS, **options)


answer = handshake_with().answer


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


def test_unknown_extensions_and_subprotocols_are_ignored() -> None:
    offers = [(b"sec-websocket-extensions", b"permessage-deflate"), (b"sec-websocket-protocol", b"chat")]
    accepted = answer("1.1", [*GOOD.items(), *offers])
    assert isinstance(accepted, Accepted)
    head = accepted.response
    assert accepted.subprotocol == ""
    assert b"Sec-WebSocket-Extensions" not in head
    assert b"Sec-WebSocket-Protocol" not in head


def test_presenced_v1_is_selected_when_it_is_offered() -> None:
    accepted = answer("1.1", [*GOOD.items(), (b"sec-websocket-protocol", b"chat, presenced.v1")])
    assert isinstance(accepted, Accepted)
    assert accepted.subprotocol == "presenced.v1"
    assert b"\r\nSec-WebSocket-Protocol: presenced.v1\r\n" in accepted.response


V1 = (b"sec-websocket-protocol", b"presenced.v1")
WITHOUT_CONTEXT = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def compressed(*offers: bytes, protocol: tuple[bytes, bytes] = V1) -> Accepted:
    headers = [*GOOD.items(), protocol, *((b"sec-websocket-extensions", offer) for offer in offers)]
    accepted = handshake_with(compressed=("presenced.v1",)).answer("1.1", headers)
    assert isinstance(accepted, Accepted)
    assert accepted.deflates is (b"Sec-WebSocket-Extensions:" in accepted.response)
    return accepted


@pytest.mark.parametrize(
    "offer",
    [
        b"permessage-deflate",
        b"permessage-deflate; client_max_window_bits",  # as browsers offer it
        b"x-webkit-deflate-frame, permessage-deflate; client_max_window_bits=10",
        WITHOUT_CONTEXT,
    ],
)
def test_compression_is_agreed_to_without_context_takeover(offer: bytes) -> None:
    response = compressed(offer).response
    assert b"\r\nSec-WebSocket-Extensions: " + WITHOUT_CONTEXT in response


@pytest.mark.parametrize(
    ("offer", "protocol"),
    [
        (b"permessage-deflate", (b"sec-websocket-protocol", b"chat")),  # gets the classic protocol
        (b"permessage-deflate; server_max_window_bits=10", V1),  # a shared message needs the usual window
        (b"permessage-deflate; mystery", V1),
        (b"x-webkit-deflate-frame", V1),
    ],
)
def test_compression_is_declined_if_useless_or_not_shareable(offer: bytes, protocol: tuple[bytes, bytes]) -> None:
    assert not compressed(offer, protocol=protocol).deflates


@pytest.mark.parametrize("offer", [b"permessage-deflate", b""])
def test_a_cached_result_serves_the_same_headers_with_another_key(offer: bytes) -> None:
    handshake = handshake_with(compressed=("presenced.v1",))
    offers = [V1, (b"sec-websocket-extensions", offer)] if offer else [V1]
    first = handshake.answer("1.1", [*GOOD.items(), *offers])
    second = handshake.answer("1.1", [*GOOD.items(), *offers])
    other = handshake.answer("1.1", [*(GOOD | {b"sec-websocket-key": b"AAAAAAAAAAAAAAAAAAAAAA=="}).items(), *offers])
    assert first == second
    assert isinstance(first, Accepted)
    assert isinstance(other, Accepted)
    assert other.response != first.response
    assert other._replace(response=b"") == first._replace(response=b"")
    for bad in (b"short", b"A" * 24, b"AAAAAAAAAAAAAAAAAAAAAA==\n"):
        refused = handshake.answer("1.1", [*(GOOD | {b"sec-websocket-key": bad}).items(), *offers])
        assert isinstance(refused, Refusal), "even if the other headers are cached"
    twice = [*GOOD.items(), (b"sec-websocket-key", GOOD[b"sec-websocket-key"]), *offers]
    assert isinstance(handshake.answer("1.1", twice), Refusal)
    assert isinstance(handshake.answer("1.0", [*GOOD.items(), *offers]), Refusal)


def test_the_cache_keeps_its_bounds() -> None:
    handshake = handshake_with()
    for number in range(MAX_CACHED_HANDSHAKES + 10):
        handshake.answer("1.1", [*GOOD.items(), (b"sec-websocket-protocol", b"p%d" % number)])
    handshake.answer("1.1", [*GOOD.items(), (b"sec-websocket-protocol", b"p" * (MAX_CACHED_BYTES + 1))])
    assert len(handshake._agreed) == MAX_CACHED_HANDSHAKES
    assert all(sum(len(value) for _, value in headers) <= MAX_CACHED_BYTES for headers in handshake._agreed)


@pytest.mark.parametrize("value", [b"", b",", b" , ,\t", b"  "])
@pytest.mark.parametrize("name", [b"sec-websocket-protocol", b"sec-websocket-extensions", b"connection"])
def test_an_empty_list_offers_nothing(name: bytes, value: bytes) -> None:
    """RFC 9110 section 5.6.1: a recipient ignores empty elements."""
    handshake = handshake_with(compressed=("presenced.v1",))
    for _ in range(2):
        accepted = handshake.answer("1.1", [*GOOD.items(), (name, value)])
        assert isinstance(accepted, Accepted)
        assert (accepted.subprotocol, accepted.deflates) == ("", False)
        assert b"Sec-WebSocket-Protocol" not in accepted.response
    both = handshake.answer("1.1", [*GOOD.items(), (b"sec-websocket-protocol", value), V1])
    assert isinstance(both, Accepted)
    assert both.subprotocol == "presenced.v1"


def test_a_token_alone_offers_no_subprotocol() -> None:
    accepted = answer("1.1", [*GOOD.items(), (b"sec-websocket-protocol", b", presenced.token.t ,")])
    assert isinstance(accepted, Accepted)
    assert (accepted.subprotocol, accepted.token) == ("", "t")


@pytest.mark.parametrize(
    ("hosts", "fine"),
    [
        ([b"localhost:3001"], True),
        ([b"192.168.1.5:3001"], True),
        ([b"presenced:3001"], True),
        ([], True),
        ([b"evil.example:3001"], False),
        ([b"localhost:3001", b"evil.example:3001"], False),
    ],
)
def test_a_foreign_host_name_is_refused_for_every_origin(hosts: list[bytes], fine: bool) -> None:
    """DNS rebinding sends the page's own name both as `Origin` and as `Host`."""
    handshake = handshake_with(hosts=AllowedHosts(["presenced"]))
    others = [(name, value) for name, value in GOOD.items() if name != b"host"]
    for page in ([], [(b"origin", b"http://evil.example:3001")], [(b"origin", b"http://localhost:3001")]):
        found = handshake.answer("1.1", [*others, *((b"host", host) for host in hosts), *page])
        if not fine:
            assert isinstance(found, Refusal)
            assert (found.problem, found.setting) == (Problem.MISDIRECTED, "allowed_hosts")
            assert "allowed_hosts" in found.detail
        elif not page:
            assert isinstance(found, Accepted)


def test_a_token_in_the_wrong_place_does_not_reach_the_log() -> None:
    refused = refusal({b"sec-websocket-protocol": b"presenced.v1 presenced.token.hidden"})
    assert refused.logged == "the header Sec-WebSocket-Protocol is missing or can't be used"


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


def test_a_refusal_of_the_version_names_the_supported_one() -> None:
    assert (b"sec-websocket-version", b"13") in refusal({b"sec-websocket-version": b"8"}).headers


def test_http_1_0_cannot_be_upgraded() -> None:
    assert refusal({}, http_version="1.0").problem is Problem.HTTP_VERSION


def test_a_duplicate_header_is_refused() -> None:
    refused = answer("1.1", [*GOOD.items(), (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")])
    assert isinstance(refused, Refusal)
    assert "multiple" in refused.detail


def test_a_quoted_header_is_truncated() -> None:
    assert len(refusal({b"sec-websocket-key": b"x" * 10_000}).detail) < 300


def test_a_token_beside_the_subprotocols_is_neither_selected_nor_cached() -> None:
    handshake = handshake_with()
    for offer, agreed in ((b"presenced.v1, presenced.token.a.b-c_d", "presenced.v1"), (b"presenced.token.a.b-c_d", "")):
        answer = handshake.answer("1.1", [*GOOD.items(), (b"sec-websocket-protocol", offer)])
        assert isinstance(answer, Accepted)
        assert (answer.subprotocol, answer.token) == (agreed, "a.b-c_d")
        assert b"token" not in answer.response
    assert "a.b-c_d" not in repr(list(handshake._agreed))
    assert len(handshake._agreed) == 2


def test_the_classic_protocol_has_a_name_for_browsers_that_send_a_token() -> None:
    offer = (b"sec-websocket-protocol", b"presenced.classic, presenced.token.t")
    answer = handshake_with().answer("1.1", [*GOOD.items(), offer])
    assert isinstance(answer, Accepted)
    assert (answer.subprotocol, answer.token) == ("presenced.classic", "t")
    assert b"Sec-WebSocket-Protocol: presenced.classic\r\n" in answer.response


@pytest.mark.parametrize(
    ("value", "token"),
    [(b"Bearer abc", "abc"), (b"bearer  abc ", "abc"), (b"Basic abc", ""), (b"Bearer", ""), (b"Bearerabc", "")],
)
def test_a_token_in_the_authorization_header(value: bytes, token: str) -> None:
    answer = handshake_with().answer("1.1", [*GOOD.items(), (b"authorization", value)])
    assert isinstance(answer, Accepted)
    assert answer.token == token


@pytest.mark.parametrize(
    ("origins", "hosts", "fine"),
    [
        ([b"http://localhost:3000"], [b"x"], True),
        ([b"https://x"], [b"x"], True),
        ([b"https://x", b"https://x"], [b"x"], False),
        ([b"https://x"], [b"x", b"y"], False),
        ([b"https://x"], [], False),
        ([b"null"], [b"x"], False),
        ([], [], True),
    ],
)
def test_a_single_allowed_origin_is_accepted(origins: list[bytes], hosts: list[bytes], fine: bool) -> None:
    more = [*((b"origin", origin) for origin in origins), *((b"host", host) for host in hosts)]
    answer = handshake_with().answer("1.1", [*((n, v) for n, v in GOOD.items() if n != b"host"), *more])
    assert isinstance(answer, Accepted) is fine
    assert fine or (isinstance(answer, Refusal) and answer.problem is Problem.FORBIDDEN_ORIGIN)
