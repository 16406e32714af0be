"""TLS: the certificate, and its replacement while the server runs.

Certificates are renewed every few weeks, and connections must not end because of that. Every `CHECK_INTERVAL_S`
seconds, and at SIGHUP, the files are compared with the ones in use by time and inode. Changed files are checked in a
context of their own, and then loaded into the context of the listener. New handshakes use them; open connections stay
as they are. If the files cannot be used, the old certificate stays, and the log has an error.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from presenced.config.text_files import read_text
from presenced.errors import ConfigError
from presenced.runtime.clock import Clock, Timer

CHECK_INTERVAL_S = 10.0
"""Seconds between two checks of the certificate's files."""

_logger = logging.getLogger("presenced")


class Certificate:
    """The certificate that the server presents to new connections, reloaded when its files change.

    Raises:
        ConfigError: The files can't be read, or the key does not match the certificate.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._loaded_versions = self._versions()
        self.context = self._make_context()

    def watch(self, clock: Clock, timer: Timer) -> None:
        """Check the files every `CHECK_INTERVAL_S` seconds from now on."""

        def check() -> None:
            self.reload()
            timer.set(check, clock.monotonic() + CHECK_INTERVAL_S)

        timer.set(check, clock.monotonic() + CHECK_INTERVAL_S)

    def reload(self) -> None:
        """Load the files if they have changed. If they are not usable, log the fault and keep the old certificate."""
        versions = self._versions()
        if versions == self._loaded_versions:
            return
        self._loaded_versions = versions
        try:
            # A new context checks the files first, because a certificate that does not match its key would make every
            # handshake fail. The listener keeps the old context, so that is the one to load them into.
            self._make_context()
            self.context.load_cert_chain(self._certificate, self._key)
        except (ConfigError, OSError) as error:
            _logger.error("the certificate was not replaced: %s", error)
        else:
            _logger.info("the certificate was replaced by the one in %s", self._certificate)

    def _make_context(self) -> ssl.SSLContext:
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

    def _versions(self) -> tuple[tuple[int, int], ...]:
        """Return time and inode of each file. The inode changes when a symbolic link points to another file."""
        return _version(self._certificate), _version(self._key)


def _version(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


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
    raise ValueError("the key has a password; use a key without one")
