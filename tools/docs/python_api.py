"""The reference in docs/reference/python-api.md: every public name, from its signature and docstring."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from tools.docs.markdown import COLUMNS, table, wrapped

import presenced
from presenced import PresencedError, PresenceServer

BEGIN, END = "<!-- reference: made by `make docs` from `src/presenced/python_api/` -->", "<!-- end of the reference -->"

GROUPS: dict[str, tuple[str, ...]] = {
    "Run a server": ("start", "stop", "wait_for_signal", "port", "url", "reload", "call_every"),
    "Read presence": (
        "presence",
        "presences",
        "online",
        "counts",
        "count_online",
        "rooms",
        "room",
        "sessions",
        "all_sessions",
        "explain",
        "get_stats",
    ),
    "Change presence": (
        "announce",
        "disconnect",
        "set_status",
        "clear_status",
        "claims",
        "set_claim",
        "clear_claim",
        "erase",
    ),
    "Follow changes": ("on_change", "changes", "position"),
    "Tokens": ("issue_ticket", "revoke"),
    "Stored data": (
        "last_seen",
        "last_seen_of",
        "history",
        "past_sessions",
        "dead_letters",
        "retry_dead_letters",
    ),
    "Names of the classic server": ("broadcast_user_status", "handle_user_disconnect"),
}
"""Methods and properties of `PresenceServer` by the heading of the page."""

RESULTS = (
    "Presence",
    "PresenceChange",
    "Page",
    "Counts",
    "RoomSize",
    "RoomPresence",
    "MemberPresence",
    "UserSession",
    "UserClaim",
    "Erasure",
    "StatusExplanation",
    "OwnPresence",
    "SessionExplanation",
    "PendingEnding",
    "StatusChoice",
    "ViewerExplanation",
    "UserLastSeen",
    "HistoryChange",
    "HistorySession",
    "UndeliveredWebhook",
    "Stats",
    "SessionStats",
    "Principal",
)
"""Records, in the order of the page."""

ENUMS = ("Status", "Cause")

ALIASES = {
    "UserId": "int | str",
    "Next": "int | str | None",
    "Chosen": 'Literal["auto", "online", "away", "busy", "invisible"]',
    "Claimable": 'Literal["online", "away", "busy"]',
    "RoomMode": 'Literal["full", "coalesced", "counts"]',
    "OnChange": "Callable[[PresenceChange], None]",
    "signal.Signals": "Signals",
    "AuthenticateFunction": "Callable[[str], int | str | Principal | None]",
}
"""Aliases in annotations, and what they mean."""


def python_api(text: str) -> str:
    """Return the document with a current reference."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{_reference()}\n\n{END}{after}"


def public_members() -> set[str]:
    """Return the names of the public methods and properties of `PresenceServer`."""
    return {name for name, _ in inspect.getmembers_static(PresenceServer) if not name.startswith("_")}


def exceptions() -> list[str]:
    """Return the names of the exported exceptions."""
    found = [name for name in presenced.__all__ if isinstance(getattr(presenced, name), type)]
    return [name for name in found if issubclass(getattr(presenced, name), Exception)]


def _reference() -> str:
    parts = ["## PresenceServer", _constructor()]
    for group, names in GROUPS.items():
        parts += [f"## {group}", *map(_member, names)]
    parts += ["## Results", *map(_record, RESULTS), "## Values", *map(_enum, ENUMS), "## Exceptions", _errors()]
    return "\n\n".join(parts)


# Methods.


def _constructor() -> str:
    doc = _doc(PresenceServer)
    signature = inspect.signature(PresenceServer.__init__).replace(return_annotation="")
    return "\n\n".join([_code("PresenceServer", signature), *_body(doc._replace(paragraphs=doc.paragraphs[-1:]))])


def _member(name: str) -> str:
    value = inspect.getattr_static(PresenceServer, name)
    if isinstance(value, property):
        code = f"```pyi\n{name}: {_type_of(value)}\n```"
    else:
        prefix = "async def" if inspect.iscoroutinefunction(value) else "def"
        code = _code(f"{prefix} {name}", inspect.signature(value))
    return "\n\n".join([f"### {name}", code, *_body(_doc(value))])


def _code(name: str, signature: inspect.Signature) -> str:
    """Return a signature in a block, with one argument in each line if it is too long for one."""
    given = [one for one in signature.parameters.values() if one.name != "self"]
    arguments = [_argument(one) for one in given]
    for index, one in enumerate(given):
        if one.kind is one.KEYWORD_ONLY:
            arguments.insert(index, "*")
            break
    arrow = f" -> {_written(signature.return_annotation)}" if signature.return_annotation else ""
    line = f"{name}({', '.join(arguments)}){arrow}"
    if len(line) > COLUMNS:
        line = "\n".join([f"{name}(", *(f"    {one}," for one in arguments), f"){arrow}"])
    return f"```pyi\n{line}\n```"


def _argument(one: inspect.Parameter) -> str:
    default = "" if one.default is one.empty else f" = {one.default!r}"
    return f"{one.name}: {_written(one.annotation)}{default}".replace("'", '"')


def _type_of(value: property) -> str:
    return _written(inspect.signature(value.fget).return_annotation) if value.fget else ""


def _written(annotation: str) -> str:
    """Return an annotation with its aliases written out."""
    for alias, meaning in ALIASES.items():
        annotation = re.sub(rf"(?<![\w.]){re.escape(alias)}\b", meaning, annotation)
    return annotation.replace("'", '"')


def _body(doc: Doc) -> Iterator[str]:
    yield from map(wrapped, doc.paragraphs)
    items = [f"`{name}`: {text}" for name, text in doc.arguments.items()]
    if doc.returns:
        items.append(f"Returns: {doc.returns}")
    items += [f"Raises `{name}`: {text}" for name, text in doc.raises.items()]
    if items:
        yield "\n".join(textwrap.indent(wrapped(item, COLUMNS - 2), "  ").replace("  ", "- ", 1) for item in items)


# Docstrings.


class Doc(NamedTuple):
    """A docstring in its parts. Its example, which is indented, is left out."""

    paragraphs: list[str]
    arguments: dict[str, str]
    returns: str
    raises: dict[str, str]


def _doc(value: object) -> Doc:
    sections = {"": "", "Args": "", "Returns": "", "Raises": ""}
    current = ""
    for line in (inspect.getdoc(value) or "").split("\n"):
        if line.removesuffix(":") in sections and line.endswith(":"):
            current = line.removesuffix(":")
        else:
            sections[current] += line + "\n"
    paragraphs = [_joined(one) for one in sections[""].split("\n\n") if one.strip() and one[0] != " "]
    return Doc(paragraphs, _items(sections["Args"]), _joined(sections["Returns"]), _items(sections["Raises"]))


def _items(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in re.split(r"\n(?=\w)", textwrap.dedent(text).strip()):
        if item:
            name, _, meaning = item.partition(": ")
            found[name] = _joined(meaning)
    return found


def _joined(text: str) -> str:
    return " ".join(text.split())


# Records, enumerations and exceptions.


def _record(name: str) -> str:
    kind = getattr(presenced, name)
    rows = [[f"`{field}`", f"`{_written(annotation)}`", text] for field, annotation, text in _declared(kind)]
    for base in kind.__mro__[1:]:
        if base.__name__ in RESULTS:
            rows.insert(0, ["", "", f"all fields of [{base.__name__}](#{base.__name__.lower()})"])
    for member, value in vars(kind).items():
        if isinstance(value, property):
            rows.append([f"`{member}`", f"`{_type_of(value)}`", _doc(value).paragraphs[0]])
    return _described(name, table(["field", "type", "meaning"], rows))


def _enum(name: str) -> str:
    kind = getattr(presenced, name)
    rows = [[f"`{name}.{member}`", f'`"{kind[member].value}"`', text] for member, _, text in _declared(kind)]
    return _described(name, table(["member", "text", "meaning"], rows))


def _described(name: str, rows: str) -> str:
    return "\n\n".join([f"### {name}", *map(wrapped, _doc(getattr(presenced, name)).paragraphs), rows])


def _declared(kind: type) -> Iterator[tuple[str, str, str]]:
    """Yield name, annotation and description of the fields or members that a class itself declares."""
    source = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = next(node.body for node in source.body if isinstance(node, ast.ClassDef))
    for node, following in itertools.zip_longest(body, body[1:]):
        text = ""
        match following:
            case ast.Expr(value=ast.Constant(value=str(description))):
                text = _joined(description)
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, ast.unparse(node.annotation), text
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name, "", text


def _errors() -> str:
    rows = []
    for name in exceptions():
        kind = getattr(presenced, name)
        base = "ValueError" if issubclass(kind, ValueError) else "PresencedError"
        rows.append([f"`{name}`", "" if kind is PresencedError else f"`{base}`", _doc(kind).paragraphs[0]])
    return table(["exception", "is a", "meaning"], rows)
