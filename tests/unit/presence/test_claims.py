"""Claims of backends: which claim wins over which others, for how long, and how many are allowed."""

import pytest

from presenced.errors import BadClaim, CapacityError
from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import AS_DETECTED, NO_DETAILS, Cause, Change, Choice, Ending, Status, StatusDetails
from presenced.presence.session import Grace
from presenced.presence.status import MAX_SOURCES, Claim, check_claim, decide
from presenced.presence.subscriptions import Subscription
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

BUSY, AWAY = Choice(Status.BUSY, NO_DETAILS), Choice(Status.AWAY, NO_DETAILS)


def at(seconds: float) -> Instant:
    return Instant(seconds, int(seconds * 1000))


def claim(source: str = "calendar", status: Status = Status.BUSY, priority: int = 0, text: str = "") -> Claim:
    return Claim(source, status, StatusDetails(text=text), priority)


def summary(change: Change | None) -> tuple[Status, str, Cause] | None:
    return (change.status, change.view.details.text, change.cause) if change else None


@pytest.fixture
def directory() -> Directory[str]:
    return Directory(
        Grace(going_away=3, lost=15), Limits(1000, 600, max_announced=2, max_choices=2, max_claimed=2), Journal(1000)
    )


def test_the_highest_priority_wins_and_the_newest_of_equal_ones() -> None:
    first, second = claim("a", Status.AWAY, text="first"), claim("b", Status.BUSY, text="second")
    assert decide(AS_DETECTED, (first, second)) == Choice(Status.BUSY, StatusDetails("second"))
    assert decide(AS_DETECTED, (second, first)) == Choice(Status.AWAY, StatusDetails("first"))
    high = claim("c", Status.ONLINE, priority=-5)
    assert decide(AS_DETECTED, (high, claim("d", Status.AWAY, priority=-6))).status is Status.ONLINE


def test_a_claim_wins_over_a_choice_only_with_a_priority_above_0() -> None:
    assert decide(AWAY, (claim(priority=0),)) == AWAY
    assert decide(AWAY, (claim(priority=1, text="call"),)) == Choice(Status.BUSY, StatusDetails("call"))


def test_nothing_wins_over_the_choice_to_be_invisible() -> None:
    invisible = Choice(Status.INVISIBLE, NO_DETAILS)
    assert decide(invisible, (claim(priority=100),)) == invisible


def test_a_text_chosen_without_a_status_stays_beside_a_claim_of_low_priority() -> None:
    words = Choice(None, StatusDetails("at the desk"))
    assert decide(words, (claim(text="meeting"),)) == Choice(Status.BUSY, StatusDetails("at the desk"))
    assert decide(words, (claim(text="meeting", priority=1),)) == Choice(Status.BUSY, StatusDetails("meeting"))
    assert decide(Choice(None, StatusDetails(until_ms=9)), (claim(text="meeting"),)).details == StatusDetails("meeting")


def test_a_claim_counts_while_the_user_is_present_and_causes_a_change(directory: Directory[str]) -> None:
    assert directory.set_claim("7", claim(text="meeting"), at(0)).change is None
    assert directory.users.status("7") is Status.OFFLINE
    assert summary(directory.open("7", "a", at(1)).change) == (Status.BUSY, "meeting", Cause.CONNECT)
    assert directory.set_claim("7", claim("other", priority=-1), at(2)).change is None, "it does not win"
    cleared = directory.clear_claim("7", "calendar", at(3))
    assert cleared
    assert summary(cleared.change) == (Status.BUSY, "", Cause.CLAIM)
    assert directory.clear_claim("7", "calendar", at(3)) is None
    assert directory.clear_claim("nobody", "calendar", at(3)) is None


def test_a_source_has_one_claim_and_a_new_one_replaces_the_old_one(directory: Directory[str]) -> None:
    directory.open("7", "a", at(0))
    for number, source in enumerate(["x", "y", "x"]):
        directory.set_claim("7", claim(source, text=f"{number}"), at(0))
    user = directory.users.user("7")
    assert user
    assert [(c.source, c.details.text) for c in user.claims] == [("y", "1"), ("x", "2")]
    assert user.shown.details.text == "2"


def test_a_claim_expires_on_time_even_while_the_user_is_absent(directory: Directory[str]) -> None:
    directory.open("7", "a", at(0))
    directory.set_claim("7", Claim("call", Status.BUSY, ends=10), at(0))
    directory.set_claim("7", Claim("day", Status.AWAY, priority=-1, ends=20), at(0))
    assert directory.next_deadline() == 10
    assert [summary(o.change) for o in directory.expire(at(10))] == [(Status.AWAY, "", Cause.EXPIRY)]
    directory.close("7", "a", Ending.CLOSED, at(11))
    assert directory.next_deadline() == 20
    assert [o.change for o in directory.expire(at(20))] == [None]
    assert directory.next_deadline() is None
    assert summary(directory.open("7", "b", at(21)).change) == (Status.ONLINE, "", Cause.CONNECT)


def test_the_users_own_devices_see_the_claim_and_the_overruled_choice(directory: Directory[str]) -> None:
    directory.open("7", "a", at(0), "session", subscription=Subscription())
    directory.choose("7", AWAY, at(1))
    own = directory.set_claim("7", claim(priority=1), at(2)).own
    assert own
    assert (own.view.status, own.chosen) == (Status.BUSY, Status.AWAY)
    own = directory.choose("7", Choice(Status.INVISIBLE, NO_DETAILS), at(3)).own
    assert own
    assert (own.view.status, own.chosen) == (Status.INVISIBLE, Status.INVISIBLE)
    assert directory.users.status("7") is Status.OFFLINE


def test_a_claim_of_one_source_too_many_is_refused_and_changes_nothing(directory: Directory[str]) -> None:
    for number in range(MAX_SOURCES):
        directory.set_claim("7", claim(f"{number}"), at(0))
    with pytest.raises(CapacityError, match="16 sources"):
        directory.set_claim("7", claim("more"), at(0))
    directory.set_claim("7", claim("0", text="another"), at(0))
    user = directory.users.user("7")
    assert user
    assert len(user.claims) == MAX_SOURCES


def test_at_the_bound_the_user_away_longest_loses_their_claims(directory: Directory[str]) -> None:
    directory.open("here", "h", at(0))
    directory.set_claim("here", claim(), at(0))
    for user_id in "123":
        directory.set_claim(user_id, Claim("x", Status.BUSY, ends=50), at(0))
    assert [directory.users.user(user_id) is not None for user_id in ("here", *"123")] == [True, False, True, True]
    for user_id in "23":
        directory.clear_claim(user_id, "x", at(1))
        assert directory.users.user(user_id) is None, "nothing is left to know"
    assert directory.next_deadline() is None


def test_a_user_who_returned_does_not_lose_claims_at_the_bound(directory: Directory[str]) -> None:
    directory.set_claim("back", claim(), at(0))
    directory.open("back", "b", at(1))
    for user_id in "123":
        directory.set_claim(user_id, claim(), at(2))
    assert directory.users.status("back") is Status.BUSY
    user = directory.users.user("back")
    assert user
    assert [held.source for held in user.claims] == ["calendar"]


def test_a_backend_can_choose_for_an_absent_user_who_stays_absent(directory: Directory[str]) -> None:
    assert directory.choose("7", BUSY, at(5), by_user=False).change is None
    user = directory.users.user("7")
    assert user
    assert (user.seen_ms, user.active_ms) == (0, 0)
    assert summary(directory.open("7", "a", at(6)).change) == (Status.BUSY, "", Cause.CONNECT)
    assert (user.seen_ms, user.active_ms) == (6000, 6000)
    directory.close("7", "a", Ending.CLOSED, at(7))
    directory.choose("7", AS_DETECTED, at(8), by_user=False)
    directory.choose("8", AS_DETECTED, at(8), by_user=False)
    assert directory.users.user("8") is None


def test_a_temporary_choice_for_an_absent_user_expires_and_is_forgotten() -> None:
    directory: Directory[str] = Directory(Grace(0, 0), Limits(1000, 600, max_announced=0), Journal(1000))
    directory.choose("7", BUSY, at(0), lasts=10, by_user=False)
    assert directory.users.user("7") is not None
    directory.expire(at(10))
    assert directory.users.user("7") is None


def test_last_active_is_the_last_connect_choice_or_activity(directory: Directory[str]) -> None:
    directory.open("7", "a", at(1), "session", subscription=Subscription())
    user = directory.users.user("7")
    assert user
    seen = [user.active_ms]
    directory.set_active("7", "a", False, at(2))
    seen.append(user.active_ms)
    directory.set_active("7", "a", True, at(3))
    seen.append(user.active_ms)
    directory.close("7", "a", Ending.LOST, at(4))
    directory.resume("session", "7", "b", at(5))
    seen.append(user.active_ms)
    directory.choose("7", BUSY, at(6))
    seen.append(user.active_ms)
    assert seen == [1000, 1000, 3000, 3000, 6000]


def test_a_present_user_who_is_away_by_a_claim_was_last_seen_now(directory: Directory[str]) -> None:
    directory.open("7", "a", at(1))
    change = directory.set_claim("7", claim(status=Status.AWAY), at(100)).change
    assert change
    assert change.seen_ms == 100_000


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (claim(""), "1 to 64"),
        (claim("x" * 65), "1 to 64"),
        (claim("line\nbreak"), r"must not contain U\+000A"),
        (claim(status=Status.INVISIBLE), "invisible can't be claimed"),
        (claim(status=Status.OFFLINE), "offline can't be claimed"),
        (claim(priority=101), "-100 to 100"),
        (claim(priority=-101), "-100 to 100"),
    ],
)
def test_an_invalid_claim_is_refused(bad: Claim, said: str) -> None:
    with pytest.raises(BadClaim, match=said):
        check_claim(bad)
