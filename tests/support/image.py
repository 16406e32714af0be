"""The image of the `Dockerfile`, built by buildah on a base made from Debian's packages, and run without an engine.

No registry is needed. The base has Python, like the base in the Dockerfile, and the wheels of all dependencies, so the
build needs no network. A container is a process in namespaces of its own, with the image as its read-only root.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]

SUITE, SUITE_PYTHON = "bookworm", "3.11"
"""Release of Debian for the base, and the version of Python in it."""

START_TIMEOUT = 60
"""Seconds until a started container must respond."""

_RUN = r"""
set -eu
root=$1 user=$2 mounts=$3; shift 3
mount --bind "$root" "$root"
mkdir -p "$root/run/secrets"
for pair in $mounts; do
    target=$root/${pair#*:}
    if [ -d "${pair%%:*}" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}"; [ -e "$target" ] || : >"$target"; fi
done
mount -o remount,bind,ro,nosuid "$root"
for pair in $mounts; do
    mount --bind "${pair%%:*}" "$root/${pair#*:}"
done
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755,size=1m tmpfs "$root/dev"
for name in null zero random urandom; do
    : >"$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
cd "$root"
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" env -i "$@"
"""
"""Script that does the work of an engine: mounts, a read-only root, a user without rights, and the command as process
1."""


class Image(NamedTuple):
    """A built image."""

    root: Path
    """Its files, mounted."""
    config: Mapping[str, Any]
    """Its configuration: user, environment, command, labels."""


@contextmanager
def built_image(folder: Path) -> Iterator[Image]:
    """Build the image, and remove everything at the end. It takes minutes."""
    base = folder / "base"
    base.mkdir()
    packages = "python3,python3-venv,python3-pip"
    _run("mmdebstrap", "--variant=minbase", f"--include={packages}", SUITE, str(base / "root.tar"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    needed = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    # redis-py needs async-timeout on Python before 3.11.3, such as Debian's. pip looks at the version that runs it.
    needed += [*extras["postgresql"], *extras["mysql"], *extras["redis"], "async-timeout>=4.0.3"]
    _run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(base / "wheels")),
        *("--only-binary=:all:", "--python-version", SUITE_PYTHON, *(one.partition(";")[0] for one in needed)),
    )
    (base / "Containerfile").write_text(
        "FROM scratch\nADD root.tar /\nCOPY wheels /wheels\nENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels\n"
    )
    buildah = "buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "state")
    build = *buildah, "build", "--isolation", "chroot", "--format", "docker", "--quiet"
    _run(*build, "--tag", "localhost/base", str(base))
    _run(*build, "--build-arg", "PYTHON_IMAGE=localhost/base", "--tag", "localhost/presenced", str(ROOT))
    found = json.loads(_run(*buildah, "inspect", "--type", "image", "localhost/presenced"))
    container = _run(*buildah, "from", "--pull-never", "localhost/presenced").strip()
    try:
        yield Image(Path(_run(*buildah, "mount", container).strip()), found["Docker"]["config"])
    finally:
        _run(*buildah, "umount", "--all")
        _run(*buildah, "rm", "--all")
        _run(*buildah, "rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


class Container:
    """A container of an image, with the network of this machine.

    Args:
        mounts: Files and directories of this machine, with their paths in the container.
    """

    def __init__(self, image: Image, environ: Mapping[str, str], mounts: Mapping[Path, str] | None = None) -> None:
        self._image = image
        self.port = free_port()
        self._environ = {"PRESENCED_PORT": str(self.port), **environ}
        self._mounts = " ".join(f"{source}:{target.lstrip('/')}" for source, target in (mounts or {}).items())
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by `kill`
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs `arguments` in a container."""
        config = self._image.config
        variables = [*config["Env"], *(f"{name}={value}" for name, value in self._environ.items())]
        namespaces = "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"
        setup = str(self._image.root), config["User"], self._mounts
        inside = "-C", config["WorkingDir"], *variables, *arguments
        return ["unshare", *namespaces, "sh", "-c", _RUN, "run", *setup, *inside]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container of its own, with the same settings and mounts."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False, timeout=60)

    def start(self) -> None:
        """Run the image's own command until the server responds."""
        config = self._image.config
        command = self.command(*config["Entrypoint"], *config["Cmd"])
        self.process = subprocess.Popen(command, stdout=self._output, stderr=self._output)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/readyz", trust_env=False).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return

    @property
    def pid(self) -> int:
        """Process id, outside the container, of its first process."""
        assert self.process is not None, "it was started"
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())

    def stop(self) -> tuple[int, float]:
        """Send the image's stop signal. Return the exit code, and the seconds that it took."""
        assert self.process is not None, "it was started"
        began = time.monotonic()
        os.kill(self.pid, signal.Signals[self._image.config["StopSignal"]])
        code = self.process.wait(60)
        return code, time.monotonic() - began

    def output(self) -> str:
        """Return the output so far."""
        self._output.seek(0)
        return self._output.read()

    def kill(self) -> None:
        """Kill the container, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._output.close()
