"""Keys of backends for the HTTP API; only their digests are in the settings."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Literal, NamedTuple, cast, get_args

from presenced.errors import ConfigError

Scope = Literal["read", "write", "admin"]
"""Each includes those before it."""

SCOPES: tuple[str, ...] = get_args(Scope)

DEFAULT_SCOPE: Scope = "read"
"""Default scope of a new key: the least privilege."""

PREFIX = "pk_"

MAX_KEYS = 100

_ENTRY = re.compile(rf"({'|'.join(SCOPES)}):sha256:([0-9a-f]{{64}})")


class NewKey(NamedTuple):
    """A key that was just made."""

    key: str
    """For the backend; kept nowhere else."""
    entry: str
    """For the setting `api_keys`."""


def new_key(scope: Scope = DEFAULT_SCOPE) -> NewKey:
    """Return a new key."""
    key = PREFIX + secrets.token_urlsafe(32)
    return NewKey(key, f"{scope}:sha256:{_digest(key)}")


class ApiKeys:
    """Those that are accepted; several at once, so that one can be replaced.

    Raises:
        ConfigError: An entry is not one that `new_key` made.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._digests: list[tuple[str, Scope]] = []
        for number, entry in enumerate(entries, 1):
            match = _ENTRY.fullmatch(entry)
            if match is None:
                # Not quoted: it may be the key itself.
                raise ConfigError(
                    f"entry {number} of api_keys must look like read:sha256:...; `presenced api-key` creates one"
                )
            self._digests.append((match[2], cast(Scope, match[1])))
        if len(self._digests) > MAX_KEYS:
            raise ConfigError(f"api_keys has {len(self._digests)} entries; at most {MAX_KEYS} are taken")

    def __bool__(self) -> bool:
        return bool(self._digests)

    def scope(self, key: str) -> Scope | None:
        """What `key` is for; None for one that is not accepted."""
        digest = _digest(key)
        found = [scope for known, scope in self._digests if hmac.compare_digest(known, digest)]
        return max(found, key=SCOPES.index) if found else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
