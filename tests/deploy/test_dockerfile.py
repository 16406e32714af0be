"""The Dockerfile passes the linter and matches the package. tests/soak/test_image.py builds and starts the image."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from presenced import Settings, __version__

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
PAGE = (ROOT / "docs/how-to/deploy/container.md").read_text("utf-8")


def test_hadolint_accepts_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_label_has_the_version_of_the_package() -> None:
    assert f"\nARG VERSION={__version__}\n" in DOCKERFILE


def test_the_image_uses_the_default_port_and_the_extras_of_the_package() -> None:
    assert f"\nEXPOSE {Settings().port}\n" in DOCKERFILE
    extras = re.search(r"^ARG EXTRAS=(.*)$", DOCKERFILE, re.MULTILINE)
    assert extras
    for extra in extras[1].split(","):
        assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text("utf-8")


def test_the_context_contains_what_is_copied_and_nothing_else() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*", "everything is excluded at first, such as .git and secrets"
    included = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {name for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]}
    assert included == copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_page_lists_the_build_arguments_with_their_defaults() -> None:
    for name, default in re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE):
        if name != "VERSION":
            assert f"| `{name}` | `{default}` |" in PAGE
