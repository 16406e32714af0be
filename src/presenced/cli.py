"""The command: arguments, the banner, signals, exit codes (0 done, 1 could not start, 2 wrong arguments)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypedDict

from cyclopts import App, CycloptsError, Parameter
from prometheus_client import disable_created_metrics
from pydantic import SecretStr

from presenced import cli_auth, cli_storage, cli_webhooks, garbage, log
from presenced.config import Effective, expected, load
from presenced.errors import ConfigError, PresencedError
from presenced.server import PresenceServer, authority
from presenced.settings import Settings, is_loopback
from presenced.version import __version__

if TYPE_CHECKING:
    Flags = dict[str, Any]
else:
    # Texts, but for switches: `config.load` reads and checks the values of all sources in the same way.
    Flags = TypedDict(
        "Flags",
        {
            name: Annotated[
                bool if field.annotation is bool else str,
                Parameter(
                    negative=(),
                    help=field.description
                    if field.annotation is bool
                    else f"{field.description} [{expected(name)}; default {field.default}]",
                ),
            ]
            for name, field in Settings.model_fields.items()
            if field.annotation is not SecretStr
        },
        total=False,
    )

Config = Annotated[Path | None, Parameter(help="Settings file [default presenced.toml, if there is one]")]
GivenFlags = Annotated[Flags | None, Parameter(name="*")]

app = App(
    "presenced",
    help="Tells people, in real time, who is online.\n\nStart with: presenced serve",
    version=__version__,
    version_flags=["--version"],
    result_action="return_value",
)
config = App("config", help="Look at the settings.")
app.command(config)
cli_auth.add_to(app)
cli_storage.add_to(app)
cli_webhooks.add_to(app)


@app.command
def serve(*, config: Config = None, flags: GivenFlags = None) -> None:
    """Run the server until SIGINT or SIGTERM; a second one ends it at once."""
    settings = load(flags or {}, os.environ, config).settings
    _raise_file_limit()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # else a second series for each, which nobody asks for
    finish_log = log.configure(settings.log_level, settings.log_format)
    try:
        with asyncio.Runner(loop_factory=_loop_factory(settings.loop)) as runner:
            runner.run(_serve(settings))
    finally:
        finish_log()


@config.command
def show(*, config: Config = None, flags: GivenFlags = None) -> None:
    """Print every setting in force, as a settings file, and where each value came from."""
    effective = load(flags or {}, os.environ, config)
    sys.stdout.write("\n".join(_toml(effective)) + "\n")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    _fill_standard_files()
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (CycloptsError, ConfigError) as error:
        _fail(error, 2)
    except PresencedError as error:
        _fail(error, 1)
    except OSError as error:
        log.give_up_output()
        _fail(error, 1)
    log.give_up_output()
    sys.exit(0)


def _fail(error: Exception, code: int) -> NoReturn:
    for line in str(error).splitlines():
        sys.stderr.write(f"presenced: {line}\n")
    sys.exit(code)


async def _serve(settings: Settings) -> None:
    server = PresenceServer(settings)
    garbage.keep_pauses_short()
    await server.start()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        stopping.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    if settings.tls_key:  # else it ends the server, as when a terminal is closed
        loop.add_signal_handler(signal.SIGHUP, server.reload)
    _announce(server)
    await stopping.wait()
    await server.stop()


def _announce(server: PresenceServer) -> None:
    """Tell where to look."""
    host, port = server.settings.host, server.port
    scheme = "https" if server.settings.tls_key else "http"
    web = f"{scheme}://{authority(host, port)}"
    if server.settings.log_format == "json":
        fields = {"url": server.url, "version": __version__, "authentication": server.settings.auth != "none"}
        log.logger.info("listening on %s", server.url, extra={"event": "listening", "fields": fields})
        return
    if server.settings.auth != "none":
        safety = f"Authentication is by {server.settings.auth}."
    elif is_loopback(host):
        safety = "Authentication is off: whoever connects may claim any user id. Hence it listens on loopback only."
    else:
        safety = "WARNING: authentication is off, and other machines may connect: whoever does may claim any user id."
    banner = (
        f"presenced {__version__}\n\n"
        f"  WebSocket  {server.url}?userId=ID\n"
        f"  Test page  {web}/\n"
        f"  HTTP API   {web}/docs\n"
        f"  Health     {web}/healthz   {web}/readyz\n"
        f"  Figures    {web}/stats   {web}/metrics\n\n"
        f"  {safety}\n"
        f"  Stop with Ctrl+C.\n\n"
    )
    with contextlib.suppress(OSError):  # nobody reads it; the server serves all the same
        sys.stdout.write(banner)
        sys.stdout.flush()


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name != "asyncio":
        try:
            import uvloop
        except ImportError:
            if name == "uvloop":
                raise ConfigError(
                    "loop is uvloop, which is not installed: `pip install uvloop`, or --loop asyncio"
                ) from None
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop


def _fill_standard_files() -> None:
    """Started with standard output closed (`>&-`), a socket would get its number and be taken for it."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        if number:
            setattr(sys, ("stdout", "stderr")[number - 1], os.fdopen(number, "w"))
    os.close(number)


def _raise_file_limit() -> None:
    """Every connection is an open file, and the limit a process starts with is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited" and means less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _toml(effective: Effective) -> list[str]:
    """Lines of a settings file. A secret setting, once there is one, is a `SecretStr`, which hides itself."""
    assigned = {name: f"{name} = {_toml_value(value)}" for name, value in effective.settings}
    width = max(map(len, assigned.values()))
    return [f"{line:{width}}  # {effective.origins[name]}" for name, line in assigned.items()]


def _toml_value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value if isinstance(value, int) else str(value), ensure_ascii=False)
