"""Bodies: their content and the bytes after them, however the input is split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.transports.http1.body import MAX_CHUNK_LINE_BYTES, MAX_LINES, MAX_TRAILER_BYTES, Body, Chunked, Sized
from presenced.transports.http1.head import InvalidRequest

FOLLOWING = b"GET / HTTP/1.1\r\n"


def read(body: Body, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Return the content, and the bytes left when the body is complete."""
    content = rest = b""
    for piece in pieces:
        rest += piece
        while rest and not body.is_complete:
            found, rest = body.feed(rest)
            content += found
    return content, rest


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 10_000), max_size=20)


@given(st.binary(max_size=200), PLACES)
def test_a_sized_body_ends_after_its_length(content: bytes, places: list[int]) -> None:
    body = Sized(len(content))
    assert read(body, cut(content + FOLLOWING, places)) == (content, FOLLOWING)
    assert body.is_complete


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20), st.sampled_from([b"", b";a", b' ;a="b;c"']), PLACES)
def test_a_chunked_body_ends_after_its_trailers(parts: list[bytes], extension: bytes, places: list[int]) -> None:
    data = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
    body = Chunked()
    pieces = cut(data + b"0\r\nX: y\r\nContent-Length: 9\r\n\r\n" + FOLLOWING, places)
    assert read(body, pieces) == (b"".join(parts), FOLLOWING)
    assert body.is_complete


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"\r",
        b"\n",
        b" 5",
        b"-",
        b"0x",
        b"5\n",
        b"5\rx",
        b"5;a\n",
        b"1\r\nab",
        b"1\r\na\n",
        b"1" * 16,
        b"0\r\nX\r\n",
        b"0\r\nX : y\r\n",
        b"0\r\n x: y\r\n",
        b"0\r\nX: \0",
        b"0\r\nX: y\n",
        b"0\r\n\n",
        b"5;" + b"x" * MAX_CHUNK_LINE_BYTES,
        b"0\r\n" + b"X: y\r\n" * (MAX_TRAILER_BYTES // 6 + 1),
        b"0\r\nX: " + b"y" * MAX_TRAILER_BYTES,
    ],
)
def test_a_chunk_is_refused_at_its_first_invalid_byte(data: bytes) -> None:
    whole = Chunked()
    with pytest.raises(InvalidRequest):
        read(whole, [data])
    bytewise = Chunked()
    with pytest.raises(InvalidRequest):
        read(bytewise, [bytes([byte]) for byte in data])


def test_tiny_chunks_are_read_a_few_at_a_time() -> None:
    body = Chunked()
    content, rest = body.feed(b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n")
    assert 0 < len(content) <= MAX_LINES
    assert rest, "the loop serves other connections before the next call"
    assert read(body, [rest]) == (b"a" * (10_000 - len(content)), b"")
