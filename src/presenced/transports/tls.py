"""TLS: the certificate, and another one while the server runs."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from presenced.config.text_files import read_text
from presenced.errors import ConfigError
from presenced.runtime.clock import Clock, Timer

LOOK_AGAIN = 10.0
"""Seconds between two looks at whether the files have changed."""

_logger = logging.getLogger("presenced")


class Certificate:
    """The certificate that new connections are shown, read again when its files have changed.

    Raises:
        ConfigError: The files can't be read, or don't belong together.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._state = self._look()
        self.context = self._make()

    def watch(self, clock: Clock, timer: Timer) -> None:
        """Look every `LOOK_AGAIN` seconds, from now on."""

        def look() -> None:
            self.reload()
            timer.set(look, clock.monotonic() + LOOK_AGAIN)

        timer.set(look, clock.monotonic() + LOOK_AGAIN)

    def reload(self) -> None:
        """Take the files if they have changed; what can't be used is logged, and the earlier certificate stays."""
        state = self._look()
        if state == self._state:
            return
        self._state = state
        try:
            self._make()  # apart: a certificate without its key would end all handshakes
            self.context.load_cert_chain(self._certificate, self._key)
        except (ConfigError, OSError) as error:
            _logger.error("the certificate was not replaced: %s", error)
        else:
            _logger.info("the certificate was replaced by the one in %s", self._certificate)

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:  # `ssl.SSLError` is an OSError
            why: object = error.strerror if isinstance(error, OSError) else error
            if isinstance(error, ssl.SSLError):
                why = _pem_fault(self._certificate) or _pem_fault(self._key) or error
            raise ConfigError(
                f"can't use the certificate {self._certificate} with the key {self._key}: {why}"
            ) from None
        return context

    def _look(self) -> tuple[tuple[int, int], ...]:
        """What tells whether the files have changed; a link may point to another one."""
        found = []
        for path in (self._certificate, self._key):
            try:
                status = path.stat()
            except OSError:
                found.append((0, 0))
            else:
                found.append((status.st_mtime_ns, status.st_ino))
        return tuple(found)


def _pem_fault(path: Path) -> str:
    """Return the fault in the text of a PEM file, for which OpenSSL only says `PEM lib`; empty if it looks right."""
    try:
        text = read_text(path, "the file")
    except ConfigError as error:
        return str(error)
    if "-----BEGIN" not in text:
        return f"{path} is not PEM: the line -----BEGIN ...----- is missing"
    return f"{path} has \\n in place of line breaks: write real line breaks" if "\\n" in text else ""


def _no_password() -> str:
    raise ValueError("the key has a password; give one without")
