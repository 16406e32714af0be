"""`presenced health` asks the server with the same settings, as health checks of containers do."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.certificates import write_certificate
from tests.support.command import Command, run, serve, start
from tests.support.ports import free_port
from tests.support.raw import raw, raw_websocket

from presenced import __version__

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """These tests start processes, which needs asyncio."""
    return "asyncio"


@asynccontextmanager
async def listening(folder: Path, **environ: str) -> AsyncIterator[tuple[Command, dict[str, str]]]:
    """Run a server. Yields it, and the environment with its settings."""
    settings = {**environ, "PRESENCED_PORT": str(free_port())}
    async with serve(cwd=folder, port=int(settings["PRESENCED_PORT"]), **environ) as command:
        yield command, settings


async def health(folder: Path, settings: dict[str, str], *flags: str) -> tuple[int, str]:
    """Return the exit code, and what was printed."""
    code, output, errors = await run("health", *flags, cwd=folder, environ=settings)
    assert (output == "") == (code != 0), "a failure is an error message, and success is output"
    return code, (output + errors).strip()


async def test_a_server_that_works_is_alive_and_ready(tmp_path: Path) -> None:
    async with listening(tmp_path) as (_, settings):
        assert await health(tmp_path, settings) == (0, f"alive, version {__version__}")
        assert await health(tmp_path, settings, "--ready") == (0, "ready")
        url = f"http://localhost:{settings['PRESENCED_PORT']}"
        assert await health(tmp_path, {}, "--url", url) == (0, f"alive, version {__version__}")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1"])  # noqa: S104  # for other machines
async def test_a_server_for_other_machines_is_asked_on_loopback(tmp_path: Path, host: str) -> None:
    async with listening(tmp_path, PRESENCED_HOST=host, PRESENCED_INSECURE="true") as (_, settings):
        assert await health(tmp_path, settings) == (0, f"alive, version {__version__}")
        code, said = await health(tmp_path, settings, "--ready")
        assert code == 0
        assert said.startswith("ready")
        assert ("warning: authentication is off" in said) == (host != "127.0.0.1")


async def test_a_server_may_have_flags_that_the_check_does_not_know(tmp_path: Path) -> None:
    """As in `docker run presenced serve --insecure`."""
    port = free_port()
    settings = {"PRESENCED_HOST": "0.0.0.0", "PRESENCED_PORT": str(port)}  # noqa: S104, all addresses are tested
    async with serve("--insecure", cwd=tmp_path, port=port, PRESENCED_HOST="0.0.0.0"):  # noqa: S104, as above
        assert await health(tmp_path, settings) == (0, f"alive, version {__version__}")


async def test_the_check_needs_none_of_the_secrets(tmp_path: Path) -> None:
    async with listening(tmp_path) as (_, settings):
        (tmp_path / "f.toml").write_text('auth = "jwt"\njwt_key_file = "/nowhere/key"\ndatabase = "url"\n')
        assert await health(tmp_path, settings, "--config", "f.toml") == (0, f"alive, version {__version__}")


async def test_the_settings_file_names_the_port(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "presenced.toml").write_text(f"port = {port}\n")
    async with serve(cwd=tmp_path, port=port):
        assert await health(tmp_path, {}) == (0, f"alive, version {__version__}")
        assert await health(tmp_path, {}, "--config", "presenced.toml") == (0, f"alive, version {__version__}")


async def test_a_certificate_for_the_public_name_does_not_matter(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "presence.example.com")
    settings = {
        "PRESENCED_TLS_CERTIFICATE": str(certificate),
        "PRESENCED_TLS_KEY": str(key),
        "PRESENCED_PORT": str(free_port()),
    }
    process = await start("serve", cwd=tmp_path, environ=settings)
    try:
        await Command(process).say("wss://")
        assert await health(tmp_path, settings) == (0, f"alive, version {__version__}")
        code, said = await health(tmp_path, {}, "--url", f"https://127.0.0.1:{settings['PRESENCED_PORT']}")
        assert code == 1, "another server must prove its name"
        assert "certificate" in said.lower()
    finally:
        process.kill()
        await process.communicate()


async def test_the_check_passes_where_a_proxy_protocol_header_is_expected(tmp_path: Path) -> None:
    behind = {"PRESENCED_PROXY_PROTOCOL": "true", "PRESENCED_TRUSTED_PROXIES": "127.0.0.1,::1"}
    async with listening(tmp_path, **behind) as (_, settings):
        assert await health(tmp_path, settings) == (0, f"alive, version {__version__}")
    behind["PRESENCED_TRUSTED_PROXIES"] = "192.0.2.1"
    async with listening(tmp_path, **behind) as (_, settings):
        code, said = await health(tmp_path, settings)
        assert code == 1
        assert "only a trusted proxy may connect" in said


async def test_a_full_server_is_alive_but_not_ready(tmp_path: Path) -> None:
    """A restart would not help, and would make all clients reconnect."""
    async with listening(tmp_path, PRESENCED_MAX_CONNECTIONS="1") as (command, settings), raw(command.port):
        code, said = await health(tmp_path, settings)
        assert code == 0
        assert said.startswith("alive, but it accepts no new connections: all 1 connections are taken")
        code, said = await health(tmp_path, settings, "--ready")
        assert code == 1
        assert said.startswith("presenced: not ready: all 1 connections are taken")


async def test_a_stopping_server_is_not_healthy(tmp_path: Path) -> None:
    async with listening(tmp_path) as (command, settings), raw_websocket(command.port):
        command.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        code, said = await health(tmp_path, settings)
        assert code == 1
        assert "Connection refused" in said


async def test_a_frozen_server_is_not_healthy(tmp_path: Path) -> None:
    async with listening(tmp_path) as (command, settings):
        command.process.send_signal(signal.SIGSTOP)
        code, said = await health(tmp_path, settings)
        command.process.send_signal(signal.SIGCONT)
    assert (code, said) == (1, f"presenced: localhost:{settings['PRESENCED_PORT']} does not respond within 5 s")


async def test_without_a_server_the_check_fails_in_one_line(tmp_path: Path) -> None:
    port = free_port()
    code, said = await health(tmp_path, {"PRESENCED_PORT": str(port)})
    assert (code, said) == (1, f"presenced: no server responds at localhost:{port}: Connection refused")


@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 OK\r\n\r\n<html>", b"SSH-2.0\r\n", b""])
async def test_another_program_on_the_port_is_not_healthy(tmp_path: Path, reply: bytes) -> None:
    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        code, said = await health(tmp_path, {}, "--url", f"http://127.0.0.1:{port}")
    assert code == 1
    assert said.startswith("presenced: ")
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "url", ["localhost:3001", "http://localhost:99999", "http://u@h", "http://h/healthz", "ws://h"]
)
async def test_an_invalid_url_is_exit_code_2(tmp_path: Path, url: str) -> None:
    code, said = await health(tmp_path, {}, "--url", url)
    assert (code, said) == (
        2,
        f"presenced: --url can't be {url!r}: expected a URL like http://localhost:3001, without a path",
    )


async def test_a_port_that_the_server_chose_must_be_named(tmp_path: Path) -> None:
    code, said = await health(tmp_path, {"PRESENCED_PORT": "0"})
    assert (code, said) == (2, "presenced: port is 0, so the server has chosen one: name it with --url")
