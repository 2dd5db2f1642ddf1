"""Options from environment variables: what they replace, and how a mistake in one is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet2mqtt.config.loader import load, parse
from fleet2mqtt.config.models import Config, Secret
from fleet2mqtt.errors import ConfigError
from tests.configuring import BACKENDS, PLATFORMS

FILE = Path("/nowhere/f.yaml")


def read(text: str, **options: str) -> Config:
    """A configuration of a text and of the variables that begin with FLEET2MQTT__."""
    return parse(text, FILE, PLATFORMS, {f"FLEET2MQTT__{name}": value for name, value in options.items()})


def problems(text: str, **options: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(text, **options)
    return raised.value.problems


def test_variable_goes_before_the_file() -> None:
    config = read(
        f"mqtt: {{host: a, port: 1}}\n{BACKENDS}", MQTT__HOST="b", MQTT__PASSWORD="1234", MQTT__USERNAME="0123"
    )
    assert config.mqtt is not None
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.password) == ("b", 1, Secret("1234"))
    assert (config.mqtt.username, "1234" in config.secrets) == ("0123", True)


def test_variables_alone_make_a_configuration() -> None:
    config = read(
        "",
        MQTT__HOST="b",
        MQTT__TLS="true",
        WEB__PORT="9000",
        BACKENDS__HQ_VOIP__PLATFORM="ums",
        BACKENDS__HQ_VOIP__URL="http://a",
        BACKENDS__HQ_VOIP__EXCLUDE='[{model: "OM20*"}]',
        BACKENDS__HQ_VOIP__SCAN_INTERVAL__DEVICES="5",
    )
    assert config.mqtt is not None
    assert (config.mqtt.port, config.web.port) == (8883, 9000)
    backend = config.backends["hq_voip"]
    assert backend.selection.exclude[0].model == "OM20*"
    assert backend.options["scan_interval"]["devices"] == 5


def test_quoted_variable_is_a_text() -> None:
    config = read(BACKENDS, MQTT__HOST="b", MQTT__USERNAME='"{u}"')
    assert config.mqtt is not None
    assert config.mqtt.username == "{u}"


def test_variable_replaces_what_the_file_has_wrong() -> None:
    text = "mqtt: {host: b, username: !env_var NOT_SET, port: x}\n" + BACKENDS
    config = read(text, MQTT__USERNAME="u", MQTT__PORT="5")
    assert config.mqtt is not None
    assert (config.mqtt.username, config.mqtt.port) == ("u", 5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"MQTT__HOST": "b", "MQTT__PORT": "high"},
            "FLEET2MQTT__MQTT__PORT: mqtt.port: expected a whole number from 1 to 65535",
        ),
        ({"MQTT__PORT": "1"}, "FLEET2MQTT__MQTT: mqtt.host: missing; expected the broker's host, or no mqtt: at all "),
        ({"MQT__HOST": "b"}, "FLEET2MQTT__MQT: mqt: unknown"),
        ({"BACKENDS__HQ__ULR": "b"}, "FLEET2MQTT__BACKENDS__HQ__ULR: backends.hq.ulr: unknown"),
        ({"BACKENDS__SITE__PLATFORM": "ums"}, "FLEET2MQTT__BACKENDS__SITE: backends.site.url: missing; expected"),
        ({"LANGUAGE__X": "b"}, "FLEET2MQTT__LANGUAGE__X: language.x: language is no mapping, so no option can be set"),
        ({"BACKENDS__HQ__EXCLUDE": "[{"}, "FLEET2MQTT__BACKENDS__HQ__EXCLUDE: backends.hq.exclude: expected a list"),
        ({"WEB__PORT": "8098"}, "FLEET2MQTT__WEB__PORT: web.port: push and web need different ports"),
    ],
)
def test_mistake_is_named_with_its_variable(options: dict[str, str], problem: str) -> None:
    found = problems(f"language: en\n{BACKENDS}", **options)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_mistakes_of_file_and_variables_come_together() -> None:
    found = problems("language: xx\n" + BACKENDS, MQTT__HOST="mqtt://b")
    assert [each.split(": ")[0] for each in found] == ["/nowhere/f.yaml:1", "FLEET2MQTT__MQTT__HOST"]


def test_problem_does_not_repeat_a_secret_of_a_variable() -> None:
    found = problems(BACKENDS, MQTT__HOST="b", MQTT__PASSWORD="sesame")
    assert found == ["FLEET2MQTT__MQTT__PASSWORD: mqtt.password: a password needs a username beside it"]


def test_load_reads_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(BACKENDS, "utf-8")
    monkeypatch.setenv("FLEET2MQTT__BASE_TOPIC", "elsewhere")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/fleet2mqtt")
    config = load(file, PLATFORMS)
    assert (config.base_topic, config.data_dir) == ("elsewhere", Path("/var/lib/fleet2mqtt"))


def test_secret_is_read_from_the_credentials_of_the_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "secrets.yaml").write_text("word: sesame\n", "utf-8")
    (tmp_path / "secrets.yaml").write_text("word: other\n", "utf-8")
    file = tmp_path / "f.yaml"
    file.write_text(f"mqtt: {{host: b, username: u, password: !secret word}}\n{BACKENDS}", "utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    config = load(file, PLATFORMS)
    assert config.mqtt is not None
    assert config.mqtt.password == Secret("sesame")
