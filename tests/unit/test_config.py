"""Settings: where values come from, and what is said of those that can't be used."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from presenced.config import expected, load
from presenced.errors import ConfigError
from presenced.settings import Settings, is_loopback


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a `presenced.toml` of ours."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(flags: dict[str, object], environ: dict[str, str], file: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(flags, environ, file)
    return str(refused.value).splitlines()


def test_without_any_source_all_is_default() -> None:
    settings, origins = load({}, {})
    assert settings == Settings()
    assert (settings.port, settings.host) == (3001, "localhost")
    assert set(origins.values()) == {"default"}


def test_a_flag_beats_the_environment_which_beats_the_file(elsewhere: Path) -> None:
    file = elsewhere / "mine.toml"
    file.write_text("port = 1\nheartbeat_interval = 41\npong_timeout = 5\n")
    environ = {"PRESENCED_PORT": "2", "PRESENCED_HEARTBEAT_INTERVAL": "42.5", "HOME": "/"}
    settings, origins = load({"port": "3"}, environ, file)
    assert (settings.port, settings.heartbeat_interval, settings.pong_timeout) == (3, 42.5, 5)
    assert origins["port"] == "--port"
    assert origins["heartbeat_interval"] == "PRESENCED_HEARTBEAT_INTERVAL"
    assert origins["pong_timeout"] == str(file)
    assert origins["host"] == "default"


def test_presenced_toml_is_read_where_it_lies_unless_another_is_named(elsewhere: Path) -> None:
    (elsewhere / "presenced.toml").write_text("port = 1\n")
    (elsewhere / "other.toml").write_text("port = 2\n")
    assert load({}, {}).settings.port == 1
    assert load({}, {"PRESENCED_CONFIG": "other.toml"}).settings.port == 2
    assert load({}, {"PRESENCED_CONFIG": "nowhere.toml"}, Path("presenced.toml")).settings.port == 1


def test_every_fault_is_told_with_where_it_comes_from_and_what_was_expected(elsewhere: Path) -> None:
    file = elsewhere / "f.toml"
    file.write_text('port = "x"\nlog_formt = "json"\n')
    told = faults({"loop": "fast"}, {"PRESENCED_PONG_TIMEOT": "3", "PRESENCED_GRACE_LOST": "-1"}, file)
    assert told == [
        f"unknown setting log_formt in {file}: did you mean log_format?",
        "unknown setting PRESENCED_PONG_TIMEOT in the environment: did you mean PRESENCED_PONG_TIMEOUT?",
        f"port can't be 'x' (from {file}): expected a whole number from 0 to 65535",
        "loop can't be 'fast' (from --loop): expected one of auto, uvloop, asyncio",
        "grace_lost can't be '-1' (from PRESENCED_GRACE_LOST): expected a number from 0 to 3600",
    ]


def test_a_name_like_no_other_gets_the_list() -> None:
    assert faults({}, {"PRESENCED_XYZZY": "1"}) == [
        "unknown setting PRESENCED_XYZZY in the environment: `presenced config show` lists all settings"
    ]


def test_what_kubernetes_puts_into_the_environment_is_not_ours() -> None:
    environ = {
        "PRESENCED_SERVICE_HOST": "10.0.0.1",
        "PRESENCED_SERVICE_PORT": "3001",
        "PRESENCED_SERVICE_PORT_WS": "3001",
        "PRESENCED_PORT_3001_TCP": "tcp://10.0.0.1:3001",
        "PRESENCED_PORT_3001_TCP_ADDR": "10.0.0.1",
    }
    assert load({}, environ).settings == Settings()
    assert "enableServiceLinks" in faults({}, {"PRESENCED_PORT": "tcp://10.0.0.1:3001"})[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"port = ", "not valid TOML"), (b'host = "\xff"', "not UTF-8"), (None, "No such file")],
)
def test_a_file_that_cannot_be_read_is_an_error(elsewhere: Path, content: bytes | None, says: str) -> None:
    file = elsewhere / "bad.toml"
    if content is not None:
        file.write_bytes(content)
    (told,) = faults({}, {}, file)
    assert says in told
    assert str(file) in told


def test_timers_that_contradict_each_other_are_refused() -> None:
    (told,) = faults({"pong_timeout": "31"}, {})
    assert told == "pong_timeout (31 s) must not exceed heartbeat_interval (30 s)"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])  # noqa: S104  # refused, that's the point
def test_without_authentication_only_loopback_is_listened_on_unless_asked_to(host: str) -> None:
    (told,) = faults({"host": host}, {})
    assert "authentication is off" in told
    assert "--insecure" in told
    assert load({"host": host, "insecure": True}, {}).settings.host == host


def test_every_origin_is_allowed_with_authentication_only() -> None:
    """Without it, every page that a visitor opens could use the API of the visitor's own machine."""
    (told,) = faults({"origins": "https://app.example.com,*"}, {})
    assert told.startswith("origins is *, which needs auth")
    assert faults({"origins": "*", "insecure": True}, {})
    assert load({"origins": "*", "auth": "jwt", "jwt_key_file": "keys.pem"}, {}).settings.origins == ("*",)


def test_loopback_addresses_are_known_in_all_their_forms() -> None:
    assert all(map(is_loopback, ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]))
    assert not any(map(is_loopback, ["localhost.example.com", "10.0.0.1", "::", "0.0.0.0"]))  # noqa: S104  # as above


def test_settings_check_themselves_when_embedded() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 65535"):
        Settings(port=70_000)
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]  # mypy knows it too


def test_every_setting_is_documented_and_says_what_it_takes() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description
        assert field.description.endswith(".")
        assert expected(name)
