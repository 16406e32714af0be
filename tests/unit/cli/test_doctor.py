"""Findings of the doctor."""

from __future__ import annotations

import asyncio
import datetime
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import write_certificate

from presenced.auth.api_keys import new_key
from presenced.cli.doctor import Finding, examine
from presenced.config.sources import EffectiveSettings, load
from presenced.storage import migrate, probe

TODAY = datetime.datetime.now(datetime.UTC)
SECRET = "s" * 40
SAFE: dict[str, Any] = {
    "auth": "jwt",
    "host": "192.0.2.1",
    "jwt_issuer": "https://login.example",
    "jwt_audience": "presence",
    "origins": "https://app.example.com",
    "trusted_proxies": "10.0.0.1",
}


def found(
    environ: dict[str, str] | None = None, limit: int = 100_000, root: bool = False, **flags: object
) -> list[Finding]:
    given = {"PRESENCED_CONFIG": "/dev/null"} | (environ or {})
    return examine(load(flags, given), file_limit=limit, is_root=root, today=TODAY)


def test_a_safe_configuration_has_no_findings() -> None:
    assert found({"PRESENCED_JWT_KEY": SECRET}, **SAFE) == []


def test_the_default_configuration_is_for_development() -> None:
    (only,) = found()
    assert only.level == "note"
    assert "only this machine" in only.what


@pytest.mark.parametrize(
    ("changes", "level", "says"),
    [
        ({"auth": "none", "insecure": True}, "unsafe", "any user id"),
        ({"trusted_proxies": ""}, "unsafe", "no TLS"),
        ({"trusted_proxies": "0.0.0.0/0"}, "unsafe", "claim any address"),
        ({"trusted_proxies": "nonsense"}, "broken", "trusted_proxies"),
        ({"trusted_proxies": "", "host": "localhost"}, "note", "no limits per address"),
        ({"origins": "*"}, "unsafe", "every origin"),
        ({"origins": ""}, "note", "own host"),
        ({"origins": "example.com"}, "broken", "origins"),
        ({"origins": "file://"}, "note", "sandboxed frame"),
        ({"origins": "file://", "auth": "none", "insecure": True}, "unsafe", "sandboxed frame"),
        ({"allowed_hosts": "https://x.example"}, "broken", "allowed_hosts"),
        ({"auth": "none", "insecure": True, "origins": ""}, "note", "with a host name"),
        ({"auth": "none", "host": "localhost", "origins": ""}, "note", "with a host name"),
        ({"jwt_required_claims": "sub"}, "unsafe", "never expire"),
        ({"jwt_audience": ""}, "note", "meant for this server"),
        ({"jwt_issuer": ""}, "note", "any issuer"),
        ({"jwt_algorithms": "RS256"}, "broken", "jwt_algorithms"),
        ({"auth": "ticket", "host": "localhost"}, "broken", "tickets"),
        ({"auth": "callback", "callback_url": "https://x.example/"}, "note", "requests come from this server"),
        ({"auth": "callback", "callback_url": "http://x.example/"}, "broken", "callback_url is not https"),
        ({"visibility": "callback", "visibility_url": "x.example"}, "broken", "visibility_url"),
        ({"visibility": "callback", "visibility_url": "https://x.example/"}, "note", "requests come from this server"),
        ({"jwt_jwks_url": "http://x.example/"}, "broken", "jwt_jwks_url is not https"),
        ({"outgoing_private": True}, "note", "private addresses"),
        ({"api_keys": "nonsense"}, "broken", "api_keys"),
    ],
)
def test_every_unsafe_or_broken_setting_is_found(changes: dict[str, Any], level: str, says: str) -> None:
    findings = found({"PRESENCED_JWT_KEY": SECRET}, **{**SAFE, **changes})
    assert [finding.level for finding in findings if says in finding.what] == [level]
    assert all(finding.fix for finding in findings)


@pytest.mark.parametrize("changes", [{"allowed_hosts": "presenced"}, {"auth": "jwt"}, {"trusted_proxies": ""}])
def test_there_is_no_note_about_host_names_if_every_name_in_use_is_allowed(changes: dict[str, Any]) -> None:
    settings = {**SAFE, "auth": "none", "host": "localhost", "origins": "", **changes}
    assert not [one for one in found({"PRESENCED_JWT_KEY": SECRET}, **settings) if "with a host name" in one.what]


@pytest.mark.parametrize("changes", [{"auth": "none"}, {"host": "192.0.2.1"}, {"trusted_proxies": "127.0.0.1"}])
def test_there_is_no_note_about_address_limits_if_they_apply_or_nobody_authenticates(changes: dict[str, Any]) -> None:
    settings = {**SAFE, "host": "localhost", "trusted_proxies": "", **changes}
    assert not [one for one in found({"PRESENCED_JWT_KEY": SECRET}, **settings) if "per address" in one.what]


def test_an_invalid_database_url_is_broken_and_its_password_is_not_shown() -> None:
    environ = {"PRESENCED_DATABASE": "url", "PRESENCED_DATABASE_URL": "postgresql://ada:hidden@localhost:port/db"}
    (broken,) = [one for one in found(environ) if one.level == "broken"]
    assert "database_url is not a URL" in broken.what
    assert "hidden" not in broken.what


def of_database(folder: Path) -> list[Finding]:
    environ = {"PRESENCED_DATABASE": "sqlite", "PRESENCED_DATA_DIR": str(folder)}
    return [one for one in found(environ) if "authentication" not in one.what]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_doctor_does_not_create_a_database(tmp_path: Path) -> None:
    (only,) = of_database(tmp_path / "kept")
    assert (only.level, only.what) == ("note", "the database has no tables yet")
    (tmp_path / "presenced.db").touch()
    assert of_database(tmp_path) == [only]
    assert files(tmp_path) == {"presenced.db": b""}, "the doctor creates neither the directory nor tables"
    (tmp_path / "file").touch()
    (broken,) = of_database(tmp_path / "file" / "kept")
    assert (broken.level, "nothing can be written at" in broken.what) == ("broken", True)
    assert "data_dir" in broken.fix
    (broken,) = of_database(Path("/proc/presenced"))
    assert (broken.level, "nothing can be written at /proc: " in broken.what) == ("broken", True), "not even by root"


def test_the_doctor_writes_to_the_database_and_leaves_it_unchanged(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "presenced.db")) as database:
        database.execute("CREATE TABLE of_others (x)")
        database.execute("PRAGMA journal_mode=WAL")
    before = files(tmp_path)
    assert [one.level for one in of_database(tmp_path)] == ["note"]
    assert files(tmp_path) == before, "the tables that the doctor created are gone"
    asyncio.run(make_tables_at(f"sqlite:///{tmp_path}/presenced.db"))
    before = files(tmp_path)
    assert of_database(tmp_path) == []
    assert files(tmp_path) == before


def test_a_database_that_cannot_be_used_or_has_another_version_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "presenced.db"
    asyncio.run(make_tables_at(f"sqlite:///{file}"))
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TRIGGER no BEFORE INSERT ON presenced_nodes BEGIN SELECT RAISE(ABORT, 'no'); END")
    (broken,) = of_database(tmp_path)
    assert (broken.level, broken.what) == ("broken", "nothing can be stored: the database can't be used: no")
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE presenced_version SET version_num = '9999'")
    (broken,) = of_database(tmp_path)
    assert (broken.level, "a newer one created them" in broken.what) == ("broken", True)
    file.write_bytes(b"no database" * 1000)
    (broken,) = of_database(tmp_path)
    assert (broken.level, "file is not a database" in broken.what) == ("broken", True)


async def make_tables_at(url: str) -> None:
    async with probe.connected(url) as connection:
        await connection.run_sync(migrate.upgrade_tables)
        await connection.commit()


def test_a_low_file_limit_and_root_are_notes() -> None:
    findings = found({"PRESENCED_JWT_KEY": SECRET}, limit=1024, root=True, **SAFE)
    assert [finding.level for finding in findings] == ["note", "note"], "containers run as root"


def test_certificates_are_checked_for_expiry_and_readable_keys(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    settings: dict[str, Any] = {**SAFE, "trusted_proxies": "", "tls_certificate": str(certificate), "tls_key": str(key)}
    key.chmod(0o644)
    findings = found({"PRESENCED_JWT_KEY": SECRET}, **settings)
    assert [finding.level for finding in findings] == ["note", "unsafe"], (
        "it expires tomorrow, and others may read its key"
    )
    key.chmod(0o600)
    certificate.write_text("nonsense")
    (only,) = found({"PRESENCED_JWT_KEY": SECRET}, **settings)
    assert only.level == "broken"


def test_a_settings_file_with_a_secret_that_others_may_read_is_unsafe(tmp_path: Path) -> None:
    file = tmp_path / "presenced.toml"
    file.write_text(f'auth = "jwt"\njwt_key = "{SECRET}"\n')
    for mode, count in ((0o644, 1), (0o600, 0)):
        file.chmod(mode)
        effective: EffectiveSettings = load({}, {}, file)
        findings = examine(effective, file_limit=100_000, is_root=False, today=TODAY)
        assert sum("may read jwt_key" in finding.what for finding in findings) == count
        assert SECRET not in str(findings)


def test_tickets_with_an_api_key_have_no_findings() -> None:
    settings: dict[str, Any] = {**SAFE, "auth": "ticket", "api_keys": new_key("write").entry}
    assert found(**settings) == []


@pytest.mark.parametrize("name", ["JWT_KEY", "CALLBACK_SECRET", "WEBHOOK_SECRETS"])
def test_an_empty_secret_is_found(name: str) -> None:
    for empty in ("", " \n"):
        (note,) = [one for one in found({f"PRESENCED_{name}": empty}) if "is empty" in one.what]
        assert note[:2] == ("note", f"{name.lower()} is empty, although PRESENCED_{name} sets it")


def test_an_empty_secret_that_is_needed_is_unsafe() -> None:
    url = "https://x.example/"
    empty = {"PRESENCED_CALLBACK_SECRET": "", "PRESENCED_JWT_KEY": ""}
    for settings in ({"auth": "callback", "callback_url": url}, {"auth": "jwt", "jwt_jwks_url": url}):
        unsafe = [one.what for one in found(empty, **{**SAFE, **settings}) if one.level == "unsafe"]
        assert len(unsafe) == 1
        assert "is empty" in unsafe[0]


def test_a_secret_file_that_others_may_read_is_a_note(tmp_path: Path) -> None:
    """Docker and Kubernetes give secrets to every user of a container."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    settings: dict[str, Any] = {**SAFE, "auth": "callback", "callback_url": "https://x.example/"}
    key = {"jwt_key_file": str(file), **SAFE}
    for mode, levels in ((0o444, ["note"]), (0o400, [])):
        file.chmod(mode)
        findings = found({"PRESENCED_CALLBACK_SECRET_FILE": str(file)}, **settings)
        assert [one.level for one in findings if f"callback_secret in {file}" in one.what] == levels
        assert [one.level for one in found(**key) if f"shared secret in {file}" in one.what] == levels
