"""Parameters of the URL that describe a client of presenced.v1."""

from urllib.parse import quote

import pytest

from presenced.errors import BadParameter
from presenced.presence.model import Choice, Status, StatusDetails
from presenced.protocols.v1.connect import ConnectParameters, parse_connect_query


def test_all_parameters_are_optional() -> None:
    assert parse_connect_query(b"userId=7") == ConnectParameters("", "", True, "")


def test_all_parameters_are_read() -> None:
    query = b"userId=7&session=s-1&position=ab-12&watch=none&device=Pixel%208&unknown=1"
    query += b"&activity=idle&status=invisible&until=1704110400000&text=in%20a+meeting&emoji=%E2%98%95"
    choice = Choice(Status.INVISIBLE, StatusDetails("in a meeting", "☕", b"", 1_704_110_400_000))
    assert parse_connect_query(query) == ConnectParameters("s-1", "ab-12", False, "Pixel 8", False, choice)


@pytest.mark.parametrize(("given", "active"), [(b"", None), (b"activity=active", True), (b"activity=idle", False)])
def test_a_client_can_connect_as_idle(given: bytes, active: bool | None) -> None:
    assert parse_connect_query(given).active is active


@pytest.mark.parametrize(
    ("query", "choice"),
    [
        (b"", None),
        (b"status=auto&until=1704110400000", None),
        (b"status=busy", Choice(Status.BUSY, StatusDetails())),
        (b"text=lunch", Choice(None, StatusDetails("lunch"))),
        (b"status=auto&emoji=%F0%9F%8D%95&until=5", Choice(None, StatusDetails("", "🍕", b"", 5))),
    ],
)
def test_a_choice_in_the_url_has_the_bounds_of_set_status(query: bytes, choice: Choice | None) -> None:
    assert parse_connect_query(query).choice == choice


def test_text_and_emoji_have_the_bounds_of_set_status() -> None:
    """The bounds of 140 and 32 characters count code points. Joiners of scripts and emoji are allowed."""
    family = "👨‍👩‍👧‍👦"
    text, emoji = "می‌خواهم" + "x" * 132, (family * 5)[:32]
    found = parse_connect_query(f"text={quote(text)}&emoji={quote(emoji)}".encode())
    assert found.choice == Choice(None, StatusDetails(text, emoji))


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (b"watch=some", "watch must be everyone or none"),
        (b"status=offline", "status must be one of auto, online, away, busy, invisible"),
        (b"device=a&device=b", "device is given 2 times"),
        (b"device=" + b"x" * 33, "device has 33 characters; at most 32 are allowed"),
        (b"device=%0A", r"device must not contain U\+000A"),
        (b"watch=", "watch is empty; give a value, or leave it out"),
        (b"status=", "status is empty"),
        (b"device=%ff", "UTF-8"),
        (b"activity=away", "activity must be active or idle"),
        (b"activity=idle&activity=active", "activity is given 2 times"),
        (b"text=" + b"x" * 141, "text has 141 characters; at most 140 are allowed"),
        (b"emoji=" + b"x" * 33, "emoji has 33 characters; at most 32 are allowed"),
        (b"text=a%0Ab", "text must not contain U.000A"),
        (b"text=%E2%80%AE", "text must not contain U.202E"),
        (b"emoji=%1B", "emoji must not contain U.001B"),
        (b"text=%ff", "text is not percent-encoded UTF-8"),
        (b"text=%ED%A0%80", "text is not percent-encoded UTF-8"),
        (b"until=soon", "until must be epoch milliseconds"),
        (b"until=" + b"1" * 16, "at most 15 digits"),
        (b"until=%C2%B2", "until must be epoch"),
        (b"session=" + b"x" * 65, "session has 65 characters; at most 64 are allowed"),
        (b"position=%00", "position"),
    ],
)
def test_an_error_names_the_invalid_parameter(query: bytes, says: str) -> None:
    with pytest.raises(BadParameter, match=says) as raised:
        parse_connect_query(query)
    assert len(str(raised.value).encode()) <= 123, "it fits into a close frame"
