"""URLs of stores."""

from __future__ import annotations

import pytest

from presenced.cluster.redis.connection import Address, StoreAccess
from presenced.cluster.redis.discovery import ClusterServers, Sentinels, SingleServer, StoreUrl, parse_url
from presenced.errors import ConfigError


def test_a_single_server() -> None:
    parsed = parse_url("redis://10.0.0.5", "secret")
    assert parsed == StoreUrl("single", (Address("10.0.0.5", 6379),), StoreAccess("", "secret", 0, False), "")
    assert parsed.default_shards == 1
    assert isinstance(parsed.finder(), SingleServer)


def test_a_user_a_port_a_database_and_tls() -> None:
    parsed = parse_url("rediss://app@[::1]:7000/3", "secret")
    assert parsed.servers == (Address("::1", 7000),)
    assert parsed.access == StoreAccess("app", "secret", 3, True)


def test_sentinels() -> None:
    parsed = parse_url("redis+sentinel://s1,s2:7001/mymaster/2", "")
    assert parsed.servers == (Address("s1", 26379), Address("s2", 7001))
    assert (parsed.master, parsed.access.database) == ("mymaster", 2)
    assert isinstance(parsed.finder(), Sentinels)


def test_a_cluster() -> None:
    parsed = parse_url("rediss+cluster://r1:6380,r2", "")
    assert parsed.servers == (Address("r1", 6380), Address("r2", 6379))
    assert parsed.access.uses_tls
    assert parsed.default_shards == 8
    assert isinstance(parsed.finder(), ClusterServers)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "begin with"),
        ("http://host", "begin with"),
        ("redis+other://host", "begin with"),
        ("unix:///tmp/redis.sock", "begin with"),
        ("redis://", "no valid host"),
        ("redis://host:port", "no valid host"),
        ("redis://a,b", "several servers"),
        ("redis://host/x", "number of a database"),
        ("redis://host/1/2", "number of a database"),
        ("redis+cluster://host/1", "number of a database"),
        ("redis+sentinel://host", "name of the master"),
        ("redis://host?db=1", "no options"),
    ],
)
def test_other_urls_are_refused(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_url(url, "")


@pytest.mark.parametrize("url", ["redis://app:secret@host", "redis://:secret@host", "http://app:secret@host"])
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="PRESENCED_BACKEND_PASSWORD") as caught:
        parse_url(url, "")
    assert "secret" not in str(caught.value)
