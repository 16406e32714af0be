"""The TypeScript of the reference of the npm package compiles against the source of the package."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.support.documents import ROOT, blocks

CLIENT = ROOT / "clients/js"

PAGES = sorted((ROOT / "docs/reference").glob("js-*.md"))

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
        "presenced": [str(CLIENT / "src/index.ts")],
        "presenced/*": [str(CLIENT / "src/*/index.ts")],
        "*": [str(CLIENT / "node_modules/*"), str(CLIENT / "node_modules/@types/*")],
    },
}
"""Options of a strict application. `exactOptionalPropertyTypes` is not among them, because few set it."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_typescript_of_a_page_compiles(page: Path, tmp_path: Path) -> None:
    """A block is a module of its own. `<!-- test: file NAME -->` names it, so that later blocks can import it."""
    names = []
    for block in blocks(page.read_text("utf-8")):
        if block.language not in ("ts", "tsx") or block.action == "skip":
            continue
        name = block.argument if block.action == "file" else f"block-{block.line}.{block.language}"
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, "utf-8")
        names.append(name)
    assert names, "the page has blocks"
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS, "files": names}), "utf-8")
    command = [str(CLIENT / "node_modules/.bin/tsc"), "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout
