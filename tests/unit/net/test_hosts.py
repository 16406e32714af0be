"""The allow-list of host names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presenced.config.settings import Settings
from presenced.errors import ConfigError
from presenced.net.hosts import MAX_HOST_CHARACTERS, AllowedHosts, host_name


def allows(given: str, /, **settings: Any) -> bool:
    return AllowedHosts.of(Settings.model_validate(settings)).allow(given.encode("latin-1"))


THIS_MACHINE = [
    "localhost",
    "localhost:3001",
    "LOCALHOST:80",
    "localhost.:3001",
    "localhost:",
    "app.localhost",
    "127.0.0.1:3001",
    "127.8.0.1",
    "0.0.0.0:3001",
    "192.168.1.5:3001",
    "203.0.113.7",
    "[::1]:3001",
    "[::]",
    "[fe80::1%eth0]:3001",
    "[2001:DB8::7]",
]

FOREIGN = [
    "evil.example",
    "evil.example:3001",
    "presenced:3001",
    "localhost.evil.example",
    "evillocalhost",
    ".localhost",
    "127.0.0.1.evil.example",
    "127.0.0.1.nip.io:3001",
    "127.1:3001",
    "2130706433",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "::1",
    "[evil.example]",
    "[127.0.0.1]",
    "localhost:3001:80",
    "localhost@evil.example",
    "evil.example@localhost:3001",
    "localhost evil.example",
    "localhost, evil.example",
    "localhost\x00.evil.example",
    "l\xf6calhost",
    "\xb2.\xb2.\xb2.\xb2",
    "",
    ":3001",
    "x" * (MAX_HOST_CHARACTERS + 1),
]


@pytest.mark.parametrize("host", THIS_MACHINE)
def test_without_authentication_localhost_and_addresses_are_allowed(host: str) -> None:
    assert allows(host)


@pytest.mark.parametrize("host", FOREIGN)
def test_without_authentication_no_other_name_is_allowed(host: str) -> None:
    assert not allows(host)


def test_names_in_the_settings_are_allowed_on_every_port() -> None:
    settings = {"allowed_hosts": "presenced,Presence.Example.com"}
    for host in ("presenced:3001", "presence.example.com", "PRESENCE.example.com.:443", "localhost"):
        assert allows(host, **settings)
    for host in ("presenced.evil.example", "xpresenced", "www.presence.example.com", "presence.example.com.evil"):
        assert not allows(host, **settings)


def test_a_pattern_means_every_name_below_and_not_the_name_itself() -> None:
    for host in ("a.example.com", "a.b.example.com:8443", "A.EXAMPLE.COM"):
        assert allows(host, allowed_hosts="*.example.com")
    for host in ("example.com", ".example.com", "evilexample.com", "a.example.com.evil", "*.example.org"):
        assert not allows(host, allowed_hosts="*.example.com")


def test_hosts_of_web_pages_in_origins_are_allowed_and_hosts_of_apps_are_not() -> None:
    origins = ["https://app.example.com:8443", "http://*.example.org", "app://evil.example", "ionic://", "file://"]
    for host in ("app.example.com", "app.example.com:3001", "a.example.org"):
        assert allows(host, origins=origins)
    assert not allows("evil.example", origins=origins)


def test_the_name_in_the_setting_host_is_allowed_because_the_banner_shows_it() -> None:
    assert allows("presence.lan:3001", host="Presence.LAN", insecure=True)
    assert not allows("evil.example:3001", host="Presence.LAN", insecure=True)
    assert not allows("evil.example:3001", host="0.0.0.0", insecure=True)  # noqa: S104  # as a container does


def test_with_authentication_every_name_is_allowed_unless_some_are_listed() -> None:
    token: dict[str, Any] = {"auth": "jwt", "jwt_key": "s" * 40}
    assert allows("evil.example", **token)
    assert not AllowedHosts.own(Settings.model_validate(token)).allow(b"evil.example")
    assert not allows("evil.example", **token, allowed_hosts="presence.example.com")
    assert allows("presence.example.com", **token, allowed_hosts="presence.example.com")
    assert allows("127.0.0.1:3001", **token, allowed_hosts="presence.example.com")


def test_every_value_of_host_must_be_allowed_and_requests_without_one_are() -> None:
    hosts = AllowedHosts([])
    assert hosts.allow_all([])
    assert hosts.allow_all([b"localhost"])
    assert not hosts.allow_all([b"localhost", b"evil.example"])


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*.com",
        "a.*.com",
        "*example.com",
        "https://example.com",
        "example.com:3001",
        "example.com/",
        "[::1]",
        "b\xfccher.example",
        "a..b",
        ".",
    ],
)
def test_an_entry_that_is_not_a_name_is_an_error_with_an_example(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed_hosts can't hold .* presence\.example\.com"):
        AllowedHosts.of(Settings(allowed_hosts=(entry,)))


@given(st.binary(max_size=60))
def test_all_input_is_allowed_or_refused(host: bytes) -> None:
    if AllowedHosts([]).allow(host):
        name = host.lower().partition(b":")[0].removesuffix(b".")
        assert host.startswith(b"[") or name.endswith(b"localhost") or name.replace(b".", b"").isdigit()
    advised = host_name(host)
    assert not advised or AllowedHosts.of(Settings(allowed_hosts=(advised,))).allow(host), "the log's advice helps"


@given(st.from_regex(r"[a-z0-9.-]{1,30}(:[0-9]{1,5})?", fullmatch=True))
def test_a_pattern_never_allows_a_name_outside_its_domain(host: str) -> None:
    if AllowedHosts(["*.example.com"]).allow(host.encode()) and "localhost" not in host:
        name = host.partition(":")[0].removesuffix(".")
        assert name.endswith(".example.com") or name.replace(".", "").isdigit()
