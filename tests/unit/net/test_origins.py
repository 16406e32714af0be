"""The allow-list of web pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.errors import ConfigError
from presenced.net.hosts import AllowedHosts
from presenced.net.origins import MAX_CACHED_ORIGIN_BYTES, MAX_CACHED_ORIGINS, Origins, entry_for

HERE = b"chat.example.com"


def may(origin: str, *entries: str, host: bytes = HERE) -> bool:
    return Origins(entries).allows(origin.encode("latin-1"), host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://chat.example.com", HERE),
        ("https://chat.example.com", HERE),
        ("https://chat.example.com:443", HERE),
        ("http://chat.example.com:3001", b"Chat.Example.com:3001"),
        ("http://chat.example.com:3000", b"chat.example.com:3001"),
        ("http://192.168.1.5:3000", b"192.168.1.5:3001"),
        ("http://[2001:db8::7]:3000", b"[2001:db8::7]:3001"),
        ("http://localhost:5173", HERE),
        ("https://app.localhost", HERE),
        ("http://127.0.0.1:3000", HERE),
        ("http://127.8.0.1", HERE),
        ("http://[::1]:3000", HERE),
    ],
)
def test_by_default_pages_of_the_same_host_and_of_this_machine_may_connect(origin: str, host: bytes) -> None:
    assert may(origin, host=host)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://chat.example.com.evil",
        "https://evilchat.example.com",
        "https://example.com",
        "https://sub.chat.example.com",
        "capacitor://chat.example.com",
        "https://localhost.evil",
        "https://127.0.0.1.evil",
        "file://",
        "https://chat.example.com/",
        "https://chat.example.com@evil",
        "https://evil#chat.example.com",
        "https://evil https://chat.example.com",
        "https://chat.example.com\n",
        "HTTPS://chat.example.com",
        "chrome-extension://localhost",
        "https://*.example.com",
        "https://chat.example.com:99999",
        "https://ch\xe4t.example.com",
    ],
)
def test_by_default_other_pages_may_not_connect(origin: str) -> None:
    assert not may(origin)


def test_a_list_is_exact_in_scheme_host_and_port() -> None:
    entries = "https://app.example.com", "http://dev.example.com:8080"
    assert may("https://app.example.com", *entries)
    assert may("http://dev.example.com:8080", *entries)
    for origin in (
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil",
        "https://dev.example.com:8080",
        "https://chat.example.com",  # the host of the request: the list replaces the default
        "http://localhost:3000",
        "null",
    ):
        assert not may(origin, *entries)


def test_a_pattern_means_every_name_below_and_not_the_name_itself() -> None:
    pattern = "https://*.example.com"
    assert may("https://app.example.com", pattern)
    assert may("https://a.b.example.com", pattern)
    for origin in (
        "https://example.com",
        "https://evilexample.com",
        "https://app.example.com.evil",
        "http://app.example.com",
        "https://app.example.com:444",
        "https://.example.com.evil",
    ):
        assert not may(origin, pattern)


@pytest.mark.parametrize("origin", ["capacitor://localhost", "ionic://localhost", "tauri://localhost", "app://."])
def test_apps_are_allowed_by_origin_or_by_scheme(origin: str) -> None:
    assert not may(origin)
    assert may(origin, origin)
    assert may(origin, f"{origin.partition('://')[0]}://")
    for other in ("other://localhost", f"{origin}.evil", f"{origin}/", "https://localhost", "null"):
        assert not may(other, origin)
    assert not may("https://localhost", f"{origin.partition('://')[0]}://")


@pytest.mark.parametrize("origin", ["null", "file://"])
def test_pages_from_files_may_connect_if_the_list_contains_them(origin: str) -> None:
    assert may(origin, "https://app.example.com", "file://")
    assert not may(origin, "https://app.example.com")
    assert not may("https://evil.example", "file://")
    assert not may("file:///etc/passwd", "file://")


def test_any_includes_every_origin_except_null() -> None:
    assert may("https://anything.example", "*")
    assert may("capacitor://localhost", "*")
    assert not may("null", "*")
    assert not may("https://*.example.com", "*")
    assert may("null", "*", "file://")


def test_a_page_of_a_host_that_is_not_the_server_s_is_not_of_the_same_host() -> None:
    """A page that rebinds its name has that name in `Origin` and in `Host`."""
    origins = Origins((), AllowedHosts([]).allow)
    assert not origins.allows(b"http://evil.example:3001", b"evil.example:3001")
    assert origins.allows(b"http://192.168.1.5:3000", b"192.168.1.5:3001")
    assert origins.allows(b"http://localhost:3000", b"evil.example:3001")


@pytest.mark.parametrize(
    ("origin", "entry"),
    [
        (b"https://app.example.com", "https://app.example.com"),
        (b"https://app.example.com:8443", "https://app.example.com:8443"),
        (b"capacitor://localhost", "capacitor://localhost"),
        (b"null", "file://"),
        (b"file://", "file://"),
        (b"nonsense", ""),
        (b"https://*.example.com", ""),
        (b"https://app.example.com\r\nX: y", ""),
    ],
)
def test_the_entry_that_the_log_advises_allows_the_page(origin: bytes, entry: str) -> None:
    assert entry_for(origin) == entry
    assert not entry or Origins([entry]).allows(origin, HERE)


@pytest.mark.parametrize(
    "entry",
    [
        "example.com",
        "https://",
        "ws://",
        "file:///x",
        "https://*",
        "https://*.com",
        "https://a.*.com",
        "https://x/",
        "null",
        "https://x:0",
    ],
)
def test_an_entry_that_is_not_an_origin_is_an_error_with_an_example(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"https://app\.example\.com"):
        Origins([entry])


def test_cached_verdicts_are_bounded() -> None:
    origins = Origins(["https://*.example.com"])
    for number in range(2 * MAX_CACHED_ORIGINS):
        assert origins.allows(b"https://a%d.example.com" % number, HERE)
        assert not origins.allows(b"https://a%d.example.org" % number, HERE)
    assert len(origins._verdicts) == MAX_CACHED_ORIGINS
    origins.allows(b"https://" + b"a" * MAX_CACHED_ORIGIN_BYTES, HERE)
    assert max(len(origin) + len(host) for origin, host in origins._verdicts) <= MAX_CACHED_ORIGIN_BYTES


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_all_input_is_allowed_or_refused(origin: bytes, host: bytes) -> None:
    assert Origins(["https://app.example.com"]).allows(origin, host) is (
        origin in (b"https://app.example.com", b"https://app.example.com:443")
    )
    Origins(()).allows(origin, host)


@given(st.from_regex(r"https://[a-z0-9.-]{1,30}(:[0-9]{1,5})?", fullmatch=True))
def test_a_pattern_never_allows_a_host_outside_its_domain(origin: str) -> None:
    if may(origin, "https://*.example.com"):
        assert origin.removeprefix("https://").partition(":")[0].endswith(".example.com")
