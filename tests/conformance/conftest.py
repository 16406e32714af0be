"""Fixtures: one event loop is enough, because framing does not depend on it."""

import pytest


@pytest.fixture
def anyio_backend() -> object:
    return ("asyncio", {"use_uvloop": True})
