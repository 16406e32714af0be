"""`presenced cluster` without a store. tests/cluster/test_operations.py has one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WITHOUT_REDIS = "import sys; sys.modules['redis'] = None; from presenced.cli.main import main; main(sys.argv[1:])"


@pytest.mark.parametrize("arguments", [["serve", "--port", "0"], ["cluster", "nodes"], ["doctor"]], ids=" ".join)
def test_without_the_client_library_the_error_says_how_to_install_it(arguments: list[str]) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PRESENCED_")}
    environ |= {"PRESENCED_BACKEND": "redis://127.0.0.1:9/0", "PRESENCED_CONFIG": os.devnull}
    command = [sys.executable, "-c", WITHOUT_REDIS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=False)
    assert done.returncode == (1 if arguments == ["doctor"] else 2)
    assert "backend needs the package redis: pip install 'presenced[redis]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["nodes"], ["remove", "a"]])
def test_a_command_without_a_backend_says_which_setting_it_needs(arguments: list[str]) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PRESENCED_")}
    command = [sys.executable, "-m", "presenced", "cluster", *arguments]
    environ["PRESENCED_CONFIG"] = os.devnull
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no cluster: set backend" in done.stderr
