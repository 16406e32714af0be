"""JSON from clients and backends: refused input, and the text of the refusal."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import Decoder

from presenced.http.api.requests import NewStatus
from presenced.protocols.v1.messages import Request
from presenced.runtime.strict_json import lone_surrogate, nearest, read, without_extensions

STATUS = Decoder(NewStatus)
FIELDS = ("status", "text", "emoji", "data", "expiresIn")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("expires_in", "expiresIn"),
        ("expires-in", "expiresIn"),
        ("ExpiresIn", "expiresIn"),
        ("expiresin", "expiresIn"),
        ("expireIn", "expiresIn"),
        ("staus", "status"),
        ("emojis", "emoji"),
        ("colour", ""),
        ("", ""),
        ("x" * 100_000, ""),
    ],
)
def test_the_most_similar_known_name_is_found(name: str, meant: str) -> None:
    assert nearest(name, FIELDS) == meant


def test_an_unknown_field_is_refused_with_the_most_similar_name_and_all_names() -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        read(b'{"status":"busy","expires_in":60}', STATUS, NewStatus)
    assert str(refused.value) == (
        "unknown field expires_in (did you mean expiresIn?); known fields: status, text, emoji, data, expiresIn"
    )


def test_extension_fields_are_ignored_and_the_rest_is_read_strictly() -> None:
    given = b'{"x-a":1,"status":"busy","data":{"x-b": 1.50},"x-c":{"x":[]}}'
    assert bytes(read(given, STATUS, NewStatus).data) == b'{"x-b": 1.50}'
    for wrong in (b'{"x-a":1,"status":"busy","expires_in":1}', b'{"x-a":1,"status":"gone"}', b'{"x-a":1}'):
        with pytest.raises(msgspec.ValidationError):
            read(wrong, STATUS, NewStatus)
    assert without_extensions({"x-a": 1, "b": {"x-c": 1}}) == {"b": {"x-c": 1}}
    assert without_extensions([1]) == [1]


def test_a_client_s_invented_name_is_printable_and_short() -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        read(b'{"status":"busy","\\u202e\\n' + b"x" * 9000 + b'":1}', STATUS, NewStatus)
    assert r"unknown field \u202e\nxxx" in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("end", ["", "x", "`"])
def test_a_name_that_imitates_the_end_of_an_error_is_refused_briefly(end: str) -> None:
    """The search takes linear time, because a name may have 64 KB."""
    name = "` - at `$" * 7000 + end
    with pytest.raises(msgspec.ValidationError, match="unknown field") as refused:
        read(msgspec.json.encode({"status": "busy", name: 1}), STATUS, NewStatus)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("text", "half"),
    [
        (r'{"a":"\ud83d"}', r"\ud83d"),
        (r'["\ude00\ud83d"]', r"\ude00"),
        (r'{"\ud83d":1}', r"\ud83d"),
        (r'"\ud83d\ude00"', None),
        ('"😀"', None),
        ("{", None),
        ("[" * 100_000, None),
    ],
)
def test_half_a_surrogate_pair_is_found(text: str, half: str | None) -> None:
    assert lone_surrogate(text) == half


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.floats(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["type", "status", "x-a", "expires_in", "id"]) | st.text(), inner)
        ),
    )
)
def test_all_input_is_read_or_refused_briefly(value: object) -> None:
    try:
        data = msgspec.json.encode(value)
    except OverflowError:  # an integer beyond 64 bits
        return
    with pytest.raises(msgspec.DecodeError) as refused:  # none of these is a whole request
        read(data, Decoder(Request), Request)
    assert 0 < len(str(refused.value)) <= 280
