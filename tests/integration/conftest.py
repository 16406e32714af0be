"""What holds for all tests against running servers."""

from __future__ import annotations

import pytest
from tests.integration.raw import PATIENCE

from presenced.keeper import factory


@pytest.fixture(autouse=True)
def patient_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server waits at its start until its keeper is there, however busy the machine is, and does not go on without.

    Tests of a start without a database set a time of their own.
    """
    monkeypatch.setattr(factory, "START_PATIENCE", PATIENCE)
