"""Fixtures for all tests against running servers."""

from __future__ import annotations

import pytest
from tests.support.raw import PATIENCE

from presenced.worker import factory


@pytest.fixture(autouse=True)
def patient_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a server wait for its storage worker at the start, however busy the machine is.

    Tests of a start without a database set their own time.
    """
    monkeypatch.setattr(factory, "START_TIMEOUT_S", PATIENCE)
