"""Contents of the wheel and of the source package."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_the_wheel_contains_every_file_of_the_package_and_no_other(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
        timeout=100,
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [Parser().parsestr(archive.read(n).decode()) for n in names if n.endswith("/METADATA")]
    source = ROOT / "src"
    shipped = {
        path.relative_to(source).as_posix()
        for path in (source / "presenced").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    pages = {f"presenced/web/{name}" for name in ("client.js", "demo/index.html", "demo/app.js")}
    assert {"presenced/py.typed", *pages} <= shipped
    assert shipped == {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "aiohttp" not in {
        name.split(">")[0] for name in metadata.get_all("Requires-Dist", []) if "extra" not in name
    }


def test_the_source_package_contains_the_deploy_folder(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
        timeout=100,
    )
    [package] = tmp_path.glob("*.tar.gz")
    with tarfile.open(package) as archive:
        contained = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files", "deploy"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert {name for name in contained if name.startswith("deploy/")} == set(listed.stdout.split())
