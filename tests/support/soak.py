"""Tests that only `make soak` runs, because they take long and others like them are in `make test`."""

from __future__ import annotations

import os

import pytest

ONLY_IN_SOAK = pytest.mark.skipif("PRESENCED_SOAK" not in os.environ, reason="make soak runs it")
"""Mark of such tests: without the environment variable PRESENCED_SOAK they are skipped."""
