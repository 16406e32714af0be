"""When `presenced_client` connects again, row by row, and how it treats tokens and URLs."""

from __future__ import annotations

import jwt
import pytest

from presenced_client import PresenceError, codes
from presenced_client.retry import Again, Final, Retry
from presenced_client.self import Self
from presenced_client.token import Tokens, expiry, fits_into_header
from presenced_client.url import choice_parameters, connection_url, http_address, websocket_address

KEY = "k" * 32


def retry(random: float = 1.0, can_renew: bool = True) -> Retry:
    return Retry(lambda: random, can_renew)


def delay(decision: Again | Final) -> float:
    assert isinstance(decision, Again)
    return decision.delay


@pytest.mark.parametrize("code", [1001, 1006, 1011, 4408, 4420, 4999])
def test_a_loss_is_retried_with_full_jitter_that_doubles_up_to_half_a_minute(code: int) -> None:
    longest, shortest = retry(random=1.0), retry(random=0.0)
    assert [delay(longest.closed(code, "", at)) for at in range(8)] == [0.6, 1.1, 2.1, 4.1, 8.1, 16.1, 30.1, 30.1]
    assert {delay(shortest.closed(code, "", at)) for at in range(8)} == {0.1}


@pytest.mark.parametrize("code", [1013, 4421, 4429])
def test_an_overloaded_server_is_retried_slowly(code: int) -> None:
    assert codes.CLOSE[code].is_slow
    decisions = retry()
    assert [delay(decisions.closed(code, "", at)) for at in range(4)] == [4.1, 8.1, 16.1, 30.1]


def test_the_delays_begin_again_after_ten_seconds_of_an_open_connection() -> None:
    decisions = retry()
    for at, expected in ((0.0, 0.6), (9.9, 1.1), (30.0, 0.6)):
        decisions.opened({0.0: -1.0, 9.9: 0.0, 30.0: 20.0}[at])
        assert delay(decisions.closed(1006, "", at)) == expected


@pytest.mark.parametrize("code", [code for code, known in codes.CLOSE.items() if not known.reconnect])
def test_a_final_code_fails_with_advice(code: int) -> None:
    if code == 4409:
        return  # below
    decision = retry(can_renew=False).closed(code, "why", 0)
    assert isinstance(decision, Final)
    error = decision.error
    assert (error.code, error.numeric_code, error.message) == (codes.CLOSE[code].name, code, "why")
    assert error.hint
    assert not error.retryable


def test_a_stopping_server_says_how_long_to_wait_once() -> None:
    decisions = retry()
    assert delay(decisions.closed(1001, "", 0, retry_after=7.5)) == 7.5
    assert delay(decisions.failed(PresenceError("CONNECTION_LOST", "", retryable=True), 8)) == 0.6


def test_a_refused_token_is_fetched_again_once_in_a_row() -> None:
    decisions = retry()
    first = decisions.closed(4401, "", 0)
    assert isinstance(first, Again)
    assert (first.delay, first.fresh_token) == (1, True)
    assert isinstance(decisions.closed(4401, "", 1), Final)
    decisions = retry()
    for at in range(3):  # a token that expires every hour
        assert isinstance(decisions.closed(4401, "", at * 3600), Again)
        decisions.opened(at * 3600 + 1)


def test_a_fixed_token_that_is_refused_is_final() -> None:
    assert isinstance(retry(can_renew=False).closed(4401, "", 0), Final)


def test_a_session_that_another_client_takes_is_given_up_at_the_third_time_within_a_minute() -> None:
    decisions = retry()
    for at in (0, 40, 80, 120):
        decision = decisions.closed(4409, "", at)
        assert isinstance(decision, Again)
        assert (decision.delay, decision.new_session) == (0, True)
    assert isinstance(decisions.closed(4409, "", 130), Final)


def test_an_unreachable_server_gets_a_name_after_three_attempts_that_never_opened() -> None:
    decisions, error = retry(), PresenceError("CONNECTION_LOST", "refused", retryable=True)
    seen = [decisions.failed(error, at) for at in range(3)]
    assert [one.error.code for one in seen] == ["CONNECTION_LOST", "CONNECTION_LOST", "UNREACHABLE"]
    decisions.opened(10)
    assert decisions.failed(error, 11).error.code == "CONNECTION_LOST"


def test_a_refused_handshake_is_final_unless_its_problem_says_otherwise() -> None:
    final = PresenceError.from_problem(403, {"code": "FORBIDDEN_ORIGIN", "detail": "why", "retry": False})
    assert isinstance(retry().failed(final, 0), Final)
    full = PresenceError.from_problem(503, {"code": "UNAVAILABLE", "retry": True})
    assert delay(retry(random=0).failed(full, 0, retry_after=9)) == 9
    assert PresenceError.from_problem(502, None).retryable, "a proxy without a server"


def signed(**claims: float) -> str:
    return jwt.encode(dict(claims), KEY, "HS256")


@pytest.mark.anyio
async def test_a_token_is_reused_until_a_minute_before_its_expiry_and_a_ticket_is_not() -> None:
    now = 1000.0
    given: list[str] = []

    def fetch() -> str:
        given.append(signed(exp=now + 100))
        return given[-1]

    tokens = Tokens(fetch, lambda: now)
    first = await tokens.get()
    now = 1039.0
    assert await tokens.get() == first
    now = 1041.0
    assert await tokens.get() != first
    tokens.forget()
    await tokens.get()
    assert len(given) == 3
    tickets = iter(["one", "two"])
    assert [await (source := Tokens(lambda: next(tickets), lambda: 0)).get(), await source.get()] == ["one", "two"]


@pytest.mark.parametrize("token", ["", "ticket", "a.b", "a.!.c", "a.bnVsbA.c", signed(), "a.eyJleHAiOnRydWV9.c"])
def test_anything_without_an_expiry_is_used_once(token: str) -> None:
    assert expiry(token) is None
    assert fits_into_header(token)
    assert not fits_into_header(token + " ü")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://localhost:3001", "ws://localhost:3001/ws-online-status"),
        ("https://example.org/", "wss://example.org/ws-online-status"),
        ("http://[::1]:3001/presence/", "ws://[::1]:3001/presence/ws-online-status"),
        ("HTTPS://example.org", "wss://example.org/ws-online-status"),
        ("wss://example.org/ws-online-status", "wss://example.org/ws-online-status"),
    ],
)
def test_the_path_is_appended_to_a_url(url: str, address: str) -> None:
    assert websocket_address(url) == address
    assert websocket_address(http_address(url)) == address


@pytest.mark.parametrize("url", ["localhost:3001", "ftp://localhost", "ws://", "ws://host?userId=1", "ws://host#x"])
def test_a_bad_url_is_an_error_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="url must"):
        websocket_address(url)


def test_the_url_says_what_the_user_chose_and_not_what_a_backend_claims() -> None:
    assert choice_parameters(None) == choice_parameters(Self("online", "auto")) == {}
    busy = {"type": "SELF", "status": "busy", "chosen": "busy", "text": "x", "until": 5}
    assert choice_parameters(Self.from_message(busy)) == {"status": "busy", "text": "x", "until": "5"}
    claimed = {"type": "SELF", "status": "busy", "chosen": "away", "text": "meeting", "until": 9, "claimed": True}
    assert choice_parameters(Self.from_message(claimed)) == {"status": "away"}
    url = connection_url("ws://h/p", {"userId": "a&b", "device": ""}, {"watch": "none"})
    assert url == "ws://h/p?userId=a%26b&watch=none"
