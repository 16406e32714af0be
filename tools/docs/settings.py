"""`docs/reference/settings.md`: every setting by section, from the declarations in `config.settings`."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, MaxLen
from tools.docs.markdown import bullets, table, wrapped

from presenced.config.help import default_text, is_secret, sections, value_name
from presenced.config.settings import Settings
from presenced.config.sources import ENV_PREFIX, SECRET_FILES
from presenced.config.types import checked_backend_url

INTRODUCTIONS = {
    "Listening": "The address of the server. By default only programs on the same machine can connect.",
    "Authentication": "How clients of users prove who they are, and the keys of your backends. "
    "[Which method](../how-to/auth/index.md) compares the methods.",
    "Origins, TLS and proxies": "The pages and host names through which browsers may connect, encryption, and proxies "
    "in front of the server. See [origins and host names](../how-to/auth/origins.md) and "
    "[TLS](../how-to/deploy/tls.md).",
    "Limits for each address and user": "Limits that keep one address or one user from using up the server. "
    "[Limits](limits.md) lists these together with the fixed ones. Addresses of the same machine are never limited.",
    "Visibility": "The users that a user may see. [Visibility](../explanation/visibility.md) explains the rules.",
    "Storage": "The database. Without one, all state is in memory and is lost when the process ends. "
    "[Storage](../explanation/storage.md) explains what is stored, and [tables](tables.md) describes the rows.",
    "Several nodes": "The store through which several servers behave like one. "
    "[Several nodes](../how-to/operate/several-nodes.md) says how to start them, and what each of them has of its own.",
    "Webhooks": "Signed requests to your backends about changes. See [webhooks](../how-to/build/webhooks.md) and "
    "[webhook events](webhook-events.md).",
    "Process and connections": "The event loop, the processes and the number of connections. "
    "[Size a server](../how-to/operate/size.md) says which values to choose.",
    "Heartbeats and grace periods": "How the server detects lost connections, and how long it waits for their return. "
    "[What happens when](../explanation/what-happens-when.md) shows the effect.",
    "Requests and messages": "Timeouts and sizes of HTTP requests, WebSocket messages and buffers. "
    "The defaults suit nearly every deployment.",
    "State in memory": "How much the server remembers in memory. At the bound it forgets the oldest entries first, "
    "except announcements: it refuses one more.",
    "Sessions and rooms of presenced.v1": "These settings concern clients of [presenced.v1](websocket-v1.md) only.",
    "Logging": "[Log events](log-events.md) lists the lines that these settings control.",
}
"""First paragraph of each section, by its title."""

VALUES: dict[str, dict[str, str]] = {
    "auth": {
        "none": "a client may claim any user id",
        "jwt": "clients send a JSON Web Token that your application signed",
        "ticket": "clients send a ticket that your backend requested for them",
        "callback": "clients send any token, and your backend verifies it",
        "callable": "a function of your Python program verifies tokens; the command cannot use it",
    },
    "proxy_header": {
        "x-forwarded-for": "`X-Forwarded-For`, which nearly every proxy sends",
        "forwarded": "`Forwarded` (RFC 7239)",
    },
    "visibility": {
        "everyone": "all users",
        "rooms": "users in a common room",
        "claims": "users in a common room, and users that the token names",
        "callback": "users in a common room, and users that your backend names",
    },
    "database": {
        "": "nowhere",
        "sqlite": "in the file `presenced.db` in [`data_dir`](#data_dir)",
        "url": "in the database at [`database_url`](#database_url)",
    },
    "loop": {
        "auto": "uvloop if it is installed, otherwise asyncio",
        "uvloop": "uvloop; if it is not installed, the server does not start",
        "asyncio": "the event loop of Python",
    },
    "log_level": {
        "debug": "the same as `info`: no line has this level",
        "info": "every event",
        "warning": "problems only; these lines contain no user ids",
        "error": "errors only",
    },
    "log_format": {"text": "a line for people", "json": "a line with one JSON object"},
    "log_time": {
        "auto": "unless the lines go to a terminal, or to the journal of systemd, which adds the time itself",
        "always": "always",
        "never": "never",
    },
}
"""Meaning of each value, for settings that take a few texts. These settings show the first sentence of their
description."""

NOTES = {
    "jwt_key_file": "A file has no line breaks to escape, so it is the easiest way to set a PEM.",
    "node": "The name has printable ASCII characters only, without spaces. Log lines, metrics and commands show it "
    "([several nodes](../how-to/operate/several-nodes.md)). Servers that are not a cluster may use one database, too: "
    "[several servers](../explanation/storage.md#one-server-per-database-or-several).",
    "log_time": "JSON lines always have the time.",
    "proxy_header": "The server ignores the other header, because proxies pass it on unchanged.",
    "max_choices": "The server also remembers the display data of as many absent users.",
    "status_pause": "A backend's choice does not wait.",
}
"""Further sentences about a setting."""

RULES = [
    ("`auth` is `jwt`", "needs `jwt_key`, `jwt_key_file` or `jwt_jwks_url`"),
    ("`auth` is `callback`", "needs `callback_url`"),
    ("`auth` is `ticket`, and `host` is not loopback", "needs `api_keys`"),
    ("`auth` is `none`, and `host` is not loopback", "needs `insecure`"),
    ("`auth` is `none`", "`origins` must not contain `*`"),
    ("`auth` is `none`", "`visibility` must be `everyone`"),
    ("`visibility` is `callback`", "needs `visibility_url`"),
    ("`tls_certificate` or `tls_key`", "needs the other one"),
    ("`tls_key`", "excludes `proxy_protocol` and `writers`"),
    ("`proxy_protocol`", "needs `trusted_proxies`"),
    ("`database` is `url`", "needs `database_url`, and `database_url` needs it"),
    ("`webhook_urls`", "needs `webhook_secrets` and `database`"),
    ("`pong_timeout`", "at most `heartbeat_interval`"),
    ("`room_coalesced`", "at most `room_counts`"),
    ("`input_burst`", "at least `max_message_size`"),
]


def settings() -> str:
    """Return the document."""
    by_section = sections()
    index = [f"[{title}](#{_anchor(title)}): {_links(names)}" for title, names in by_section.items()]
    entries = "\n\n".join(f"## {title}\n\n{_section(title, names)}" for title, names in by_section.items())
    files = ", ".join(f"`{name}`" for name in SECRET_FILES)
    return f"""# Settings

*Generated from `src/presenced/config/settings.py` by `make docs`. Do not edit this file.*

All settings are optional. Every setting has one name, which you can write in three ways:

| way | example |
|---|---|
| flag | `presenced serve --heartbeat-interval 10` |
| environment variable | `{ENV_PREFIX}HEARTBEAT_INTERVAL=10` |
| settings file | `heartbeat_interval = 10` in `presenced.toml` |

In a Python program, settings are the arguments of [`presenced.Settings`](python-api.md).

## Index

{bullets(index)}

## How the server reads settings

**Order.** A flag overrides the environment, the environment overrides the file, and the file
overrides the default. If `{ENV_PREFIX}PORT` is not set, `PORT` replaces it, because hosting
platforms set that variable.

**File.** `--config` or `{ENV_PREFIX}CONFIG` names a TOML file. Without them it is
`./presenced.toml`, if that file exists. All settings are at the top level.

**Errors.** The server does not start if a name is unknown, a value is out of bounds, or two values
contradict each other. The error says what was expected and where the value came from.

**Lists.** In a flag or a variable, separate the entries by commas or spaces. In the file, write an
array of strings. A list has at most 1,000 entries.

**Switches.** A flag such as `--insecure` needs no value. In the environment and the file, write
`true` or `false`.

**Check.** `presenced config show` prints the settings in force and the origin of each.
`presenced doctor` prints what is unsafe or broken. [Commands](cli.md) describes both.

## Secrets in files

Secrets have no flag, because every user of a machine can read the flags of its programs. Set them
in the environment, in the settings file, or in a file of their own, as Docker and Kubernetes
provide them.

{wrapped(f"{files} and `jwt_key_file` name such a file. Set them like other settings:")}

```sh
{ENV_PREFIX}CALLBACK_SECRET_FILE=/run/secrets/callback presenced serve
```

- White space and line breaks around a secret are ignored, in every source.
- A PEM may have `\\n` in place of its line breaks.
- Setting a secret and its file in the same source is an error. Only `jwt_key` and `jwt_key_file`
  may be used together.
- A value such as `***`, which programs print in place of a secret, is an error.
- A settings file or a file with a secret has at most 256 KiB.

{entries}

## Checks between settings

The server does not start if one of these rules is broken:

{table(["setting", "rule"], [list(rule) for rule in RULES])}

A loopback host is `localhost`, an address that starts with `127.`, or `::1`. Keys, origins, host
names, networks and the names of webhook events are checked at startup as well.
"""


def _section(title: str, names: list[str]) -> str:
    return "\n\n".join([wrapped(INTRODUCTIONS[title]), *map(_setting, names)])


def _setting(name: str) -> str:
    """Return the entry of one setting: how to set it, what it takes, and what it means."""
    description = _marked(Settings.model_fields[name].description or "")
    values = VALUES.get(name)
    parts = [f"### `{name}`", wrapped(f"{_ways(name)}. {_takes(name)}. {_default(name)}.")]
    parts.append(wrapped(f"{description.partition('. ')[0].rstrip('.')}:" if values else description))
    if values is not None:
        parts.append(bullets([f"{f'`{value}`' if value else 'empty'}: {text}" for value, text in values.items()]))
    if name in NOTES:
        parts.append(wrapped(NOTES[name]))
    return "\n\n".join(parts)


_CODE = re.compile(
    r"(?<!`)(?<!\w)(\*\.[\w.]*\w|\*|\w[\w+]*://(?:[\w.*:,/]*\w)?/?"
    r"|undefined|null|NaN|\[object Object\]|(?<=claim )(?:iss|aud)|(?<=besides )sub"
    rf"|{'|'.join(name for name in Settings.model_fields if '_' in name)})(?![\w`])"
)
"""Parts of descriptions that are code: names of settings, URLs, patterns, and values."""

_SPECIAL = re.compile(r"(?<=\. )(0|Empty): ")
"""Beginning of a sentence about a special value, as it is short enough for `--help`."""


def _marked(description: str) -> str:
    """Return a description with code marked, and with a verb in sentences about special values."""
    verbose = _SPECIAL.sub(lambda found: f"{found[1] if found[1] == 'Empty' else '`0`'} means ", description)
    return _CODE.sub(lambda found: f"`{found[1]}`", verbose)


def _ways(name: str) -> str:
    """Return the flag and the environment variable, and those of the file with a secret."""
    variable = f"`{ENV_PREFIX}{name.upper()}`"
    if not is_secret(name):
        value = "" if Settings.model_fields[name].annotation is bool else f" {value_name(name)}"
        return f"`{_flag(name)}{value}`, {variable}"
    file = f"{name}_file"
    if file not in SECRET_FILES:
        return f"{variable}, no flag"
    return f"{variable}, or a file that `{_flag(file)}` or `{ENV_PREFIX}{file.upper()}` names"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _takes(name: str) -> str:
    """Return what the setting takes, with its bounds."""
    field = Settings.model_fields[name]
    annotation, unit = field.annotation, value_name(name)
    if choices := _choices(name):
        return f"One of {', '.join(f'`{choice}`' for choice in choices if choice)}{', or empty' * ('' in choices)}"
    if is_secret(name):
        return "Secret text"
    if annotation is bool:
        return "Switch"
    if get_origin(annotation) is tuple:
        return "List of URLs without a user name" if unit == "URLS" else "List"
    longest = max((item.max_length for item in field.metadata if isinstance(item, MaxLen)), default=0)
    if annotation is str:
        without = (
            "password"
            if any(getattr(item, "func", None) is checked_backend_url for item in field.metadata)
            else "user name"
        )
        kind = {"FILE": "File name", "DIRECTORY": "Directory name", "URL": f"URL without a {without}"}
        return f"{kind.get(unit, 'Text')}, at most {longest:,} characters"
    kind = {"SECONDS": "Seconds", "BYTES": "Bytes", "PER_SECOND": "Number per second", "BYTES_PER_SECOND": "Bytes"}
    return f"{kind.get(unit, 'Whole number')}, {_bounds(name)}"


def _bounds(name: str) -> str:
    lowest = highest = ""
    for item in Settings.model_fields[name].metadata:
        match item:
            case Ge(ge=low):
                lowest = f"from {_number(low)}"
            case Gt(gt=low):
                lowest = f"more than {_number(low)}"
            case Le(le=high):
                highest = _number(high)
    return f"{lowest}{' to ' if lowest.startswith('from') else ', at most '}{highest}"


def _number(value: Any) -> str:
    return f"{value:,.12g}"


def _default(name: str) -> str:
    text = default_text(name)
    return f"Default `{text}`" if text else "Default empty"


def _choices(name: str) -> tuple[str, ...]:
    annotation = Settings.model_fields[name].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _links(names: list[str]) -> str:
    return ", ".join(f"[`{name}`](#{name})" for name in names)


def _anchor(title: str) -> str:
    return title.lower().replace(",", "").replace(".", "").replace(" ", "-")
