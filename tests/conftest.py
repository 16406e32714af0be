"""What every kind of test shares."""

import pytest
from hypothesis import settings

# A failure prints, beside the smallest schedule that leads to it, a line that does exactly this one again. An example
# has no deadline: how long it takes depends on what else the machine does.
settings.register_profile("repeatable", settings.default, print_blob=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Every asynchronous test runs on both loops."""
    return request.param
