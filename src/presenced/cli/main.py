"""The command `presenced`: arguments, banner, signals and exit codes.

Exit codes: 0 for success, 1 if the server could not start or a check failed, 2 for invalid arguments or settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypedDict

from cyclopts import App, CycloptsError, Group, Parameter, UnknownCommandError, UnknownOptionError, UnusedCliTokensError
from prometheus_client import disable_created_metrics

from presenced.cli import auth, cluster, database, doctor, health, webhooks
from presenced.cli.options import ConfigFile
from presenced.cli.systemd import ServiceManager
from presenced.config.help import help_text, is_secret, sections, value_name
from presenced.config.settings import Settings, is_loopback
from presenced.config.sources import SECRET_FILES, EffectiveSettings, load
from presenced.errors import ConfigError, PresencedError
from presenced.runtime import gc, logs
from presenced.runtime.signals import stop_signal
from presenced.server import PresenceServer, authority
from presenced.version import __version__


def _flags() -> Iterator[tuple[str, Any]]:
    """Yield a flag for each setting: its name, and its type with the metadata that cyclopts needs.

    A secret has only a flag for its file, because every user of a machine sees flags.
    """
    for number, (title, names) in enumerate(sections().items(), start=1):
        group = Group(title, sort_key=number)
        for name in names:
            if not is_secret(name):
                kind = bool if Settings.model_fields[name].annotation is bool else str
                yield name, Annotated[kind, Parameter(group=group, metavar=value_name(name), help=help_text(name))]
            elif (file := f"{name}_file") in SECRET_FILES:
                text = f"File that contains the setting {name}."
                yield file, Annotated[str, Parameter(group=group, metavar="FILE", help=text)]


if TYPE_CHECKING:
    Flags = dict[str, Any]
else:
    # Values are strings, except those of switches, because `config.sources.load` parses and checks the values of all
    # sources in the same way.
    Flags = TypedDict("Flags", dict(_flags()), total=False)  # noqa: UP013  # the fields are computed

ServeConfigFile = Annotated[ConfigFile, Parameter(group=Group("Settings file", sort_key=0))]
GivenFlags = Annotated[Flags | None, Parameter(name="*")]

app = App(
    "presenced",
    help="Shows in real time who is online.\n\nStart with: presenced serve",
    version=__version__,
    version_flags=["--version"],
    # Defaults are part of the help texts: cyclopts would print them as Python writes them, as in `[default: ()]`.
    default_parameter=Parameter(negative=(), show_default=False, show_choices=False),
    result_action="return_value",
)
config = App("config", help="Print the settings.")
app.command(config)
app.command(webhooks.webhook)
app.command(cluster.cluster)
for command in (doctor.doctor, health.health, auth.api_key, auth.token, auth.verify_token, database.migrate):
    app.command(command)


@app.command
def serve(*, config: ServeConfigFile = None, flags: GivenFlags = None) -> None:
    """Run the server until SIGINT or SIGTERM. A second signal ends it immediately.

    Each setting is a flag, an environment variable (PRESENCED_PORT=4000 for --port 4000), or a line of the settings
    file (port = 4000). Secrets are not flags: set them in the environment (PRESENCED_JWT_KEY), or name a file that
    contains one (--jwt-key-file). `presenced config show` prints all settings and where each comes from.
    """
    settings = load(flags or {}, os.environ, config).settings
    _raise_file_limit()
    # Without this call, every counter and histogram has a second series with its time of creation.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it
    node = settings.node_name if settings.backend else ""
    finish_log = logs.configure(settings.log_level, settings.log_format, settings.log_time, node)
    try:
        with asyncio.Runner(loop_factory=_loop_factory(settings.loop)) as runner:
            runner.run(_serve(settings))
    finally:
        finish_log()


@config.command
def show(*, config: ServeConfigFile = None, flags: GivenFlags = None) -> None:
    """Print every setting in force, as a settings file, and the origin of each value.

    Secrets are not printed. Comments stand in their place.
    """
    effective = load(flags or {}, os.environ, config)
    sys.stdout.write("\n".join(_toml(effective)).lstrip() + "\n")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    _fill_standard_files()
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except UnusedCliTokensError:  # the message of cyclopts is a Python list, which may contain a secret
        _fail(ConfigError("unexpected argument: a value follows its flag, as in --port 4000"), 2)
    except UnknownOptionError as error:
        _fail(_explained(error), 2)
    except UnknownCommandError as error:
        known, _, _ = str(error).partition(" Available commands:")  # cyclopts lists only the first eight
        _fail(ConfigError(f"{known} `presenced --help` lists all commands."), 2)
    except (CycloptsError, ConfigError) as error:
        _fail(error, 2)
    except PresencedError as error:
        _fail(error, 1)
    except OSError as error:
        logs.discard_output()
        _fail(error, 1)
    logs.discard_output()
    sys.exit(0)


def _explained(error: UnknownOptionError) -> Exception:
    """Return the error, or a better one if the option is a setting: only two commands take settings as flags."""
    flag = (error.token.keyword or "").partition("=")[0]
    name = flag.removeprefix("--").replace("-", "_")
    if name not in Settings.model_fields or is_secret(name):
        return error
    where = f"the environment (PRESENCED_{name.upper()}) or the settings file ({name})"
    return ConfigError(f"{flag} is a flag of `serve` and `config show` only: set it in {where}")


def _fail(error: Exception, code: int) -> NoReturn:
    for line in str(error).splitlines():
        sys.stderr.write(f"presenced: {line}\n")
    sys.exit(code)


async def _serve(settings: Settings) -> None:
    server = PresenceServer(settings)
    gc.keep_pauses_short()
    await server.start()
    stopping = stop_signal()

    def on_hangup() -> None:
        manager.reloading()
        server.reload()
        manager.ready()

    with contextlib.closing(ServiceManager(os.environ)) as manager:
        if settings.tls_key or manager.is_present:  # otherwise SIGHUP ends the server, as when its terminal is closed
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hangup)
        _print_banner(server)
        manager.ready()
        if manager.watchdog_s:
            server.call_every(manager.watchdog_s, manager.alive)
        await stopping
        manager.stopping()
        await server.stop()


def _print_banner(server: PresenceServer) -> None:
    """Print the URLs of the server, with a warning if anyone can use it; or log them as JSON."""
    host, port = server.settings.host, server.port
    scheme = "https" if server.settings.tls_key else "http"
    web = f"{scheme}://{authority(host, port)}"
    if server.settings.log_format == "json":
        fields = {"url": server.url, "version": __version__, "authentication": server.settings.auth != "none"}
        logs.logger.info("listening on %s", server.url, extra={"event": "listening", "fields": fields})
        return
    parameter = "?userId=ID" if server.settings.auth == "none" else ""  # with authentication, the token names the user
    if server.settings.auth != "none":
        safety = f"Authentication is by {server.settings.auth}. The token names the user."
    elif is_loopback(host):
        safety = "Authentication is off: a client may claim any user id. So the server listens on loopback only."
    else:
        safety = "WARNING: authentication is off, and other machines may connect. Anyone may claim any user id."
    banner = (
        f"presenced {__version__}\n\n"
        f"  WebSocket  {server.url}{parameter}\n"
        f"  Test page  {web}/\n"
        f"  HTTP API   {web}/docs\n"
        f"  Health     {web}/healthz   {web}/readyz\n"
        f"  Metrics    {web}/stats   {web}/metrics\n\n"
        f"  {safety}\n"
        f"  Stop with Ctrl+C.\n\n"
    )
    with contextlib.suppress(OSError):  # the server also runs when nothing reads its output
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
    """Open the null device for closed standard files (`>&-`).

    Otherwise a socket would get the number of standard output, and a client would receive log lines.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        if number:
            setattr(sys, ("stdout", "stderr")[number - 1], os.fdopen(number, "w"))
    os.close(number)


def _raise_file_limit() -> None:
    """Raise the limit of open files: each connection is one, and the initial limit is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS reports an unlimited hard limit, and accepts less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


MAX_COMMENT_COLUMN = 50
"""Column up to which the comments of `config show` are aligned. Longer values would push all comments out of sight."""


def _toml(effective: EffectiveSettings) -> Iterator[str]:
    """Yield the lines of a settings file, by section. A secret becomes a comment, or the name of its file."""
    assigned = {name: _assignment(name, value, effective) for name, value in effective.settings}
    width = min(MAX_COMMENT_COLUMN, max(map(len, assigned.values())))
    for title, names in sections().items():
        yield f"\n# {title}"
        for name in names:
            # A file name may contain line breaks, which would end the comment.
            origin = "".join(part if part.isprintable() else "?" for part in effective.origins[name])
            yield f"{assigned[name]:{width}}  # {origin}"


def _assignment(name: str, value: object, effective: EffectiveSettings) -> str:
    if not is_secret(name):
        return f"{name} = {_toml_value(value)}"
    if name in effective.secret_files:
        return f"{name}_file = {_toml_value(str(effective.secret_files[name]))}"
    if effective.origins[name] == "default":
        return f"# {name} is not set"
    return f"# {name} is {'a secret and not printed' if value else 'empty'}"


def _toml_value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    text = json.dumps(value if isinstance(value, int) else str(value), ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # the one character that JSON allows unescaped and TOML does not
