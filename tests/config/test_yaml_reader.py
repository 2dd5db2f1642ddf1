"""Sources of the configuration: secrets.yaml, the environment, and the file itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet2mqtt.config.loader import load
from fleet2mqtt.config.models import MqttConfig, Secret, TlsConfig
from fleet2mqtt.errors import ConfigError
from tests.configuring import BACKENDS, PLATFORMS, problems, read


def test_secret_that_reads_as_a_number_stays_a_text(tmp_path: Path) -> None:
    (tmp_path / "secrets.yaml").write_text("pin: 007\ntoken: 'a b'\nport: 1884\n")
    config = read(
        "mqtt: {host: h, port: !secret port, username: u, password: !secret pin}\n"
        "backends: {x: {platform: ums, url: 'http://a', headers: {A: !secret token}}}",
        tmp_path,
    )
    assert config.mqtt == MqttConfig(host="h", port=1884, username="u", password=Secret("007"))
    assert config.backends["x"].options["headers"] == {"A": "a b"}
    assert config.secrets == {"007", "a b", "1884"}


@pytest.mark.parametrize(
    ("secrets", "expected"),
    [
        (None, ["2: language: secrets.yaml: cannot be read: no such file or directory; it takes a line lang: VALUE"]),
        ("", ["2: language: no secret lang in secrets.yaml"]),
        ("langs: sesame", ["2: language: no secret lang in secrets.yaml; did you mean langs?"]),
        ("lang: sesame", ["2: language: expected one of en, zh-Hans"]),
        ("lang: [sesame]", ["secrets.yaml:1: lang: expected a text that is not empty; quote one that begins with !"]),
        (
            "\nlang: !sesame x",
            ["secrets.yaml:2: lang: expected a text that is not empty; quote one that begins with !"],
        ),
        ("lang: en\nlang: sesame", ["secrets.yaml:2: lang: this name is here twice; keep one"]),
        ("lang: en\n[sesame]: en", ["secrets.yaml:2: a name must be a plain text"]),
        ("- sesame", ["secrets.yaml:1: expected lines like NAME: VALUE"]),
        ("lang: *sesame", ["secrets.yaml:1: not YAML: found undefined alias; quote a text that begins with * or &"]),
    ],
)
def test_problem_in_the_secrets_file_repeats_no_secret(
    tmp_path: Path, secrets: str | None, expected: list[str]
) -> None:
    if secrets is not None:
        (tmp_path / "secrets.yaml").write_text(secrets)
    assert problems(BACKENDS + "language: !secret lang", tmp_path) == expected


def test_secret_without_a_name_is_a_problem() -> None:
    assert problems(BACKENDS + "language: !secret") == ["2: language: expected !secret NAME"]


def test_validator_that_repeats_its_value_repeats_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secrets.yaml").write_text("word: sesame-9")
    text = "backends: {x: {platform: ums, url: 'http://a', mode: !secret word}}"
    assert problems(text, tmp_path) == ["1: backends.x.mode: *** not match for fast"]


def test_environment_variable_as_text_number_or_switch_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("F2M_PORT", "1884")
    monkeypatch.setenv("F2M_HOST", "broker")
    monkeypatch.delenv("F2M_NONE", raising=False)
    config = read(
        "mqtt: {host: !env_var F2M_HOST, port: !env_var F2M_PORT 1, tls: !env_var F2M_NONE yes}\n"
        "discovery: {birth_payload: !env_var F2M_NONE two words}\n" + BACKENDS
    )
    assert config.mqtt == MqttConfig(host="broker", port=1884, tls=TlsConfig())
    assert config.discovery.birth_payload == "two words"
    assert config.secrets == frozenset()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("F2M_NONE", "the environment variable F2M_NONE is not set, and no default is given"),
        ("", "expected !env_var NAME or !env_var NAME default"),
        ("A=B", "expected !env_var NAME or !env_var NAME default"),
    ],
)
def test_environment_variable_that_is_not_set_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, value: str, problem: str
) -> None:
    monkeypatch.delenv("F2M_NONE", raising=False)
    assert problems(BACKENDS + f"language: !env_var {value}") == [f"2: language: {problem}"]


def test_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    def told(name: str | Path) -> list[str]:
        with pytest.raises(ConfigError) as raised:
            load(tmp_path / name, PLATFORMS)
        return raised.value.problems

    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    (tmp_path / "empty.yaml").write_bytes(b"")
    assert told("none.yaml") == [f"{tmp_path}/none.yaml: cannot be read: no such file or directory"]
    assert told(tmp_path) == [f"{tmp_path}: cannot be read: is a directory"]
    assert told("a\0b") == [f"{tmp_path}/a\0b: cannot be read: no such path"]
    assert told("latin.yaml") == [f"{tmp_path}/latin.yaml:2: not UTF-8; save the file in that encoding"]
    assert told("empty.yaml") == [f"{tmp_path}/empty.yaml:1: nothing in it; expected options, backends at least"]
