"""The gatekeeper: which connections are admitted, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import json
from tests.support.fakes import FakeConnection
from tests.support.nodes import make_node, request

from presenced.auth.api_keys import new_key
from presenced.auth.authenticator import Authenticator, AuthResult, OnAuthResult
from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.errors import BadToken, Close
from presenced.node.service import PresenceService
from presenced.presence.model import Ending, Status
from presenced.runtime.instant import Instant
from presenced.testing import FakeClock

RESPONSE = b""


class FakeAuthenticator(Authenticator):
    """Authenticator for `ada` (never expires), `ada:60` (expires 60 s after the start) and `slow:ada`."""

    def __init__(self, epoch: float) -> None:
        self.epoch = epoch
        self.asked: list[tuple[str, OnAuthResult]] = []

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult | None:
        if token.startswith("slow:"):
            self.asked.append((token.removeprefix("slow:"), on_result))
            return None
        return self.answer(token)

    def answer(self, token: str) -> AuthResult:
        if token.startswith("bad"):
            return BadToken("signature", "the token's signature does not fit any key")
        if token.startswith("old"):
            return BadToken("expired", "the token has expired", is_genuine=True)
        user_id, _, seconds = token.partition(":")
        return Principal(user_id, self.epoch + float(seconds) if seconds else None, token, self.epoch)

    def reply(self) -> None:
        token, answered = self.asked.pop(0)
        answered(self.answer(token))


class GatekeeperHarness:
    def __init__(self, **settings: object) -> None:
        self.clock = FakeClock()
        self.authenticator = FakeAuthenticator(self.clock.now().epoch_ms / 1000)
        options = Settings.model_validate({"stats_interval": 0, "auth": "ticket", **settings})
        self.node = make_node(options, self.clock, authenticator=self.authenticator)
        self.node.start()
        self.service = PresenceService(self.node)

    def open(self, token: str = "", query: str = "", subprotocol: str = "presenced.v1") -> FakeConnection:
        connection = FakeConnection(self.node.closed, self.clock)
        self.node.opened(connection, request(query, subprotocol, token))
        self.clock.run_soon()
        return connection

    def send(self, connection: FakeConnection, **message: Any) -> None:
        self.node.received(connection, json.encode(message).decode())
        self.clock.run_soon()

    def auth(self, connection: FakeConnection, token: str, **fields: Any) -> None:
        self.send(connection, type="AUTH", token=token, **fields)

    @property
    def users(self) -> list[int | str]:
        return [session.user_id for session in self.node.stats().user_sessions]

    @property
    def waiting(self) -> float | None:
        return self.node.metrics.registry.get_sample_value("presenced_unauthenticated")


@pytest.fixture
def harness() -> GatekeeperHarness:
    return GatekeeperHarness()


def types(connection: FakeConnection) -> list[str]:
    return [message["type"] for message in connection.messages]


def why(connection: FakeConnection) -> tuple[Close, str] | None:
    return connection.closed_with


@pytest.mark.parametrize("subprotocol", ["", "presenced.v1"])
def test_a_token_in_the_handshake_authenticates_its_user(harness: GatekeeperHarness, subprotocol: str) -> None:
    ada = harness.open("ada", subprotocol=subprotocol)
    assert ada.messages[0]["type"] == "CONNECTION_ESTABLISHED"
    assert ada.messages[0]["userId"] == "ada"
    assert harness.users == ["ada"]


@pytest.mark.parametrize("subprotocol", ["", "presenced.v1"])
def test_a_token_in_the_first_message_authenticates_its_user(harness: GatekeeperHarness, subprotocol: str) -> None:
    ada = harness.open(subprotocol=subprotocol)
    assert ada.messages == []
    assert harness.users == []
    assert harness.waiting == 1
    harness.auth(ada, "ada")
    assert types(ada)[0] == "CONNECTION_ESTABLISHED"
    assert harness.users == ["ada"]
    assert harness.waiting == 0
    harness.clock.advance(20)
    assert why(ada) is None


@pytest.mark.parametrize("subprotocol", ["", "presenced.v1"])
def test_unknown_fields_of_the_first_message_are_ignored(harness: GatekeeperHarness, subprotocol: str) -> None:
    """The classic protocol ignores them, and the server could not send an ERROR yet."""
    ada = harness.open(subprotocol=subprotocol)
    harness.auth(ada, "ada", agent="x")
    assert types(ada)[0] == "CONNECTION_ESTABLISHED"


def test_a_token_for_the_text_of_an_unset_variable_is_refused(harness: GatekeeperHarness) -> None:
    """With any authenticator, a backend that signs `String(user?.id)` would merge all visitors into one user."""
    late = harness.open()
    harness.auth(late, "undefined")
    for connection in (harness.open("undefined"), late):
        closed = why(connection)
        assert closed is not None
        assert closed[0] is Close.UNAUTHORIZED
        assert "is a variable not set" in closed[1]
        assert len(closed[1].encode()) <= 123, "fits into a close frame"
    assert GatekeeperHarness(placeholder_ids=True).open("undefined").messages[0]["userId"] == "undefined"


def test_an_auth_message_counts_as_input_of_its_client(harness: GatekeeperHarness) -> None:
    """If the connection breaks, it therefore has the grace period of any other loss."""
    ada = harness.open(query="userId=ada", subprotocol="")
    ada.heard_at = harness.clock.monotonic()  # as the transport sets it
    ada.answers = False
    harness.auth(ada, "ada")
    harness.node.closed(ada, Ending.LOST, "lost")
    harness.clock.advance(14.9)
    assert harness.node.directory.users.status("ada") is Status.ONLINE
    harness.clock.advance(0.2)
    assert harness.node.directory.users.status("ada") is Status.OFFLINE


def test_a_bad_token_closes_the_connection_with_a_reason(harness: GatekeeperHarness) -> None:
    late = harness.open()
    harness.auth(late, "bad")
    for connection in (harness.open("bad"), late):
        assert why(connection) == (Close.UNAUTHORIZED, "the token's signature does not fit any key")
        assert connection.messages == []
    count = harness.node.metrics.registry.get_sample_value("presenced_authentications_total", {"result": "signature"})
    assert count == 2
    assert harness.waiting == 0


@pytest.mark.parametrize("message", ['{"type":"PING"}', "", "[]", '{"type":"AUTH"}', b'{"type":"AUTH","token":"ada"}'])
def test_any_other_first_message_closes_the_connection(harness: GatekeeperHarness, message: str | bytes) -> None:
    connection = harness.open()
    harness.node.received(connection, message)
    assert why(connection) == (Close.UNAUTHORIZED, 'the first message has to be {"type":"AUTH","token":"..."}')


def test_a_client_that_does_not_authenticate_is_closed_after_ten_seconds(harness: GatekeeperHarness) -> None:
    connection = harness.open()
    harness.clock.advance(9.9)
    assert why(connection) is None
    harness.clock.advance(0.2)
    reason = "this server requires a token, and none came within 10 s: set the client's token, or send AUTH"
    assert why(connection) == (Close.UNAUTHORIZED, reason)


def test_a_user_id_that_differs_from_the_token_is_refused(harness: GatekeeperHarness) -> None:
    assert why(harness.open("ada", "userId=ada")) is None
    assert why(harness.open("ada", "userId=bo")) == (Close.FORBIDDEN, "userId is not the user of the token")
    assert why(harness.open("ada", "userId=ada&userId=bo")) == (
        Close.BAD_USER_ID,
        "userId is given 2 times; give it once",
    )
    assert harness.users == ["ada"]


def test_an_invalid_parameter_beside_a_valid_token_is_refused(harness: GatekeeperHarness) -> None:
    connection = harness.open("ada", "watch=some")
    assert (why(connection) or [None])[0] is Close.BAD_PARAMETER
    harness.clock.advance(100)
    assert not harness.node.gatekeeper or not harness.node.gatekeeper._admitted


def test_a_connection_waiting_to_authenticate_may_be_slow(harness: GatekeeperHarness) -> None:
    connection = harness.open()
    del connection.session  # a connection that was never admitted has no session
    connection.paused = True
    harness.node.paused(connection)
    connection.paused = False
    harness.node.resumed(connection)
    harness.auth(connection, "ada")
    assert types(connection)[0] == "CONNECTION_ESTABLISHED"


@pytest.mark.parametrize("subprotocol", ["", "presenced.v1"])
def test_a_connection_that_is_slow_when_admitted_catches_up_later(harness: GatekeeperHarness, subprotocol: str) -> None:
    ada = harness.open(subprotocol=subprotocol)
    ada.paused = ada.write_when_paused = True
    harness.auth(ada, "ada")
    ada.write_when_paused = False
    harness.open("bo")
    ada.paused = False
    harness.node.resumed(ada)
    assert types(ada)[0] == "CONNECTION_ESTABLISHED"
    assert any("bo" in str(message) for message in ada.messages[1:])


def test_connections_waiting_to_authenticate_are_bounded() -> None:
    harness = GatekeeperHarness(max_unauthenticated=2)
    first, second, third = harness.open(), harness.open(), harness.open()
    assert why(third) == (Close.TRY_AGAIN_LATER, "too many connections are waiting to authenticate; retry later")
    harness.node.closed(first, Ending.LOST, Ending.LOST)
    assert why(harness.open()) is None
    assert why(harness.open("ada")) is None, "who shows a token need not wait"
    assert why(second) is None


def test_a_slow_authenticator_admits_clients_that_still_wait(harness: GatekeeperHarness) -> None:
    ada, gone, eager, late = harness.open("slow:ada"), harness.open("slow:bo"), harness.open("slow:c"), harness.open()
    harness.auth(late, "slow:d")
    harness.node.closed(gone, Ending.LOST, Ending.LOST)
    harness.send(eager, type="PING")
    assert why(eager) == (Close.UNAUTHORIZED, "wait for CONNECTION_ESTABLISHED before you send")
    for _ in range(4):
        harness.authenticator.reply()
    assert types(ada)[0] == types(late)[0] == "CONNECTION_ESTABLISHED"
    assert harness.users == ["ada", "d"]
    assert eager.messages == gone.messages == []


def test_a_client_retries_later_if_the_authenticator_does_not_respond(harness: GatekeeperHarness) -> None:
    ada = harness.open("slow:ada")
    harness.clock.advance(10.1)
    assert (why(ada) or [None])[0] is Close.TRY_AGAIN_LATER, "it showed something; that nobody answers is not its fault"
    harness.authenticator.reply()
    assert ada.messages == []
    assert harness.users == []


def test_the_expiry_of_a_token_is_announced_and_closes_the_connection(harness: GatekeeperHarness) -> None:
    ada, classic = harness.open("ada:600"), harness.open("bo:600", subprotocol="")
    harness.clock.advance(539)
    assert "AUTH_EXPIRING" not in types(ada)
    harness.clock.advance(2)
    expiring = [message for message in ada.messages if message["type"] == "AUTH_EXPIRING"]
    assert expiring == [{"type": "AUTH_EXPIRING", "expiresAt": int((harness.authenticator.epoch + 600) * 1000)}]
    assert types(classic)[0] == "CONNECTION_ESTABLISHED"
    assert "AUTH_EXPIRING" not in types(classic)
    harness.clock.advance(58)
    assert why(ada) is None
    harness.clock.advance(2)
    assert why(ada) == why(classic) == (Close.UNAUTHORIZED, "the token has expired")


def test_a_client_of_short_tokens_is_not_warned_immediately_after_each(harness: GatekeeperHarness) -> None:
    ada = harness.open("ada:40")  # `auth_warning` is 60 s
    harness.clock.advance(9.8)
    assert "AUTH_EXPIRING" not in types(ada)
    harness.clock.advance(0.4)
    assert types(ada).count("AUTH_EXPIRING") == 1
    harness.auth(ada, "ada:50", id=1)  # 39.8 s from now
    harness.clock.advance(9.5)
    assert types(ada).count("AUTH_EXPIRING") == 1
    harness.clock.advance(1)
    assert types(ada).count("AUTH_EXPIRING") == 2


def test_a_newer_token_prolongs_the_connection(harness: GatekeeperHarness) -> None:
    ada, classic = harness.open("ada:100"), harness.open("bo:100", subprotocol="")
    harness.clock.advance(60)
    harness.auth(ada, "ada:1000", id=7)
    harness.auth(classic, "bo:1000")
    assert ada.messages[-1] == {"type": "ACK", "id": 7}
    assert types(classic)[-1] != "ACK", "classic clients hear nothing they do not know"
    harness.clock.advance(800)
    assert why(ada) is why(classic) is None
    harness.auth(ada, "ada")
    harness.clock.advance(10_000)
    assert why(ada) is None, "for good"
    assert why(classic) == (Close.UNAUTHORIZED, "the token has expired")


def test_a_newer_token_that_is_invalid_or_of_another_user_changes_nothing(harness: GatekeeperHarness) -> None:
    ada = harness.open("ada:100")
    for token, says in (("bad", "signature"), ("bo:1000", "another user")):
        harness.auth(ada, token, id=1)
        answer = ada.messages[-1]
        assert (answer["type"], answer["name"], answer["id"]) == ("ERROR", "NOT_AUTHENTICATED", 1)
        assert says in answer["message"]
    harness.auth(ada, "slow:ada:1000")
    harness.auth(ada, "slow:ada:1000", id=2)
    assert "still being verified" in ada.messages[-1]["message"]
    assert len(harness.authenticator.asked) == 1, "one connection can't keep a hook busy"
    harness.clock.advance(101)
    assert why(ada) == (Close.UNAUTHORIZED, "the token has expired")
    harness.authenticator.reply()


def test_a_step_of_the_wall_clock_neither_prolongs_nor_ends_a_connection(harness: GatekeeperHarness) -> None:
    ada = harness.open("ada:600")
    harness.clock.step_wall_clock(3600)
    harness.clock.advance(599)
    assert why(ada) is None
    harness.clock.step_wall_clock(-7200)
    harness.clock.advance(2)
    assert why(ada) == (Close.UNAUTHORIZED, "the token has expired")


def test_a_revoked_user_is_disconnected_and_refused(harness: GatekeeperHarness) -> None:
    ada, twice, bo = harness.open("ada"), harness.open("ada:900"), harness.open("bo")
    assert harness.node.gatekeeper
    assert harness.node.gatekeeper.revoke("user", "ada", harness.clock.now()) == 2
    assert why(ada) == why(twice) == (Close.UNAUTHORIZED, "the token was revoked")
    assert why(bo) is None
    assert why(harness.open("ada")) == (Close.UNAUTHORIZED, "the token was revoked")


def test_revoking_a_token_or_a_session_closes_no_other_connection(harness: GatekeeperHarness) -> None:
    one, other = harness.open("ada:100"), harness.open("ada:200")
    gatekeeper = harness.node.gatekeeper
    assert gatekeeper
    assert harness.service.revoke("ada", session_id=one.messages[0]["sessionId"]) == 1
    assert why(one)
    assert why(other) is None
    assert harness.service.revoke("bo", session_id=other.messages[0]["sessionId"]) == 0
    assert harness.service.revoke("ada", session_id="nonsense") == 0
    assert why(harness.open("ada:100")) == (Close.UNAUTHORIZED, "the token was revoked")
    assert gatekeeper.revoke("token", "ada:200", harness.clock.now()) == 1
    assert why(other)
    assert why(harness.open("ada:300")) is None


def test_a_session_without_a_connection_can_be_revoked(harness: GatekeeperHarness) -> None:
    ada = harness.open("ada:100")
    session = ada.messages[0]["sessionId"]
    harness.node.closed(ada, Ending.LOST, "lost")
    assert harness.service.revoke("ada", session_id=session) == 0
    assert why(harness.open("ada:100", f"session={session}")) == (Close.UNAUTHORIZED, "the token was revoked")
    assert why(harness.open("ada:100")) == (Close.UNAUTHORIZED, "the token was revoked")
    assert why(harness.open("ada:200")) is None


@pytest.mark.parametrize("subprotocol", ["", "presenced.v1"])
def test_newer_tokens_count_against_the_request_rate(subprotocol: str) -> None:
    harness = GatekeeperHarness(request_burst=3, request_rate=1)
    ada = harness.open("ada", subprotocol=subprotocol)
    for number in range(6):
        harness.auth(ada, f"ada:{number + 100}")
    registry = harness.node.metrics.registry
    looked_at = registry.get_sample_value("presenced_authentications_total", {"result": "accepted"})
    assert looked_at == 1 + 3


def test_a_client_that_does_not_authenticate_counts_as_a_failure() -> None:
    harness = GatekeeperHarness(
        host="192.0.2.99", api_keys=new_key("write").entry, address_failure_burst=3, address_failure_rate=0.001
    )
    gate, key = harness.node.throttle, "203.0.113.7"
    for message in (None, "hello", '{"type":"PING"}'):
        assert gate.refusal_for_failures(key, harness.clock.monotonic()) is None
        silent = FakeConnection(harness.node.closed, harness.clock)
        silent.throttle_key = key
        harness.node.opened(silent, request(""))
        if message:
            harness.node.received(silent, message)
        harness.clock.advance(11)
        assert (why(silent) or [None])[0] is Close.UNAUTHORIZED
    assert gate.refusal_for_failures(key, harness.clock.monotonic()) is not None


def far_away(**settings: object) -> GatekeeperHarness:
    """Return a server that allows each address one failure."""
    key = new_key("write").entry
    limits = {"address_failure_burst": 1, "address_failure_rate": 0.001}
    return GatekeeperHarness(host="192.0.2.99", api_keys=key, **limits, **settings)


def come_from(harness: GatekeeperHarness, address: str, token: str, query: str = "") -> FakeConnection:
    connection = FakeConnection(harness.node.closed, harness.clock)
    connection.throttle_key = address
    harness.node.opened(connection, request(query, "presenced.v1", token))
    harness.clock.run_soon()
    return connection


@pytest.mark.parametrize(
    ("token", "query", "code"),
    [
        ("old", "", Close.UNAUTHORIZED),
        ("revoked:600", "", Close.UNAUTHORIZED),
        ("over:-1", "", Close.UNAUTHORIZED),
        ("slow:old", "", Close.UNAUTHORIZED),
        ("ada", "userId=bo", Close.FORBIDDEN),
        ("ada", "userId=", Close.BAD_USER_ID),
    ],
)
def test_a_genuine_token_that_is_refused_does_not_count_against_its_address(
    token: str, query: str, code: Close
) -> None:
    """Others connect from the same office, and a token that the issuer signed is not a guess."""
    harness, office = far_away(), "203.0.113.7"
    assert harness.node.gatekeeper
    harness.node.gatekeeper.revoke("user", "revoked", harness.clock.now())
    for _ in range(5):
        refused = come_from(harness, office, token, query)
        if token.startswith("slow:"):
            harness.authenticator.reply()
        assert (why(refused) or [None])[0] is code
    assert harness.node.throttle.refusal_for_failures(office, harness.clock.monotonic()) is None
    assert why(come_from(harness, office, "bad"))
    assert harness.node.throttle.refusal_for_failures(office, harness.clock.monotonic()) is not None, (
        "a forged one does"
    )


def test_a_token_that_has_expired_when_verified_admits_nobody(harness: GatekeeperHarness) -> None:
    """The user is not even online for a moment, so others are not notified."""
    assert why(harness.open("ada:0")) == (Close.UNAUTHORIZED, "the token has expired")
    assert harness.users == []


def test_a_server_without_authentication_acknowledges_auth() -> None:
    clock = FakeClock()
    node = make_node(Settings(stats_interval=0), clock)
    connection = FakeConnection(node.closed, clock)
    node.opened(connection, request("userId=1", "presenced.v1"))
    node.received(connection, '{"type":"AUTH","token":"x","id":1}')
    assert connection.messages[-1] == {"type": "ACK", "id": 1}
