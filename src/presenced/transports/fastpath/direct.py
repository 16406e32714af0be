"""Writing one batch to many connections, bypassing their transports.

The kernel takes 4 to 5 microseconds for each `send`. A transport's `write` adds 0.3, because it reads its buffer and
its state, only to find that nothing waits. With thousands of transports that memory is in no CPU cache.

| buffer of the transport | written by    | afterwards                                               |
|-------------------------|---------------|----------------------------------------------------------|
| known to be empty       | `os.write`    | still empty, unless the socket takes less than all       |
| unknown                 | -             | `check_direct_fd` asks the transport, once               |
| not empty               | the transport | unknown                                                  |
| socket took a part      | the transport | unknown; the transport buffers the rest and resumes      |

The order stays the same, because every write through the transport makes the state unknown. Writing to the descriptor
is safe because a transport closes it only after it has called `connection_lost`. By then the broadcaster has discarded
the connection. `tests/contract/test_transports.py` checks both facts for uvloop and asyncio. With TLS only the
transport can write.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from os import write
from typing import Any, Protocol, cast

from presenced.delivery.batch import Batch
from presenced.delivery.broadcaster import BatchWriter
from presenced.delivery.connection import Connection
from presenced.transports.websocket.framing import WORTH_DEFLATING_BYTES, frames


class FastConnection(Connection, Protocol):
    """A connection whose transport can be bypassed for writing: the optional capability that the fast path needs."""

    direct_fd: int
    """File descriptor of the socket if the transport's buffer is known to be empty, otherwise -1."""

    helper: Any
    """Helper process that holds a duplicate of the socket; None if there is none. Only `writer_pool` uses it."""

    deflates: bool
    """Whether the client accepts compressed messages."""

    def fileno(self) -> int:
        """Return the file descriptor of the socket."""

    def check_direct_fd(self) -> int:
        """Set `direct_fd` according to the transport's buffer, and return it."""

    def write(self, data: bytes) -> None:
        """Write frames to the transport."""

    def abort(self) -> None:
        """End the connection immediately, without a close frame."""


class DirectWriter(BatchWriter):
    """Writes to one connection after the other."""

    def write(self, connections: Collection[Connection], batch: Batch) -> int:
        """Write a batch to each connection. Return the number of bytes written."""
        return write_batch(write_each, cast("Collection[FastConnection]", connections), batch)


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
    """Write `data` to each connection. Its transport gets the part that the socket does not take."""
    size = len(data)
    for connection in connections:
        fd = connection.direct_fd
        if fd < 0 and (fd := connection.check_direct_fd()) < 0:
            connection.write(data)
            continue
        try:
            taken = write(fd, data)
        except OSError:  # the socket is full, or broken, which the transport detects itself
            taken = 0
        if taken != size:
            connection.write(data[taken:])
