"""fleet2mqtt.example.yaml cannot drift: it loads, as it is and with every option taken in, and it leaves none out."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from fleet2mqtt.config import yaml_reader
from fleet2mqtt.config.loader import load, parse
from fleet2mqtt.config.models import (
    AlarmConfig,
    ClusterConfig,
    CommandConfig,
    Config,
    DiscoveryConfig,
    MqttConfig,
    PushConfig,
    PushListenConfig,
    TlsConfig,
)
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.sdk.api import platforms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EXAMPLE = Path(__file__).parents[2] / "fleet2mqtt.example.yaml"
SECRETS = (
    "cluster_dsn: host=10.0.0.21\n"
    "mqtt_password: sesame\nproxy_authorization: Basic sesame\nums_push: sesame-sesame\nduty_url: json://a\n"
)


@pytest.fixture
def whole(tmp_path: Path) -> Config:
    """With all that is left out taken in, and the files that it names beside it."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("client.pem", "client-key.pem"):
        (tmp_path / name).touch()
    (tmp_path / "secrets.yaml").write_text(SECRETS)
    file = tmp_path / "fleet2mqtt.yaml"
    file.write_text(re.sub(r"^( *)#(?=\S)", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    return load(file)


def test_example_as_it_is_loads() -> None:
    config = load(EXAMPLE)
    assert config.mqtt is None
    assert {backend.platform for backend in config.backends.values()} == platforms().keys()


def test_example_option_left_out_shows_its_default(whole: Config) -> None:
    plain = load(EXAMPLE)
    for section in ("base_topic", "discovery", "language", "push", "web", "alarms", "commands"):
        assert getattr(whole, section) == getattr(plain, section)
    assert whole.data_dir.name == plain.data_dir.name
    assert whole.mqtt
    told = {f.name: getattr(whole.mqtt, f.name) for f in dataclasses.fields(MqttConfig)}
    least = MqttConfig(host="broker.lan", port=8883)
    without_default = {"username", "password", "client_id", "tls"}
    assert told | dict.fromkeys(without_default) == {
        f.name: getattr(least, f.name) for f in dataclasses.fields(MqttConfig)
    }
    for name, backend in whole.backends.items():
        given = {"ca": None, "headers": None}
        assert {**backend.options, **given} == {**plain.backends[name].options, **given}
        assert (backend.allow, backend.stale_after) == (plain.backends[name].allow, plain.backends[name].stale_after)


def test_example_contains_every_option_of_the_bridge() -> None:
    written = set(re.findall(r"^ *#?(\w+):", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    kinds: tuple[Any, ...] = (
        Config,
        MqttConfig,
        TlsConfig,
        DiscoveryConfig,
        PushListenConfig,
        AlarmConfig,
        ClusterConfig,
        CommandConfig,
        PushConfig,
    )
    there = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert there - {"path", "secrets", "warnings"} <= written


def test_example_option_is_taken_from_an_environment_variable(whole: Config) -> None:
    document = yaml_reader.read(whole.path.read_text("utf-8"), whole.path).value
    variables = {
        f"FLEET2MQTT__{'__'.join(path).upper()}": value if isinstance(value, str) else json.dumps(value)
        for path, value in leaves(document)
    }
    assert len(variables) > 150
    assert parse("", whole.path, variables=variables) == whole


def leaves(options: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what has a variable of its own; keys that are none of the bridge's may have capitals and dots."""
    for key, value in options.items():
        if isinstance(value, dict) and value and all(re.fullmatch(r"[a-z0-9_]+", each) for each in value):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


@pytest.mark.parametrize("name", sorted(platforms()))
def test_example_contains_every_option_of_a_platform(whole: Config, name: str) -> None:
    backends = yaml_reader.read(whole.path.read_text(), whole.path).value["backends"]
    written = next(each for each in backends.values() if each["platform"] == name)
    for marker, rows in platforms()[name]().SCHEMA.items():
        assert str(marker) in written
        if isinstance(rows, dict):
            assert set(written[str(marker)]) == {str(inner) for inner in rows}


def test_example_contains_every_common_option(whole: Config) -> None:
    backends = yaml_reader.read(whole.path.read_text(), whole.path).value["backends"]
    with pytest.raises(ConfigError) as raised:
        parse("backends: {x: {platform: ums, url: 'http://a', zzzz: 1}}", whole.path)
    known = raised.value.problems[0].partition("allowed are ")[2].split(", ")
    assert "verify_tls" in known
    assert set(known) <= backends["hq_voip"].keys()
