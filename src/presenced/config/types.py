"""Building blocks for declaring settings: sections, value names, and the types that settings share."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

_AROUND = " \t\r\n\ufeff"
"""Characters that editors, shells and `echo` leave around a secret: white space and a byte order mark."""

_PEM = re.compile(r"(-----BEGIN [A-Z0-9 ]+-----)(.*?)(-----END [A-Z0-9 ]+-----)", re.DOTALL)
_PEM_LINE = 64
"""Number of characters in a line of a PEM body (RFC 7468 section 2)."""

_MASK = re.compile("[*\u2022\u25cf\u2217\uff0a]{3,}")
"""Three or more asterisks or bullets, including their variants in other scripts."""

_MASK_WORD = re.compile(
    r"[\[<(](redacted|masked|filtered|hidden|removed|sensitive( value)?|secret)[\]>)]|redacted|x{4,}", re.IGNORECASE
)
"""Masks without asterisks: `[REDACTED]`, `(sensitive value)` of Terraform, `xxxxx` of Go's `URL.Redacted`."""

_PASSWORD = re.compile(r"//[^/@\s]*:([^/@\s]*)@")
"""Password in a URL."""


class ValueName(NamedTuple):
    """Metadata: name of a setting's value in `--help`, such as SECONDS in `--grace-lost SECONDS`."""

    text: str


def secret_text(text: str) -> str:
    r"""Return the secret in `text`: without white space around it, and PEM with its line breaks.

    Programs that set environment variables often write the line breaks of a PEM as `\n`, or as spaces.
    """
    return _PEM.sub(_with_line_breaks, text.strip(_AROUND))


def is_masked(text: str, secret: bool = False) -> bool:
    """Return whether `text` holds a mask that a program printed in place of a secret: `***`, or `xxxxx` for a password.

    Args:
        secret: The whole text is one secret, or several with white space between them.
    """
    pieces = [*_PASSWORD.findall(text), *([text, *text.split()] if secret else [])]
    return bool(_MASK.search(text)) or any(map(_MASK_WORD.fullmatch, pieces))


def _with_line_breaks(block: re.Match[str]) -> str:
    begin, body, end = block.groups()
    if "\n" in body.strip("\r\n") and "\\" not in body:
        return block[0]
    body = re.sub(r"\\+[rn]|\s", "", body)
    lines = [body[at : at + _PEM_LINE] for at in range(0, len(body), _PEM_LINE)]
    return "\n".join([begin, *lines, end])


def _clean_secret(value: object) -> object:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return secret_text(value) if isinstance(value, str) else value


def _split(value: object) -> object:
    """Split a text into a list, because flags and the environment can only hold text."""
    return tuple(filter(None, re.split(r"[\s,]+", value))) if isinstance(value, str) else value


def checked_file_name(text: str) -> str:
    """Return `text` if it can be the name of a file.

    Raises:
        ValueError: The text is the content of a file. The message does not show it, because it may be a secret.
    """
    if "-----BEGIN" in text or "\n" in text or text.startswith(("whsec_", "{")):
        raise ValueError("holds a key or secret itself: give the name of a file that contains it")
    return text


def _checked_url(url: str) -> str:
    """Return `url` if it has no user name and no password."""
    if re.search(r"//[^/?#]*@", url):
        raise ValueError("must not hold a user name or password: remove the part of the URL before the @")
    return url


def checked_backend_url(url: str) -> str:
    """Return the URL of a backend if it has no password. It may have a user name.

    Raises:
        ValueError: It has a password, which every user of the machine would see in the flags.
    """
    if re.search(r"//[^/?#]*:[^/?#]*@", url):
        raise ValueError(
            "must not hold a password: set it as PRESENCED_BACKEND_PASSWORD, or in the file that "
            "PRESENCED_BACKEND_PASSWORD_FILE names"
        )
    return url


def _checked_urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    for url in urls:
        _checked_url(url)
    return urls


Secret = Annotated[SecretStr, BeforeValidator(_clean_secret), ValueName("SECRET")]
"""Secret text. It is never a flag, because every user of a machine sees flags. Each has a twin `..._file` that names a
file (see `config.sources`)."""

Seconds = Annotated[float, ValueName("SECONDS")]
Rate = Annotated[float, ValueName("PER_SECOND")]
Bytes = Annotated[int, ValueName("BYTES")]
FileName = Annotated[str, AfterValidator(checked_file_name), Field(max_length=4096), ValueName("FILE")]
Url = Annotated[str, AfterValidator(_checked_url), Field(max_length=2048), ValueName("URL")]
Texts = Annotated[tuple[str, ...], BeforeValidator(_split), Field(max_length=1000), ValueName("LIST")]
Urls = Annotated[Texts, AfterValidator(_checked_urls), ValueName("URLS")]


class Section(BaseModel):
    """Base of a class that declares settings: immutable, and without masks such as `***` in any value.

    The class argument `title` is the heading of the section in `--help` and docs/reference/settings.md.
    """

    # Without `hide_input_in_errors`, an error of pydantic prints its input, which may be a secret.
    # `defer_build`: only the class `Settings` is ever validated, so a validator for each section would never be used.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_masks(cls, value: object, info: ValidationInfo) -> object:
        """Raise if the value holds a mask in place of a secret: a server must not start with asterisks as its key."""
        is_secret = cls.model_fields[str(info.field_name)].annotation is SecretStr
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        for part in plain if isinstance(plain, list | tuple) else (plain,):
            if isinstance(part, str) and is_masked(part, is_secret):
                hint = " (if the password has asterisks, write each as %2A)" if "://" in part else ""
                raise ValueError(
                    f"holds a mask such as ***, which programs print in place of a secret: give the real value{hint}"
                )
        return value
