"""FaultLog in the log: one traceback each, up to the limit of the log."""

from __future__ import annotations

import pytest

from presenced.testing import FakeClock
from presenced.transports.http1.fault_log import MAX_TRACEBACKS, PERIOD_S, FaultLog


def fault(words: str = "of ours") -> Exception:
    try:
        raise ValueError(words)
    except ValueError as error:
        return error


def test_clients_can_not_fill_the_log_with_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    faults = FaultLog(clock)
    for _ in range(1000):
        faults.report(fault())
    assert len(caplog.records) == MAX_TRACEBACKS
    clock.advance(PERIOD_S)
    faults.report(fault())
    said = caplog.records[-1].getMessage()
    assert f"{1000 - MAX_TRACEBACKS} further faults before it were not logged" in said
    assert "in fault" in said, "where it happened"


def test_an_exception_s_message_is_escaped_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    FaultLog(FakeClock()).report(fault("a\nforged line \x1b[2J" + "x" * 10_000))
    said = caplog.records[-1].getMessage()
    assert "a\\nforged line \\x1b[2J" in said
    assert len(said) < 2_000
