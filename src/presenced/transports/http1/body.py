"""The body of a request (RFC 9112 sections 6 and 7): bytes in, its content out, and what follows it."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Protocol

from presenced.transports.http1.head import CRLF, BadRequest, field_name

MAX_CHUNK_LINE = 256
"""Maximum number of bytes of the line before a chunk, with its extensions; more get 400."""

MAX_TRAILERS = 4096
"""Maximum number of bytes of the fields behind the last chunk; more get 400."""

MAX_LINES = 1024
"""Maximum number of lines that `Chunked.feed` reads before it returns. Chunks of one byte, 6 bytes as they come, take
0.7 microseconds each, so 256 KiB of them would hold the loop for 30 ms."""

_TEXT = rb"[\t -~\x80-\xff]*"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;" + _TEXT + rb")?")
_PART_OF_SIZE = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:[ \t]*(?:;" + _TEXT + rb")?)?\r?)?")
_TRAILER = re.compile(_TEXT)
_PART_OF_TRAILER = re.compile(_TEXT + rb"\r?")


class Body(Protocol):
    """The rest of one body."""

    @property
    def is_complete(self) -> bool:
        """Whether the last byte of it was read."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the content in `data`, and the bytes not read.

        Bytes are left when the body is complete, and else only if there was much to do: feed them once more.

        Raises:
            BadRequest: It breaks a rule. Where it ends is unknown from then on.
        """


class Sized:
    """A body of `Content-Length` bytes."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def is_complete(self) -> bool:
        """Whether the last byte of it was read."""
        return not self._left

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the content in `data`, and the bytes behind the body."""
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

    Bounds: a chunk's line by `MAX_CHUNK_LINE`, trailers by `MAX_TRAILERS`; the content by its reader.
    """

    __slots__ = ("_expects", "_held", "_left", "_trailers")

    def __init__(self) -> None:
        self._expects = _Expects.SIZE
        self._held = b""
        """The beginning of a line."""
        self._left = 0
        """Bytes of the chunk still to come."""
        self._trailers = 0

    @property
    def is_complete(self) -> bool:
        """Whether the last byte of it was read."""
        return self._expects is _Expects.NOTHING

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the content in `data`, and the bytes not read: see `Body.feed`."""
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
            if size is None or len(line) > MAX_CHUNK_LINE:
                raise BadRequest("a chunk has no size, one that is too large, or too long an extension")
            self._left = int(size[1], 16)
            self._expects = _Expects.END_OF_CHUNK if self._left else _Expects.TRAILER
        elif self._expects is _Expects.END_OF_CHUNK:
            if line:
                raise BadRequest("a chunk is longer than its size")
            self._expects = _Expects.SIZE
        elif line:
            self._trailers += len(line) + 2
            name, colon, _ = line.partition(b":")
            if self._trailers > MAX_TRAILERS or not colon or not _TRAILER.fullmatch(line):
                raise BadRequest("the trailers can't be used")
            field_name(name)
        else:
            self._expects = _Expects.NOTHING

    def _check_part(self, line: bytes) -> None:
        """Refuse a line at once that has begun badly: its client may wait for an answer."""
        if self._expects is _Expects.SIZE:
            if len(line) > MAX_CHUNK_LINE or not _PART_OF_SIZE.fullmatch(line):
                raise BadRequest("a chunk has no size, one that is too large, or too long an extension")
        elif self._expects is _Expects.END_OF_CHUNK:
            if line not in (b"", b"\r"):
                raise BadRequest("a chunk is longer than its size")
        elif self._trailers + len(line) > MAX_TRAILERS or not _PART_OF_TRAILER.fullmatch(line):
            raise BadRequest("the trailers can't be used")
