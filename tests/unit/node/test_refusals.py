"""Refusals before the upgrade: their log lines and metrics."""

from __future__ import annotations

import logging

import pytest
from msgspec import json
from tests.support.nodes import make_node

from presenced.config.settings import Settings
from presenced.errors import Problem
from presenced.net.refusals import Refusal, foreign_host, foreign_page
from presenced.runtime.logs import JsonFormatter
from presenced.runtime.metrics import Metrics
from presenced.runtime.text import MAX_QUOTED_CHARACTERS, quoted
from presenced.testing import FakeClock


class RefusalsHarness:
    def __init__(self) -> None:
        self.clock, self.metrics = FakeClock(), Metrics()
        self.node = make_node(Settings(log_burst=3), self.clock, self.metrics)

    def count(self, reason: str) -> float | None:
        labels = {"reason": reason}
        return self.metrics.registry.get_sample_value("presenced_connections_refused_total", labels)


@pytest.fixture
def harness(caplog: pytest.LogCaptureFixture) -> RefusalsHarness:
    caplog.set_level(logging.INFO, logger="presenced")
    return RefusalsHarness()


@pytest.mark.parametrize(
    ("refusal", "origin", "says"),
    [
        (
            foreign_page([b"https://app.example.com"]),
            b"https://app.example.com",
            "403 FORBIDDEN_ORIGIN: page https://app.example.com may not connect; "
            "to allow it, add https://app.example.com to the setting origins",
        ),
        (
            foreign_page([b"null"]),
            b"null",
            "403 FORBIDDEN_ORIGIN: page null may not connect; to allow it, add file:// to the setting origins",
        ),
        (
            foreign_page([b"https://a.example", b"https://b.example"]),
            b"https://a.example",
            "403 FORBIDDEN_ORIGIN: page https://a.example, https://b.example may not connect; "
            "no entry of the setting origins allows it",
        ),
        (
            foreign_host([b"Presenced.:3001"]),
            b"",
            "421 MISDIRECTED: Presenced.:3001 is not a name of this server; "
            "to allow it, add presenced to the setting allowed_hosts",
        ),
        (
            foreign_host([b"127.1", b"evil.example"]),
            b"",
            "421 MISDIRECTED: 127.1, evil.example is not a name of this server; allowed_hosts cannot contain it",
        ),
        (
            Refusal(Problem.UNAVAILABLE, "all 2 connections are taken", counts_as="full"),
            b"https://app.example.com",
            "503 UNAVAILABLE: all 2 connections are taken; page https://app.example.com; see max_connections",
        ),
        (Refusal(Problem.HEAD_TOO_LARGE, "at most 9 bytes"), b"", "431 HEAD_TOO_LARGE: at most 9 bytes; see max_head_"),
        (Refusal(Problem.BAD_HANDSHAKE, "a handshake has no body"), b"", "400 BAD_HANDSHAKE: a handshake has no body"),
    ],
)
def test_the_log_names_the_page_and_the_setting_that_would_allow_it(
    harness: RefusalsHarness, caplog: pytest.LogCaptureFixture, refusal: Refusal, origin: bytes, says: str
) -> None:
    harness.node.turned_away(refusal, origin)
    (line,) = caplog.messages
    assert line.startswith(f"⛔ HTTP: Refused, {says}")
    fields = json.decode(JsonFormatter().format(caplog.records[0]))
    assert (fields["event"], fields["code"], fields["origin"]) == (
        "turned_away",
        refusal.problem.name,
        origin.decode(),
    )
    assert not refusal.setting or fields["setting"] == refusal.setting


def test_each_refusal_is_counted_by_its_reason(harness: RefusalsHarness) -> None:
    for refusal in (
        foreign_page([b"null"]),
        foreign_page([b"null"]),
        foreign_host([b"evil.example"]),
        Refusal(Problem.UNAVAILABLE, "full", counts_as="full"),
        Refusal(Problem.BAD_HANDSHAKE, "bad"),
        Refusal(Problem.REQUEST_TIMEOUT, "late"),
    ):
        harness.node.turned_away(refusal, b"")
    reasons = ("forbidden_origin", "misdirected", "full", "bad_handshake", "request_timeout")
    assert [harness.count(reason) for reason in reasons] == [2, 1, 1, 1, 1]


def test_unused_connections_that_time_out_are_not_logged(
    harness: RefusalsHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.node.turned_away(Refusal(Problem.REQUEST_TIMEOUT, "the head did not arrive"), b"")
    assert caplog.messages == []


def test_a_burst_of_refusals_is_summed_up(harness: RefusalsHarness, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1000):
        harness.node.turned_away(foreign_page([b"https://%d.example" % number]), b"https://%d.example" % number)
    assert len(caplog.messages) == 3
    harness.clock.advance(1)
    assert caplog.messages[3:] == ["📊 WS: Within a second also: 997 refused before the upgrade"]
    assert harness.count("forbidden_origin") == 1000


HOSTILE = [b"a\r\nb", b"\x1b[31m", b"\x00", b"\x7f", "\u2028".encode(), b"\x85", b"x" * 20_000]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_client_s_text_is_one_short_printable_line(
    harness: RefusalsHarness, caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    harness.node.turned_away(foreign_page([text]), text)
    harness.node.turned_away(foreign_host([text]), text)
    harness.node.turned_away(Refusal(Problem.BAD_HANDSHAKE, text.decode("latin-1")), text)
    assert len(caplog.messages) == 3
    for record in caplog.records:
        assert record.getMessage().removeprefix("⛔").isascii()
        for line in (record.getMessage(), JsonFormatter().format(record)):
            assert line.isprintable()
            assert len(line) < 10 * MAX_QUOTED_CHARACTERS


def test_quoted_text_is_printable_ascii() -> None:
    assert quoted("https://app.example.com") == "https://app.example.com"
    assert quoted("a\r\n\x1b\u2028\U0001f600'") == "a\\r\\n\\x1b\\u2028\\U0001f600'"
    assert quoted("\U0001f600" * 300).startswith("\\U0001f600")
    assert len(quoted("\U0001f600" * 300)) == MAX_QUOTED_CHARACTERS + 3
