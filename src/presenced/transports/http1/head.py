"""Parser of request heads (RFC 9112 sections 2 to 6): pure functions that take bytes and return a `Head`.

The rules are strict, because a proxy in front may read a sloppy head differently (section 11.2, request smuggling).
Only CRLF ends a line, a line is never folded, and exactly one field determines the length of the body.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from presenced.errors import Problem
from presenced.net.refusals import Header

MAX_HEADERS = 100
"""Maximum number of header fields of one request. More get 431."""

MAX_LENGTH_DIGITS = 20
"""Maximum number of digits of a `Content-Length`. More get 400."""

CRLF = b"\r\n"

TLS_HANDSHAKE = b"\x16"
"""First byte of a client that speaks TLS: the content type of its hello (RFC 8446 section 5.1)."""

_EMPTY_LINES = re.compile(rb"(?:\r\n)*")

_TOKEN_CHARS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TEXT_CHARS = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
"""Bytes allowed in a field value (RFC 9110 section 5.5)."""

# A fragment (`#`) is not part of a request target. Other printable ASCII is accepted, because browsers leave `|` and
# `{` in a query.
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!\"$-~]+) HTTP/(1\.[01])")

_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)")

_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|\[[vV][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+\]"
    rb"|[A-Za-z0-9\-._~!$&'()*+,;=]*(?:%[0-9A-Fa-f]{2}[A-Za-z0-9\-._~!$&'()*+,;=]*)*)(?::[0-9]*)?"
)
"""`uri-host [ ":" port ]` (RFC 3986 section 3.2)."""

_HOST_NAME, _LENGTH, _CODING = b"host", b"content-length", b"transfer-encoding"

_DECIDING = frozenset((_HOST_NAME, _LENGTH, _CODING, b"connection", b"upgrade", b"expect"))
"""Fields that determine how the connection continues and how long the body is."""

# Clients spell a name in a few ways. This lookup takes a third of the time of checking the name and lowering its case.
_KNOWN_NAMES = {
    spelling: name.lower()
    for name in (
        b"Accept Accept-Encoding Accept-Language Authorization Cache-Control Connection Content-Length Content-Type "
        b"Host Origin Pragma Sec-Websocket-Extensions Sec-Websocket-Key Sec-Websocket-Protocol Sec-Websocket-Version "
        b"Transfer-Encoding Upgrade User-Agent X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto"
    ).split()
    for spelling in (name, name.lower(), name.replace(b"Websocket", b"WebSocket"))
}


class InvalidRequest(Exception):
    """The request breaks the rule that the message names.

    Args:
        problem: Problem document of the response.
    """

    def __init__(self, detail: str, problem: Problem = Problem.BAD_REQUEST) -> None:
        super().__init__(detail)
        self.problem = problem


class Head(NamedTuple):
    """A valid request line with valid header fields."""

    method: bytes
    path: bytes
    """Path as received, percent-encoded, without the query. A target that is a whole URL loses its authority."""
    query: bytes
    version: str
    """`1.0` or `1.1`."""
    headers: list[Header]
    """Fields with names in lower case and values without surrounding white space."""
    length: int | None
    """Number of bytes in the body, 0 for none; None if it is chunked."""
    keeps_alive: bool
    """Whether the client allows the connection to stay open after the response."""
    asks_for_websocket: bool
    """Whether the request offers to switch to the WebSocket protocol alone (RFC 9110 section 7.8).

    A list of several protocols does not count: Go's proxies treat a response that picks one of them as a server fault.
    """
    awaits_continue: bool
    """Whether the client waits for 100 Continue before it sends the body."""


def skip_empty_lines(data: bytes) -> bytes:
    """Return `data` without the empty lines that may come before a request (RFC 9112 section 2.2)."""
    return _EMPTY_LINES.sub(b"", data, 1)


def find_end(data: bytes, start: int, end: int) -> int:
    """Return the index in `data[:end]` at which the head ends; -1 if it is incomplete.

    Args:
        start: Number of bytes that were searched before, without success.
    """
    return data.find(CRLF + CRLF, max(0, start - 3), end)


def check_part(data: bytes, start: int) -> None:
    """Check an incomplete head, so that input that is not HTTP is refused at once.

    Args:
        start: Index of the first byte that was not checked before.

    Raises:
        InvalidRequest: No continuation can make it a valid request.
    """
    if start and data[start - 1] == 0x0D:  # its LF is among the new bytes
        start -= 1
    part = data[start:]
    _check_bytes(part[:-1] if part[-1:] == b"\r" else part, is_start=start == 0)
    if b"\n" in part and (end := data.find(CRLF)) >= start:
        _request_line(data[:end])


def parse(data: bytes) -> Head:
    """Parse a whole head.

    Args:
        data: The head without the CRLF of its last field and the empty line.

    Raises:
        InvalidRequest: The head breaks a rule.
    """
    _check_bytes(data)
    lines = data.split(CRLF)
    if len(lines) > MAX_HEADERS + 1:
        raise InvalidRequest(f"at most {MAX_HEADERS} header fields", Problem.HEAD_TOO_LARGE)
    method, target, version = _request_line(lines[0])
    del lines[0]
    headers, deciding = _fields(lines)
    hosts = deciding.get(_HOST_NAME, ())
    if len(hosts) != 1 and (hosts or version == "1.1"):
        raise InvalidRequest("a request must have exactly one Host header field")  # RFC 9112 section 3.2
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise InvalidRequest("the Host header field must be a host name or an address, with an optional port")
    if target[0] != 0x2F:  # not a slash: rare, since nearly every target is a path
        target, authority = _other_target(method, target)
        if authority:  # replaces Host (RFC 9112 section 3.2.2)
            headers = [(_HOST_NAME, authority), *(header for header in headers if header[0] != _HOST_NAME)]
    path, _, query = target.partition(b"?")
    length = _length(version, deciding) if _LENGTH in deciding or _CODING in deciding else 0
    options = _members(deciding, b"connection")
    return Head(
        method,
        path,
        query,
        version,
        headers,
        length,
        version == "1.1" and b"close" not in options,
        b"upgrade" in options and _members(deciding, b"upgrade") == [b"websocket"],
        length != 0 and version == "1.1" and b"100-continue" in _members(deciding, b"expect"),
    )


def _check_bytes(data: bytes, is_start: bool = True) -> None:
    """Refuse control characters, and a CR or LF outside a CRLF.

    Args:
        is_start: Whether `data` begins with the first byte of the head.
    """
    # Without its text, a valid head consists of CRLFs only.
    if len(data.translate(None, _TEXT_CHARS)) != 2 * data.count(CRLF):
        if is_start and data[:1] == TLS_HANDSHAKE:
            raise InvalidRequest("this is TLS: use ws:// or http://, or set tls_certificate")
        raise InvalidRequest("the head has a control character, or a line that does not end with CRLF")


def _request_line(line: bytes) -> tuple[bytes, bytes, str]:
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise InvalidRequest("the request line must be a method, a target and HTTP/1.1")
    return found[1], found[2], "1.1" if found[3] == b"1.1" else "1.0"


def _fields(lines: list[bytes]) -> tuple[list[Header], dict[bytes, list[bytes]]]:
    """Return the header fields, and the values of the fields in `_DECIDING` by name."""
    headers: list[Header] = []
    deciding: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        lower = _KNOWN_NAMES.get(name) or field_name(name)
        if not colon:
            raise InvalidRequest("a header field has no colon")
        value = value.strip(b" \t")  # RFC 9112 section 5.1
        headers.append((lower, value))
        if lower in _DECIDING:
            deciding.setdefault(lower, []).append(value)
    return headers, deciding


def field_name(name: bytes) -> bytes:
    """Return `name` in lower case.

    Raises:
        InvalidRequest: The name is empty, has white space before its colon, or folds the previous line.
    """
    if not name or name.translate(None, _TOKEN_CHARS):
        raise InvalidRequest("a header field name contains white space or other invalid characters")
    return name.lower()


def _other_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Return the path and the authority of a target that is not a path (RFC 9112 section 3.2)."""
    if found := _ABSOLUTE.fullmatch(target):
        authority, rest = found[1], found[2]
        if not authority or authority[:1] == b":" or not _HOST.fullmatch(authority):
            raise InvalidRequest("the URL in the request line has no valid host")
        return (rest if rest[:1] == b"/" else b"/" + rest), authority
    if target == b"*" and method == b"OPTIONS":
        return target, b""
    raise InvalidRequest("the request target must be a path or an http URL")


def _length(version: str, deciding: dict[bytes, list[bytes]]) -> int | None:
    """Return the length of the body (RFC 9112 section 6.3); None if it is chunked."""
    lengths, codings = deciding.get(_LENGTH), deciding.get(_CODING)
    if codings is not None:
        if lengths is not None:
            raise InvalidRequest("a request must not have both Content-Length and Transfer-Encoding")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise InvalidRequest("the only supported transfer coding is chunked, once")
        if version != "1.1":
            raise InvalidRequest("HTTP/1.0 has no transfer codings")
        return None
    if lengths is None:
        return 0
    if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > MAX_LENGTH_DIGITS:
        raise InvalidRequest("a request must have a single Content-Length, which is a number")
    return int(lengths[0])


def _members(deciding: dict[bytes, list[bytes]], name: bytes) -> list[bytes]:
    """Return the members of a list that spans one or several fields (RFC 9110 section 5.6.1), in lower case."""
    values = deciding.get(name)
    if values is None:
        return _NONE
    joined = values[0] if len(values) == 1 else b",".join(values)
    known = _KNOWN_LISTS.get(joined)
    return known if known is not None else _divided(joined)


def _divided(value: bytes) -> list[bytes]:
    return [member.strip(b" \t") for member in value.lower().split(b",")]


_NONE: list[bytes] = []
_KNOWN_LISTS = {
    value: _divided(value)
    for value in (b"Upgrade", b"upgrade", b"keep-alive", b"keep-alive, Upgrade", b"close", b"websocket", b"WebSocket")
}
"""Values that nearly every client sends. This lookup takes a fifth of the time of splitting the value."""
