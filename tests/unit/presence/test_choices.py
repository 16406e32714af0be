"""Making choices, and the rules for which one is in force."""

import pytest

from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import AS_DETECTED, Choice, Ending, Status, StatusDetails
from presenced.presence.session import Grace
from presenced.presence.status import TimedChoice, choice_of, choices_in_force
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant


def at(seconds: float) -> Instant:
    return Instant(seconds, int(seconds * 1000))


def new(**limits: int) -> Directory[str]:
    return Directory(Grace(going_away=3, lost=15), Limits(1000, 600, 2, **limits), Journal(1000))


def test_all_spellings_of_auto_are_the_same_choice() -> None:
    assert choice_of("auto") == choice_of("") == AS_DETECTED
    assert choice_of("auto", "x") != AS_DETECTED
    assert choice_of("busy", "x") == (Status.BUSY, StatusDetails("x"))


@pytest.mark.parametrize("status", ["offline", "gone", "BUSY"])
def test_a_status_that_cannot_be_chosen_is_refused(status: str) -> None:
    with pytest.raises(ValueError, match=r"offline|is not a valid"):
        choice_of(status)


def test_the_last_permanent_choice_and_the_last_temporary_one_after_it_are_in_force() -> None:
    good, other, lunch, call = (
        TimedChoice(choice_of("busy")),
        TimedChoice(choice_of("away")),
        TimedChoice(choice_of("away"), 5),
        TimedChoice(choice_of("busy"), 9),
    )
    held: tuple[TimedChoice, ...] = ()
    for latest, expected in [
        (lunch, (lunch,)),
        (good, (good,)),
        (lunch, (good, lunch)),
        (call, (good, call)),
        (other, (other,)),
    ]:
        held = choices_in_force(held, latest)
        assert held == expected


@pytest.mark.parametrize("nothing", [AS_DETECTED, choice_of("auto")])
@pytest.mark.parametrize("lasts", [None, 60.0])
def test_choosing_auto_evicts_no_remembered_choice(nothing: Choice, lasts: float | None) -> None:
    users = new(max_choices=1)
    users.choose("ada", choice_of("invisible"), at(0), by_user=False)
    users.choose("bob", nothing, at(1), lasts, by_user=False)
    assert users.open("ada", "a", at(2)).change is None, "the choice of ada, who is invisible, is remembered"


@pytest.mark.parametrize("nothing", [AS_DETECTED, choice_of("auto")])
def test_a_client_still_sends_the_user_s_choice_after_a_backend_chose_auto(nothing: Choice) -> None:
    users = new()
    users.choose("ada", nothing, at(0), by_user=False)
    assert users.open("ada", "a", at(1), client_choice=choice_of("invisible")).change is None


def test_an_evicted_user_has_no_deadline() -> None:
    users = new()
    users.choose("ada", choice_of("auto"), at(0), lasts=10, by_user=False)
    assert users.users.user("ada") is None
    assert users.next_deadline() is None
    assert users.expire(at(10)) == []


def test_a_temporary_auto_is_a_choice_when_a_permanent_one_returns_after_it() -> None:
    users = new()
    users.open("ada", "a", at(0), "s")
    users.choose("ada", choice_of("busy"), at(1))
    change = users.choose("ada", choice_of("auto"), at(2), lasts=10).change
    assert change is not None
    assert (change.status, change.view.details.until_ms) == ("online", 12_000)
    [outcome] = users.expire(at(12))
    assert outcome.change is not None
    assert outcome.change.status == "busy"


def test_a_permanent_choice_returns_after_several_temporary_ones() -> None:
    users = new()
    users.open("ada", "a", at(0), "s")
    users.choose("ada", choice_of("busy"), at(1))
    users.choose("ada", choice_of("away"), at(2), lasts=100)
    users.choose("ada", choice_of("online"), at(3), lasts=10)
    [outcome] = users.expire(at(13))
    assert outcome.change is not None
    assert outcome.change.status == "busy", "not the first one for a time, although it would go on"


def test_held_requests_are_bounded_however_many_a_client_sends() -> None:
    users = new(status_pause=60)
    for name in ("a", "b"):
        users.open("ada", name, at(0), name)
    for number in range(100):
        users.choose("ada", choice_of("busy", str(number)), at(1), lasts=number % 3 or None)
        users.set_active("ada", "a", bool(number % 2), at(1))
        users.set_active("ada", "b", number % 3 == 0, at(1))
    user = users.users.user("ada")
    assert user is not None
    assert user.held is not None
    assert len(user.held.choices) <= 2
    assert len(user.held.activities) <= 2
    users.close("ada", "b", Ending.CLOSED, at(2))
    assert len(user.held.activities) <= 1, "a session that is forgotten is not held"
