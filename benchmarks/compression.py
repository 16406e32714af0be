"""Size and CPU time of messages with permessage-deflate.

The server compresses the changes of presenced.v1 once per flush, for all clients that offer compression. So the cost
occurs once, and each watcher has the gain. The levels are those of zlib.
"""

from __future__ import annotations

import random
import time
import zlib

from benchmarks.report import Report, Table
from msgspec import json
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from presenced.transports.websocket.framing import DEFLATE_LEVEL

CHANGES = (10, 100, 1_000)
LEVELS = (1, 3, 6)
REPEATS = 30
QUICK_REPEATS = 3


def run(quick: bool) -> Report:
    """Compress flushes of several sizes."""
    rows, figures = [], []
    for changes in CHANGES:
        plain = message(changes)
        for level in LEVELS:
            deflated, seconds = compress(plain, level, QUICK_REPEATS if quick else REPEATS)
            rows.append(
                [
                    f"{changes:,} changes, level {level}",
                    f"{len(plain):,}",
                    f"{deflated:,}",
                    f"{len(plain) / deflated:.1f}\N{MULTIPLICATION SIGN}",
                    f"{seconds * 1e6:,.0f}",
                ]
            )
            figures.append(
                {"changes": changes, "level": level, "bytes": len(plain), "deflated": deflated, "seconds": seconds}
            )
    used = next(f for f in figures if (f["changes"], f["level"]) == (100, DEFLATE_LEVEL))
    return Report(
        "What does compression gain in bytes, and what does it cost?",
        f"100 changes are {used['bytes'] / used['deflated']:.1f} times smaller, for {used['seconds'] * 1e6:.0f} "
        f"microseconds per flush, however many watchers are sent them (level {DEFLATE_LEVEL}, which is the one used).",
        [Table(["", "bytes", "compressed", "gain", "microseconds"], rows)],
        ["Its effect on deliveries per second is in `fan_out`. Every client has to inflate what it gets."],
        {"batches": figures},
    )


def message(changes: int) -> bytes:
    """Return PRESENCE_CHANGES with this number of users, as a busy server sends it."""
    dice = random.Random(0)  # noqa: S311  # the same every time
    users = [
        {
            "userId": dice.randrange(10_000_000, 20_000_000),
            "status": dice.choice(["online", "away", "busy"]),
            "since": 1_704_110_400_000 + dice.randrange(1_000_000),
            "version": dice.randrange(100_000),
            "lastSeen": 1_704_110_400_000 + dice.randrange(1_000_000),
        }
        for _ in range(changes)
    ]
    return json.encode({"type": "PRESENCE_CHANGES", "position": "0a1b2c3d-123456", "users": users})


def compress(plain: bytes, level: int, repeats: int) -> tuple[int, float]:
    """Return the bytes of the compressed frame, and the seconds of the fastest of `repeats` attempts."""
    squeeze = PerMessageDeflate(True, True, zlib.MAX_WBITS, zlib.MAX_WBITS, {"level": level})
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        frame = Frame(Opcode.TEXT, plain).serialize(mask=False, extensions=[squeeze])
        took.append(time.perf_counter() - started)
    return len(frame), min(took)
