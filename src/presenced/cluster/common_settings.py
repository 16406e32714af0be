"""Settings that all nodes of a cluster must have in common.

Each node reports a digest of each of them with its heartbeats, and the others compare. A difference is a warning,
because nodes differ for a while when an operator changes a setting on one after the other. One difference is refused: a
node without authentication beside one with authentication. Otherwise any client could act as any user through the
former.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from pydantic import SecretStr

from presenced.cluster.backend import Member, State
from presenced.cluster.members import Figures, figures_of
from presenced.config.settings import Settings
from presenced.version import __version__

COMMON = (
    "auth",
    "jwt_key",
    "jwt_jwks_url",
    "jwt_algorithms",
    "jwt_issuer",
    "jwt_audience",
    "jwt_required_claims",
    "callback_url",
    "callback_secret",
    "token_lifetime",
    "api_keys",
    "visibility",
    "visibility_url",
    "show_causes",
    "placeholder_ids",
    "user_connections",
    "room_members",
    "max_announced",
    "max_choices",
    "grace_going_away",
    "grace_lost",
    "resume_window",
    "cluster_lease",
    "database",
    "history_age",
    "keep_addresses",
    "webhook_urls",
    "webhook_secrets",
)
"""Names of the settings. Settings of the machine, such as addresses, files and logging, may differ."""


def digests_of(settings: Settings) -> tuple[int, ...]:
    """Return a digest of each setting in `COMMON`.

    A digest has 16 bits: enough to notice a difference, and too few to find out anything about a secret.
    """
    return tuple(_digest(name, getattr(settings, name)) for name in COMMON)


def differing(own: Figures, other: Figures) -> tuple[str, ...]:
    """Return the names of the settings that two nodes have different values of.

    Nodes of two releases cannot be compared: the result is empty.
    """
    if other.release != own.release or len(other.settings) != len(own.settings):
        return ()
    return tuple(name for name, a, b in zip(COMMON, own.settings, other.settings, strict=True) if a != b)


def conflict(settings: Settings, members: Iterable[Member]) -> str:
    """Return why a node with these settings may not join these nodes; empty if it may."""
    for member in members:
        auth = figures_of(member).auth
        if member.state is State.READY and auth and (auth == "none") != (settings.auth == "none"):
            return (
                f"node {member.name} has auth = {auth}, and this node has auth = {settings.auth}: give all nodes the "
                f"same auth, and stop all of them to change it (a node that was killed counts for "
                f"{settings.cluster_lease:g} s)"
            )
    return ""


def figures_from(settings: Settings) -> Figures:
    """Return the figures of a node with these settings that do not change while it runs."""
    return Figures(release=__version__, auth=settings.auth, settings=digests_of(settings))


def _digest(name: str, value: object) -> int:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = sorted(value)  # the order has no meaning
    return int.from_bytes(blake2b(f"{name} {value!r}".encode(), digest_size=2).digest())
