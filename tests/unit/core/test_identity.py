"""Which texts are user ids, where the URL carries them, and their form on the wire."""

from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.core.identity import is_json_number, parse_user_id, user_id_from_query
from presenced.errors import BadUserId

PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=128).filter(str.isprintable)


@pytest.mark.parametrize("text", ["1", "alice", "a b", "Zoë", "李", "-5", "a@b.c", "__proto__", "x" * 128])
def test_1_to_128_printable_characters_are_a_user_id(text: str) -> None:
    assert parse_user_id(text) == text


def test_an_integer_means_its_decimal_digits() -> None:
    assert parse_user_id(42) == "42"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("x" * 129, "129 characters"),
        ("a\nb", "unprintable"),
        ("a\x00b", "unprintable"),
        ("a\x1b[31mb", "unprintable"),
        ("a\u202eb", "unprintable"),
        ("a\ud800b", "unprintable"),
        ("a\u2028b", "unprintable"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(BadUserId, match=says):
        parse_user_id(text)


@pytest.mark.parametrize(
    ("query", "user_id"),
    [
        (b"userId=123", "123"),
        (b"a=1&userId=bob&b=2", "bob"),
        (b"userId=a+b", "a b"),
        (b"userId=a%20b%26c", "a b&c"),
        (b"userId=%E6%9D%8E", "李"),
        (b"user%49d=7", "7"),
        (b"userId=a=b", "a=b"),
    ],
)
def test_the_query_is_decoded_as_forms_are(query: bytes, user_id: str) -> None:
    assert user_id_from_query(query) == user_id


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (b"", "missing"),
        (b"userid=1", "missing"),
        (b"userId", "empty"),
        (b"userId=", "empty"),
        (b"userId=1&userId=2", "2 times"),
        (b"userId=%FF", "UTF-8"),
        (b"userId=%0A", "unprintable"),
        (b"userId=\xff", "UTF-8"),
    ],
)
def test_a_query_without_a_good_user_id_is_refused(query: bytes, says: str) -> None:
    with pytest.raises(BadUserId, match=says) as refused:
        user_id_from_query(query)
    assert len(str(refused.value).encode()) <= 123, "fits into a close frame (RFC 6455 section 5.5)"


@given(PRINTABLE, st.sampled_from([quote, quote_plus]))
def test_every_user_id_survives_the_url(user_id: str, encode: object) -> None:
    assert callable(encode)
    assert user_id_from_query(b"userId=" + str(encode(user_id, safe="")).encode()) == user_id


@given(st.binary(max_size=300))
def test_any_query_gives_a_user_id_or_a_reason_that_fits(query: bytes) -> None:
    try:
        said = user_id_from_query(query)
    except BadUserId as refused:
        said = str(refused)
        assert len(said.encode()) <= 123
    assert said


@pytest.mark.parametrize(
    ("user_id", "number"),
    [
        ("0", True),
        ("7", True),
        ("9007199254740991", True),
        ("9007199254740992", False),
        ("10000000000000000", False),
        ("00", False),
        ("07", False),
        ("-1", False),
        ("1.0", False),
        ("1e3", False),
        ("٣", False),
        ("²", False),
        ("a", False),
    ],
)
def test_canonical_integers_up_to_2_to_the_53_are_json_numbers(user_id: str, number: bool) -> None:
    assert is_json_number(user_id) is number
