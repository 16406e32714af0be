"""`docs/reference/limits.md` has every bound of the code and every setting that is one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tools.docs.limits import USED, duration, limits, size

from presenced.config.settings import Settings

SOURCE = Path(__file__).parents[3] / "src/presenced"
PAGE = limits()

INTERNAL = {
    # Caches: an entry that is evicted is computed again.
    "cluster.records.MAX_SHARED_VIEWS",
    "http.api.latest_changes.MAX_CACHED_SPANS",
    "net.hosts.MAX_CACHED_HOSTS",
    "net.hosts.MAX_HOST_CHARACTERS",
    "net.origins.MAX_CACHED_ORIGINS",
    "net.origins.MAX_CACHED_ORIGIN_BYTES",
    "protocols.v1.encoder.MAX_CACHED_RECORDS",
    "transports.websocket.handshake.MAX_CACHED_HANDSHAKES",
    "transports.websocket.handshake.MAX_CACHED_BYTES",
    # Portions of work that continues in the next turn of the loop, or in the next transaction.
    "presence.journal.MAX_HASHED_USERS",
    "storage.collected.MAX_BATCH_RECORDS",
    "transports.fastpath.writer_pool.MAX_SURPLUS_CONNECTIONS",
    "transports.fastpath.writer_process.MAX_FILES",
    "transports.http1.body.MAX_LINES",
    "worker.client.MAX_UNCONFIRMED_BATCHES",
    "worker.program.MAX_READ_BYTES",
    "cli.health.MAX_HEALTH_RESPONSE_BYTES",
    "cluster.backend.MAX_BATCH_BYTES",
    "cluster.backend.MAX_PROPOSALS",
    "cluster.redis.shard.MAX_READ_USERS",
    "cluster.marks.MAX_MARK_GAP_S",
    "cluster.history.write_behind.MAX_CATCHING_UP",
    # Lengths of texts in errors.
    "config.sources.MAX_SHOWN_CHARACTERS",
    "cli.main.MAX_COMMENT_COLUMN",
    "runtime.strict_json.MAX_ERROR_CHARACTERS",
    "runtime.strict_json.MAX_FIELD_NAME_CHARACTERS",
    "transports.http1.fault_log.MAX_MESSAGE_CHARACTERS",
    # The same limits again, for a part that cannot import the first one, or that only counts on it.
    "http.api.requests.MAX_NAME_CHARACTERS",
    "node.journal_followers.MAX_FOLLOWERS",
    "node.stats.MAX_PAGE_SESSIONS",
    "storage.queries.MAX_PAGE_ROWS",
    # Not reached by anything that exists: modules that deliver messages of their own.
    "delivery.broadcaster.MAX_UNREAD_MESSAGES",
    # Pauses and shares, which bound nothing that grows.
    "cluster.members.MAX_STEP_S",
    "cluster.redis.format.MAX_SHARDS",
    "delivery.broadcaster.MAX_PAUSE_SHARE",
    "node.shutdown.MAX_RETURN_GAP_S",
    "storage.store.MAX_LOST_POSITIONS",
    "worker.client.MAX_RETRY_S",
    "worker.program.MAX_PAUSE_S",
}
"""Bounds that nobody outside the server can notice."""

NO_LIMITS = {
    "heartbeat_interval",
    "cluster_lease",
    "grace_going_away",
    "grace_lost",
    "settling",
    "stats_interval",
    "jwt_leeway",
    "auth_warning",
}
NO_LIMITS |= {"port", "jwt_jwks_refresh"}
"""Settings with a number that are not limits."""


def constants() -> set[str]:
    """Return the names of all constants in the code that are maximums."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for node in ast.parse(path.read_text("utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                found |= {
                    f"{module}.{name.id}"
                    for name in names
                    if isinstance(name, ast.Name) and re.match(r"(MAX|LARGE)_", name.id)
                }
    return found


def test_every_maximum_in_the_code_is_on_the_page_or_internal() -> None:
    exist = constants()
    assert len(exist) > 80
    assert exist - USED <= INTERNAL, (
        "names with MAX_ or LARGE_ are limits: add a row to tools/docs/limits.py, or the name to INTERNAL in this file"
    )
    assert not USED & INTERNAL
    assert exist >= INTERNAL, "these no longer exist: take them out of INTERNAL"


@pytest.mark.parametrize("name", [n for n, field in Settings.model_fields.items() if field.annotation in (int, float)])
def test_every_setting_with_a_number_is_a_limit_on_the_page_or_none(name: str) -> None:
    assert (f"[`{name}`](settings.md#{name})" in PAGE) is (name not in NO_LIMITS)


def test_no_row_occurs_twice() -> None:
    rows = re.findall(r"^\| (.+?) \|", PAGE, re.MULTILINE)
    names = [row for row in rows if row not in ("what", "---")]
    assert len(names) == len(set(names)) > 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (size(65_536), "64 KiB"),
        (size(1 << 26), "64 MiB"),
        (size(256), "256 bytes"),
        (duration(0.5), "0.5 s"),
        (duration(86_400), "1 day"),
        (duration(3_600), "1 hour"),
        (duration(130), "130 s"),
    ],
)
def test_numbers_have_units(text: str, expected: str) -> None:
    assert text == expected
