"""Conformance tests run on one event loop, because reading and writing frames does not depend on it."""

import pytest


@pytest.fixture
def anyio_backend() -> object:
    return ("asyncio", {"use_uvloop": True})
