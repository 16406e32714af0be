"""The image of the `Dockerfile` is built and started. `make soak` runs this, because the build takes minutes."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jwt
import pytest
from tests.support.image import ROOT, Container, Image, built_image
from tests.support.services import PostgreSQL
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from presenced import __version__

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif("PRESENCED_IMAGE" not in os.environ, reason="`make soak` runs it: the build takes minutes"),
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root"),
]

SECRET = "a secret of forty characters, or nearly so"

HANDSHAKE = (
    b"GET /ws-online-status?userId=ada HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

New = Callable[..., Container]
Start = Callable[..., Container]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    subprocess.run([ROOT / "tools/setup", "soak"], check=True)
    with built_image(tmp_path_factory.mktemp("image")) as built:
        yield built


@pytest.fixture
def new(image: Image) -> Iterator[New]:
    """Function that returns a container, which has not started."""
    made: list[Container] = []

    def new(environ: Mapping[str, str] | None = None, mounts: Mapping[Path, str] | None = None) -> Container:
        made.append(Container(image, environ or {}, mounts))
        return made[-1]

    yield new
    for container in made:
        container.kill()


@pytest.fixture
def start(new: New) -> Start:
    """Function that starts a container."""

    def start(environ: Mapping[str, str], mounts: Mapping[Path, str] | None = None) -> Container:
        container = new(environ, mounts)
        container.start()
        return container

    return start


def new_volume(image: Image, folder: Path, path: str) -> Path:
    """Return a directory with the owner and mode that the image's directory has, as a new volume gets them."""
    folder.mkdir()
    original = (image.root / path.lstrip("/")).stat()
    os.chown(folder, original.st_uid, original.st_gid)
    folder.chmod(stat.S_IMODE(original.st_mode))
    return folder


def client(container: Container, query: str) -> ClientConnection:
    url = f"ws://127.0.0.1:{container.port}/ws-online-status?{query}"
    return connect(url, subprotocols=[Subprotocol("presenced.v1")], proxy=None)


def test_the_image_declares_what_engines_need(image: Image) -> None:
    config = image.config
    assert config["User"] == "10001:10001"
    assert config["ExposedPorts"] == {"3001/tcp": {}}
    assert config["WorkingDir"] == "/etc/presenced"
    assert config["Healthcheck"]["Test"] == ["CMD", "presenced", "health"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert not config["Volumes"], "a volume that nobody named would hide that none was mounted"


def test_the_image_has_the_drivers_and_compiled_modules_and_no_pip(image: Image, new: New) -> None:
    container = new()
    assert container.run("python", "-c", "import asyncpg, aiomysql, aiosqlite").returncode == 0
    assert "No module named pip" in container.run("python", "-m", "pip").stderr
    package = next((image.root / "opt/presenced/lib").glob("python*/site-packages/presenced"))
    assert list(package.glob("__pycache__/server.*.pyc"))
    assert container.run("presenced", "--version").stdout == f"{__version__}\n"


def test_the_server_does_not_start_without_authentication(new: New) -> None:
    done = new().run("presenced", "serve")
    assert done.returncode == 2
    assert "--insecure" in done.stderr


def test_the_server_runs_without_rights_on_a_read_only_file_system(start: Start, tmp_path: Path) -> None:
    (tmp_path / "jwt_key").write_text(f"{SECRET}\n")
    environ = {"PRESENCED_AUTH": "jwt", "PRESENCED_JWT_KEY_FILE": "/run/secrets/jwt_key"}
    container = start(environ, {tmp_path / "jwt_key": "/run/secrets/jwt_key"})
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{container.pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["NSpid"].split()[-1] == "1", "the server is the first process, and receives the signals"
    assert set(status["Uid"].split()) == {"10001"}
    assert (int(status["CapEff"], 16), status["NoNewPrivs"]) == (0, "1")
    with pytest.raises(OSError, match="Read-only file system"):
        Path(f"/proc/{container.pid}/root/etc/presenced/file").touch()

    assert container.run("presenced", "health").stdout == f"alive, version {__version__}\n"
    assert container.run("presenced", "health", "--ready").returncode == 0
    doctor = container.run("presenced", "doctor")
    assert [line for line in doctor.stdout.splitlines() if line.startswith(("unsafe", "broken"))] == [
        "unsafe: there is no TLS and no trusted proxy: anyone on the network path can read tokens"
    ]

    token = jwt.encode({"sub": "ada", "exp": int(time.time()) + 600}, SECRET, "HS256")
    with client(container, f"token={token}") as ada:
        code, seconds = container.stop()
        with pytest.raises(ConnectionClosed) as ended:
            while True:
                ada.recv(10)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1001
    assert code == 0
    assert seconds < 5
    assert "Traceback" not in container.output()


def test_without_a_server_the_health_check_fails(new: New) -> None:
    done = new().run("presenced", "health")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


def test_an_sqlite_database_in_a_new_volume_survives_the_container(image: Image, start: Start, tmp_path: Path) -> None:
    mounts = {new_volume(image, tmp_path / "volume", "/var/lib/presenced"): "/var/lib/presenced"}
    environ = {"PRESENCED_INSECURE": "true", "PRESENCED_DATABASE": "sqlite", "PRESENCED_NODE": "presenced"}
    first = start(environ, mounts)
    with client(first, "userId=ada") as ada:
        ada.send('{"type":"SET_STATUS","status":"busy","text":"in a meeting","id":1}')
        while '"ACK"' not in str(ada.recv(10)):
            pass
    assert first.stop()[0] == 0
    assert (tmp_path / "volume/presenced.db").stat().st_uid == 10001
    second = start(environ, mounts)
    with client(second, "userId=ada") as ada:
        # On a slow machine the database responds after the server has begun to serve. Another SELF follows then.
        while "in a meeting" not in str(ada.recv(60)):
            pass


def test_a_database_server_is_reached_with_its_url_from_a_secret(new: New, tmp_path: Path) -> None:
    with PostgreSQL() as service:
        (tmp_path / "database_url").write_text(service.new_database())
        environ = {
            "PRESENCED_INSECURE": "true",
            "PRESENCED_DATABASE": "url",
            "PRESENCED_DATABASE_URL_FILE": "/run/secrets/database_url",
        }
        container = new(environ, {tmp_path / "database_url": "/run/secrets/database_url"})
        done = container.run("presenced", "migrate")
        assert done.stdout.startswith("migrated the tables from version none"), done.stderr


def test_a_mounted_settings_file_is_read_and_the_image_sets_the_host(start: Start, tmp_path: Path) -> None:
    (tmp_path / "presenced.toml").write_text('host = "localhost"\ninsecure = true\ngrace_lost = 7\n')
    container = start({}, {tmp_path / "presenced.toml": "/etc/presenced/presenced.toml"})
    shown = container.run("presenced", "config", "show").stdout
    assert "grace_lost = 7 " in shown
    assert 'host = "0.0.0.0"' in shown


def test_a_second_signal_has_no_effect_on_the_first_process(start: Start) -> None:
    """Linux ignores signals with the default action for it. Elsewhere a second SIGTERM ends the server immediately."""
    container = start({"PRESENCED_INSECURE": "true"})
    with socket.create_connection(("127.0.0.1", container.port)) as silent:
        silent.sendall(HANDSHAKE)
        assert b" 101 " in silent.recv(1000)
        os.kill(container.pid, signal.SIGTERM)
        time.sleep(1)
        os.kill(container.pid, signal.SIGTERM)
        time.sleep(0.5)
        assert container.process is not None
        assert container.process.poll() is None, "it waits for the client's answer to the close frame"
        assert container.process.wait(30) == 0
