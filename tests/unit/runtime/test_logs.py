"""Log lines: their rate, their formats, and their output."""

import io
import logging
import os
import pty
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest
from msgspec import json

from presenced.node.event_log import EventLog
from presenced.presence.model import Status
from presenced.runtime import logs
from presenced.runtime.clock import Timer
from presenced.runtime.logs import JsonFormatter, TextFormatter, wants_time
from presenced.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def events(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> EventLog:
    caplog.set_level(logging.INFO, logger="presenced")
    return EventLog(clock, Timer(clock), burst=3)


def test_lines_above_the_burst_are_summed_up_once_a_second(
    events: EventLog, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for user in range(2000):
        events.connected(str(user))
    events.disconnected("1")
    events.refused("BAD_USER_ID", "userId is missing")
    assert len(caplog.messages) == 3
    clock.advance(1)
    assert caplog.messages[3:] == ["📊 WS: Within a second also: 1,997 connected, 1 disconnected, 1 refused"]
    events.connected("1")
    assert caplog.messages[4:] == ["🚀 WS: User 1 connected"]
    clock.advance(5)
    assert len(caplog.messages) == 5, "no line was left out, so there is no sum"


@pytest.mark.parametrize("status", Status)
def test_the_sum_counts_changes_to_every_status(
    events: EventLog, clock: FakeClock, caplog: pytest.LogCaptureFixture, status: Status
) -> None:
    """A user who connects may be busy or away from the start."""
    for user in range(5):
        events.changed(str(user), status, 0)
    clock.advance(1)
    assert caplog.messages[3:] == [f"📊 WS: Within a second also: 4 broadcasts, 3 {status}"]


def test_statistics_lines_do_not_count_towards_the_burst(events: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    for user in range(10):
        events.connected(str(user))
    events.stats(5, 8)
    assert caplog.messages[-1] == "📊 WS Stats: 5 users, 8 connections"


def test_there_is_no_sum_if_the_level_hides_the_lines(
    events: EventLog, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="presenced")
    for user in range(10):
        events.connected(str(user))
    clock.advance(2)
    assert caplog.messages == []


def test_a_json_line_has_the_fields_of_its_event(events: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    events.changed("123", Status.ONLINE, 5)
    lines = [json.decode(JsonFormatter().format(record)) for record in caplog.records]
    for line in lines:
        assert line.pop("time").endswith("Z")
    assert lines == [
        {"level": "info", "event": "user_online", "message": "📡 WS: User 123 is ONLINE", "userId": 123},
        {"level": "info", "event": "broadcast", "message": "📡 WS: Broadcast sent to 5 users", "users": 5},
    ]


def test_anonymous_lines_contain_no_user_id(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="presenced")
    events = EventLog(clock, Timer(clock), burst=10, anonymous=True)
    events.connected("ada")
    events.disconnected("ada")
    events.heartbeat_failed("ada")
    events.changed("ada", Status.ONLINE, 5)
    assert caplog.messages[0] == "🚀 WS: User - connected"
    assert len(caplog.messages) == 5
    assert all("ada" not in JsonFormatter().format(record) for record in caplog.records)


LINE_BREAKS = "\r\n\x1b[2J\x85\u2028\u2029\u202e\x00"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Callable[[], None]], str]]:
    """Call a function that logs, and return the standard output."""
    root, before = logging.getLogger(), list(logging.getLogger().handlers)

    def write(form: str, say: Callable[[], None]) -> str:
        out = io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        root.handlers.clear()  # pytest's own cannot send half a surrogate pair from one process to another
        finish = logs.configure("info", form, "never")
        say()
        finish()
        return out.getvalue()

    yield write
    root.handlers[:] = before
    root.setLevel(logging.WARNING)
    logs.logger.setLevel(logging.NOTSET)


def test_no_text_of_a_peer_ends_a_text_line(written: Callable[[str, Callable[[], None]], str]) -> None:
    text = written("text", lambda: logs.logger.error("a hook said: %s", LINE_BREAKS))
    assert text == r"a hook said: \r\n\x1b[2J\x85\u2028\u2029\u202e\x00" + "\n"


def test_no_text_of_a_peer_ends_a_json_line(written: Callable[[str, Callable[[], None]], str]) -> None:
    text = written("json", lambda: logs.logger.error("a hook said: %s", LINE_BREAKS))
    assert text.isascii()
    assert text.splitlines() == [text.removesuffix("\n")]
    assert json.decode(text)["message"] == f"a hook said: {LINE_BREAKS}"


def test_no_line_of_a_traceback_can_pass_for_a_message(written: Callable[[str, Callable[[], None]], str]) -> None:
    def fail() -> None:
        try:
            raise ValueError("bad\n🚀 WS: User 7 connected\x1b[2J")
        except ValueError:
            logs.logger.exception("it failed")

    first, *rest, last = written("text", fail).rstrip("\n").split("\n")
    assert first == "it failed"
    assert all(line.startswith("  ") for line in rest)
    assert last == r"  🚀 WS: User 7 connected\x1b[2J"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_helper_process_writes_tracebacks(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    error = io.StringIO()
    monkeypatch.setattr(sys, "stderr", error)
    root.handlers.clear()
    try:
        logs.configure_helper(form, "never")
        logs.logger.error("it failed", exc_info=ValueError("bad"))
    finally:
        root.handlers[:] = before
    text = error.getvalue() if form == "text" else json.decode(error.getvalue())["message"]
    assert text.startswith("it failed\n")
    assert text.rstrip("\n").endswith("ValueError: bad")


@pytest.mark.parametrize("form", ["text", "json"])
def test_half_a_surrogate_pair_can_be_logged(written: Callable[[str, Callable[[], None]], str], form: str) -> None:
    def say() -> None:
        for name in ("\ud800", "b"):
            logs.logger.error("no file %s", name)

    text = written(form, say)
    assert (text.count("\n"), r"\ud800" in text) == (2, True)
    assert text.encode()


def test_a_blocked_output_does_not_block_the_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records go through a bounded queue to a thread. When the queue is full, they are dropped."""
    reading = threading.Event()

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            reading.wait(30)
            return super().write(text)

    pipe = Pipe()
    monkeypatch.setattr(sys, "stdout", pipe)
    monkeypatch.setattr(logs, "MAX_WAITING_RECORDS", 10)
    monkeypatch.setattr(logs, "FINISH_TIMEOUT_S", 0.05)
    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    finish = logs.configure("info", "text")
    try:
        for number in range(100):
            logs.logger.info("line %d", number)
        finish()  # gives up on the pipe after FINISH_TIMEOUT_S
        assert pipe.getvalue() == ""
        reading.set()
    finally:
        root.handlers[:] = before
        root.setLevel(logging.WARNING)
        logs.logger.setLevel(logging.NOTSET)


def test_the_time_stands_before_the_text_of_the_contract(events: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    events.stats(5, 8)
    (record,) = caplog.records
    line = TextFormatter(with_time=True).format(record)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z 📊 WS Stats: 5 users, 8 connections", line)
    assert line.startswith(json.decode(JsonFormatter().format(record))["time"]), "the time of the event, as in JSON"


@contextmanager
def stream_to(file: int) -> Iterator[TextIO]:
    with os.fdopen(file, "w") as stream:
        yield stream


def named(file: int) -> dict[str, str]:
    """Return the environment in which systemd describes this file as its connection to the journal."""
    status = os.fstat(file)
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def test_lines_have_the_time_unless_they_go_to_a_terminal_or_the_journal() -> None:
    reads, writes = os.pipe()
    with stream_to(writes) as pipe:
        assert wants_time("auto", pipe, {})
        assert wants_time("auto", pipe, {"JOURNAL_STREAM": "8:12345"}), "the journal of another process"
        assert wants_time("auto", pipe, {"JOURNAL_STREAM": "nonsense"})
        assert not wants_time("auto", pipe, named(writes))
        assert not wants_time("never", pipe, {})
        assert wants_time("always", pipe, named(writes))
    os.close(reads)
    reads, writes = pty.openpty()
    with stream_to(writes) as terminal:
        assert not wants_time("auto", terminal, {})
        assert wants_time("always", terminal, {})
    os.close(reads)
    assert wants_time("auto", io.StringIO(), {})


def test_the_journal_is_recognised_if_journal_stream_describes_standard_error() -> None:
    """If each stream has a connection, `JOURNAL_STREAM` describes that of standard error (systemd.exec(5))."""
    ours, journal = socket.socketpair()
    error, more = socket.socketpair()
    before = os.dup(2)
    os.dup2(error.fileno(), 2)
    try:
        with stream_to(os.dup(ours.fileno())) as output:
            assert not wants_time("auto", output, named(2))
        reads, writes = os.pipe()
        with stream_to(writes) as pipe:
            assert wants_time("auto", pipe, named(2)), "standard output goes elsewhere"
        os.close(reads)
    finally:
        os.dup2(before, 2)
        os.close(before)
        for one in (ours, journal, error, more):
            one.close()
