"""Descriptions of the fields of records, read from the source."""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from presenced.runtime.strict_json import EXTENSION


def descriptions(*modules: ModuleType) -> dict[tuple[str, str], str]:
    """Return the text below each field in the source, by the name of the type and the field's name in JSON.

    A record has the texts of its base, too, if the base is in one of the modules. Name the module of the base first.
    """
    found: dict[tuple[str, str], str] = {}
    by_class: dict[str, dict[str, str]] = {}
    for module in modules:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                inherited = [by_class.get(base.id, {}) for base in node.bases if isinstance(base, ast.Name)]
                by_class[node.name] = dict(itertools.chain(*(texts.items() for texts in inherited), _fields(node)))
        found |= {(name, camel(key)): text for name, texts in by_class.items() for key, text in texts.items()}
    return found


def _fields(node: ast.ClassDef) -> list[tuple[str, str]]:
    found = []
    for field, text in itertools.pairwise(node.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(description))):
                found.append((name, " ".join(description.split())))
    return found


def summary_and_description(function: Callable[..., Any]) -> tuple[str, str]:
    """Return the first line of the function's docstring, and the rest of it, each as one line."""
    summary, _, description = (inspect.getdoc(function) or "").partition("\n\n")
    return " ".join(summary.split()), " ".join(description.split())


def with_extensions(schema: dict[str, Any]) -> None:
    """Describe that a record without unknown fields accepts the sender's own fields (`runtime.strict_json`)."""
    if schema.get("additionalProperties") is False:
        schema["patternProperties"] = {f"^{EXTENSION}": {}}


def without_null(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field without null, for a record that omits empty fields."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    rest = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    return rest | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def camel(name: str) -> str:
    """Return a field's name in JSON."""
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)
