"""Bytes of Server-Sent Events."""

from msgspec import Raw, json

from presenced.http.sse import event


def test_json_with_line_breaks_between_its_tokens_is_one_line_of_an_event() -> None:
    """https://html.spec.whatwg.org/#parsing-an-event-stream: CR, LF and CRLF end a line."""
    data = {"users": [Raw(b'{"a":\n\n1,\r"b":"c\\nd"\r\n}')]}
    assert event("changes", data, "e-1") == (b'event: changes\nid: e-1\ndata: {"users":[{"a":  1, "b":"c\\nd"  }]}\n\n')


def test_no_text_has_a_line_break_that_some_reader_takes_for_one() -> None:
    text = "".join(map(chr, range(0x3000)))
    first, line, end = event("changes", {"text": text}).decode().splitlines()
    assert (first, end) == ("event: changes", "")
    assert json.decode(line.removeprefix("data: ")) == {"text": text}
