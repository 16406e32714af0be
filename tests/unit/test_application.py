"""What an application asks and tells, on a fake clock and fake connections."""

from __future__ import annotations

import pytest
from tests.unit.test_engine import House as EngineHouse

from presenced.application import Application
from presenced.core.model import Ending
from presenced.errors import Close


class House(EngineHouse):
    """An engine, and an application that asks it."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.application = Application(self.engine)


@pytest.fixture
def house() -> House:
    return House()


def test_an_announcement_is_told_to_everyone_and_cannot_contradict_a_connection(house: House) -> None:
    alice = house.connect("1")
    assert house.application.announce("2", True) is True
    assert house.application.announce("2", True) is False
    assert house.application.announce("1", False) is False
    assert house.application.announce("2", False) is True
    house.clock.run_soon()
    assert alice.told() == [("USER_ONLINE", 2), ("USER_OFFLINE", 2)]


def test_disconnecting_a_user_closes_all_connections_and_tells_at_once(house: House) -> None:
    alice, phone, laptop = house.connect("1"), house.connect("2"), house.connect("2")
    house.end(house.connect("2"), Ending.LOST)
    assert house.application.disconnect("2") == 2
    house.clock.run_soon()
    assert phone.closed_with
    assert laptop.closed_with
    assert phone.closed_with[0] is Close.DISCONNECTED
    assert alice.told() == [("USER_ONLINE", 2), ("USER_OFFLINE", 2)], "the third one's grace does not hold it back"
    assert house.application.disconnect("nobody") == 0
