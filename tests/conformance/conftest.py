"""One event loop: what is tested here reads and makes frames, and that is the same on both."""

import pytest


@pytest.fixture
def anyio_backend() -> object:
    return ("asyncio", {"use_uvloop": True})
