"""Fixtures: real servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.support.clients import CALM, StartServer
from tests.support.process import ServerProcess


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerProcess]:
    """Start a server for the tests of one module, which use users and rooms of their own."""
    with ServerProcess(**CALM) as running:
        yield running


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Return `start_server(environ, **settings)`. The servers end after the test."""
    with ExitStack() as servers:
        yield lambda environ=None, **settings: servers.enter_context(ServerProcess(environ, **{**CALM, **settings}))
