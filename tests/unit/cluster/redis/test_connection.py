"""Servers that can be used, and commands as bytes."""

from __future__ import annotations

import pytest

from presenced.cluster.redis.connection import Address, StoreLost, check_server, pack, parse_info
from presenced.errors import BackendError

HERE = Address("::1", 6379)

USABLE = {"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "role": "master"}


def test_info_is_read_field_by_field() -> None:
    text = b"# Server\r\nredis_version:7.0.15\r\nrun_id:ab\r\n\r\n# Memory\r\nexecutable:/usr:x\r\n"
    assert parse_info(text) == {"redis_version": "7.0.15", "run_id": "ab", "executable": "/usr:x"}


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.0.1", "10.1"])
def test_newer_versions_can_be_used(version: str) -> None:
    check_server(USABLE | {"redis_version": version}, HERE)


@pytest.mark.parametrize("version", ["6.2.14", "5.0", "unknown", ""])
def test_older_versions_are_refused(version: str) -> None:
    with pytest.raises(BackendError, match=r"\[::1\]:6379 is Redis .* needs Redis 7.0"):
        check_server(USABLE | {"redis_version": version}, HERE)


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl"])
def test_policies_that_delete_keys_are_refused(policy: str) -> None:
    with pytest.raises(BackendError, match=f"maxmemory-policy {policy}"):
        check_server(USABLE | {"maxmemory_policy": policy}, HERE)


def test_a_replica_is_not_refused_but_found_again() -> None:
    with pytest.raises(StoreLost, match="replica"):
        check_server(USABLE | {"role": "slave"}, HERE)


def test_commands_are_arrays_of_strings() -> None:
    assert pack([("GET", b"k\x00"), (b"SET", "é", 12)]) == (
        b"*2\r\n$3\r\nGET\r\n$2\r\nk\x00\r\n*3\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$2\r\n12\r\n"
    )
