"""API keys of backends. The settings contain only their digests."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Literal, NamedTuple, cast, get_args

from presenced.errors import ConfigError

Scope = Literal["read", "write", "admin"]
"""Scope of a key. Each includes the ones before it."""

SCOPES: tuple[str, ...] = get_args(Scope)
"""All scopes, from the least privilege to the most."""

DEFAULT_SCOPE: Scope = "read"
"""Scope of a new key unless another is requested: the least privilege."""

API_KEY_PREFIX = "pk_"
"""Start of every key, by which scanners of leaked secrets recognise one."""

MAX_API_KEYS = 100
"""Maximum number of accepted keys. The server does not start with more."""

_ENTRY = re.compile(rf"({'|'.join(SCOPES)}):sha256:([0-9a-f]{{64}})")


class NewKey(NamedTuple):
    """A new key."""

    key: str
    """Key for the backend. It is stored nowhere else."""
    entry: str
    """Entry for the setting `api_keys`."""


def new_key(scope: Scope = DEFAULT_SCOPE) -> NewKey:
    """Return a new key."""
    key = API_KEY_PREFIX + secrets.token_urlsafe(32)
    return NewKey(key, f"{scope}:sha256:{_digest(key)}")


class ApiKeys:
    """Accepted keys. Several are accepted at once, so that one can be replaced without an interruption.

    Raises:
        ConfigError: `new_key` did not make one of the entries.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._scopes: list[tuple[str, Scope]] = []  # by digest
        for number, entry in enumerate(entries, 1):
            match = _ENTRY.fullmatch(entry)
            if match is None:
                # The message does not quote the entry, which may be the key itself.
                raise ConfigError(
                    f"entry {number} of api_keys must look like read:sha256:...; `presenced api-key` creates one"
                )
            self._scopes.append((match[2], cast(Scope, match[1])))
        if len(self._scopes) > MAX_API_KEYS:
            raise ConfigError(f"api_keys has {len(self._scopes)} entries; at most {MAX_API_KEYS} are allowed")

    def __bool__(self) -> bool:
        return bool(self._scopes)

    def scope(self, key: str) -> Scope | None:
        """Return the scope of `key`; None if it is not accepted."""
        digest = _digest(key)
        # All entries are compared, each in constant time, so the time reveals nothing (CVE-2021-33880).
        found = [scope for known, scope in self._scopes if hmac.compare_digest(known, digest)]
        return max(found, key=SCOPES.index) if found else None


def _digest(key: str) -> str:
    # A plain hash suffices: a key has 256 random bits, so there is nothing to guess and nothing to slow down.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
