"""Reports to a service manager by the protocol of sd_notify(3), as `Type=notify` of systemd expects them."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class ServiceManager:
    """The service manager that started this process, if `NOTIFY_SOCKET` names one; otherwise all reports are no-ops.

    A report never blocks and never fails: the manager may be gone, and the server goes on without it.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self.is_there = address.startswith(("/", "@"))
        self._address = address.replace("@", "\0", 1) if address.startswith("@") else address  # abstract, unix(7)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        micros = environ.get("WATCHDOG_USEC", "")
        is_meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = (
            int(micros) / 2e6 if self.is_there and is_meant and micros.isascii() and micros.isdigit() else 0.0
        )
        """Seconds between two reports of `alive`: half of what the manager waits for one. 0 if it expects none."""

    def ready(self) -> None:
        """Report that the server takes connections, after its start or a reload."""
        self._report("READY=1")

    def reloading(self) -> None:
        """Report that a reload begins; `ready` reports its end."""
        self._report(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the server stops."""
        self._report("STOPPING=1")

    def alive(self) -> None:
        """Report that the event loop works."""
        self._report("WATCHDOG=1")

    def _report(self, state: str) -> None:
        if self.is_there:
            with contextlib.suppress(OSError):
                self._socket.sendto(state.encode(), self._address)
