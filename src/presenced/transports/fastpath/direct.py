"""Writing one batch to many connections, past their transports where these hold nothing.

A transport's `write` costs 0.3 us more than the kernel's 4 to 5: it keeps a buffer, a queue and a state of its own in
memory that is not in any cache when thousands are written to, and looks at all of them to find nothing to do.

It is safe because a transport closes its file only after it has called `connection_lost`, and by then the broadcaster
has discarded the connection. So the file is the connection's own. `tests/contract/test_transports.py` holds uvloop and
asyncio to that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from os import write
from typing import Any, Protocol, cast

from presenced.delivery.connection import Connection
from presenced.delivery.events import Batch
from presenced.transports.websocket.framing import WORTH_DEFLATING_BYTES, frames


class FastConnection(Connection, Protocol):
    """A connection whose socket can be written to past its transport."""

    file: int
    """Number of its socket's file if its transport surely holds nothing, so that bytes written to it come after all
    that was sent; otherwise -1."""

    writer: Any
    """Helper process that holds a duplicate of the socket; for `writers` alone."""

    deflates: bool
    """Whether it may be sent compressed messages."""

    def fileno(self) -> int:
        """Return the number of its socket's file."""

    def look(self) -> int:
        """Set `file` by what the transport holds now, and return it."""

    def write(self, data: bytes) -> None:
        """Hand frames to the transport."""

    def cut(self) -> None:
        """End the connection immediately, because what was sent may not be whole."""


class Direct:
    """A `delivery.broadcaster.BatchWriter` that writes to one connection after the other."""

    def write(self, connections: Collection[Connection], batch: Batch) -> int:
        """Write a batch to each connection. Return the number of bytes written."""
        return write_batch(write_each, cast("Collection[FastConnection]", connections), batch)

    def discard(self, connection: Connection) -> None:
        """Do nothing: this writer remembers no connection."""


def write_batch(
    write_all: Callable[[Collection[FastConnection], bytes], None],
    connections: Collection[FastConnection],
    batch: Batch,
) -> int:
    """Frame a batch, compress it for the connections that agreed to that, and write it with `write_all`.

    Returns:
        Number of bytes written.
    """
    plain = frames(batch, False)
    if len(plain) < WORTH_DEFLATING_BYTES or not (deflating := [c for c in connections if c.deflates]):
        write_all(connections, plain)
        return len(plain) * len(connections)
    compressed = frames(batch, True)
    others = [connection for connection in connections if not connection.deflates]
    write_all(deflating, compressed)
    write_all(others, plain)
    return len(compressed) * len(deflating) + len(plain) * len(others)


def write_each(connections: Iterable[FastConnection], data: bytes) -> None:
    """Write `data` to each connection; its transport gets what its file does not take."""
    size = len(data)
    for connection in connections:
        file = connection.file
        if file < 0 and (file := connection.look()) < 0:
            connection.write(data)
            continue
        try:
            taken = write(file, data)
        except OSError:  # full, or broken, which the transport finds out by itself
            taken = 0
        if taken != size:
            connection.write(data[taken:])
