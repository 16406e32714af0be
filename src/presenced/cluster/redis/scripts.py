"""The scripts that the store executes, each of them atomically."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple


class Script(NamedTuple):
    """Lua source, and the digest by which the store knows it."""

    name: str
    source: bytes
    digest: bytes


def _load(name: str) -> Script:
    source = files("presenced.cluster.redis").joinpath("lua", f"{name}.lua").read_bytes()
    digest = hashlib.sha1(source, usedforsecurity=False).hexdigest()
    return Script(name, source, digest.encode())


COMMIT = _load("commit")
REGISTER = _load("register")
HEARTBEAT = _load("heartbeat")
DECLARE_DEAD = _load("declare_dead")
REMOVE = _load("remove")
REVOKE = _load("revoke")
