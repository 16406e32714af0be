"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

ConfigFile = Annotated[
    Path | None, Parameter(metavar="FILE", help="Settings file. [default presenced.toml, if it exists]")
]
