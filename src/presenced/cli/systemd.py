"""Reports to the service manager with the protocol of sd_notify(3), as `Type=notify` of systemd expects them."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping

READY_TRIES, READY_PAUSE_S = 25, 0.02
"""Number of attempts to send `READY=1`, and seconds between two of them. Without it, systemd would end the service when
the time for its start is over."""


class ServiceManager:
    """Connection to the service manager that started this process. Without `NOTIFY_SOCKET` all reports are no-ops.

    A report never fails, because the server continues even if the manager is gone. If the manager's queue is full, the
    report is dropped. Only `ready` waits for room, because no other report makes up for it.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self.is_present = name.startswith(("/", "@"))
        self._address = name.replace("@", "\0", 1) if name.startswith("@") else name  # an abstract socket, unix(7)
        # Opened once: the watchdog must still receive reports when the process is out of file descriptors.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if self.is_present else None
        own = str(os.getpid())
        timeout_us = environ.get("WATCHDOG_USEC", "") if environ.get("WATCHDOG_PID", own) == own else ""
        self.watchdog_s = int(timeout_us) / 2e6 if self.is_present and re.fullmatch("[0-9]+", timeout_us) else 0.0
        """Seconds between two reports of `alive`: half the manager's timeout. 0 if it expects none."""

    def ready(self) -> None:
        """Report that the server accepts connections, after its start or a reload."""
        for _ in range(READY_TRIES - 1):
            if self._report("READY=1"):
                return
            time.sleep(READY_PAUSE_S)
        self._report("READY=1")

    def reloading(self) -> None:
        """Report that a reload begins; `ready` reports its end."""
        # `Type=notify-reload` requires the time.
        self._report(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the server stops."""
        self._report("STOPPING=1")

    def alive(self) -> None:
        """Report that the event loop works."""
        self._report("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket and make further reports no-ops."""
        if self._socket is not None:
            self._socket.close()
            self._socket, self.is_present = None, False

    def _report(self, state: str) -> bool:
        """Send a report. Return False if the manager's queue is full."""
        if self._socket is not None:
            try:
                self._socket.sendto(state.encode(), socket.MSG_DONTWAIT, self._address)
            except BlockingIOError:
                return False
            except OSError:
                pass  # the manager is gone
        return True
