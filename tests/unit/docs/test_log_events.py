"""`docs/reference/log-events.md` lists every event with its fields, and every other line that the server logs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from presenced.errors import Close, Problem
from presenced.net.refusals import Refusal
from presenced.node.event_log import EventLog
from presenced.presence.model import Status
from presenced.runtime.clock import Timer
from presenced.testing.clock import FakeClock

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/log-events.md").read_text("utf-8")
SOURCES = sorted((ROOT / "src/presenced").rglob("*.py"))

NOT_PRINTED = {"webhooks to %s are accepted again"}
"""Lines of level info that only the storage worker logs, which prints warnings and errors."""


ELSEWHERE: dict[str, set[str]] = {
    "listening": {"url", "version", "authentication"},
    "insecure": set(),
    "revocations_full": set(),
    "callback_failed": set(),
    "changes_lost": set(),
    "cluster_rejected": set(),
    "cluster_fenced": set(),
    "cluster_removes": {"peer"},
    "cluster_left": {"peer"},
    "cluster_back": {"seconds"},
    "cluster_name_taken": {"slot"},
    "cluster_settings_differ": {"peer", "settings"},
    "cluster_local": set(),
    "cluster_keys_lost": set(),
    "cluster_writer": set(),
    "cluster_writer_lost": set(),
    "cluster_history_gap": set(),
    "cluster_drain": set(),
    "cluster_waits": set(),
    "cluster_joined": {"cluster", "slot", "nodes", "users"},
    "summary": set(),
}
"""Events with fields that this test does not produce. A summary has fields for the lines left out."""


def documented() -> dict[str, set[str]]:
    """Return the fields of each event on the page."""
    found = {}
    for row in re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE.partition("## Lines without")[0], re.MULTILINE):
        cells = [cell.strip() for cell in row[1].split("|")]
        fields = cells[1] if cells[0] in ("info", "warning", "error") else cells[0]
        if len(cells) > 1:
            found[row[0]] = set(re.findall(r"`(\w+)`", fields))
    return found


def test_the_events_of_the_event_log_have_the_documented_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "presenced")
    clock = FakeClock()
    log = EventLog(clock, Timer(clock), burst=100)
    log.connected("ada")
    log.disconnected("ada")
    log.heartbeat_failed("ada")
    for status in Status:
        if status is not Status.INVISIBLE:  # others see offline instead
            log.changed("ada", status, 5)
    log.refused(Close.BAD_USER_ID.name, "userId is missing")
    log.turned_away(Refusal(Problem.UNAVAILABLE, "the server is stopping"), b"")
    log.stats(5, 8)
    log.stopping(8)
    log.revoked("ada", "user", 2)
    log.erased(1, 3)
    logged: dict[str, set[str]] = {}
    for record in caplog.records:
        logged[record.__dict__["event"]] = set(record.__dict__["fields"])
        assert record.levelname == "INFO"
    assert documented() == logged | ELSEWHERE


def test_a_summary_has_a_field_for_each_kind_of_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "presenced")
    clock = FakeClock()
    log = EventLog(clock, Timer(clock), burst=0)
    for _ in range(1_900):
        log.connected("ada")
        log.changed("ada", Status.ONLINE, 5)
    clock.advance(1)
    [record] = caplog.records
    assert record.__dict__["event"] == "summary"
    assert record.__dict__["fields"] == {"user_connected": 1_900, "user_online": 1_900, "broadcast": 1_900}
    assert record.getMessage() in PAGE


@pytest.mark.parametrize("message", re.findall(r"^(?:🚀|🔌|💔|📡|📊|⛔).*$", PAGE, re.MULTILINE))
def test_a_line_on_the_page_is_one_that_the_code_writes(message: str) -> None:
    formats = list(strings((ROOT / "src/presenced/node/event_log.py").read_text("utf-8")))
    assert any(re.fullmatch(re.sub(r"%[sd]", ".+", re.escape(text)), message) for text in formats if text), message


def strings(source: str) -> Iterator[str]:
    """Yield all texts in a program."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def calls() -> Iterator[tuple[str, str, bool]]:
    """Yield the format, the level, and whether there is an event, of every call of a logger in the code."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(value=str(text)), *_], keywords=more):
                    if name in ("debug", "info", "warning", "error", "exception", "critical", "log_failure"):
                        level = "error" if name == "log_failure" else name
                        yield text, level, any(one.arg == "extra" for one in more)


def events() -> set[str]:
    """Return the names of events that calls outside the event log give with `extra`."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.keyword(arg="extra", value=ast.Dict(keys=keys, values=values)):
                    named: dict[Any, Any] = {getattr(k, "value", None): v for k, v in zip(keys, values, strict=True)}
                    if isinstance(event := named.get("event"), ast.Constant):
                        found.add(str(event.value))
    return found


def test_no_other_place_in_the_code_has_an_event() -> None:
    assert events() == ELSEWHERE.keys() - {"summary"}


def test_every_line_without_an_event_is_on_the_page_and_no_other() -> None:
    listed = dict(
        re.findall(
            r"^\| (.+?) \| (info|warning|error|exception) \|", PAGE.partition("## Lines without")[2], re.MULTILINE
        )
    )
    logged = {}
    for text, level, has_event in calls():
        if not has_event and level != "debug" and text not in NOT_PRINTED:
            logged[re.sub(r"%[sd]", "…", text.partition("\n")[0])] = level
    assert listed == logged
