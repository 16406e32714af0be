"""Garbage collection: measured pauses, and frozen survivors."""

import gc
from collections.abc import Iterator

import pytest

from presenced.runtime import gc as garbage
from presenced.runtime.gc import Pauses, keep_pauses_short


@pytest.fixture
def untouched() -> Iterator[None]:
    """Restore the collector after the test."""
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    yield
    gc.callbacks[:] = callbacks
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_pauses_are_counted_from_start_to_stop() -> None:
    pauses = Pauses()
    gc.collect()
    assert pauses.seconds == 0
    pauses.start()
    gc.collect()
    gc.collect()
    pauses.stop()
    assert 0 < pauses.longest < pauses.seconds
    before = pauses.seconds
    gc.collect()
    assert pauses.seconds == before


@pytest.mark.usefixtures("untouched")
def test_survivors_of_a_full_collection_are_frozen() -> None:
    keep_pauses_short()
    living = [[number] for number in range(1000)]
    gc.collect(1)
    young = gc.get_freeze_count()
    gc.collect()
    assert gc.get_freeze_count() >= young + len(living)
    assert len(gc.get_objects(2)) < 100
    assert gc.get_threshold()[2] == garbage.FULL_COLLECTION_EVERY


@pytest.mark.usefixtures("untouched")
def test_new_garbage_is_still_collected() -> None:
    keep_pauses_short()
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1
