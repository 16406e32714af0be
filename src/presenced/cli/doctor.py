"""Findings about a configuration: what is unsafe in it, and how to fix it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from cryptography.x509 import load_pem_x509_certificate

from presenced.auth.api_keys import ApiKeys
from presenced.auth.factory import make_jwt_authenticator
from presenced.auth.keys import HMAC_ALGORITHMS, keys_from_file
from presenced.config.help import is_secret
from presenced.config.settings import Settings, is_loopback
from presenced.config.sources import Effective
from presenced.errors import ConfigError, StorageError
from presenced.net.addresses import TrustedProxies
from presenced.net.hosts import AllowedHosts
from presenced.net.http_client import HttpClient
from presenced.net.origins import ANY, FILES
from presenced.storage.url import database_url
from presenced.transports.tls import Certificate
from presenced.webhooks.config import webhook_config

FEW_FILES = 10_000
"""Open files; with a lower limit, connections are refused earlier than most would think."""

SOON = 14
"""Days before the end of a certificate."""

WIDE = 8
"""Bits of a network of proxies; one with fewer is larger than any owner's."""

_NOT_ROOT = "run it as its own user, as deploy/systemd/presenced.service does"

Level = Literal["unsafe", "broken", "note"]


class Finding(NamedTuple):
    """One thing to know."""

    level: Level
    """`unsafe`: strangers can do what they should not; `broken`: it won't work; `note`: worth knowing."""
    what: str
    mend: str


def examine(effective: Effective, file_limit: int, is_root: bool, today: datetime.datetime) -> list[Finding]:
    """Everything found in these settings.

    Args:
        file_limit: Open files the server may have.
        today: With a time zone.
    """
    settings = effective.settings
    return [
        *_authentication(settings),
        *_tokens(settings),
        *_asked(settings),
        *_pages(settings),
        *_surroundings(settings),
        *_tls(settings, today),
        *_database(settings),
        *_secrets(effective),
        *_files(file_limit),
        *([Finding("note", "it runs as root, but does not need root rights", _NOT_ROOT)] if is_root else []),
    ]


def _authentication(settings: Settings) -> Iterator[Finding]:
    if settings.auth == "none":
        if is_loopback(settings.host):
            yield Finding("note", "authentication is off; only this machine may connect", "set auth before others may")
        else:
            yield Finding(
                "unsafe",
                "authentication is off, and other machines may connect: whoever does may claim any user id",
                "set auth to jwt, ticket or callback",
            )
    if settings.auth == "ticket" and not settings.api_keys:
        yield Finding("broken", "no backend can ask for tickets", "`presenced api-key --scope write`, and set api_keys")
    for check in (
        lambda: ApiKeys(settings.api_keys),
        lambda: AllowedHosts.own(settings),  # which reads origins, too
        lambda: webhook_config(settings),
    ):
        yield from _broken(check)


def _tokens(settings: Settings) -> Iterator[Finding]:
    if settings.auth != "jwt":
        return
    yield from _broken(lambda: make_jwt_authenticator(settings))
    if not settings.jwt_audience:
        yield Finding(
            "note", "tokens need not be meant for this server", "have your application set aud, and set jwt_audience"
        )
    if not settings.jwt_issuer:
        yield Finding("note", "tokens may be of any issuer that has the key", "set jwt_issuer")
    if "exp" not in settings.jwt_required_claims:
        yield Finding("unsafe", "tokens that never expire are accepted", "add exp to jwt_required_claims")


def _asked(settings: Settings) -> Iterator[Finding]:
    """Of what the server asks others."""
    hooks = [
        ("callback_url", settings.callback_url, settings.auth == "callback"),
        ("visibility_url", settings.visibility_url, settings.visibility == "callback"),
    ]
    keys = "jwt_jwks_url", settings.jwt_jwks_url, settings.auth == "jwt" and bool(settings.jwt_jwks_url)
    for name, url, is_used in (*hooks, keys):
        if is_used:
            yield from _broken(partial(HttpClient, name, url, settings.callback_timeout, settings.outgoing_private))
    if any(is_used for *_, is_used in hooks) and not settings.callback_secret.get_secret_value():
        yield Finding(
            "note", "your backend can't know that it is this server that asks", "set PRESENCED_CALLBACK_SECRET"
        )


def _pages(settings: Settings) -> Iterator[Finding]:
    """Yield findings about the pages and host names through which browsers connect."""
    if ANY in settings.origins:
        yield Finding("unsafe", "pages of every origin may connect", "name the origins of your pages in origins")
    elif not settings.origins and not is_loopback(settings.host):
        yield Finding(
            "note", "only pages of this server's own host may connect", "set origins when yours are elsewhere"
        )
    if FILES in settings.origins:
        yield Finding(
            "unsafe" if settings.auth == "none" else "note",
            "origins contains file://, for which browsers send null, as they do for sandboxed frames of any page",
            "serve the page over HTTP and list its origin, or give the application its own scheme",
        )
    is_named = settings.auth != "none" or settings.allowed_hosts or settings.origins
    if not is_named and (settings.trusted_proxies or not is_loopback(settings.host)):
        yield Finding(
            "note",
            "requests with a host name other than localhost are refused",
            "set allowed_hosts to the host names that clients and proxies use",
        )


def _surroundings(settings: Settings) -> Iterator[Finding]:
    yield from _broken(lambda: TrustedProxies(settings.trusted_proxies))
    for entry in settings.trusted_proxies:
        try:
            bits = ipaddress.ip_network(entry, strict=False).prefixlen
        except ValueError:
            continue
        if bits < WIDE:
            yield Finding(
                "unsafe",
                f"trusted_proxies has {entry}: clients in it can claim any address",
                "name your proxies' addresses only",
            )
    if settings.outgoing_private:
        yield Finding("note", "requests of the server's own may go to private addresses", "leave out outgoing_private")


def _tls(settings: Settings, today: datetime.datetime) -> Iterator[Finding]:
    if not settings.tls_certificate:
        if not (is_loopback(settings.host) or settings.trusted_proxies):
            yield Finding(
                "unsafe",
                "there is no TLS and no trusted proxy: tokens travel for everyone on the way to read",
                "set tls_certificate and tls_key, or let a proxy do TLS, listen on localhost, and set trusted_proxies",
            )
        return
    certificate, key = Path(settings.tls_certificate), Path(settings.tls_key)
    broken = list(_broken(lambda: Certificate(certificate, key)))
    yield from broken
    if broken:
        return
    ends = load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    if ends < today:
        yield Finding("broken", f"the certificate ended on {ends:%Y-%m-%d}", "renew it")
    elif ends < today + datetime.timedelta(days=SOON):
        yield Finding("note", f"the certificate ends on {ends:%Y-%m-%d}", "renew it; the server takes it by itself")
    if _others_may_read(key):
        yield Finding("unsafe", f"other users of this machine may read the key {key}", f"chmod 600 {key}")


def _secrets(effective: Effective) -> Iterator[Finding]:
    settings = effective.settings
    used = {
        "jwt_key": settings.auth == "jwt",
        "callback_secret": "callback" in (settings.auth, settings.visibility),
        "webhook_secrets": bool(settings.webhook_urls),
    }
    for name in filter(is_secret, Settings.model_fields):
        origin = effective.origins[name]
        if origin != "default" and not getattr(settings, name):
            danger: Level = "unsafe" if used.get(name) else "note"
            yield Finding(danger, f"{name} is empty, although {origin} sets it", f"give {name} a value, or remove it")
        file, mend = Path(origin), f"chmod 600 {origin}"
        if name in effective.secret_files:
            file = effective.secret_files[name]
            mend = f"chmod 400 {file}; in Kubernetes set defaultMode: 0400 for the volume"
        if file.is_file() and _others_may_read(file):
            # Docker and Kubernetes give secrets to every user of a container, which has only one.
            level: Level = "note" if name in effective.secret_files else "unsafe"
            yield Finding(level, f"other users of this machine may read {name} in {file}", mend)
    if file_name := settings.jwt_key_file:
        with contextlib.suppress(ConfigError, OSError):  # reported elsewhere
            path = Path(file_name)
            is_shared = any(key.algorithms[0] in HMAC_ALGORITHMS for key in keys_from_file(path))
            if is_shared and _others_may_read(path):
                what = f"other users of this machine may read the shared secret in {file_name}"
                yield Finding("note", what, f"chmod 400 {file_name}")


def _files(file_limit: int) -> Iterator[Finding]:
    if file_limit < FEW_FILES:
        yield Finding(
            "note",
            f"it may have {file_limit:,} open files, and each connection is one",
            "raise the limit: LimitNOFILE= of systemd, ulimit -Hn, or --ulimit nofile= of a container",
        )


def _database(settings: Settings) -> Iterator[Finding]:
    """It is opened and written to; nothing of that stays."""
    try:
        if url := database_url(settings):
            yield from _database_at(url)
    except ConfigError as error:
        yield Finding("broken", str(error), "the server would not start")


def _database_at(url: str) -> Iterator[Finding]:
    from presenced.storage import probe as access

    is_file = url.startswith("sqlite:")
    try:
        has, needs = asyncio.run(access.look(url))
    except StorageError as error:
        mend = "see that it runs, and that database_url has its host and port, a user, the password and a database"
        yield Finding("broken", str(error), "see to the file and its directory, data_dir" if is_file else mend)
        return
    if has and has != needs:
        mend = "stop the servers that use it, back it up, and run `presenced migrate`"
        yield Finding("broken", f"the tables are of version {has}, and {needs} is needed", mend)
        return
    try:
        asyncio.run(access.try_writing(url))
    except StorageError as error:
        mend = "let its user insert, update and delete in the tables presenced_…"
        if not has:
            mend = "let its user make tables, or run `presenced migrate` as a user who may"
        if is_file:
            mend = "give the file and its directory, data_dir, to the user who runs the server, and look at the disk"
        yield Finding("broken", f"nothing can be stored: {error}", mend)
    else:
        if not has:
            yield Finding("note", "the database has no tables yet", "the server makes them when it starts")


def _broken(check: object) -> Iterator[Finding]:
    assert callable(check), "it is to be called"
    try:
        check()
    except ConfigError as error:
        yield Finding("broken", str(error), "the server would not start")


def _others_may_read(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
