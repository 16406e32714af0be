"""Ports for servers that tests kill and start again."""

from __future__ import annotations

import random
import socket

PORTS = range(10_000, 32_000)
"""Below the ports that Linux gives to outgoing connections. Otherwise such a connection could take the port of a server
while that is restarted."""

_random = random.SystemRandom()  # the other generator has the same seed in several processes


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    while True:
        port = _random.choice(PORTS)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
