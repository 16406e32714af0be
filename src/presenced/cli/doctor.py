"""The command `doctor`: everything that is unsafe or broken in a configuration, and how to fix it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import os
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from cryptography.x509 import load_pem_x509_certificate

from presenced.auth.api_keys import ApiKeys
from presenced.auth.factory import make_jwt_authenticator
from presenced.auth.keys import HMAC_ALGORITHMS, keys_from_file
from presenced.cli.options import ConfigFile
from presenced.config.help import is_secret
from presenced.config.settings import Settings, is_loopback
from presenced.config.sources import EffectiveSettings, load
from presenced.errors import ConfigError, PresencedError, StorageError
from presenced.net.addresses import TrustedProxies
from presenced.net.hosts import AllowedHosts
from presenced.net.http_client import HttpClient
from presenced.net.origins import ANY, FILES
from presenced.storage.url import database_url
from presenced.transports.tls import Certificate
from presenced.webhooks.config import webhook_config

MIN_OPEN_FILES = 10_000
"""Limit of open files below which there is a note: the server refuses connections earlier than most people expect."""

EXPIRY_NOTICE_DAYS = 14
"""Number of days before the expiry of a certificate at which the notes begin."""

MIN_PREFIX_BITS = 8
"""Shortest prefix of a trusted network. A shorter one covers more addresses than any single owner has."""

Level = Literal["unsafe", "broken", "note"]


class Finding(NamedTuple):
    """One finding."""

    level: Level
    """`unsafe`: strangers can do more than they should. `broken`: a part does not work. `note`: for information."""
    what: str
    fix: str


class UnsafeError(PresencedError):
    """Error that ends `doctor` with exit code 1 when something must be fixed."""


def doctor(*, config: ConfigFile = None) -> None:
    """Print everything in the settings that is unsafe or broken, and how to fix it.

    The exit code is 1 if there is anything. Notes do not count.
    """
    effective = load({}, os.environ, config)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    findings = examine(
        effective,
        file_limit=sys.maxsize if limit == resource.RLIM_INFINITY else limit,
        is_root=os.geteuid() == 0,
        today=datetime.datetime.now(datetime.UTC),
    )
    for level, what, fix in findings:
        sys.stdout.write(f"{level:>6}: {what}\n        {fix}\n")
    if not findings:
        sys.stdout.write("nothing is unsafe\n")
    if any(finding.level != "note" for finding in findings):
        raise UnsafeError("something is unsafe or broken")


def examine(effective: EffectiveSettings, *, file_limit: int, is_root: bool, today: datetime.datetime) -> list[Finding]:
    """Return all findings about these settings.

    Args:
        file_limit: Maximum number of open files of the server.
        is_root: Whether the server runs as root.
        today: Current time, with a time zone.
    """
    settings = effective.settings
    return [
        *_authentication(settings),
        *_tokens(settings),
        *_outgoing_requests(settings),
        *_pages(settings),
        *_proxies(settings),
        *_tls(settings, today),
        *_database(settings),
        *_backend(settings),
        *_secrets(effective),
        *_process(file_limit, is_root),
    ]


def _authentication(settings: Settings) -> Iterator[Finding]:
    if settings.auth == "none":
        if is_loopback(settings.host):
            what = "authentication is off, and only this machine may connect"
            yield Finding("note", what, "set auth before other machines may connect")
        else:
            what = "authentication is off, and other machines may connect: anyone may claim any user id"
            yield Finding("unsafe", what, "set auth to jwt, ticket or callback")
    if settings.auth == "ticket" and not settings.api_keys:
        fix = "make a key with `presenced api-key --scope write`, and set api_keys"
        yield Finding("broken", "no backend can request tickets", fix)
    yield from _broken(lambda: ApiKeys(settings.api_keys))
    yield from _broken(lambda: AllowedHosts.own(settings))  # it also checks origins
    yield from _broken(lambda: webhook_config(settings))


def _tokens(settings: Settings) -> Iterator[Finding]:
    if settings.auth != "jwt":
        return
    yield from _broken(lambda: make_jwt_authenticator(settings))
    if not settings.jwt_audience:
        fix = "let your application set aud, and set jwt_audience"
        yield Finding("note", "tokens need not be meant for this server", fix)
    if not settings.jwt_issuer:
        yield Finding("note", "tokens of any issuer that has the key are accepted", "set jwt_issuer")
    if "exp" not in settings.jwt_required_claims:
        yield Finding("unsafe", "tokens that never expire are accepted", "add exp to jwt_required_claims")


def _outgoing_requests(settings: Settings) -> Iterator[Finding]:
    """Yield findings about the requests that the server makes."""
    used = {
        "callback_url": settings.callback_url if settings.auth == "callback" else "",
        "visibility_url": settings.visibility_url if settings.visibility == "callback" else "",
        "jwt_jwks_url": settings.jwt_jwks_url if settings.auth == "jwt" else "",
    }
    for name, url in used.items():
        if url:
            yield from _broken(partial(HttpClient, name, url, settings.callback_timeout, settings.outgoing_private))
    has_callbacks = "callback" in (settings.auth, settings.visibility)
    if has_callbacks and not settings.callback_secret.get_secret_value():
        what = "your backend can't verify that requests come from this server"
        yield Finding("note", what, "set PRESENCED_CALLBACK_SECRET")


def _pages(settings: Settings) -> Iterator[Finding]:
    """Yield findings about the pages and host names through which browsers connect."""
    if ANY in settings.origins:
        yield Finding("unsafe", "pages of every origin may connect", "name the origins of your pages in origins")
    elif not settings.origins and not is_loopback(settings.host):
        fix = "set origins if your pages have other hosts"
        yield Finding("note", "only pages of this server's own host may connect", fix)
    if FILES in settings.origins:
        what = "origins contains file://, for which browsers send null, as they do for sandboxed frames of any page"
        fix = "serve the page over HTTP and list its origin, or give the application its own scheme"
        yield Finding("unsafe" if settings.auth == "none" else "note", what, fix)
    is_named = settings.auth != "none" or settings.allowed_hosts or settings.origins
    if not is_named and (settings.trusted_proxies or not is_loopback(settings.host)):
        fix = "set allowed_hosts to the host names that clients and proxies use"
        yield Finding("note", "requests with a host name other than localhost are refused", fix)


def _proxies(settings: Settings) -> Iterator[Finding]:
    yield from _broken(lambda: TrustedProxies(settings.trusted_proxies))
    for entry in settings.trusted_proxies:
        try:
            bits = ipaddress.ip_network(entry, strict=False).prefixlen
        except ValueError:
            continue
        if bits < MIN_PREFIX_BITS:
            what = f"trusted_proxies has {entry}: clients in it can claim any address"
            yield Finding("unsafe", what, "list only the addresses of your proxies")
    if settings.auth != "none" and is_loopback(settings.host) and not settings.trusted_proxies:
        what = "no limits per address apply, because the server listens on loopback and trusts no proxy"
        yield Finding("note", what, "set trusted_proxies if a proxy is in front of the server")
    if settings.outgoing_private:
        what = "the server may send requests to private addresses"
        yield Finding("note", what, "remove outgoing_private if you do not need it")


def _tls(settings: Settings, today: datetime.datetime) -> Iterator[Finding]:
    if not settings.tls_certificate:
        if not (is_loopback(settings.host) or settings.trusted_proxies):
            what = "there is no TLS and no trusted proxy: anyone on the network path can read tokens"
            fix = "set tls_certificate and tls_key, or let a proxy do TLS, listen on localhost, and set trusted_proxies"
            yield Finding("unsafe", what, fix)
        return
    certificate, key = Path(settings.tls_certificate), Path(settings.tls_key)
    broken = list(_broken(lambda: Certificate(certificate, key)))
    yield from broken
    if broken:
        return
    expires = load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    if expires < today:
        yield Finding("broken", f"the certificate expired on {expires:%Y-%m-%d}", "renew it")
    elif expires < today + datetime.timedelta(days=EXPIRY_NOTICE_DAYS):
        fix = "renew it; the server loads the new one by itself"
        yield Finding("note", f"the certificate expires on {expires:%Y-%m-%d}", fix)
    if _others_may_read(key):
        yield Finding("unsafe", f"other users of this machine may read the key {key}", f"chmod 600 {key}")


def _secrets(effective: EffectiveSettings) -> Iterator[Finding]:
    settings = effective.settings
    used = {
        "jwt_key": settings.auth == "jwt",
        "callback_secret": "callback" in (settings.auth, settings.visibility),
        "webhook_secrets": bool(settings.webhook_urls),
    }
    for name in filter(is_secret, Settings.model_fields):
        origin = effective.origins[name]
        if origin != "default" and not getattr(settings, name):
            level: Level = "unsafe" if used.get(name) else "note"
            yield Finding(level, f"{name} is empty, although {origin} sets it", f"give {name} a value, or remove it")
        file, level, fix = Path(origin), "unsafe", f"chmod 600 {origin}"
        if name in effective.secret_files:
            # Only a note: Docker and Kubernetes give secrets to every user of a container, which has only one.
            file, level = effective.secret_files[name], "note"
            fix = f"chmod 400 {file}; in Kubernetes set defaultMode: 0400 for the volume"
        if file.is_file() and _others_may_read(file):
            yield Finding(level, f"other users of this machine may read {name} in {file}", fix)
    if settings.jwt_key_file:
        file = Path(settings.jwt_key_file)
        with contextlib.suppress(ConfigError, OSError):  # `_tokens` reports them
            if any(key.algorithms[0] in HMAC_ALGORITHMS for key in keys_from_file(file)) and _others_may_read(file):
                what = f"other users of this machine may read the shared secret in {file}"
                yield Finding("note", what, f"chmod 400 {file}")


def _process(file_limit: int, is_root: bool) -> Iterator[Finding]:
    if file_limit < MIN_OPEN_FILES:
        what = f"the server may have {file_limit:,} open files, and each connection is one"
        fix = "raise the limit: LimitNOFILE= of systemd, ulimit -Hn, or --ulimit nofile= of a container"
        yield Finding("note", what, fix)
    if is_root:
        fix = "run it as its own user, as deploy/systemd/presenced.service does"
        yield Finding("note", "the server runs as root, but does not need root rights", fix)


def _database(settings: Settings) -> Iterator[Finding]:
    """Yield findings about the database. The check writes to it, and rolls everything back."""
    try:
        if url := database_url(settings):
            yield from _database_at(url)
    except ConfigError as error:
        yield Finding("broken", str(error), "the server would not start")


def _database_at(url: str) -> Iterator[Finding]:
    from presenced.storage import probe  # not at the top: SQLAlchemy would slow down the start of every command

    is_file = url.startswith("sqlite:")
    try:
        has, needs = asyncio.run(probe.table_versions(url))
    except StorageError as error:
        fix = "check that it runs, and that database_url has its host and port, a user, the password and a database"
        yield Finding("broken", str(error), "check the file and its directory, data_dir" if is_file else fix)
        return
    if has and has != needs:
        fix = "stop the servers that use it, back it up, and run `presenced migrate`"
        yield Finding("broken", f"the tables have version {has}, and {needs} is needed", fix)
        return
    try:
        asyncio.run(probe.try_writing(url))
    except StorageError as error:
        fix = "let its user insert, update and delete in the tables presenced_…"
        if not has:
            fix = "let its user create tables, or run `presenced migrate` as a user who may"
        if is_file:
            fix = "give the file and its directory, data_dir, to the user that runs the server, and check the disk"
        yield Finding("broken", f"nothing can be stored: {error}", fix)
    else:
        if not has:
            yield Finding("note", "the database has no tables yet", "the server creates them when it starts")


def _backend(settings: Settings) -> Iterator[Finding]:
    """Yield findings about the store of a cluster. Nothing in it is changed."""
    if not settings.backend:
        return
    from presenced.cluster import NO_LIBRARY

    try:
        from presenced.cli.backend_doctor import examine_backend
    except ImportError:
        yield Finding("broken", NO_LIBRARY, "the server would not start")
        return
    try:
        yield from examine_backend(settings)
    except ConfigError as error:
        yield Finding("broken", str(error), "the server would not start")


def _broken(check: Callable[[], object]) -> Iterator[Finding]:
    """Yield the error that `check` raises, if it raises one."""
    try:
        check()
    except ConfigError as error:
        yield Finding("broken", str(error), "the server would not start")


def _others_may_read(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
