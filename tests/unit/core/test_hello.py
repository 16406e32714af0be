"""What a client says of itself with the URL."""

import pytest

from presenced.core.hello import Hello, hello_from_query
from presenced.core.model import Status
from presenced.errors import BadParameter


def test_nothing_need_be_said() -> None:
    assert hello_from_query(b"userId=7") == Hello("", "", True, "", None)


def test_everything_can_be_said() -> None:
    query = b"userId=7&session=s-1&position=ab-12&watch=none&device=Pixel%208&unknown=1"
    query += b"&status=invisible&until=1704110400000"
    assert hello_from_query(query) == Hello("s-1", "ab-12", False, "Pixel 8", Status.INVISIBLE, 1_704_110_400_000)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (b"watch=some", "watch must be everyone or none"),
        (b"status=offline", "status must be one of auto, online, away, busy, invisible"),
        (b"device=a&device=b", "device is given 2 times"),
        (b"device=" + b"x" * 33, "device must be at most 32 characters"),
        (b"device=%0A", r"device may not hold U\+000A"),
        (b"watch=", "watch is empty; give a value, or leave it out"),
        (b"status=", "status is empty"),
        (b"device=%ff", "UTF-8"),
        (b"until=soon", "until must be epoch milliseconds"),
        (b"until=" + b"1" * 16, "at most 15 digits"),
        (b"until=%C2%B2", "until must be epoch"),
        (b"session=" + b"x" * 65, "session must be at most 64"),
        (b"position=%00", "position"),
    ],
)
def test_what_cannot_be_used_is_named(query: bytes, says: str) -> None:
    with pytest.raises(BadParameter, match=says) as raised:
        hello_from_query(query)
    assert len(str(raised.value).encode()) <= 123, "it fits into a close frame"
