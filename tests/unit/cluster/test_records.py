"""User records as bytes, and the merge of decisions made on two nodes."""

from __future__ import annotations

import msgspec
import pytest

from presenced.cluster.records import (
    Choices,
    SharedClaim,
    SharedSession,
    UserRecord,
    decode_record,
    decode_sessions,
    encode_record,
    encode_sessions,
    merged,
)
from presenced.presence.model import NO_DETAILS, Cause, Status, StatusDetails, View

ONLINE = UserRecord(View(Status.ONLINE, NO_DETAILS, ("web",)), 1_764_453_600_000, 0, Cause.CONNECT)


def changed(**fields: object) -> UserRecord:
    return msgspec.structs.replace(ONLINE, **fields)


@pytest.mark.parametrize(
    "record",
    [
        ONLINE,
        changed(was=Status.AWAY, was_version=7),
        changed(chosen=Choices(Status.BUSY, StatusDetails("here"), 5, Status.AWAY, StatusDetails(until_ms=9), 6)),
        changed(claims=(SharedClaim("calendar", 3, Status.BUSY, NO_DETAILS, 10), SharedClaim("phone", 4))),
        changed(announced=True, announced_stamp_ms=4, display=b'{"name":"Ada"}', display_issued=3.5),
        changed(rests_on_retained=True),
        changed(later={"mood": msgspec.Raw(msgspec.msgpack.encode("good"))}),
    ],
)
def test_a_record_is_the_same_after_encoding(record: UserRecord) -> None:
    assert decode_record(encode_record(record)) == record


def test_a_plain_record_is_small() -> None:
    assert len(encode_record(ONLINE)) <= 57
    assert len(encode_sessions((SharedSession(b"123456", "web", True),))) <= 24


def test_bytes_that_are_no_record_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_record(b"\x90")


def test_no_sessions_are_no_bytes() -> None:
    assert encode_sessions(()) == b""
    assert decode_sessions(b"") == ()


def test_of_two_choices_the_later_one_counts() -> None:
    mine = changed(chosen=Choices(Status.BUSY, NO_DETAILS, 20))
    theirs = changed(chosen=Choices(Status.AWAY, NO_DETAILS, 10), view=View(Status.AWAY))
    assert merged(mine, theirs).chosen.status is Status.BUSY
    assert merged(theirs, mine).chosen.status is Status.BUSY
    assert merged(mine, theirs).view.status is Status.AWAY, "the view stays as agreed on"


def test_a_temporary_choice_stays_over_a_permanent_one_made_before_it_elsewhere() -> None:
    mine = changed(chosen=Choices(timed=Status.BUSY, timed_details=StatusDetails(until_ms=99), timed_stamp_ms=20))
    theirs = changed(chosen=Choices(Status.AWAY, NO_DETAILS, 10, timed_stamp_ms=10))
    chosen = merged(mine, theirs).chosen
    assert (chosen.status, chosen.timed) == (Status.AWAY, Status.BUSY)


def test_claims_of_two_sources_are_both_kept_and_a_cleared_one_does_not_return() -> None:
    mine = changed(claims=(SharedClaim("calendar", 10, Status.BUSY),))
    theirs = changed(claims=(SharedClaim("phone", 5, Status.AWAY),))
    assert {claim.source for claim in merged(mine, theirs).claims} == {"calendar", "phone"}
    cleared = changed(claims=(SharedClaim("calendar", 20),))
    [claim] = merged(mine, cleared).claims
    assert claim.status is None


def test_whether_the_store_keeps_a_record_of_an_absent_user_depends_on_what_is_set_or_was_cleared() -> None:
    offline = View(Status.OFFLINE)
    assert ONLINE.is_kept
    assert not changed(view=offline).is_kept
    assert changed(view=offline, chosen=Choices(Status.INVISIBLE, NO_DETAILS, 3)).is_kept
    assert changed(view=offline, claims=(SharedClaim("calendar", 3, Status.BUSY),)).is_kept
    cleared = changed(view=offline, claims=(SharedClaim("calendar", 3),))
    assert (cleared.is_kept, cleared.is_set, cleared.is_only_cleared) == (True, False, True)
