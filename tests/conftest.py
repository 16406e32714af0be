"""What every kind of test shares."""

import pytest
from hypothesis import settings

# A failure prints, beside the smallest schedule that leads to it, a line that does exactly this one again.
# No deadline: on a busy machine an example takes as long as it takes, and no test promises a time.
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
