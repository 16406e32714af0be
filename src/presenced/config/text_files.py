"""Reader for text files that an operator writes: settings, keys and secrets."""

from __future__ import annotations

import os
from pathlib import Path

from presenced.errors import ConfigError

MAX_FILE_BYTES = 262_144
"""Maximum size of a file in bytes. A larger file is an error, because its path is probably wrong."""


def read_text(path: Path, what: str) -> str:
    """Return the text of a file, without a byte order mark.

    Args:
        what: Description of the file for errors, such as `the settings file`.

    Raises:
        ConfigError: The file cannot be read, is too large, or is not UTF-8. The message names the file without its
            content.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: the name contains a NUL character
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise ConfigError(f"can't read {what} {path}: {reason}{_advice(error, path)}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{what} {path} is larger than {MAX_FILE_BYTES:,} bytes: check that the path is right")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content:
        raise ConfigError(
            f"{what} {path} is not UTF-8 text but UTF-16, or not text at all: save it as UTF-8 "
            "(in PowerShell: Out-File -Encoding utf8)"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} {path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _advice(error: Exception, path: Path) -> str:
    match error:
        case FileNotFoundError():
            where = "" if path.is_absolute() else f" (relative to {Path.cwd()})"
            return f"{where}: create it, or correct the path"
        case PermissionError():
            return f": let the user that runs presenced (uid {os.geteuid()}) read it"
        case IsADirectoryError():
            return ": name a file (Docker creates a directory where a file to mount does not exist)"
    return ""
