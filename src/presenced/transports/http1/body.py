"""Parsers of request bodies (RFC 9112 sections 6 and 7): they take bytes and return content and leftover bytes."""

from __future__ import annotations

import re
from enum import Enum, auto

from presenced.transports.http1.head import CRLF, InvalidRequest, field_name

MAX_CHUNK_LINE_BYTES = 256
"""Maximum size in bytes of the line before a chunk, including its extensions. A longer line gets 400."""

MAX_TRAILER_BYTES = 4096
"""Maximum size in bytes of the trailer fields after the last chunk. Larger trailers get 400."""

MAX_LINES = 1024
"""Maximum number of lines that `Chunked.feed` reads before it returns. A chunk with one byte of content takes 6 bytes
on the wire and 0.7 microseconds. So 256 KiB of them would block the loop for 30 ms."""

_TEXT = rb"[\t -~\x80-\xff]*"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;" + _TEXT + rb")?")
_PART_OF_SIZE = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:[ \t]*(?:;" + _TEXT + rb")?)?\r?)?")
_TRAILER = re.compile(_TEXT)
_PART_OF_TRAILER = re.compile(_TEXT + rb"\r?")


class Sized:
    """A body whose `Content-Length` gives its size in bytes."""

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def is_complete(self) -> bool:
        """Whether the last byte was read."""
        return not self._left

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the content in `data`, and the bytes after the body."""
        content = data[: self._left]
        self._left -= len(content)
        return content, data[len(content) :]


class _Expects(Enum):
    SIZE = auto()
    END_OF_CHUNK = auto()
    TRAILER = auto()
    NOTHING = auto()


class Chunked:
    """A body in chunks (RFC 9112 section 7.1). Chunk extensions and trailers are checked and dropped.

    Bounds: `MAX_CHUNK_LINE_BYTES` for a chunk's line; `MAX_TRAILER_BYTES` for trailers; the caller limits the content.
    """

    def __init__(self) -> None:
        self._expects = _Expects.SIZE
        self._held = b""
        """Start of an incomplete line."""
        self._left = 0
        """Number of bytes left in the current chunk."""
        self._trailer_bytes = 0
        """Number of bytes in the trailer fields so far."""

    @property
    def is_complete(self) -> bool:
        """Whether the last byte was read."""
        return self._expects is _Expects.NOTHING

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the content in `data`, and the unread bytes.

        Unread bytes follow a complete body. An incomplete body leaves some only after `MAX_LINES` lines; feed them
        again.

        Raises:
            InvalidRequest: The body breaks a rule, so its end is unknown.
        """
        data, self._held = self._held + data, b""
        contents: list[bytes] = []
        at = 0
        for _ in range(MAX_LINES):
            if self._left:
                content = data[at : at + self._left]
                contents.append(content)
                at += len(content)
                self._left -= len(content)
                if self._left:
                    break
            end = data.find(CRLF, at)
            if end < 0:
                self._held = data[at:]
                at = len(data)
                self._check_part(self._held)
                break
            self._take(data[at:end])
            at = end + 2
            if self._expects is _Expects.NOTHING:
                break
        return b"".join(contents), data[at:]

    def _take(self, line: bytes) -> None:
        if self._expects is _Expects.SIZE:
            size = _SIZE.fullmatch(line)
            if size is None or len(line) > MAX_CHUNK_LINE_BYTES:
                raise InvalidRequest("a chunk has no valid size, or its extension is too long")
            self._left = int(size[1], 16)
            self._expects = _Expects.END_OF_CHUNK if self._left else _Expects.TRAILER
        elif self._expects is _Expects.END_OF_CHUNK:
            if line:
                raise InvalidRequest("a chunk is longer than its size")
            self._expects = _Expects.SIZE
        elif line:
            self._trailer_bytes += len(line) + 2
            name, colon, _ = line.partition(b":")
            if self._trailer_bytes > MAX_TRAILER_BYTES or not colon or not _TRAILER.fullmatch(line):
                raise InvalidRequest("the trailer fields are invalid or too long")
            field_name(name)
        else:
            self._expects = _Expects.NOTHING

    def _check_part(self, line: bytes) -> None:
        """Refuse an incomplete line that is already invalid. Its client may send no more and wait for a response."""
        if self._expects is _Expects.SIZE:
            if len(line) > MAX_CHUNK_LINE_BYTES or not _PART_OF_SIZE.fullmatch(line):
                raise InvalidRequest("a chunk has no valid size, or its extension is too long")
        elif self._expects is _Expects.END_OF_CHUNK:
            if line not in (b"", b"\r"):
                raise InvalidRequest("a chunk is longer than its size")
        elif self._trailer_bytes + len(line) > MAX_TRAILER_BYTES or not _PART_OF_TRAILER.fullmatch(line):
            raise InvalidRequest("the trailer fields are invalid or too long")


Body = Sized | Chunked
"""The unread part of one body."""
