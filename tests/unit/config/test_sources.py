"""Settings: their sources, and the errors about invalid values."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr, ValidationError

from presenced.auth.factory import make_jwt_authenticator
from presenced.auth.keys import keys_from_text
from presenced.config.help import default_text, expected, help_text, sections, value_name
from presenced.config.settings import Settings, is_loopback
from presenced.config.sources import SECRET_FILES, load
from presenced.errors import ConfigError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder without a `presenced.toml`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(flags: dict[str, object], environ: dict[str, str], file: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(flags, environ, file)
    return str(refused.value).splitlines()


def test_without_any_source_every_setting_has_its_default() -> None:
    settings, origins, _ = load({}, {})
    assert settings == Settings()
    assert (settings.port, settings.host) == (3001, "localhost")
    assert set(origins.values()) == {"default"}


def test_a_flag_overrides_the_environment_which_overrides_the_file(elsewhere: Path) -> None:
    file = elsewhere / "mine.toml"
    file.write_text("port = 1\nheartbeat_interval = 41\npong_timeout = 5\n")
    environ = {"PRESENCED_PORT": "2", "PRESENCED_HEARTBEAT_INTERVAL": "42.5", "HOME": "/"}
    settings, origins, _ = load({"port": "3"}, environ, file)
    assert (settings.port, settings.heartbeat_interval, settings.pong_timeout) == (3, 42.5, 5)
    assert origins["port"] == "--port"
    assert origins["heartbeat_interval"] == "PRESENCED_HEARTBEAT_INTERVAL"
    assert origins["pong_timeout"] == str(file)
    assert origins["host"] == "default"


def test_presenced_toml_in_the_working_directory_is_read_unless_another_file_is_named(elsewhere: Path) -> None:
    (elsewhere / "presenced.toml").write_text("port = 1\n")
    (elsewhere / "other.toml").write_text("port = 2\n")
    assert load({}, {}).settings.port == 1
    assert load({}, {"PRESENCED_CONFIG": "other.toml"}).settings.port == 2
    assert load({}, {"PRESENCED_CONFIG": "nowhere.toml"}, Path("presenced.toml")).settings.port == 1


def test_every_error_is_reported_with_its_origin_and_the_expected_value(elsewhere: Path) -> None:
    file = elsewhere / "f.toml"
    file.write_text('port = "x"\nlog_formt = "json"\n')
    errors = faults({"loop": "fast"}, {"PRESENCED_PONG_TIMEOT": "3", "PRESENCED_GRACE_LOST": "-1"}, file)
    assert errors == [
        f"unknown setting log_formt in {file}: did you mean log_format?",
        "unknown setting PRESENCED_PONG_TIMEOT in the environment: did you mean PRESENCED_PONG_TIMEOUT?",
        f"port can't be 'x' (from {file}): expected a whole number from 0 to 65535",
        "loop can't be 'fast' (from --loop): expected one of auto, uvloop, asyncio",
        "grace_lost can't be '-1' (from PRESENCED_GRACE_LOST): expected a number of seconds from 0 to 3600",
    ]


def test_a_table_in_the_settings_file_is_an_error_that_says_so(elsewhere: Path) -> None:
    file = elsewhere / "f.toml"
    file.write_text("[server]\nport = 3\n[auth]\n")
    assert faults({}, {}, file) == [
        f"[{name}] in {file} is a table: all settings are at the top level, so remove the line"
        for name in ("server", "auth")
    ]


def test_a_name_that_resembles_no_setting_has_no_suggestion() -> None:
    assert faults({}, {"PRESENCED_XYZZY": "1"}) == [
        "unknown setting PRESENCED_XYZZY in the environment: `presenced config show` lists all settings"
    ]


def test_variables_of_kubernetes_are_no_settings() -> None:
    environ = {
        "PRESENCED_SERVICE_HOST": "10.0.0.1",
        "PRESENCED_SERVICE_PORT": "3001",
        "PRESENCED_SERVICE_PORT_WS": "3001",
        "PRESENCED_PORT_3001_TCP": "tcp://10.0.0.1:3001",
        "PRESENCED_PORT_3001_TCP_ADDR": "10.0.0.1",
    }
    assert load({}, environ).settings == Settings()
    assert "enableServiceLinks" in faults({}, {"PRESENCED_PORT": "tcp://10.0.0.1:3001"})[0]


@pytest.mark.parametrize("last", ["port = 2\n", "port = 2", '"port" = [\n2,\n3]\n'])
def test_an_error_names_a_setting_that_the_file_sets_twice_and_both_lines(elsewhere: Path, last: str) -> None:
    file = elsewhere / "f.toml"
    file.write_text(f'port = 1\nhost = "a"\n{last}')
    assert faults({}, {}, file) == [f"port is set twice in {file}, in lines 1 and 3: remove one of them"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"port = ", "not valid TOML"),
        (b"[a]\n[a]\n", "not valid TOML"),
        (b"a.b = 1\na = 2\n", "not valid TOML"),
        (b'host = "\xff"', "not UTF-8"),
        ("port = 1".encode("utf-16"), "UTF-16"),
        ("port = 1".encode("utf-16-be"), "UTF-16"),
        (b"#" * 300_000, "larger than 262,144 bytes"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(elsewhere: Path, content: bytes | None, says: str) -> None:
    file = elsewhere / "bad.toml"
    if content is not None:
        file.write_bytes(content)
    (error,) = faults({}, {}, file)
    assert says in error
    assert str(file) in error


def test_a_switch_is_no_number_and_a_name_has_rules(elsewhere: Path) -> None:
    file = elsewhere / "f.toml"
    file.write_text('port = true\nheartbeat_interval = false\nnode = "a b"\ncluster_name = "a/b"\n')
    assert faults({}, {}, file) == [
        f"port can't be true (from {file}): expected a whole number from 0 to 65535",
        f"heartbeat_interval can't be false (from {file}): expected a number of seconds above 0 to 3600",
        f"node can't be 'a b' (from {file}): expected at most 64 visible ASCII characters without spaces",
        f"cluster_name can't be 'a/b' (from {file}): expected 1 to 50 letters, digits, dots, hyphens and underscores",
    ]


def test_a_database_and_its_url_belong_together() -> None:
    (missing,) = faults({"database": "url"}, {})
    assert missing.startswith("database is url, which needs database_url: set PRESENCED_DATABASE_URL")
    (other,) = faults({}, {"PRESENCED_DATABASE_URL": "postgresql://localhost/x"})
    assert other == "database_url is set, and database is not url: set it to url, or remove database_url"


def test_settings_that_the_caller_does_not_use_need_no_secret(elsewhere: Path) -> None:
    """A user who checks the health of a server may not have access to the secrets."""
    file = elsewhere / "f.toml"
    file.write_text('port = 4000\ndatabase = "url"\nauth = "jwt"\njwt_key_file = "/nowhere"\n')
    assert load({}, {}, file, ("port", "host")).settings.port == 4000
    with pytest.raises(ConfigError, match="port can't be"):
        load({"port": "x"}, {}, file, ("port", "host"))


def test_settings_that_contradict_each_other_are_refused() -> None:
    (error,) = faults({"pong_timeout": "31"}, {})
    assert error == "pong_timeout (31 s) must not exceed heartbeat_interval (30 s)"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])  # noqa: S104  # refused
def test_without_authentication_the_server_listens_on_loopback_only_unless_it_is_insecure(host: str) -> None:
    (error,) = faults({"host": host}, {})
    assert "authentication is off" in error
    assert "--insecure" in error
    assert load({"host": host, "insecure": True}, {}).settings.host == host


def test_every_origin_is_allowed_with_authentication_only() -> None:
    """Without it, every page that a visitor opens could use the API of the visitor's own machine."""
    (error,) = faults({"origins": "https://app.example.com,*"}, {})
    assert error.startswith("origins is *, which needs auth")
    assert faults({"origins": "*", "insecure": True}, {})
    assert load({"origins": "*", "auth": "jwt", "jwt_key_file": "keys.pem"}, {}).settings.origins == ("*",)


def test_loopback_addresses_are_recognised_in_all_forms() -> None:
    assert all(map(is_loopback, ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]))
    assert not any(map(is_loopback, ["localhost.example.com", "10.0.0.1", "::", "0.0.0.0"]))  # noqa: S104  # as above


def test_settings_passed_in_python_are_checked_too() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 65535"):
        Settings(port=70_000)
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]  # mypy knows it too


def test_every_setting_has_a_description_and_its_allowed_values() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description
        assert field.description.endswith(".")
        assert expected(name)


SECRET = "s" * 40
SECRETS = ["jwt_key", "callback_secret", "database_url", "webhook_secrets"]
VALUES = {"database_url": "postgresql://ada:x@localhost/db"}


def errors_of(name: str, source: str, value: str, folder: Path) -> list[str]:
    """Return the error for an invalid value, which is the same from the file, environment, flag and secret file."""
    if source == "file":
        (folder / "presenced.toml").write_text(f"{name} = '{value}'\n")
        return faults({}, {})
    if source == "flag":
        return faults({name: value}, {})
    if source == "secret file":
        (folder / "secret").write_text(value)
        return faults({}, {f"PRESENCED_{name.upper()}_FILE": "secret"})
    return faults({}, {f"PRESENCED_{name.upper()}": value})


def test_a_list_of_secrets_is_refused_with_the_form_that_is_expected(elsewhere: Path) -> None:
    (elsewhere / "presenced.toml").write_text('webhook_secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]')
    assert faults({}, {}) == [
        "webhook_secrets (from presenced.toml) can't be used: expected one string, not a list and not a flag"
    ]


@pytest.mark.parametrize("source", ["file", "environment", "flag", "secret file"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jwt_key", "**********"),
        ("callback_secret", "***"),
        ("callback_secret", "sk_live_****abcd"),
        ("callback_secret", "[REDACTED]"),
        ("callback_secret", "(sensitive value)"),
        ("callback_secret", "\u2022" * 8),
        ("database_url", "postgresql://user:***@host/db"),
        ("database_url", "postgresql://user:xxxxx@host/db"),
        ("webhook_secrets", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_****"),
        ("api_keys", "read:0123,write:****"),
        ("webhook_urls", "https://example.com/hook?key=***"),
    ],
)
def test_a_masked_value_is_refused_from_every_source(elsewhere: Path, source: str, name: str, value: str) -> None:
    if source == "secret file" and f"{name}_file" not in SECRET_FILES:
        return
    (error,) = errors_of(name, source, value, elsewhere)
    assert error.startswith(f"{name} (from ")
    assert "holds a mask" in error
    assert "give the real value" in error
    assert value not in error.replace("a mask such as ***", "")


def test_a_masked_value_is_refused_in_python_and_in_a_key_file_too(elsewhere: Path) -> None:
    with pytest.raises(ValidationError, match="holds a mask"):
        Settings(jwt_key=SecretStr("**********"))
    (elsewhere / "key").write_text("*" * 40)
    with pytest.raises(ConfigError, match="key file key holds a mask"):
        make_jwt_authenticator(Settings(auth="jwt", jwt_key_file="key"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origins", "https://*.example.com"),
        ("node", "xxxx"),
        ("callback_secret", "a*b**c"),
        ("database_url", "postgresql://user:%2A%2A%2A@host/db"),
    ],
)
def test_a_value_that_only_resembles_a_mask_is_accepted(name: str, value: str) -> None:
    environ = {f"PRESENCED_{name.upper()}": value} | ({"PRESENCED_DATABASE": "url"} if name == "database_url" else {})
    assert load({}, environ).origins[name] == f"PRESENCED_{name.upper()}"


def test_an_asterisk_for_every_origin_is_no_mask() -> None:
    assert load({"auth": "callable"}, {"PRESENCED_ORIGINS": "*"}).settings.origins == ("*",)


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n", ""])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n"])
def test_a_secret_is_the_same_from_every_source_without_white_space_around_it(
    elsewhere: Path, start: str, end: str
) -> None:
    text = f"{start}inner space kept{end}"
    (elsewhere / "secret").write_text(text, newline="")
    (elsewhere / "settings.toml").write_text(f'callback_secret = "{text.encode("unicode_escape").decode()}"\n')
    for found in (
        load({}, {"PRESENCED_CALLBACK_SECRET": text}).settings,
        load({}, {"PRESENCED_CALLBACK_SECRET_FILE": "secret"}).settings,
        load({"callback_secret_file": "secret"}, {}).settings,
        load({}, {}, elsewhere / "settings.toml").settings,
        Settings(callback_secret=SecretStr(text)),
    ):
        assert found.callback_secret.get_secret_value() == "inner space kept"


def public_key() -> str:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("line_break", ["\\n", "\\r\\n", "\\\\n", " ", "", "\r\n", "\n"])
def test_a_pem_is_read_with_any_line_breaks_from_the_environment(line_break: str) -> None:
    pems = [public_key(), public_key()]
    text = line_break.join(pem.replace("\n", line_break) for pem in pems)
    settings = load({}, {"PRESENCED_JWT_KEY": text}).settings
    assert [key.material for key in keys_from_text(settings.jwt_key.get_secret_value())] == [
        key.material for pem in pems for key in keys_from_text(pem)
    ]


@pytest.mark.parametrize(
    "change", [lambda pem: f"\ufeff{pem}", lambda pem: pem.replace("\n", "\\n"), lambda pem: f"{pem}\r\n"]
)
def test_a_key_file_is_read_as_a_key_in_the_environment_is(elsewhere: Path, change: Callable[[str], str]) -> None:
    (elsewhere / "key.pem").write_text(change(public_key()), newline="")
    make_jwt_authenticator(Settings(auth="jwt", jwt_key_file="key.pem"))
    (elsewhere / "key.pem").write_text(public_key(), "utf-16")
    with pytest.raises(ConfigError, match=r"the key file key.pem is not UTF-8 text but UTF-16"):
        make_jwt_authenticator(Settings(auth="jwt", jwt_key_file="key.pem"))


def test_a_settings_file_may_have_a_byte_order_mark_and_windows_line_ends(elsewhere: Path) -> None:
    (elsewhere / "presenced.toml").write_bytes("\ufeffport = 4000\r\nlog_format = 'json'\r\n".encode())
    settings = load({}, {}).settings
    assert (settings.port, settings.log_format) == (4000, "json")


def test_a_carriage_return_at_the_end_of_a_variable_is_not_part_of_it() -> None:
    """Docker keeps the line break if a file for `--env-file` has the line ends of Windows."""
    settings = load({}, {"PRESENCED_AUTH": "none\r", "PRESENCED_HOST": "127.0.0.1\r"}).settings
    assert (settings.auth, settings.host) == ("none", "127.0.0.1")


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        ({}, {"PRESENCED_AUTH": '"jwt"'}),
        ({}, {"PRESENCED_AUTH": "'jwt'\r"}),
        ({}, {"PRESENCED_CALLBACK_SECRET": f'"{SECRET}"'}),
        ({}, {"PORT": '"3001"'}),
        ({"auth": '"jwt"'}, {}),
        ({}, {"PRESENCED_CONFIG": '"presenced.toml"'}),
    ],
)
def test_quotation_marks_around_a_value_are_an_error(flags: dict[str, object], environ: dict[str, str]) -> None:
    (error,) = faults(flags, environ)
    assert "has quotation marks around its value: remove them" in error
    assert SECRET not in error


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_may_come_from_a_file(elsewhere: Path, name: str) -> None:
    (elsewhere / "secret").write_text(VALUES.get(name, SECRET))
    flags = {"database": "url"} if name == "database_url" else {}
    settings, origins, files = load(flags, {f"PRESENCED_{name.upper()}_FILE": "secret"})
    if name == "jwt_key":  # a setting of its own
        assert settings.jwt_key_file == "secret"
        return
    assert getattr(settings, name).get_secret_value() == VALUES.get(name, SECRET)
    assert (origins[name], files[name]) == (f"PRESENCED_{name.upper()}_FILE", Path("secret"))


def test_the_file_of_a_secret_can_be_named_in_the_settings_file_and_by_a_flag(elsewhere: Path) -> None:
    (elsewhere / "presenced.toml").write_text('callback_secret_file = "one"\n')
    (elsewhere / "one").write_text("first")
    (elsewhere / "two").write_text("second")
    assert load({}, {}).settings.callback_secret.get_secret_value() == "first"
    found = load({"callback_secret_file": "two"}, {})
    assert (found.settings.callback_secret.get_secret_value(), found.origins["callback_secret"]) == (
        "second",
        "--callback-secret-file",
    )
    found = load({}, {"PRESENCED_CALLBACK_SECRET": "third"})
    assert found.settings.callback_secret.get_secret_value() == "third", "the environment goes before the file"
    assert "callback_secret" not in found.secret_files


def test_a_secret_that_is_set_twice_is_an_error(elsewhere: Path) -> None:
    both = {"PRESENCED_CALLBACK_SECRET": SECRET, "PRESENCED_CALLBACK_SECRET_FILE": "secret"}
    assert faults({}, both) == [
        "callback_secret is set twice, by PRESENCED_CALLBACK_SECRET and PRESENCED_CALLBACK_SECRET_FILE: "
        "remove one of them"
    ]
    (elsewhere / "presenced.toml").write_text('callback_secret = "x"\ncallback_secret_file = "secret"\n')
    (error,) = faults({}, {})
    assert "callback_secret in presenced.toml and callback_secret_file in presenced.toml" in error


def test_an_empty_variable_for_the_file_of_a_secret_counts_as_not_set() -> None:
    """Compose sets an empty value if a file has `${NAME:-}`."""
    environ = {"PRESENCED_CALLBACK_SECRET": SECRET, "PRESENCED_CALLBACK_SECRET_FILE": ""}
    assert load({}, environ).origins["callback_secret"] == "PRESENCED_CALLBACK_SECRET"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfes\0", "UTF-16"),
        (b"\x80", "not UTF-8"),
        (b'"quoted"', "quotation marks"),
        ("directory", "Is a directory: name a file (Docker"),
    ],
)
def test_an_error_about_a_secret_file_names_the_file_and_its_setting(elsewhere: Path, content: Any, says: str) -> None:
    file = elsewhere / "secret"
    if content == "directory":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    error = faults(
        {"auth": "callback", "callback_url": "https://x.example"}, {"PRESENCED_CALLBACK_SECRET_FILE": str(file)}
    )
    assert len(error) == 1
    assert says in error[0]
    assert str(file) in error[0]
    assert "PRESENCED_CALLBACK_SECRET_FILE" in error[0]


def test_a_file_of_a_secret_that_may_not_be_read_names_the_user(elsewhere: Path) -> None:
    file = elsewhere / "secret"
    file.touch(mode=0)
    uid = os.geteuid()
    os.seteuid(uid or 65534)  # root may read every file
    try:
        (error,) = faults({}, {"PRESENCED_CALLBACK_SECRET_FILE": str(file), "PRESENCED_CONFIG": os.devnull})
    finally:
        os.seteuid(uid)
    assert f"Permission denied: let the user that runs presenced (uid {uid or 65534}) read it" in error


@pytest.mark.parametrize("name", ["PRESENCED_CALLBACK_SECRET_FILE", "PRESENCED_JWT_KEY_FILE"])
def test_a_secret_in_place_of_the_name_of_its_file_is_not_printed(name: str) -> None:
    for value in (public_key(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", f"{SECRET}\n{SECRET}"):
        (error,) = faults({}, {name: value})
        assert "holds a key or secret itself: give the name of a file" in error
        assert value not in error


def test_the_variable_port_counts_if_presenced_port_is_not_set(elsewhere: Path) -> None:
    (elsewhere / "presenced.toml").write_text("port = 1\n")
    found = load({}, {"PORT": "8080"})
    assert (found.settings.port, found.origins["port"]) == (8080, "PORT")
    assert load({}, {"PORT": "8080", "PRESENCED_PORT": "2"}).settings.port == 2
    assert load({"port": "3"}, {"PORT": "8080"}).settings.port == 3
    assert load({}, {"PORT": ""}).settings.port == 1
    (error,) = faults({}, {"PORT": "http"})
    assert error.startswith("port can't be 'http' (from PORT): expected a whole number")
    assert "PRESENCED_PORT" in error


def test_an_error_shows_no_secret(elsewhere: Path) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(auth="callback", jwt_key=SecretStr(SECRET), callback_secret=SECRET)
    assert SECRET not in str(refused.value)
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"jwt_key": [SECRET]})
    assert SECRET not in str(refused.value)
    (error,) = faults({"callback_url": f"https://ada:{SECRET}@example.com/"}, {})
    assert "must not hold a user name or password" in error
    assert SECRET not in error


@pytest.mark.parametrize("url", [f"postgresql://ada:{SECRET}@db/x", f"postgresql://db/x?user=a&password={SECRET}"])
@pytest.mark.parametrize("name", ["database", "auth", "port", "compression"])
def test_a_url_given_for_another_setting_is_shown_without_its_password(name: str, url: str) -> None:
    (error,) = faults({}, {f"PRESENCED_{name.upper()}": url})
    assert f"{name} can't be 'postgresql://" in error
    assert SECRET not in error


def test_every_setting_has_a_section_and_a_name_for_its_value() -> None:
    assert [name for names in sections().values() for name in names] == list(Settings.model_fields)
    names = {name: value_name(name) for name in Settings.model_fields}
    assert [
        names[name] for name in ("port", "grace_lost", "jwt_key_file", "writers", "callback_url", "write_buffer")
    ] == [
        "PORT",
        "SECONDS",
        "FILE",
        "NUMBER",
        "URL",
        "BYTES",
    ]
    for name in names:
        assert not set("()'{}") & set(default_text(name)), "no Python value"
        assert "default ]" not in help_text(name)


def test_an_empty_choice_is_not_listed_as_a_word() -> None:
    (error,) = faults({"database": "nothing"}, {})
    assert error == "database can't be 'nothing' (from --database): expected one of sqlite, url, or an empty string"


def test_sections_stand_in_the_order_of_their_declaration() -> None:
    assert list(sections())[:3] == ["Listening", "Authentication", "Origins, TLS and proxies"]
    assert sections()["Listening"] == ["host", "port", "insecure"]
