"""Fixtures for all tests against running servers."""

from __future__ import annotations

import pytest
from tests.support.raw import PATIENCE

from presenced.worker import client


@pytest.fixture(autouse=True)
def patient_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a server wait for its storage worker at the start, however busy the machine is.

    Tests of a start without a database set their own time.
    """
    monkeypatch.setattr(client, "DATABASE_TIMEOUT_S", PATIENCE)
