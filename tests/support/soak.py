"""Tests that only `make soak` runs, because they take long and others like them are in `make test`."""

from __future__ import annotations

import os

import pytest

ONLY_IN_SOAK = pytest.mark.skipif("SOAK_VARIANTS" not in os.environ, reason="make soak runs it")
"""Mark of such tests: without the environment variable SOAK_VARIANTS they are skipped. Servers would refuse a variable
that starts with PRESENCED_ and is no setting."""
