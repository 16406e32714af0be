"""Descriptions and JSON Schemas of records, from the code that declares them."""

from __future__ import annotations

import ast
import inspect
import itertools
from types import ModuleType
from typing import Any

from presenced.runtime.strict_json import EXTENSION


def descriptions(*modules: ModuleType) -> dict[tuple[str, str], str]:
    """Return the text below each field in the source, by the name of the type and the field's name on the wire."""
    found = {}
    for module in modules:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                for name, text in _fields(node):
                    found[node.name, camel(name)] = text
    return found


def _fields(node: ast.ClassDef) -> list[tuple[str, str]]:
    found = []
    for field, text in itertools.pairwise(node.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text_below))):
                found.append((name, " ".join(text_below.split())))
    return found


def with_extensions(schema: dict[str, Any]) -> None:
    """Allow the sender's own fields in a schema that forbids unknown fields (`runtime.strict_json`)."""
    if schema.get("additionalProperties") is False:
        schema["patternProperties"] = {f"^{EXTENSION}": {}}


def without_null(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field without null, for a record that omits empty fields."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    rest = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    return rest | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def camel(name: str) -> str:
    """Return the name of a field on the wire."""
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)
