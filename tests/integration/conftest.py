"""Fixtures for all tests against running servers."""

from __future__ import annotations

import pytest
from tests.support.raw import PATIENCE

from presenced.worker import factory


@pytest.fixture(autouse=True)
def patient_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a server wait for its keeper at the start, however busy the machine is, and refuse to start without it.

    Tests of a start without a database set their own time.
    """
    monkeypatch.setattr(factory, "START_PATIENCE", PATIENCE)
