"""Streams opened with tickets: how they resume, and when they no longer do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from presenced.auth import resumable_streams
from presenced.auth.principal import Principal
from presenced.auth.resumable_streams import RESUME_WINDOW_S, Opening, ResumableStreams
from presenced.auth.tickets import TICKET_LIFETIME_S, Tickets
from presenced.errors import BadToken
from presenced.runtime.instant import Instant

NOW = 1_000_000.0
DAY = 86_400.0


class TicketHarness:
    """Tickets and their streams, at a time that the test sets."""

    def __init__(self) -> None:
        self.tickets = Tickets()
        self.streams = ResumableStreams(self.tickets, DAY)
        self.at = 0.0
        self.ended: list[bytes] = []

    def now(self) -> Instant:
        return Instant(self.at, int((NOW + self.at) * 1000))

    def issue(self, user_id: str = "ada", lasts: float | None = None) -> str:
        return self.tickets.issue(user_id, self.now(), lasts)

    def redeem(self, ticket: str) -> Principal:
        found = self.tickets.authenticate(ticket, self.now(), lambda _: None)
        if isinstance(found, BadToken):
            raise found
        assert found is not None, "it is known at once"
        return found

    def begin(self, ticket: str, secret: str = "") -> Opening | None:
        return self.streams.begin(ticket, secret, self.now())

    def open(self, ticket: str, secret: str = "") -> tuple[str, Callable[[], None]]:
        """Return the secret, and the function that a connection of the stream calls on its loss."""
        opening = self.begin(ticket, secret)
        assert opening is not None

        def end() -> None:
            self.ended.append(opening.key)

        self.streams.take_over(opening.key)
        assert self.streams.opened(opening.key, end)
        return opening.secret, lambda: self.streams.closed(opening.key, end, self.at)


@pytest.fixture
def world() -> TicketHarness:
    return TicketHarness()


def test_a_stream_resumes_hours_after_each_loss(world: TicketHarness) -> None:
    ticket = world.issue()
    secret, lose = world.open(ticket)
    for _ in range(10):
        world.at += TICKET_LIFETIME_S + RESUME_WINDOW_S
        lose()
        world.at += RESUME_WINDOW_S - 1
        again, lose = world.open(ticket, secret)
        assert again == secret, "ids that the client has stay valid"
    assert world.ended == []


def test_each_opening_authenticates_as_the_ticket_did(world: TicketHarness) -> None:
    ticket = world.issue(lasts=600)
    found = []
    secret = ""
    for _ in range(3):
        world.at += 10
        opening = world.begin(ticket, secret)
        assert opening
        secret = opening.secret
        found.append(world.redeem(opening.ticket))
    assert found[0].user_id == "ada"
    assert found[0].issued_at == NOW, "so that an earlier revocation applies to it"
    assert found[0].expires_at == NOW + 10 + 600, "counted from the first opening"
    assert found[0] == found[1] == found[2]
    assert len(world.tickets) == 0


def test_a_used_ticket_without_its_secret_opens_nothing(world: TicketHarness) -> None:
    ticket = world.issue()
    _, lose = world.open(ticket)
    assert world.begin(ticket) is None
    lose()
    assert world.begin(ticket) is None
    with pytest.raises(BadToken) as caught:
        world.redeem(ticket)
    assert caught.value.is_genuine


def test_another_stream_s_secret_is_a_guess(world: TicketHarness) -> None:
    mine, theirs = world.issue("ada"), world.issue("bo")
    world.open(mine)
    secret, _ = world.open(theirs)
    for guess in (secret, "x", "\ud800"):
        with pytest.raises(BadToken) as caught:
            world.begin(mine, guess)
        assert not caught.value.is_genuine
    assert world.begin(world.issue("carl"), secret), "an unused ticket opens a stream of its own"


def test_a_ticket_that_a_websocket_used_opens_no_stream(world: TicketHarness) -> None:
    ticket = world.issue()
    world.redeem(ticket)
    assert world.begin(ticket) is None
    stream = world.issue()
    world.open(stream)
    with pytest.raises(BadToken):
        world.redeem(stream)


def test_a_ticket_has_one_open_stream(world: TicketHarness) -> None:
    ticket = world.issue()
    secret, lose_old = world.open(ticket)
    _, lose_new = world.open(ticket, secret)
    assert len(world.ended) == 1
    lose_old()
    world.at += 2 * RESUME_WINDOW_S
    assert world.begin(ticket, secret), "losing the connection that was replaced does not lose the stream"
    lose_new()
    assert len(world.streams) == 1


@pytest.mark.parametrize(("lasts", "ends"), [(600.0, 600.0), (None, DAY), (2 * DAY, DAY)])
def test_no_stream_resumes_after_the_time_of_its_ticket(world: TicketHarness, lasts: float | None, ends: float) -> None:
    """The server forgets revocations after the same time. A stream that resumed later would survive a revocation."""
    ticket = world.issue(lasts=lasts)
    secret, lose = world.open(ticket)
    world.at = ends - 1
    lose()
    assert world.begin(ticket, secret)
    world.at = ends
    assert world.begin(ticket, secret) is None


def test_no_stream_resumes_after_a_long_absence(world: TicketHarness) -> None:
    ticket = world.issue()
    secret, lose = world.open(ticket)
    lose()
    world.at += RESUME_WINDOW_S
    assert world.begin(ticket, secret) is None
    assert len(world.streams) == 0


def test_no_stream_of_a_disconnected_user_resumes(world: TicketHarness) -> None:
    tickets = [world.issue(user_id) for user_id in ("ada", "ada", "bo")]
    opened = [world.open(ticket) for ticket in tickets]
    opened[1][1]()
    pending = world.begin(waiting := world.issue("ada"))
    assert pending
    world.streams.forget_user("ada")
    for ticket, (secret, lose) in zip(tickets[:2], opened[:2], strict=True):
        lose()
        assert world.begin(ticket, secret) is None
    assert not world.streams.opened(pending.key, lambda: None), "nor one that is being authenticated"
    assert world.begin(waiting, pending.secret) is None
    assert world.begin(tickets[2], opened[2][0]), "others stay"
    assert len(world.streams) == 1


def test_lost_streams_are_bounded_and_the_one_lost_first_is_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable_streams, "MAX_LOST_STREAMS", 2)
    world = TicketHarness()
    tickets = [world.issue() for _ in range(4)]
    opened = [world.open(ticket) for ticket in tickets]
    for _, lose in opened[:3]:
        world.at += 1
        lose()
    assert len(world.streams) == 3
    assert [world.begin(t, secret) is not None for t, (secret, _) in zip(tickets, opened, strict=True)] == [
        False,
        True,
        True,
        True,
    ]


def test_lost_streams_of_one_user_evict_no_stream_of_another(
    world: TicketHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable_streams, "MAX_LOST_STREAMS_OF_USER", 3)
    other = world.issue("bo")
    secret, lose = world.open(other)
    lose()
    mine = [world.issue("ada") for _ in range(10)]
    secrets = []
    for ticket in mine:
        world.at += 1
        its_secret, lose = world.open(ticket)
        secrets.append(its_secret)
        lose()
    back = [world.begin(ticket, its_secret) is not None for ticket, its_secret in zip(mine, secrets, strict=True)]
    assert back == [False] * 7 + [True] * 3, "the ones lost last"
    assert world.begin(other, secret)
    assert len(world.streams) == 4


def test_secrets_are_stored_as_digests(world: TicketHarness) -> None:
    ticket = world.issue()
    secret, _ = world.open(ticket)
    (stream,) = world.streams._streams.values()
    assert secret not in repr([getattr(stream, name) for name in stream.__slots__])


def test_at_both_bounds_a_user_s_loss_evicts_a_stream_of_that_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable_streams, "MAX_LOST_STREAMS", 3)
    monkeypatch.setattr(resumable_streams, "MAX_LOST_STREAMS_OF_USER", 2)
    world = TicketHarness()
    tickets = [world.issue(user_id) for user_id in ("bo", "ada", "ada", "ada")]
    secrets = []
    for ticket in tickets:
        world.at += 1
        secret, lose = world.open(ticket)
        secrets.append(secret)
        lose()
    resumes = [world.begin(ticket, secret) is not None for ticket, secret in zip(tickets, secrets, strict=True)]
    assert resumes == [True, False, True, True]
