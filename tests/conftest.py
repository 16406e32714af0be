"""Fixtures and options for every kind of test."""

import pytest
from hypothesis import HealthCheck, settings

# Beside the smallest failing schedule, a failure prints a line that repeats exactly this schedule. Examples have no
# deadline, and may be slow to generate, because their duration depends on the load of the machine.
settings.register_profile(
    "repeatable", settings.default, print_blob=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest file, so that not one worker runs it alone in the end."""
    items.sort(key=lambda item: "simulation" not in item.path.parts)
