"""Which texts are user ids, where the URL carries them, and their form on the wire."""

import unicodedata
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.errors import BadUserId
from presenced.presence.identity import PLACEHOLDERS, is_json_number, parse_user_id
from presenced.protocols.ids import user_id_from_query
from presenced.runtime.text import escaped, refused_character

ALLOWED = st.text(min_size=1, max_size=128).filter(lambda text: not refused_character(text))
"""User ids in any script, with characters that no version of Unicode assigns yet."""


def is_refused(code: int) -> bool:
    """Apply the documented rule (docs/reference/websocket-classic.md), independently of the code's expression."""
    return (
        unicodedata.category(chr(code)) in ("Cc", "Zl", "Zp", "Cs")
        or 0x202A <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        or 0xFDD0 <= code <= 0xFDEF
        or code & 0xFFFF in (0xFFFE, 0xFFFF)
    )


def test_exactly_the_characters_of_the_specification_are_refused() -> None:
    wrong = [f"U+{code:04X}" for code in range(0x110000) if bool(refused_character(chr(code))) != is_refused(code)]
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "山田\u3000太郎",
        "Jean\u00a0Luc",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001fae8",  # an emoji of Unicode 15.0
        "\U00031350",  # an ideograph of Unicode 15.0
        "\U0002fffd",  # unassigned
        "\ue000",  # private use
        "\u200e7\u200f",  # marks, which change only their own direction
        "\ufeffada",
        "ada ",
    ],
)
def test_names_in_all_scripts_are_user_ids_in_every_unicode_version_of_python(text: str) -> None:
    assert parse_user_id(text) == text


def test_a_text_that_goes_into_a_log_stays_in_its_line() -> None:
    assert escaped("a\r\n\x1b[31m\u2028\u202e\ud800\U0001fae8 é") == r"a\r\n\x1b[31m\u2028\u202e\ud800" + "\U0001fae8 é"


@pytest.mark.parametrize("text", sorted(PLACEHOLDERS))
def test_placeholders_of_unset_variables_are_no_user_ids_unless_allowed(text: str) -> None:
    with pytest.raises(BadUserId, match="is a variable not set") as refused:
        user_id_from_query(b"userId=" + quote(text).encode(), placeholders=False)
    assert len(str(refused.value).encode()) <= 123, "fits into a close frame (RFC 6455 section 5.5)"
    assert user_id_from_query(b"userId=" + quote(text).encode()) == text
    assert parse_user_id(text.upper() + "x", placeholders=False), "none but these texts"


@pytest.mark.parametrize("value", [None, True, 1.5, ["ada"], b"ada"])
def test_only_a_text_or_an_integer_is_a_user_id(value: Any) -> None:
    with pytest.raises(BadUserId, match="a string or a whole number"):
        parse_user_id(value)


@pytest.mark.parametrize("text", ["1", "alice", "a b", "Zoë", "李", "-5", "a@b.c", "__proto__", "x" * 128])
def test_a_user_id_has_1_to_128_characters(text: str) -> None:
    assert parse_user_id(text) == text


def test_an_integer_means_its_decimal_digits() -> None:
    assert parse_user_id(42) == "42"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("x" * 129, "129 characters"),
        ("a\nb", r"contains U\+000A"),
        ("a\x00b", r"contains U\+0000"),
        ("a\x1b[31mb", r"contains U\+001B"),
        ("a\u202eb", r"contains U\+202E"),
        ("a\ud800b", r"contains U\+D800"),
        ("a\u2028b", r"contains U\+2028"),
    ],
)
def test_other_values_are_refused_with_the_reason(text: str, says: str) -> None:
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
        (b"", "missing: connect to"),
        (b"userid=1", "missing"),
        (b"userId", "empty: connect to"),
        (b"userId=", "empty: connect to"),
        (b"userId=1&userId=2", "2 times"),
        (b"userId=%FF", "UTF-8"),
        (b"userId=%0A", r"contains U\+000A"),
        (b"userId=\xff", "UTF-8"),
    ],
)
def test_a_query_without_a_good_user_id_is_refused(query: bytes, says: str) -> None:
    with pytest.raises(BadUserId, match=says) as refused:
        user_id_from_query(query)
    assert len(str(refused.value).encode()) <= 123, "fits into a close frame (RFC 6455 section 5.5)"


@given(ALLOWED, st.sampled_from([quote, quote_plus]))
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
