"""Heads of responses (RFC 9112 sections 4 and 5)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from presenced.net.problems import PROBLEM_MEDIA_TYPE, problem_body
from presenced.net.refusals import Header, Refusal

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Response that asks a client for its body (RFC 9110 section 10.1.1)."""


def refusal_response(refusal: Refusal) -> bytes:
    """Return a whole response with a problem document (RFC 9457), after which the connection ends."""
    body = problem_body(refusal.problem, refusal.detail)
    retry = [(b"retry-after", b"%d" % refusal.retry_after)] if refusal.retry_after else []
    fields = (*refusal.headers, *retry, (b"content-type", PROBLEM_MEDIA_TYPE.encode()))
    return response_head(refusal.problem.status, fields, len(body), is_last=True) + body


def response_head(
    status: int, headers: Iterable[Header], length: int | None, is_last: bool, is_chunked: bool = False
) -> bytes:
    """Return the head of a response, with its date.

    Args:
        length: Length of the body in bytes; None if the head does not state it.
        is_last: Whether the connection ends with this response.
        is_chunked: Whether the body is chunked.
    """
    parts = [_status_line(status), _date_field()]
    closes = False
    for name, value in headers:
        parts += name, b": ", value, b"\r\n"
        closes = closes or (name == b"connection" and b"close" in value.lower())
    if length is not None:
        parts.append(b"content-length: %d\r\n" % length)
    if is_chunked:
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
