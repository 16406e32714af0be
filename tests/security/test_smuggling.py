"""One request gets one response, and no byte of a body becomes a request (RFC 9112 section 11.2).

Each case is sent to the server directly and through the proxies with the configurations in `deploy/`, whole and byte by
byte. Behind a proxy, the hidden request must never be carried out. All visitors share the proxy's connections to the
server, and the next visitor must get their own response.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

import httpx
import pytest
from tests.support.certificates import trusting
from tests.support.process import ServerProcess
from tests.support.proxies import proxy
from tests.support.raw import masked, upgrade
from websockets.frames import Opcode

from presenced.auth.api_keys import new_key

PATIENCE = 10.0
"""Seconds after which a missing response is a failure."""

KEY = new_key("admin")
ROUTES = ("direct", "nginx", "caddy")
BODY = b'{"users":["ada"]}'


class Given(NamedTuple):
    """Building blocks of cases."""

    host: bytes
    hidden: bytes
    """A request that would announce a user if it were parsed as one."""

    def request(self, line: bytes, fields: bytes = b"", body: bytes = b"") -> bytes:
        """A request with the right host; `fields` must announce a body."""
        return b"%b HTTP/1.1\r\nHost: %b\r\n%b\r\n%b" % (line, self.host, fields, body)

    def get(self, fields: bytes = b"", body: bytes = b"") -> bytes:
        return self.request(b"GET /healthz", fields, body)

    def post(self, fields: bytes = b"", body: bytes = b"") -> bytes:
        """A request that gets 200 if `BODY` reaches the endpoint."""
        return self.request(
            b"POST /api/v1/users/query", b"Authorization: Bearer %b\r\n" % KEY.key.encode() + fields, body
        )

    def hides(self, fields: bytes = b"") -> bytes:
        """A GET with a request hidden in its body."""
        return self.get(b"%bContent-Length: %d\r\n" % (fields, len(self.hidden)), self.hidden)


class Case(NamedTuple):
    """The bytes to send, and the expected statuses."""

    make: Callable[[Given], bytes]
    answers: list[int]
    goes_on: bool = False
    """Whether the connection accepts another request."""
    is_sound: bool = False
    """Whether all parsers agree, so that the response is the same through any proxy."""
    requests: int = 1
    """Number of requests that the most lenient parser may see."""


def fine(make: Callable[[Given], bytes], *answers: int) -> Case:
    """Return a case of valid requests."""
    return Case(make, list(answers or (200,)), goes_on=True, is_sound=True)


def ours(make: Callable[[Given], bytes]) -> Case:
    """Return a case of a valid request that some proxies refuse."""
    return Case(make, [200], goes_on=True)


def broken(make: Callable[[Given], bytes], requests: int = 1) -> Case:
    """Return a case of an invalid request. It is refused, and nothing after it is read."""
    return Case(make, [400], requests=requests)


SIZED = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQBAAAAAAIAAAAA\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def handshake(g: Given, more: str = "") -> bytes:
    return upgrade(more=more).replace(b"Host: localhost", b"Host: " + g.host)


def chunked(body: bytes) -> Case:
    """Return a case of an invalid chunked body."""
    return broken(lambda g: g.post(CHUNKED, body))


def length(value: bytes) -> Case:
    """Return a case of an invalid length."""
    return broken(lambda g: g.post(b"Content-Length:" + value + b"\r\n", BODY))


UPGRADES = {
    "h2c, a request in the body of GET": fine(lambda g: g.hides(H2C)),
    "h2c, a request in a chunk": fine(lambda g: g.get(H2C + CHUNKED, chunks(g.hidden))),
    "h2c, POST with a length": fine(lambda g: g.post(H2C + SIZED, BODY)),
    "h2c, POST in chunks": fine(lambda g: g.post(H2C + CHUNKED, chunks(BODY[:5], BODY[5:]))),
    "h2c, without a body": fine(lambda g: g.get(H2C)),
    "websocket to another path, a request in the body": fine(lambda g: g.hides(WEBSOCKET)),
    "websocket, POST to the API": fine(lambda g: g.post(WEBSOCKET + SIZED, BODY)),
    "a list of upgrades, a request in the body": fine(
        lambda g: g.hides(b"Connection: Upgrade\r\nUpgrade: foo/2, h2c\r\nUpgrade: websocket\r\n")
    ),
    "an upgrade to TLS, a request in the body": fine(lambda g: g.hides(b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n")),
    "an upgrade that Connection does not name": fine(lambda g: g.hides(b"Upgrade: websocket\r\n")),
    "a handshake with a request in its body": broken(
        lambda g: handshake(g, f"Content-Length: {len(g.hidden)}\r\n") + g.hidden
    ),
    "a handshake in chunks": broken(lambda g: handshake(g, "Transfer-Encoding: chunked\r\n") + chunks(g.hidden)),
    "a handshake of another version": Case(
        lambda g: handshake(g).replace(b"Version: 13", b"Version: 12") + g.get(), [426], requests=2
    ),
    "early frames": Case(lambda g: handshake(g) + masked(Opcode.PING, b"early"), [101], is_sound=True),
    "a request right behind a handshake": Case(lambda g: handshake(g) + g.hidden, [101], is_sound=True),
    "a list that has websocket": Case(
        lambda g: handshake(g).replace(b"Upgrade: websocket", b"Upgrade: h2c, websocket"), [426], requests=2
    ),
    "websocket in two fields": Case(lambda g: handshake(g, "Upgrade: websocket\r\n"), [426], requests=2),
    "an upgrade on a connection that was used": Case(
        lambda g: g.get() + g.post(SIZED, BODY) + handshake(g), [200, 200, 101], is_sound=True
    ),
    "CONNECT": broken(lambda g: b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (g.host, g.host)),
}

LENGTHS = {
    "a length and chunks": broken(lambda g: g.get(b"Content-Length: 5\r\n" + CHUNKED, b"0\r\n\r\n" + g.get()), 2),
    "chunks and a length": broken(
        lambda g: g.get(CHUNKED + b"Content-Length: %d\r\n" % (len(g.get()) + 5), b"0\r\n\r\n" + g.get()), 2
    ),
    "a length of 0 and chunks": broken(lambda g: g.post(b"Content-Length: 0\r\n" + CHUNKED, chunks(BODY))),
    "two lengths": broken(lambda g: g.get(b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(g.hidden), g.hidden)),
    "two lengths, the same": broken(lambda g: g.post(SIZED + SIZED, BODY)),
    "a list of lengths": length(b" 17, 17"),
    "a length with a sign": length(b" +17"),
    "a length below 0": length(b" -17"),
    "a length in hexadecimal": length(b" 0x11"),
    "a length with an underscore": length(b" 1_7"),
    "a length with white space in it": length(b" 1 7"),
    "a length with other digits": length(b" \xd9\xa1\xd9\xa7"),
    "a length without digits": length(b""),
    "a length with a vertical tab": length(b" \x0b17"),
    "a length of 30 digits": length(b" " + b"0" * 28 + b"17"),
    "white space around a length": ours(lambda g: g.post(b"Content-Length: \t 17 \t \r\n", BODY)),
    "chunked, in other letters": fine(lambda g: g.post(b"tRANSFER-eNCODING: cHUNKED\r\n", chunks(BODY))),
    "chunked, with white space behind": ours(lambda g: g.post(b"Transfer-Encoding: chunked \t\r\n", chunks(BODY))),
    "another coding": broken(lambda g: g.get(b"Transfer-Encoding: xchunked\r\n", g.hidden)),
    "identity": broken(lambda g: g.get(b"Transfer-Encoding: identity\r\n", g.hidden)),
    "chunked and another coding": broken(lambda g: g.get(b"Transfer-Encoding: chunked, gzip\r\n", chunks(g.hidden))),
    "another coding and chunked": broken(lambda g: g.get(b"Transfer-Encoding: gzip, chunked\r\n", chunks(g.hidden))),
    "chunked twice": broken(lambda g: g.get(CHUNKED + CHUNKED, chunks(g.hidden))),
    "chunked, and another field with another coding": broken(
        lambda g: g.get(CHUNKED + b"Transfer-Encoding: x\r\n", chunks(g.hidden))
    ),
    "a coding without a name": broken(lambda g: g.get(b"Transfer-Encoding:\r\n", g.hidden)),
    "chunked behind a vertical tab": broken(lambda g: g.get(b"Transfer-Encoding: \x0bchunked\r\n", chunks(g.hidden))),
    "white space before the colon": broken(lambda g: g.get(b"Transfer-Encoding : chunked\r\n", chunks(g.hidden))),
    "white space before the colon of a length": broken(lambda g: g.get(b"Content-Length : 5\r\n", g.hidden)),
    "chunks by HTTP/1.0": broken(lambda g: g.get(CHUNKED, chunks(g.hidden)).replace(b"/1.1", b"/1.0", 1)),
}

CHUNKS = {
    "chunks": fine(lambda g: g.post(CHUNKED, chunks(*(bytes([byte]) for byte in BODY)))),
    "a size in capitals, with zeros": fine(lambda g: g.post(CHUNKED, b"0011\r\n" + BODY + b"\r\n000\r\n\r\n")),
    "extensions": fine(lambda g: g.post(CHUNKED, b'11;a=b ;c="d"\r\n' + BODY + b"\r\n0;e\r\n\r\n")),
    "trailers": fine(lambda g: g.post(CHUNKED, b"11\r\n" + BODY + b"\r\n0\r\nContent-Length: 5\r\nX: y\r\n\r\n")),
    "a request in a trailer": broken(lambda g: g.post(CHUNKED, b"11\r\n" + BODY + b"\r\n0\r\n" + g.hidden)),
    "a size with 0x": chunked(b"0x11\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a size below 0": chunked(b"-11\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a size that is none": chunked(b"size\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "no size": chunked(b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "white space before a size": chunked(b" 11\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "white space behind a size": chunked(b"11 \r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a size of 64 bits and more": chunked(b"10000000000000011\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a size that ends with LF": chunked(b"11\n" + BODY + b"\r\n0\r\n\r\n"),
    "a size that ends with CR": chunked(b"11\rx" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk that ends with LF": chunked(b"11\r\n" + BODY + b"\n0\r\n\r\n"),
    "a chunk longer than its size": chunked(b"11\r\n" + BODY + b"more\r\n0\r\n\r\n"),
    "a chunk without an end": chunked(b"11\r\n" + BODY + b"0\r\n\r\n"),
    "LF in an extension": broken(lambda g: g.post(CHUNKED, b"11;x\n" + BODY + b"\r\n0\r\n\r\n" + g.get()), 2),
    "a long extension": chunked(b"11;" + b"x" * 20_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "long trailers": chunked(b"11\r\n" + BODY + b"\r\n0\r\n" + b"X: y\r\n" * 5000 + b"\r\n"),
    "a trailer folded": chunked(b"11\r\n" + BODY + b"\r\n0\r\nX: y\r\n z\r\n\r\n"),
    "a last chunk that ends with LF": broken(lambda g: g.post(CHUNKED, b"11\r\n" + BODY + b"\r\n0\r\n\n" + g.get()), 2),
}

LINES = {
    "a folded field": broken(lambda g: g.get(b"X: a\r\n b\r\n")),
    "a folded coding": broken(lambda g: g.get(b"Transfer-Encoding:\r\n chunked\r\n", chunks(g.hidden))),
    "a fold before the first field": broken(lambda g: b"GET /healthz HTTP/1.1\r\n X: y\r\nHost: %b\r\n\r\n" % g.host),
    "LF in the head": broken(lambda g: g.get(b"X: y\n" + CHUNKED, chunks(g.hidden))),
    "LF at the end of the head": broken(lambda g: g.get()[:-2] + b"\n" + g.get(), 2),
    "LF only": broken(lambda g: g.get(b"X: y\r\n").replace(b"\r\n", b"\n")),
    "CR in a field": broken(lambda g: g.get(b"X: y\r" + CHUNKED, chunks(g.hidden))),
    "CR before CRLF": broken(lambda g: g.get(b"X: y\r\r\n")),
    "NUL in a field": broken(lambda g: g.get(b"X: y\0z\r\n")),
    "NUL in a name": broken(lambda g: g.get(b"Content-Length\0: 5\r\n", g.hidden)),
    "a field without a colon": broken(lambda g: g.get(b"Transfer-Encoding\r\n")),
    "a field without a name": broken(lambda g: g.get(b": chunked\r\n")),
    "white space in a name": broken(lambda g: g.get(b"Content Length: 5\r\n", g.hidden)),
    "a name in brackets": broken(lambda g: g.get(b"X(y): z\r\n")),
    "two spaces in the request line": broken(lambda g: g.request(b"GET  /healthz")),
    "a tab in the request line": broken(lambda g: g.request(b"GET\t/healthz")),
    "white space before the request": broken(lambda g: b" " + g.get()),
    "white space in the target": broken(lambda g: g.request(b"GET /healthz x")),
    "a fragment in the target": broken(lambda g: g.request(b"GET /healthz#/../api")),
    "bytes beyond ASCII in the target": broken(lambda g: g.request("GET /healthz?ä".encode())),
    "a target that is no path": broken(lambda g: g.request(b"GET healthz")),
    "an asterisk": broken(lambda g: g.request(b"GET *")),
    "HTTP/2.0": broken(lambda g: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/1.2": broken(lambda g: g.get().replace(b"HTTP/1.1", b"HTTP/1.2")),
    "a version in small letters": broken(lambda g: g.get().replace(b"HTTP/1.1", b"http/1.1")),
    "HTTP/1.0": Case(lambda g: g.get().replace(b"HTTP/1.1", b"HTTP/1.0"), [200]),
    "an empty line before a request": ours(lambda g: b"\r\n" + g.get()),
    "white space behind values": fine(lambda g: g.get(b"X:y \t \r\nConnection: keep-alive \t\r\n")),
    "a field without a value": fine(lambda g: g.get(b"X:\r\nY: \r\n")),
}


def hosts(*values: bytes) -> Case:
    fields = b"".join(b"Host: %b\r\n" % value for value in values)
    return broken(lambda g: b"GET /healthz HTTP/1.1\r\n%b\r\n" % fields)


HOSTS = {
    "no host": hosts(),
    "two hosts": hosts(b"localhost", b"evil.example"),
    "two hosts, the same": hosts(b"localhost", b"localhost"),
    "a host with white space in it": hosts(b"local host"),
    "a host with a path": hosts(b"localhost/healthz"),
    "a host with a user": hosts(b"ada@localhost"),
    "a host with a port that is none": hosts(b"localhost:http"),
    "a host with two ports": hosts(b"localhost:1:2"),
    "a host in half a bracket": hosts(b"[::1"),
    "a host beyond ASCII": hosts("ä.example".encode()),
    "a host that is folded": hosts(b"local\r\n host"),
    "a URL as target": fine(lambda g: g.request(b"GET http://%b/healthz" % g.host)),
    "a URL as target, in a handshake": Case(
        lambda g: handshake(g).replace(b"GET /", b"GET http://%b/" % g.host), [101]
    ),
    "a URL as target, and a body": fine(
        lambda g: g.request(b"GET http://%b/healthz" % g.host, b"Content-Length: %d\r\n" % len(g.hidden), g.hidden)
    ),
    "a URL without a host": broken(lambda g: g.request(b"GET http:///healthz")),
    "a URL with a user": broken(lambda g: g.request(b"GET http://ada@%b/healthz" % g.host)),
    "a URL of another scheme": broken(lambda g: g.request(b"GET ftp://%b/healthz" % g.host)),
    "a URL and no host": broken(lambda g: b"GET http://%b/healthz HTTP/1.1\r\n\r\n" % g.host),
    "a URL and two hosts": broken(lambda g: g.request(b"GET http://%b/healthz" % g.host, b"Host: %b\r\n" % g.host)),
}

BODIES = {
    "a request in the body of GET": fine(lambda g: g.hides()),
    "a request in a chunk of GET": fine(lambda g: g.get(CHUNKED, chunks(g.hidden[:9], g.hidden[9:]))),
    "a request in the body of POST": fine(lambda g: g.post(b"Content-Length: %d\r\n" % len(g.hidden), g.hidden), 400),
    "a body that waits for 100 Continue": fine(lambda g: g.post(b"Expect: 100-continue\r\n" + SIZED, BODY)),
    "requests right behind each other": fine(
        lambda g: g.get() + g.post(SIZED, BODY) + g.get() + g.hides(), 200, 200, 200, 200
    ),
    "pipelined, one of them bad": Case(lambda g: g.get() + g.get(b"X y\r\n") + g.hidden, [200, 400]),
    "behind the last request": Case(lambda g: g.get(b"Connection: close\r\n") + g.hidden, [200]),
    "behind the last request, in its body": Case(lambda g: g.hides(b"Connection: close\r\n") + g.hidden, [200]),
}

CASES = UPGRADES | LENGTHS | CHUNKS | LINES | HOSTS | BODIES


class Routes:
    """The server, and the routes to it: directly and through proxies."""

    def __init__(self, server: ServerProcess, ports: dict[str, int], contexts: dict[str, ssl.SSLContext]) -> None:
        self.ports = ports
        self.contexts = contexts
        self.api = httpx.Client(
            base_url=f"http://127.0.0.1:{server.port}",
            headers={"authorization": f"Bearer {KEY.key}"},
            trust_env=False,
        )
        self._visits = 0

    def given(self, route: str) -> tuple[str, Given]:
        """An unknown user, and the building blocks for a case."""
        self._visits += 1
        user = f"hidden{self._visits}"
        host = b"127.0.0.1:%d" % self.ports[route]
        line = b"POST /api/v1/users/%b/announce HTTP/1.1\r\nHost: %b\r\n" % (user.encode(), host)
        fields = b"Authorization: Bearer %b\r\nContent-Length: 15\r\n\r\n" % KEY.key.encode()
        return user, Given(host, line + fields + b'{"online":true}')

    def send(self, route: str, data: bytes, size: int) -> bytes:
        """Send `data` in pieces, and return everything received until the end or an open WebSocket."""
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", self.ports[route]), PATIENCE))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if route != "direct":
                sock = stack.enter_context(self.contexts[route].wrap_socket(sock, server_hostname="127.0.0.1"))
            with contextlib.suppress(ConnectionError, ssl.SSLError):  # it may be refused before everything is sent
                for at in range(0, len(data), size):
                    sock.sendall(data[at : at + size])
            found = bytearray()
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError):  # a reset ends the response, too
                while b"CONNECTION_ESTABLISHED" not in found and (part := sock.recv(65_536)):
                    found += part
            return bytes(found)

    def status_of(self, user: str) -> str:
        return str(self.api.get(f"/api/v1/users/{user}").json()["status"])


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("nginx", "caddy")}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(ServerProcess(api_keys=KEY.entry, trusted_proxies="127.0.0.1"))
        ports = {"direct": server.port}
        for kind, folder in folders.items():
            ports[kind] = stack.enter_context(proxy(kind, folder, server.port, "127.0.0.1"))
        contexts = {kind: trusting(folder / "certificate.pem") for kind, folder in folders.items()}
        routes = Routes(server, ports, contexts)
        stack.callback(routes.api.close)
        yield routes
        assert "Traceback" not in server.output


def last(given: Given) -> bytes:
    """A last request that ends the connection, so that all responses can be read without waiting."""
    return given.get(b"Connection: close\r\n")


def answers(received: bytes) -> list[tuple[int, bytes]]:
    """Return status and body of each response; the bytes after a 101 belong to a WebSocket."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        line = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
        assert line, f"not a response: {head[:200]!r}"
        status = int(line[1])
        if 100 <= status < 200 and status != 101:
            continue
        body = b""
        if status == 101:
            received = b""
        elif length := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
            body, received = received[: int(length[1])], received[int(length[1]) :]
            assert len(body) == int(length[1]), "the response is complete"
        elif re.search(rb"(?i)\r\ntransfer-encoding: chunked", head):
            while (size := int((line_ := received.partition(b"\r\n"))[0], 16)) > 0:
                body, received = body + line_[2][:size], line_[2][size + 2 :]
            received = line_[2][2:]
        else:
            body, received = received, b""
        found.append((status, body))
    return found


@pytest.mark.parametrize("size", [1_000_000, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_request_gets_one_answer(routes: Routes, case: Case, route: str, size: int) -> None:
    user, given = routes.given(route)
    got = [status for status, _ in answers(routes.send(route, case.make(given) + last(given), size))]
    expected = [*case.answers, *([200] if case.goes_on else [])]
    if route == "direct" or case.is_sound:
        assert got == expected
    else:  # a proxy may refuse the request itself, or repair it
        assert len(got) <= len(case.answers) - 1 + case.requests + 1
        # Caddy responds with 502 when it cannot read the rest of a body that it is forwarding.
        assert not ({500, 503, 504} | (set() if case in CHUNKS.values() else {502})) & set(got)
    assert routes.status_of(user) == "offline", "the hidden request was carried out"
    for status, body in answers(routes.send(route, given.get() + last(given), size)):
        assert status == 200
        assert b'"alive"' in body, "the response to another visitor"


@pytest.mark.parametrize("route", ROUTES)
def test_answers_come_in_the_order_of_the_requests(routes: Routes, route: str) -> None:
    _, given = routes.given(route)
    requests = [given.get(), given.post(SIZED, BODY)] * 5
    got = answers(routes.send(route, b"".join(requests) + last(given), 1_000_000))
    assert [b'"alive"' in body for _, body in got] == [True, False] * 5 + [True]


def test_the_host_of_a_url_goes_before_the_host_field(routes: Routes) -> None:
    """RFC 9112 section 3.2.2."""
    request = b"GET http://localhost:81/ws-online-status HTTP/1.1\r\nHost: other.example\r\n\r\n"
    ((status, body),) = answers(routes.send("direct", request, 1_000_000))
    assert status == 426
    assert b"ws://localhost:81/ws-online-status" in body
    request = b"GET http://other.example/stats HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ((status, _),) = answers(routes.send("direct", request, 1_000_000))
    assert status == 421
