"""One request and its response, as ASGI defines them (https://asgi.readthedocs.io/en/latest/specs/www.html)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Scope

from presenced.errors import Problem
from presenced.net.problems import MEDIA_TYPE, problem_body
from presenced.transports.http1.faults import Faults
from presenced.transports.http1.head import Head, Header

MAX_UNREAD_BODY = 65_536
"""Maximum number of body bytes buffered for the application. At the bound the server pauses reading."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_NO_BODY = frozenset((204, 304))
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NO_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Line(Protocol):
    """The connection that a request arrived on."""

    def write(self, data: bytes) -> None:
        """Write bytes of a response."""

    def read_on(self) -> None:
        """Resume reading, because the application wants more of the body."""

    async def writable(self) -> None:
        """Wait until the client has read enough of the output, or is gone."""

    def may_go_on(self) -> bool:
        """Whether another request may follow on this connection."""

    def answered(self, goes_on: bool) -> None:
        """Handle the end of the response.

        Args:
            goes_on: The response did not announce the end of the connection.
        """

    def cut(self) -> None:
        """End the connection immediately, because the response cannot be completed."""


class Exchange:
    """One request, from its head to the end of its response. `run` is its task.

    Bound: `MAX_UNREAD_BODY`, plus one read of the connection, for the body.
    """

    __slots__ = (
        "_answer_goes_on",
        "_awaits_continue",
        "_body",
        "_chunks",
        "_event",
        "_head",
        "_is_head",
        "_left",
        "_line",
        "_said_all",
        "is_body_complete",
        "is_complete",
        "is_gone",
        "is_half_closed",
        "scope",
    )

    def __init__(self, line: Line, scope: Scope, head: Head) -> None:
        self.scope = scope
        self.is_body_complete = head.length == 0
        self.is_complete = False
        """Whether the response is written."""
        self.is_gone = False
        """Whether the client is out of reach."""
        self.is_half_closed = False
        """Whether the client has finished sending."""
        self._line = line
        self._event = asyncio.Event()
        self._body = bytearray()
        self._said_all = False
        self._awaits_continue = head.awaits_continue
        self._is_head = scope["method"] == "HEAD"
        self._head: bytes | None = None
        """Head of the response, until it is written together with the first part of the body."""
        self._answer_goes_on = head.keeps_alive
        self._chunks: bool | None = None
        """Whether the response is chunked; None before it starts."""
        self._left: int | None = None
        """Number of bytes left in the response; None if the length is unknown."""

    # Called by the connection.

    @property
    def is_started(self) -> bool:
        """Whether a part of the response was written."""
        return self._chunks is not None and self._head is None

    @property
    def unread(self) -> int:
        """Number of body bytes that the application has not read."""
        return len(self._body)

    @property
    def awaits_continue(self) -> bool:
        """Whether the client waits for 100 Continue before it sends the body."""
        return self._awaits_continue

    def body_came(self, data: bytes, is_complete: bool) -> None:
        """Add a part of the body."""
        self._awaits_continue = False
        self.is_body_complete = is_complete
        if not self.is_complete:
            self._body += data
            self._event.set()

    def half_closed(self) -> None:
        """Handle the end of the client's input. The client may still read.

        It gets its response. An endless stream ends, because most clients that leave one close both directions.
        """
        self.is_half_closed = True
        self._event.set()

    def probe(self) -> bool:
        """Write an interim response. A client that still reads ignores it, and one that has gone resets the connection.

        Until the server writes, a client that closed both directions looks like one that half-closed.

        Returns:
            Whether another probe makes sense.
        """
        if self.is_started or self.scope["http_version"] != "1.1":
            return False
        self._line.write(CONTINUE)  # "the client can simply discard" it (RFC 9110 section 15.2.1)
        return True

    def gone(self) -> None:
        """Handle the loss of the connection."""
        self.is_gone = True
        self._event.set()

    async def run(self, app: ASGIApp, faults: Faults) -> None:
        """Run the application."""
        try:
            await app(self.scope, self.receive, self.send)
            if not (self.is_complete or self.is_gone):
                raise RuntimeError("the application returned before the response was complete")
        except ClientDisconnect:
            pass  # a client that hangs up is not a server fault
        except Exception as error:  # any fault of the application must leave other requests unharmed
            faults.report(error)
        finally:
            if not (self.is_complete or self.is_gone):
                self._fail()

    def _fail(self) -> None:
        """Respond with 500. If a response has begun, cut it off, because it would look complete."""
        if self.is_started:
            self._line.cut()
            return
        body = problem_body(Problem.INTERNAL_ERROR, "the server's log has the details")
        self._answer_goes_on = False
        self._line.write(answer_head(500, [(b"content-type", MEDIA_TYPE.encode())], len(body), True) + body)
        self._complete()

    # Called by the application.

    async def receive(self) -> Message:
        """Return the next part of the body, then the disconnect once the client has gone or the response is
        complete."""
        if not (self._said_all or self.is_gone or self.is_complete):
            if self._awaits_continue:
                self._awaits_continue = False
                self._line.write(CONTINUE)
            while not (self._body or self.is_body_complete or self.is_gone):
                await self._wait()
            if not self.is_gone:
                self._said_all = self.is_body_complete
                body, self._body = bytes(self._body), bytearray()
                return {"type": "http.request", "body": body, "more_body": not self._said_all}
        while not (self.is_gone or self.is_complete or self._is_left):
            await self._wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Write a part of the response; no-op once the client has gone."""
        if not self.is_gone:
            await self._line.writable()
        if self.is_gone:
            return
        kind = message["type"]
        if self._chunks is None:
            if kind != "http.response.start":
                raise RuntimeError(f"a response begins with http.response.start, not {kind}")
            self._start(message["status"], message.get("headers", ()))
        elif kind != "http.response.body" or self.is_complete:
            raise RuntimeError(f"{kind} does not follow here")
        else:
            self._add(message.get("body", b""), message.get("more_body", False))

    @property
    def _is_left(self) -> bool:
        return self.is_half_closed and self.is_started and self._left is None and not self.is_complete

    async def _wait(self) -> None:
        self._event.clear()
        self._line.read_on()
        await self._event.wait()

    def _start(self, status: int, headers: Iterable[Header]) -> None:
        fields: list[Header] = []
        length: int | None = None
        for name, value in headers:
            if not _NAME.fullmatch(name) or _NO_VALUE.search(value):
                raise RuntimeError(f"a response cannot have the header field {name!r}: {value!r}")
            name = name.lower()
            if name == b"content-length":
                length = int(value)
            elif name == b"connection" and b"close" in value.lower():
                self._answer_goes_on = False
                fields.append((name, value))
            elif name != b"transfer-encoding":  # the server sets this field itself
                fields.append((name, value))
        self._answer_goes_on = self._answer_goes_on and self._line.may_go_on()
        is_empty = self._is_head or status in _NO_BODY
        length = None if status == 204 else length  # RFC 9110 section 8.6
        self._left = 0 if is_empty else length
        self._chunks = not is_empty and length is None and self.scope["http_version"] == "1.1"
        if not (is_empty or self._chunks) and length is None:
            self._answer_goes_on = False  # HTTP/1.0: the end of the connection ends the response
        self._head = answer_head(status, fields, length, not self._answer_goes_on, self._chunks)

    def _add(self, body: bytes, more: bool) -> None:
        if self._is_head:
            body = b""
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the response does not match its Content-Length")
        elif self._chunks and body:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        if self._chunks and not more:
            body += b"0\r\n\r\n"
        head, self._head = self._head or b"", None
        if head or body:
            self._line.write(head + body)
        if not more:
            self._complete()

    def _complete(self) -> None:
        self.is_complete = True
        self._body = bytearray()
        self._event.set()
        self._line.answered(self._answer_goes_on)


def answer_head(
    status: int, headers: Iterable[Header], length: int | None, is_last: bool, chunks: bool = False
) -> bytes:
    """Return the head of a response, with its date.

    Args:
        length: Length of the body in bytes; None if the head does not state it.
        is_last: The connection ends with this response.
        chunks: The body is chunked.
    """
    parts = [_status_line(status), _date_field()]
    closes = False
    for name, value in headers:
        parts += name, b": ", value, b"\r\n"
        closes = closes or (name == b"connection" and b"close" in value.lower())
    if length is not None:
        parts.append(b"content-length: %d\r\n" % length)
    if chunks:
        parts.append(b"transfer-encoding: chunked\r\n")
    if is_last and not closes:
        parts.append(b"connection: close\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def _date_field() -> bytes:
    return _date_field_of(int(time.time()))


@lru_cache(1)
def _date_field_of(second: int) -> bytes:
    return b"date: %b\r\n" % formatdate(second, usegmt=True).encode()


@lru_cache
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
