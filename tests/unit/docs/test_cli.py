"""`docs/reference/cli.md` describes every command and option, and its examples show what the commands print."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from presenced.cli import main as command
from presenced.config.settings import Settings
from presenced.config.sources import SECRET_FILES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/cli.md").read_text("utf-8")
SETTINGS = (ROOT / "docs/reference/settings.md").read_text("utf-8")

FLAGS = {f"--{name.replace('_', '-')}" for name in (*Settings.model_fields, *SECRET_FILES)}
"""Flags of settings, which settings.md describes."""


def commands(app: App, path: str = "presenced") -> Iterator[tuple[str, App]]:
    """Yield every command that does something, with its full name."""
    names = [name for name in app if not name.startswith("-")]
    if not names:
        yield path, app
    for name in names:
        yield from commands(app[name], f"{path} {name}")


COMMANDS = dict(commands(command.app))


def section(name: str) -> str:
    """Return the part of the page about a command."""
    _, heading, rest = PAGE.partition(f"\n## `{name}`\n")
    assert heading, f"the page has no heading for {name}"
    return rest.partition("\n## ")[0]


def options(app: App) -> list[str]:
    """Return the names of the options of a command."""
    found: list[str] = []
    for argument in app.assemble_argument_collection(default_parameter=command.app.default_parameter):
        found += [name for name in argument.names if name.startswith("--")]
    return found


def test_the_page_has_a_section_for_every_command() -> None:
    sections = set(re.findall(r"^## `(presenced [a-z -]+)`$", PAGE, re.MULTILINE))
    listed = {f"presenced {name}" for name in re.findall(r"^\| \[`presenced ([a-z -]+)`\]", PAGE, re.MULTILINE)}
    assert set(COMMANDS) == sections == listed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_described_and_no_other(name: str) -> None:
    described = set(re.findall(r"(--[a-z-]+)", "\n".join(re.findall(r"^\| (.*?) \|", section(name), re.MULTILINE))))
    exist = set(options(COMMANDS[name]))
    assert described == exist - FLAGS
    if exist & FLAGS:
        assert "a flag for each setting" in section(name)


def test_every_flag_of_a_setting_is_on_the_page_of_settings() -> None:
    exist = set(options(COMMANDS["presenced serve"])) & FLAGS
    assert len(exist) > 50
    for flag in exist:
        assert re.search(rf"`{flag}[ `]", SETTINGS), flag


def examples() -> Iterator[tuple[list[str], list[str]]]:
    """Yield the blocks of the page: the commands, each with the lines that it prints."""
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        yield [part.partition("\n")[0] for part in parts], [part.partition("\n")[2] for part in parts]


def run(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a line of a shell without a shell: variables, `export`, `echo`, `presenced`, and pipes between them."""
    given = ""
    for part in line.split(" | "):
        words = shlex.split(part)
        with monkeypatch.context() as context:
            while re.match(r"[A-Z_]+=", words[0]):
                context.setenv(*words.pop(0).split("=", 1))
            if words[0] == "export":
                monkeypatch.setenv(*words[1].split("=", 1))
            elif words[0] == "echo":
                given = " ".join(words[1:]) + "\n"
            else:
                assert words[0] == "presenced"
                context.setattr(sys, "stdin", io.StringIO(given))
                with pytest.raises(SystemExit):
                    command.main(words[1:])
                printed = capsys.readouterr()
                given = printed.out + printed.err
    return given


@pytest.mark.parametrize(("lines", "outputs"), list(examples()), ids=lambda value: value[0][:40])
def test_an_example_prints_what_the_page_shows(
    lines: list[str],
    outputs: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PRESENCED_")]:
        monkeypatch.delenv(name)  # such as PRESENCED_EXAMPLES, which `make check` sets and no setting has
    for line, output in zip(lines, outputs, strict=True):
        printed = run(line, monkeypatch, capsys)
        assert re.fullmatch(re.escape(output).replace("…", ".*").rstrip("\n") + "\n?", printed, re.DOTALL), printed
