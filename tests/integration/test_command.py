"""The command `presenced`: start, banner, signals, exit codes, settings, log lines."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import tomllib
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.support.command import run, serve
from tests.support.raw import PATIENCE, raw, raw_websocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from presenced import Settings, __version__

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Event loop of the test. The command uses its own."""
    return "asyncio"


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    """Event loop of the command."""
    return str(request.param)


async def test_the_command_starts_without_configuration_and_prints_its_urls(tmp_path: Path) -> None:
    async with serve(cwd=tmp_path) as command:
        said = await command.say("Ctrl+C")
        base = f"http://localhost:{command.port}"
        for part in (
            f"presenced {__version__}",
            f"ws://localhost:{command.port}/ws-online-status?userId=ID",
            f"{base}/\n",
            f"{base}/healthz",
            f"{base}/metrics",
            "Authentication is off",
            "the server listens on loopback only",
        ):
            assert part in said


async def test_with_authentication_the_printed_url_claims_no_user(tmp_path: Path) -> None:
    async with serve("--auth", "ticket", cwd=tmp_path) as command:
        said = await command.say("Ctrl+C")
        assert f"ws://localhost:{command.port}/ws-online-status\n" in said
        assert "Authentication is by ticket. The token names the user." in said


async def test_log_lines_have_the_wording_of_the_contract(tmp_path: Path) -> None:
    heartbeat = ("--heartbeat-interval", "1", "--pong-timeout", "1")
    async with serve("--stats-interval", "0.5", *heartbeat, cwd=tmp_path) as command:
        async with connect(f"{command.url}?userId=123", proxy=None), raw_websocket(command.port, "?userId=ghost"):
            await command.say("💔 WS: User ghost heartbeat failed - disconnecting")
            await command.say("📊 WS Stats: 1 users, 1 connections")
            await command.say("📡 WS: User ghost is OFFLINE")
        said = await command.say("🔌 WS: User 123 disconnected")
        for line in ("🚀 WS: User 123 connected", "📡 WS: User 123 is ONLINE", "📡 WS: Broadcast sent to 0 users"):
            assert f"{line}\n" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_the_server_cleanly_and_no_user_is_reported_offline(
    tmp_path: Path, loop: str, number: signal.Signals
) -> None:
    async with serve("--loop", loop, cwd=tmp_path) as command, AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connect(f"{command.url}?userId={user}", proxy=None)) for user in range(20)
        ]
        command.process.send_signal(number)
        for client in clients:
            with pytest.raises(ConnectionClosed) as ended:
                while True:
                    assert "USER_OFFLINE" not in str(await client.recv())
            assert ended.value.rcvd
            assert ended.value.rcvd.code == 1001
        assert await command.exit() == 0
        assert "is OFFLINE" not in command.said
        assert "Traceback" not in command.said


async def test_a_second_signal_ends_the_process_immediately(tmp_path: Path, loop: str) -> None:
    async with (
        serve("--loop", loop, cwd=tmp_path, PRESENCED_CLOSE_TIMEOUT="60") as command,
        raw_websocket(command.port) as silent,
    ):
        command.process.send_signal(signal.SIGTERM)
        assert (await silent.close_frame()).code == 1001
        command.process.send_signal(signal.SIGTERM)
        assert await command.exit() == -signal.SIGTERM


async def test_a_port_in_use_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    async with serve(cwd=tmp_path) as command:
        code, output, errors = await run("serve", "--port", str(command.port), cwd=tmp_path)
        assert (code, output) == (1, "")
        assert len(errors.splitlines()) == 1
        assert f"port {command.port} on localhost is already in use" in errors
        assert "--port" in errors


async def test_after_sigkill_the_server_restarts_on_the_same_port_and_users_are_correct(tmp_path: Path) -> None:
    async with serve(cwd=tmp_path) as command, connect(f"{command.url}?userId=1", proxy=None) as alice:
        await alice.recv()
        command.process.kill()
        with pytest.raises(ConnectionClosed):
            await alice.recv()
        port = command.port
    async with serve(cwd=tmp_path, port=port) as command, connect(f"{command.url}?userId=1", proxy=None) as alice:
        assert "CONNECTION_ESTABLISHED" in str(await alice.recv())
        async with connect(f"{command.url}?userId=2", proxy=None):
            assert '"USER_ONLINE","userId":2' in str(await alice.recv())


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        (["serve", "--prot", "1"], {}, "Did you mean --port?"),
        (["srve"], {}, 'Did you mean "serve"?'),
        (["serve", "--port", "x"], {}, "port can't be 'x' (from --port): expected a whole number from 0 to 65535"),
        (["serve"], {"PRESENCED_HEARTBEAT_INTRVAL": "3"}, "did you mean PRESENCED_HEARTBEAT_INTERVAL?"),
        (["serve", "--pong-timeout", "99"], {}, "must not exceed heartbeat_interval"),
        (["serve", "--host", "0.0.0.0"], {}, "--insecure"),  # noqa: S104  # refused
        (["serve", "--config", "none.toml"], {}, "can't read the settings file none.toml"),
        (["serve", "hush"], {}, "unexpected argument"),
        (["serve", "--jwt-key", "hush"], {}, "Unknown option: --jwt-key"),
        (["cluster", "nodes", "--backend", "redis://s"], {}, "set it in the environment (PRESENCED_BACKEND)"),
        (["doctor", "--jwt-key", "hush"], {}, "Unknown option: --jwt-key"),
        (["serve", "--backend", "redis://a:hush@s/0"], {}, "PRESENCED_BACKEND_PASSWORD_FILE"),
        (["serve"], {"PRESENCED_JWT_KEY": "**********"}, "jwt_key (from PRESENCED_JWT_KEY) holds a mask"),
        (["serve"], {"PRESENCED_CALLBACK_SECRET_FILE": "none"}, "(from PRESENCED_CALLBACK_SECRET_FILE) none: No such"),
        (["serve"], {"PRESENCED_AUTH": '"jwt"'}, "has quotation marks around its value"),
        (["serve"], {"PORT": "http"}, "port can't be 'http' (from PORT)"),
        (["serve", "--database", "nothing"], {}, "expected one of sqlite, url, or an empty string"),
    ],
)
async def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], says: str
) -> None:
    code, _, errors = await run(*arguments, cwd=tmp_path, environ=environ)
    assert code == 2
    assert says in errors
    assert len(errors.splitlines()) == 1
    assert "hush" not in errors


async def test_config_show_prints_secrets_as_comments_and_a_server_starts_from_its_output(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush" * 10)
    environ = {
        "PRESENCED_JWT_KEY": "hush" * 10,
        "PRESENCED_CALLBACK_SECRET_FILE": str(tmp_path / "secret"),
        "PRESENCED_WEBHOOK_SECRETS": "",
        "PORT": "4321",
    }
    code, shown, _ = await run("config", "show", cwd=tmp_path, environ=environ)
    assert code == 0
    assert "hush" not in shown
    assert "**" not in shown
    for line in (
        r"# jwt_key is a secret and not printed +# PRESENCED_JWT_KEY",
        rf'callback_secret_file = "{re.escape(str(tmp_path))}/secret" +# PRESENCED_CALLBACK_SECRET_FILE',
        r"# webhook_secrets is empty +# PRESENCED_WEBHOOK_SECRETS",
        r"# database_url is not set +# default",
        r"port = 4321 +# PORT",
        r"# Authentication",
    ):
        assert re.search(f"^{line}$", shown, re.MULTILINE), line
    (tmp_path / "presenced.toml").write_text(shown)
    _, again, _ = await run("config", "show", cwd=tmp_path)
    assert tomllib.loads(again) == tomllib.loads(shown)
    async with serve(cwd=tmp_path):
        pass  # it starts
    (tmp_path / "presenced.toml").write_text(shown.replace('auth = "none"', 'auth = "jwt"'))
    code, _, errors = await run("serve", cwd=tmp_path)
    assert (code, "which needs a key" in errors) == (2, True), "the printed file has no secret"


async def test_one_long_value_does_not_move_the_comments_of_all_settings(tmp_path: Path) -> None:
    origins = [f"https://{number}.app.example.com" for number in range(9)]
    _, shown, _ = await run("config", "show", cwd=tmp_path, environ={"PRESENCED_ORIGINS": ",".join(origins)})
    assert tomllib.loads(shown)["origins"] == origins
    assert re.search(r"^origins = .+  # PRESENCED_ORIGINS$", shown, re.MULTILINE)
    assert max(line.index("# default") for line in shown.splitlines() if line.endswith("# default")) < 60


async def test_config_show_prints_a_settings_file_with_the_origin_of_each_value(tmp_path: Path) -> None:
    (tmp_path / "presenced.toml").write_text("grace_lost = 20\n")
    code, shown, _ = await run(
        "config", "show", "--port", "4000", cwd=tmp_path, environ={"PRESENCED_LOG_FORMAT": "json"}
    )
    assert code == 0
    assert re.search(r"^port = 4000 +# --port$", shown, re.MULTILINE)
    assert re.search(r"^grace_lost = 20 +# presenced.toml$", shown, re.MULTILINE)
    assert re.search(r'^log_format = "json" +# PRESENCED_LOG_FORMAT$', shown, re.MULTILINE)
    assert re.search(r"^heartbeat_interval = 30 +# default$", shown, re.MULTILINE)
    secrets = {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    assert set(tomllib.loads(shown)) == set(Settings.model_fields) - secrets
    assert Settings.model_validate(tomllib.loads(shown)).grace_lost == 20


async def test_help_lists_all_flags_and_version_prints_the_version(tmp_path: Path) -> None:
    code, shown, _ = await run("--version", cwd=tmp_path)
    assert (code, shown.strip()) == (0, __version__)
    code, shown, _ = await run("serve", "--help", cwd=tmp_path, environ={"COLUMNS": "200"})
    assert code == 0
    for name, field in Settings.model_fields.items():
        if field.annotation is not SecretStr:
            assert f"--{name.replace('_', '-')}" in shown
        else:
            assert f"--{name.replace('_', '-')} " not in shown
            assert f"--{name.replace('_', '-')}-file FILE" in shown
    code, shown, _ = await run(cwd=tmp_path)
    assert code == 0
    assert "serve" in shown


@pytest.mark.parametrize("columns", ["80", "120"])
async def test_help_has_sections_and_shows_the_value_of_each_flag(tmp_path: Path, columns: str) -> None:
    code, shown, _ = await run("serve", "--help", cwd=tmp_path, environ={"COLUMNS": columns})
    assert code == 0
    assert max(map(len, shown.splitlines())) <= int(columns)
    for title in ("Listening", "Authentication", "Storage", "Webhooks", "Logging"):
        assert f"╭─ {title} ─" in shown
    for flag in ("--port PORT", "--grace-lost SECONDS", "--tls-key FILE", "--origins LIST", "--max-message-size BYTES"):
        assert flag in shown
    text = re.sub(r"[│\s]+", " ", shown)
    assert "[0 to 65535; default 3001]" in text
    assert not re.search(r" STR |\(\)|\('|\[\]|default \]|None|True|False|nothing", text), "no values of Python"


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("serve", "--config FILE"),
        ("config show", "--config FILE"),
        ("doctor", "--config FILE"),
        ("api-key", "--scope SCOPE"),
        ("token", "--expires-in SECONDS"),
        ("token", "--signing-key FILE"),
        ("verify-token", "--config FILE"),
        ("migrate", "--check "),
        ("webhook test", "--config FILE"),
    ],
)
async def test_the_help_of_every_command_names_values_and_shows_no_python_values(
    tmp_path: Path, command: str, flag: str
) -> None:
    code, shown, _ = await run(*command.split(), "--help", cwd=tmp_path, environ={"COLUMNS": "100"})
    assert code == 0
    assert flag in shown
    assert not re.search(r"\b(STR|FLOAT|PATH|CHOICE)\b|\(\)|default: |--empty|--no-", shown)


async def test_json_logs_are_json_from_the_first_line_to_the_last(tmp_path: Path) -> None:
    async with serve("--log-format", "json", cwd=tmp_path) as command:
        async with connect(f"{command.url}?userId=1", proxy=None) as client:
            await client.recv()
        await command.say("user_disconnected")
        command.process.send_signal(signal.SIGTERM)
        assert await command.exit() == 0
        events = [json.loads(line)["event"] for line in command.said.splitlines()]
        assert events[0] == "listening"
        assert "user_connected" in events


@pytest.mark.parametrize(("form", "says"), [("text", "WARNING: authentication is off"), ("json", '"event":"insecure"')])
async def test_an_insecure_server_warns_at_every_start(tmp_path: Path, form: str, says: str) -> None:
    # A loopback address in a form that `is_loopback` does not know.
    async with serve("--host", "127.1", "--insecure", "--log-format", form, cwd=tmp_path) as command:
        await command.say(says)


async def test_clients_cannot_put_control_characters_into_the_log(tmp_path: Path) -> None:
    async with serve("--log-level", "debug", cwd=tmp_path) as command:
        for query in ("?userId=%1b[31m", "?userId=a%0d%0ab", "?userId=%00", "?userId=%e2%80%ae", "?userId=fine"):
            async with raw_websocket(command.port, query) as client:
                await client.frame()
        async with raw(command.port) as client:
            await client.send(b"GET /\x1b[31m%0d%0aX HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await client.answer()
        said = await command.say("User fine is OFFLINE")
        assert all(character.isprintable() or character == "\n" for character in said)


async def test_the_server_continues_when_nothing_reads_its_log(tmp_path: Path) -> None:
    """Standard output is a pipe without a reader, and the log is larger than the pipe."""
    async with serve("--log-burst", "100000", cwd=tmp_path) as command:
        async with raw_websocket(command.port, "?userId=watcher") as watcher:
            await watcher.frame()
            for number in range(400):
                async with raw_websocket(command.port, f"?userId={number}-{'x' * 100}") as client:
                    await client.frame()
                assert (await watcher.frame()).data, "watchers are notified although the log is blocked"
        command.process.send_signal(signal.SIGTERM)
        assert await command.exit() == 0


async def test_the_server_survives_running_out_of_file_descriptors_without_spinning(tmp_path: Path, loop: str) -> None:
    async with serve(
        "--loop", loop, cwd=tmp_path, PRESENCED_MAX_CONNECTIONS="10000", PRESENCED_HEAD_TIMEOUT="60"
    ) as command:
        resource.prlimit(command.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(raw_websocket(command.port, "?userId=first"))
            await first.frame()
            for _ in range(100):
                await stack.enter_async_context(raw(command.port))
            before = cpu_seconds(command.process.pid)
            await asyncio.sleep(1)
            assert cpu_seconds(command.process.pid) - before < 0.2, "it does not spin"
        async with asyncio.timeout(PATIENCE):
            answer = b""
            while b"alive" not in answer:
                with suppress(ConnectionError):  # some waiting connections still have no file descriptor
                    async with raw(command.port) as client:
                        await client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                        answer = await client.reader.read(1000)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
