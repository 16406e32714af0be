"""Write the documents that derive from tables in the code: settings, codes, metrics. `make docs` runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tools.docs.asyncapi import asyncapi
from tools.docs.dashboard import dashboard
from tools.docs.http_api import endpoints
from tools.docs.messages import message_tables
from tools.docs.openapi import openapi
from tools.docs.states import states
from tools.docs.table import table

from presenced.config.help import default_text, expected, groups
from presenced.config.settings import Settings
from presenced.config.sources import ENV_PREFIX, SECRET_FILES
from presenced.errors import ClientClose, Close, Fault, Problem
from presenced.node.node import Node
from presenced.runtime.metrics import Metrics
from presenced.testing.clock import FakeClock
from presenced.worker.factory import make_worker_client

ROOT = Path(__file__).parents[2]


def documents() -> Iterator[tuple[str, str]]:
    """Every generated document: its path below the root, and its text."""
    yield "docs/settings.md", settings()
    yield "docs/metrics.md", metrics()
    yield "spec/codes.md", codes()
    yield "spec/codes.json", codes_json()
    yield "spec/asyncapi.yaml", asyncapi()
    yield "spec/messages.md", message_tables()
    yield "spec/states.md", states()
    yield "spec/openapi.json", openapi()
    yield "src/presenced/web/openapi.json", openapi()  # as served
    yield "docs/http-api.md", endpoints((ROOT / "docs/http-api.md").read_text("utf-8"))
    yield "deploy/grafana/dashboard.json", dashboard()


def settings() -> str:
    """Return the tables of settings, one for each group."""
    tables = "\n\n".join(f"## {title}\n\n{_settings_of(names)}" for title, names in groups().items())
    files = ", ".join(f"`{name}`" for name in SECRET_FILES)
    return f"""# Settings

*Made from `src/presenced/config/settings.py` by `make docs`; don't edit it here.*

Every setting has a flag, an environment variable and a place in a TOML file. Secrets have no flag,
because every user of a machine sees flags.

| way | example |
|---|---|
| flag | `presenced serve --heartbeat-interval 10` |
| environment | `{ENV_PREFIX}HEARTBEAT_INTERVAL=10` |
| file | `heartbeat_interval = 10` in the file `--config` or `{ENV_PREFIX}CONFIG` names, else `./presenced.toml` |

A flag overrides the environment, the environment overrides the file, and the file overrides the
default. If `{ENV_PREFIX}PORT` is not set, `PORT` replaces it, because hosting platforms set that.
If a name is unknown or a value is out of bounds, the server does not start, and the error says what
was expected. In Python, settings are the arguments of `presenced.Settings`.

`presenced config show` prints the settings in force and the origin of each, as a settings file.
Comments replace secrets. A value such as `***`, which programs print in place of a secret, is an
error.

## Secrets in files

{files} and `jwt_key_file` name
a file that contains the secret, as Docker and Kubernetes provide them. Set them like other settings:

```sh
{ENV_PREFIX}CALLBACK_SECRET_FILE=/run/secrets/callback presenced serve
```

White space and line breaks around a secret are ignored, in every source. Setting a secret and its
file in the same source is an error. Only `jwt_key` and `jwt_key_file` may be used together. A PEM
may have `\\n` in place of its line breaks.

{tables}

## Relations

Settings are checked against each other: `pong_timeout` is at most `heartbeat_interval`, `auth = "jwt"` needs a key,
`database = "url"` needs `database_url`, and a `host` that is not a loopback address needs authentication, or
`insecure`.
"""


def _settings_of(names: list[str]) -> str:
    rows = [
        [f"`{name}`", f"`{default}`" if (default := default_text(name)) else "", expected(name), description]
        for name in names
        if (description := Settings.model_fields[name].description)
    ]
    return table(["setting", "default", "takes", "meaning"], rows)


def metrics() -> str:
    """The table of metrics, from a registry like the server's."""
    clock, metrics = FakeClock(), Metrics()
    storage = make_worker_client(Settings(database="sqlite"), clock, metrics)
    registry = Node(Settings(), clock, metrics, max_connections=1, storage_worker=storage).metrics.registry
    rows = [
        [f"`{family.name}{'_total' if family.type == 'counter' else ''}`", family.type, family.documentation]
        for family in registry.collect()
        if family.name.startswith("presenced_")
    ]
    return f"""# Metrics

*Made from the server's registry by `make docs`; don't edit it here.*

`/metrics` is in the Prometheus text format. Base units; no label has a value per user or per client. The usual
`process_*` and `python_gc_*` metrics are there, too.

{table(["metric", "type", "meaning"], rows)}
"""


def codes() -> str:
    """The tables of close codes and problems."""
    closes = [[str(c.code), c.name, c.meaning, "yes" if c.reconnect else "no"] for c in Close]
    clients = [[str(c.code), c.name, c.meaning, "yes" if c.resumable else "no"] for c in ClientClose]
    faults = [[str(f.code), f.name, f.meaning] for f in Fault]
    problems = [[str(p.status), p.name, p.meaning, "yes" if p.retry else "no"] for p in Problem]
    return f"""# Codes

*Made from `src/presenced/errors.py` by `make docs`; don't edit it here. For programs: `codes.json`.*

## Close codes of the WebSocket

Codes with which the server closes a connection (RFC 6455 section 7.4). "Come back" says whether the
same client, unchanged, should reconnect, with back-off and jitter. A client also reconnects after an
unknown code, and after 1006 (no close frame).

{table(["code", "name", "meaning", "come back"], closes)}

## Close codes that a client sends

A client chooses the code with which it closes, and the server acts on it. "Can resume" says whether
a session of presenced.v1 can be resumed afterwards. Every other code from 3000 to 4999, and 1005
(no code), is a deliberate close like 1000. All other codes, and 1006 (no close frame), count as a
loss, after which the session can be resumed.

{table(["code", "name", "meaning", "can resume"], clients)}

## Errors of presenced.v1

`code` and `name` of the message ERROR ([protocol-v1.md](protocol-v1.md#requests)). The connection goes on.

{table(["code", "name", "meaning"], faults)}

## Problems of HTTP

The body of a refusal is a problem document (RFC 9457, `application/problem+json`); its member `code` is the name here,
`title` the meaning, `detail` what to do. "Try again" says whether the same request, unchanged, may succeed later.

{table(["status", "code", "meaning", "try again"], problems)}
"""


def codes_json() -> str:
    """The same for programs."""
    tables = {
        "close": [{"code": c.code, "name": c.name, "meaning": c.meaning, "reconnect": c.reconnect} for c in Close],
        "clientClose": [
            {"code": c.code, "name": c.name, "meaning": c.meaning, "resumable": c.resumable} for c in ClientClose
        ],
        "error": [{"code": f.code, "name": f.name, "meaning": f.meaning} for f in Fault],
        "problem": [{"status": p.status, "code": p.name, "meaning": p.meaning, "retry": p.retry} for p in Problem],
    }
    return json.dumps(tables, indent=2) + "\n"


if __name__ == "__main__":
    for path, text in documents():
        (ROOT / path).write_text(text, "utf-8")
        print(path)
