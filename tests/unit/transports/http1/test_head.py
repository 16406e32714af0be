"""Parsing of heads, and the moment at which an invalid head is refused."""

from __future__ import annotations

import contextlib
import time

import pytest

from presenced.errors import Problem
from presenced.transports.http1.head import (
    MAX_HEADERS,
    Head,
    InvalidRequest,
    check_part,
    find_end,
    parse,
    skip_empty_lines,
)


def head(line: bytes = b"GET / HTTP/1.1", *fields: bytes) -> Head:
    return parse(b"\r\n".join((line, b"Host: x", *fields)))


def refused(data: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(data)
    return caught.value


def test_names_are_lowered_and_white_space_around_values_is_dropped() -> None:
    """RFC 9112 section 5.1."""
    found = parse(
        b"GET / HTTP/1.1\r\nHOST:x\r\nX-One:\t a  b \t\r\nX-Two:\r\nSec-WebSocket-Key:  k \r\nx-three: \xc3\xa4\xff"
    )
    assert found.headers == [
        (b"host", b"x"),
        (b"x-one", b"a  b"),
        (b"x-two", b""),
        (b"sec-websocket-key", b"k"),
        (b"x-three", b"\xc3\xa4\xff"),
    ]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a%2Fb?c=d?e", b"/a%2Fb", b"c=d?e"),
        (b"//host/x", b"//host/x", b""),
        (b'/?{|}"<>^`\\', b"/", b'{|}"<>^`\\'),
        (b"http://y/a?b", b"/a", b"b"),
        (b"HTTPS://y:1?b", b"/", b"b"),
        (b"http://[::1]:80", b"/", b""),
    ],
)
def test_a_target_is_split_into_path_and_query(target: bytes, path: bytes, query: bytes) -> None:
    found = head(b"GET %b HTTP/1.1" % target)
    assert (found.path, found.query) == (path, query)


def test_an_asterisk_is_a_target_of_options_only() -> None:
    assert head(b"OPTIONS * HTTP/1.1").path == b"*"
    with pytest.raises(InvalidRequest):
        head(b"GET * HTTP/1.1")


def test_the_authority_of_a_url_replaces_host() -> None:
    """RFC 9112 section 3.2.2."""
    found = head(b"GET http://y:81/ HTTP/1.1", b"X: z")
    assert found.headers == [(b"host", b"y:81"), (b"x", b"z")]


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"x",
        b"X.example:80",
        b"x:",
        b"127.0.0.1:3001",
        b"[::1]:3001",
        b"[v1.a:b]",
        b"a_b",
        b"%C3%A4.example",
        b"a,b",
    ],
)
def test_valid_hosts_are_accepted(host: bytes) -> None:
    assert parse(b"GET / HTTP/1.1\r\nHost: " + host).headers == [(b"host", host)]


@pytest.mark.parametrize(
    "host", [b"a b", b"a/b", b"a@b", b"a:b", b"a:1:2", b"[::1", b"::1", b"a?b", b"%", b"%4", b"\xc3\xa4"]
)
def test_invalid_hosts_are_refused(host: bytes) -> None:
    """RFC 9112 section 3.2."""
    assert "Host" in str(refused(b"GET / HTTP/1.1\r\nHost: " + host))


def test_http_1_0_allows_at_most_one_host_and_http_1_1_requires_it() -> None:
    assert parse(b"GET / HTTP/1.0").version == "1.0"
    refused(b"GET / HTTP/1.0\r\nHost: x\r\nHost: y")
    refused(b"GET / HTTP/1.1")


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([], 0),
        ([b"Content-Length: 0"], 0),
        ([b"Content-Length: 0017"], 17),
        ([b"Content-Length: 99999999999999999999"], 99_999_999_999_999_999_999),
        ([b"Transfer-Encoding: Chunked"], None),
    ],
)
def test_the_length_of_the_body(fields: list[bytes], length: int | None) -> None:
    assert head(b"POST / HTTP/1.1", *fields).length == length


@pytest.mark.parametrize(
    ("version", "connection", "keeps_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"x, CLOSE", False),
        (b"1.1", b"closed", True),
        (b"1.0", b"keep-alive", False),
    ],
)
def test_keep_alive_by_version_and_connection_header(version: bytes, connection: bytes, keeps_alive: bool) -> None:
    assert head(b"GET / HTTP/" + version, b"Connection: " + connection).keeps_alive is keeps_alive


@pytest.mark.parametrize(
    ("fields", "asks"),
    [
        ([b"Connection: Upgrade", b"Upgrade: websocket"], True),
        ([b"Connection: keep-alive", b"Connection: x, UPGRADE", b"Upgrade: WebSocket"], True),
        ([b"Upgrade: websocket"], False),
        ([b"Connection: Upgrade"], False),
        ([b"Connection: Upgrade", b"Upgrade: h2c"], False),
        ([b"Connection: Upgrade", b"Upgrade: h2c, websocket"], False),
        ([b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c"], False),
        ([b"Connection: Upgrade", b"Upgrade: websocket/13"], False),
    ],
)
def test_a_handshake_offers_websocket_and_nothing_else(fields: list[bytes], asks: bool) -> None:
    assert head(b"GET / HTTP/1.1", *fields).asks_for_websocket is asks


def test_only_a_request_with_a_body_waits_for_100() -> None:
    expects = b"Expect: 100-Continue"
    assert head(b"POST / HTTP/1.1", expects, b"Content-Length: 1").awaits_continue
    assert head(b"POST / HTTP/1.1", expects, b"Transfer-Encoding: chunked").awaits_continue
    assert not head(b"POST / HTTP/1.1", expects).awaits_continue
    assert not head(b"POST / HTTP/1.0", expects, b"Content-Length: 1").awaits_continue, "RFC 9110 section 10.1.1"


def test_the_number_of_fields_is_bounded() -> None:
    assert len(head(b"GET / HTTP/1.1", *[b"X: y"] * (MAX_HEADERS - 1)).headers) == MAX_HEADERS
    with pytest.raises(InvalidRequest) as caught:
        head(b"GET / HTTP/1.1", *[b"X: y"] * MAX_HEADERS)
    assert caught.value.problem is Problem.HEAD_TOO_LARGE


GOOD = b"GET /?a HTTP/1.1\r\nHost: x\r\nX: y\r\nZ:\r\n\r"


def test_a_valid_head_is_accepted_byte_by_byte() -> None:
    for end in range(len(GOOD) + 1):
        check_part(GOOD[:end], max(0, end - 1))
        check_part(GOOD[:end], 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nX: y\n",
        b"GET / HTTP/1.1\r\nX: \0",
        b"SSH-2.0-x\r\n",
        b"GET /\r\n",
        b"GET /\rx",
    ],
)
def test_input_that_cannot_become_a_request_is_refused_before_the_head_is_complete(data: bytes) -> None:
    check_part(data[:-1], 0)
    for start in (0, len(data) - 1):
        with pytest.raises(InvalidRequest):
            check_part(data, start)


@pytest.mark.parametrize("end", [1, 5, 400])
def test_the_hello_of_a_tls_client_is_recognised(end: int) -> None:
    hello = (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n" + bytes(range(256)) * 2)[:end]
    with pytest.raises(InvalidRequest, match="this is TLS: use ws:// or http://, or set tls_certificate"):
        check_part(hello, 0)
    assert "this is TLS" in str(refused(hello))


def test_the_first_byte_of_a_tls_hello_within_a_head_is_a_control_character() -> None:
    start = GOOD[:-1]
    for checked in (0, len(start)):
        with pytest.raises(InvalidRequest, match="control character"):
            check_part(start + b"\x16", checked)


def test_a_long_head_takes_linear_time() -> None:
    started = time.process_time()
    for field in (
        b"Host: " + b"a" * 1_000_000 + b"!@",
        b"Host: " + b"%aa" * 300_000 + b"@",
        b"X:" + b" " * 1_000_000 + b"y",
    ):
        with contextlib.suppress(InvalidRequest):  # only the time counts
            parse(b"GET / HTTP/1.1\r\n" + field)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("before", [b"", b"\r\n", b"\r\n" * 3])
def test_empty_lines_before_a_request_are_skipped(before: bytes) -> None:
    assert skip_empty_lines(before + GOOD) == GOOD


def test_the_end_of_a_head_is_found_however_its_bytes_are_split() -> None:
    whole = GOOD + b"\n\r\nbody"
    end = whole.index(b"\r\n\r\n")
    assert [find_end(whole, start, len(whole)) for start in range(end + 4)] == [end] * (end + 4)
    assert find_end(whole, 0, end + 3) == -1
