"""Generator of the documents that derive from the code: `python -m tools.docs`, or `make docs`."""

from __future__ import annotations

from pathlib import Path

from tools.docs.asyncapi import asyncapi
from tools.docs.codes import codes, codes_json
from tools.docs.http_api import endpoints
from tools.docs.limits import limits
from tools.docs.messages import message_tables
from tools.docs.metrics import metrics
from tools.docs.openapi import openapi
from tools.docs.python_api import python_api
from tools.docs.python_client import codes_py
from tools.docs.settings import settings
from tools.docs.tables import tables
from tools.docs.typescript import api, wire
from tools.docs.typescript import codes as codes_ts

ROOT = Path(__file__).parents[2]


def documents() -> dict[str, str]:
    """Return the text of every generated document, by its path below the root of the repository."""
    return {
        "docs/reference/settings.md": settings(),
        "docs/reference/limits.md": limits(),
        "docs/reference/metrics.md": metrics(),
        "docs/reference/http-api.md": endpoints((ROOT / "docs/reference/http-api.md").read_text("utf-8")),
        "docs/reference/python-api.md": python_api((ROOT / "docs/reference/python-api.md").read_text("utf-8")),
        "docs/reference/codes.md": codes(),
        "spec/codes.json": codes_json(),
        "docs/reference/messages.md": message_tables(),
        "docs/reference/tables.md": tables(),
        "spec/asyncapi.yaml": asyncapi(),
        "spec/openapi.json": openapi(),
        "src/presenced/web/openapi.json": openapi(),  # the copy that the server serves
        "clients/js/src/wire.ts": wire(),
        "clients/js/src/codes.ts": codes_ts(),
        "clients/js/src/server/api.ts": api(),
        "clients/python/src/presenced_client/codes.py": codes_py(),
    }


if __name__ == "__main__":
    for path, text in documents().items():
        if (ROOT / path).read_text("utf-8") != text:
            (ROOT / path).write_text(text, "utf-8")
            print(path)
