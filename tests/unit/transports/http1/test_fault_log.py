"""The fault log writes one traceback for each fault, up to its bound."""

from __future__ import annotations

import pytest

from presenced.testing import FakeClock
from presenced.transports.http1.fault_log import MAX_TRACEBACKS, TRACEBACK_PERIOD_S, FaultLog


def fault(words: str = "of ours") -> Exception:
    try:
        raise ValueError(words)
    except ValueError as error:
        return error


def test_clients_cannot_fill_the_log_with_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    faults = FaultLog(clock)
    for _ in range(1000):
        faults.report(fault())
    assert len(caplog.records) == MAX_TRACEBACKS
    clock.advance(TRACEBACK_PERIOD_S)
    faults.report(fault())
    logged = caplog.records[-1].getMessage()
    assert f"{1000 - MAX_TRACEBACKS} further faults before it were not logged" in logged
    assert "in fault" in logged, "the place of the fault"


def test_the_message_of_an_exception_is_escaped_and_truncated(caplog: pytest.LogCaptureFixture) -> None:
    FaultLog(FakeClock()).report(fault("a\nforged line \x1b[2J" + "x" * 10_000))
    logged = caplog.records[-1].getMessage()
    assert "a\\nforged line \\x1b[2J" in logged
    assert len(logged) < 2_000
