"""The code of the documentation that uses the npm package compiles against the declarations of the package."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.documents import ROOT, Block, blocks

CLIENT = ROOT / "clients/js"

IMPORTS = re.compile(r"^(?:import|export)\b", re.MULTILINE)

USES_THE_PACKAGE = re.compile(r"""\bfrom "presenced(?:/[\w-]+)?";""", re.MULTILINE)

NOT_INSTALLED = re.compile(
    r"""\bfrom "(?:svelte/store|solid-js|@angular/core|react-native|@liveblocks/[^"]*|ably/[^"]*|@/[^"]*)";""",
    re.MULTILINE,
)
"""Packages without which the tests do, and files of readers. Only the syntax of blocks that import them is checked."""

PAGES = [
    CLIENT / "README.md",
    ROOT / "README.md",
    *sorted((ROOT / "docs/reference").glob("js-*.md")),
    *sorted((ROOT / "docs/how-to/auth").glob("*.md")),
    *sorted((ROOT / "docs/how-to/connect").glob("*.md")),
    *sorted((ROOT / "docs/how-to/build").glob("*.md")),
    *sorted((ROOT / "docs/how-to/migrate").glob("*.md")),
]

OPTIONS = {
    "strict": True,
    "noEmit": True,
    "noUnusedLocals": True,
    "noUncheckedIndexedAccess": True,
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2022", "dom", "dom.iterable"],
    "jsx": "react-jsx",
    "skipLibCheck": True,
    "typeRoots": [str(CLIENT / "node_modules/@types")],
    "types": ["node", "react"],
    "paths": {
        "presenced": [str(CLIENT / "api/index.d.ts")],
        "presenced/*": [str(CLIENT / "api/*/index.d.ts")],
        "*": [str(CLIENT / "node_modules/@types/*"), str(CLIENT / "node_modules/*")],
    },
}
"""Options of a strict application. `exactOptionalPropertyTypes` is not among them, because few set it."""

JAVASCRIPT = {"allowJs": True, "checkJs": True, "noImplicitAny": False, "useUnknownInCatchVariables": False}
"""Options for JavaScript, whose parameters and errors have no types."""

STYLES = 'declare module "*.css";\n'
"""Declaration of style sheets, as bundlers have it."""


class Module(NamedTuple):
    """A file that the compiler checks."""

    name: str
    text: str
    is_typescript: bool


def modules(page: str) -> Iterator[Module]:
    """Yield the modules of a page. `<!-- test: file NAME -->` names one, so that later ones can import it.

    TypeScript without imports continues the last module of the page before it. JavaScript is checked if it uses the
    package.
    """
    before = ""
    for block in blocks(page):
        if block.action == "skip" or NOT_INSTALLED.search(block.text):
            continue
        name = block.argument if block.action == "file" else f"block-{block.line}.{block.language}"
        if block.language in ("js", "jsx") and USES_THE_PACKAGE.search(block.text):
            yield Module(name.replace(".js", ".mjs") if name.endswith(".js") else name, block.text, False)
        elif block.language in ("ts", "tsx"):
            text = block.text if IMPORTS.search(block.text) else continued(before, block)
            if block.text == text:
                before = text
            yield Module(name, text, True)


def continued(before: str, block: Block) -> str:
    """Return a module with the code of a block that has no imports of its own."""
    if block.text.startswith("declare "):
        return f"{block.text}export {{}};\n"
    assert before, f"line {block.line}: no module comes before it"
    return f"{before}export async function continued() {{\n{block.text}}}\n"


@pytest.mark.parametrize("is_typescript", [True, False], ids=["typescript", "javascript"])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_code_of_a_page_compiles(page: Path, is_typescript: bool, tmp_path: Path) -> None:
    chosen = [module for module in modules(page.read_text("utf-8")) if module.is_typescript == is_typescript]
    if not chosen:
        pytest.skip("no such code")
    for module in chosen:
        path = tmp_path / module.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(module.text, "utf-8")
    (tmp_path / "styles.d.ts").write_text(STYLES)
    options = OPTIONS if is_typescript else OPTIONS | JAVASCRIPT
    files = ["styles.d.ts", *(module.name for module in chosen)]
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": files}), "utf-8")
    command = [str(CLIENT / "node_modules/.bin/tsc"), "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


def test_code_is_found() -> None:
    """Pages of each kind have modules, so that none of them is skipped by mistake."""
    found = {page for page in PAGES if any(modules(page.read_text("utf-8")))}
    expected = {"README.md", "rooms.md", "status.md", "js-react.md", "js-server.md", "react.md", "vue.md", "node.md"}
    expected |= {"hand-rolled.md", "pusher.md", "ably.md", "socket-io.md", "liveblocks.md"}
    assert expected <= {page.name for page in found}
