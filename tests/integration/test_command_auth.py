"""The commands for security: `doctor`, `api-key`, `token`, `verify-token`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from presenced.auth.api_keys import ApiKeys

SECRET = "a secret of forty characters, or nearly so"


def run(folder: Path, *arguments: str, given: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PRESENCED_")}
    command = [sys.executable, "-m", "presenced", *arguments]
    return subprocess.run(
        command, cwd=folder, input=given, env=clean | environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_api_key_prints_a_key_and_its_entry_for_the_settings(tmp_path: Path) -> None:
    made = run(tmp_path, "api-key", "--scope", "write")
    assert made.returncode == 0
    key, entry = made.stdout.split()[0], made.stdout.split('"')[1]
    assert ApiKeys([entry]).scope(key) == "write"
    assert run(tmp_path, "api-key", "--scope", "all").returncode == 2


def test_a_new_api_key_has_the_scope_read_unless_another_is_given(tmp_path: Path) -> None:
    made = run(tmp_path, "api-key")
    assert made.returncode == 0
    key, entry = made.stdout.split()[0], made.stdout.split('"')[1]
    assert ApiKeys([entry]).scope(key) == "read"
    assert "with scope read" in made.stdout
    assert "with scope admin" in run(tmp_path, "api-key", "--scope", "admin").stdout


def test_a_token_is_created_and_verified(tmp_path: Path) -> None:
    environ = {"PRESENCED_AUTH": "jwt", "PRESENCED_JWT_KEY": SECRET, "PRESENCED_JWT_ISSUER": "me"}
    made = run(tmp_path, "token", "ada", "--claim", "role=x", "--claim", "seats=[1,2]", **environ)
    assert made.returncode == 0, made.stderr
    claims = jwt.decode(made.stdout.strip(), SECRET, ["HS256"])
    assert (claims["sub"], claims["iss"], claims["role"], claims["seats"]) == ("ada", "me", "x", [1, 2])
    verified = run(tmp_path, "verify-token", given=made.stdout, **environ)
    assert verified.returncode == 0
    accepted = re.search(r'accepted: it is user "ada", for (\d+) s more, leeway included', verified.stdout)
    assert accepted
    assert 3000 < int(accepted[1]) <= 3610, "an hour and the leeway, less the time that the commands took"
    refused = run(tmp_path, "verify-token", given=made.stdout, **environ | {"PRESENCED_JWT_ISSUER": "other"})
    assert refused.returncode == 2
    assert refused.stderr == "presenced: not accepted (claims): the token is from another issuer\n"
    assert '"iss": "me"' in refused.stdout, "the unverified claims are printed"
    for nonsense in ("", "x", "a.b.c"):
        assert run(tmp_path, "verify-token", given=nonsense, **environ).returncode == 2


def test_a_token_cannot_be_verified_without_a_key(tmp_path: Path) -> None:
    refused = run(tmp_path, "verify-token", given="x")
    assert refused.returncode == 2
    assert refused.stderr == (
        "presenced: there is no key to verify tokens with: set auth to jwt, and jwt_key, jwt_key_file or jwt_jwks_url\n"
    )


def test_a_secret_from_a_file_signs_a_token_as_one_from_the_environment_does(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    environ = {"PRESENCED_AUTH": "jwt", "PRESENCED_JWT_KEY_FILE": "secret"}
    made = run(tmp_path, "token", "ada", **environ)
    assert made.returncode == 0, made.stderr
    assert jwt.decode(made.stdout.strip(), SECRET, ["HS256"])["sub"] == "ada"
    assert run(tmp_path, "verify-token", given=made.stdout, **environ).returncode == 0


def test_a_private_key_signs_a_token(tmp_path: Path) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "private.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(public)
    (tmp_path / "presenced.toml").write_text('auth = "jwt"\njwt_key_file = "public.pem"\n')
    made = run(tmp_path, "token", "7", "--signing-key", "private.pem")
    assert made.returncode == 0, made.stderr
    assert run(tmp_path, "verify-token", given=made.stdout).returncode == 0
    assert run(tmp_path, "token", "7").returncode == 2, "a public key cannot sign"
    assert run(tmp_path, "token", "7", "--signing-key", "public.pem").returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", ""),
        ("token", "a", "--claim", "x"),
        ("token", "ada"),
        ("token", "ada", "--expires-in", "inf"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_the_doctor_fails_if_something_is_unsafe(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", PRESENCED_HOST="192.0.2.1", PRESENCED_INSECURE="true")
    assert done.returncode == 1
    assert "unsafe: authentication is off, and other machines may connect" in done.stdout


def test_no_command_prints_a_secret(tmp_path: Path) -> None:
    shown = run(tmp_path, "config", "show", PRESENCED_JWT_KEY=SECRET)
    assert shown.returncode == 0
    assert SECRET not in shown.stdout
    assert "# PRESENCED_JWT_KEY" in shown.stdout
    (tmp_path / "presenced.toml").write_text("jwt_key = 12345678901234567890\n")
    refused = run(tmp_path, "config", "show")
    assert refused.returncode == 2
    assert "1234567" not in refused.stderr
    assert "jwt_key" in refused.stderr
    flag = run(tmp_path, "serve", "--jwt-key", SECRET)
    assert flag.returncode == 2, "every user of the machine sees flags"
    assert "--jwt-key" not in run(tmp_path, "serve", "--help").stdout.replace("--jwt-key-file", "")
