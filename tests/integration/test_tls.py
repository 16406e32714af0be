"""TLS by the server itself."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.certificates import trusting, write_certificate
from tests.support.process import ServerProcess
from tests.support.raw import PATIENCE
from tests.support.server import server, until
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_here

from presenced import PresenceServer
from presenced.errors import ConfigError
from presenced.transports.tls import Certificate

pytestmark = pytest.mark.anyio


def house_of_tls(folder: Path, **changes: object) -> PresenceServer:
    certificate, key = write_certificate(folder)
    return server(tls_certificate=str(certificate), tls_key=str(key), **changes)


def url(running: PresenceServer, user_id: str) -> str:
    return f"wss://127.0.0.1:{running.port}/ws-online-status?userId={user_id}"


async def name_shown(running: PresenceServer) -> str:
    """The common name of the certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    from cryptography.x509 import load_der_x509_certificate

    return load_der_x509_certificate(shown).subject.rfc4514_string()


async def test_clients_and_browsers_connect_by_tls(tmp_path: Path) -> None:
    async with house_of_tls(tmp_path) as running:
        assert running.url.startswith("wss://")
        context = trusting(tmp_path / "certificate.pem")
        async with connect(url(running, "ada"), ssl=context, proxy=None) as ada:
            assert json.loads(await ada.recv())["userId"] == "ada"
            async with connect(url(running, "bo"), ssl=context, proxy=None) as bo:
                await bo.recv()
                assert json.loads(await ada.recv())["type"] == "USER_ONLINE"
            assert json.loads(await ada.recv())["type"] == "USER_OFFLINE"
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            assert (await client.get(f"https://127.0.0.1:{running.port}/healthz")).status_code == 200


async def test_a_refusal_by_tls_is_read_by_the_client(tmp_path: Path) -> None:
    async with house_of_tls(tmp_path) as running:
        context = trusting(tmp_path / "certificate.pem")
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=context)
        writer.write(b"nonsense\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.transport.abort()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken(tmp_path: Path, version: ssl.TLSVersion) -> None:
    async with house_of_tls(tmp_path) as running:
        context = trusting(tmp_path / "certificate.pem")
        context.minimum_version = context.maximum_version = version
        async with connect(url(running, "ada"), ssl=context, proxy=None) as ada:
            await ada.recv()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_1_1_is_not(tmp_path: Path) -> None:
    async with house_of_tls(tmp_path) as running:
        context = trusting(tmp_path / "certificate.pem")
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(url(running, "ada"), ssl=context, proxy=None)


async def test_a_handshake_that_does_not_go_on_is_cut_off(tmp_path: Path) -> None:
    async with house_of_tls(tmp_path, head_timeout=0.3) as running:
        started = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"\x16\x03\x01")
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        assert time.monotonic() - started >= 0.25
        writer.transport.abort()


async def test_a_new_certificate_is_shown_once_its_files_are_there_and_fit(tmp_path: Path) -> None:
    async with house_of_tls(tmp_path) as running:
        context = trusting(tmp_path / "certificate.pem")
        async with connect(url(running, "ada"), ssl=context, proxy=None) as ada:
            await ada.recv()
            write_certificate(tmp_path, "second")
            running.reload()
            assert await name_shown(running) == "CN=second"
            old = (tmp_path / "key.pem").read_bytes()
            write_certificate(tmp_path, "third")
            (tmp_path / "key.pem").write_bytes(old)
            running.reload()
            assert await name_shown(running) == "CN=second", "the third one's key is not there yet"
            write_certificate(tmp_path, "fourth")
            running.reload()
            assert await name_shown(running) == "CN=fourth"
            assert json.loads(await _echo(ada)) == "pong", "the connection goes on"


async def _echo(socket: Any) -> str:
    await (await socket.ping())
    return '"pong"'


async def test_files_that_can_not_be_used_are_an_error_that_names_them(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, password="secret")
    for cert_path, key_path in (
        (certificate, key),
        (certificate, certificate),
        (tmp_path / "none", key),
        (key, key),
    ):
        with pytest.raises(ConfigError, match=str(key_path)):
            await server(tls_certificate=str(cert_path), tls_key=str(key_path)).start()


@pytest.mark.parametrize("name", ["certificate.pem", "key.pem"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda pem: pem.encode("utf-16"), "UTF-16"),
        (lambda pem: pem.replace("\n", "\\n").encode(), r"has \n in place of line breaks"),
        (lambda pem: b"nonsense", "is not PEM"),
        (lambda pem: b"", "is not PEM"),
    ],
)
def test_a_pem_file_that_openssl_can_not_read_is_an_error_that_says_why(
    tmp_path: Path, name: str, change: Callable[[str], bytes], says: str
) -> None:
    certificate, key = write_certificate(tmp_path)
    file = tmp_path / name
    file.write_bytes(change(file.read_text()))
    with pytest.raises(ConfigError, match=re.escape(says)) as refused:
        Certificate(certificate, key)
    assert str(file) in str(refused.value)


def test_sighup_takes_the_new_certificate(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    process = ServerProcess(tls_certificate=str(certificate), tls_key=str(key))
    with process:
        write_certificate(tmp_path, "second")
        context = trusting(certificate)
        os.kill(process.pid, signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with connect_here(f"wss://localhost:{process.port}/ws-online-status?userId=1", ssl=context, proxy=None):
                    break
            except ssl.SSLCertVerificationError:
                assert time.monotonic() < deadline
        while "replaced by" not in process.output:  # a thread reads it
            assert time.monotonic() < deadline
            time.sleep(0.01)


async def test_by_itself_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.transports.tls.LOOK_AGAIN", 0.05)
    async with house_of_tls(tmp_path) as running:
        write_certificate(tmp_path, "second")
        seen: list[str] = []
        while not seen or seen[-1] != "CN=second":
            seen.append(await name_shown(running))
        await until(lambda: seen)
