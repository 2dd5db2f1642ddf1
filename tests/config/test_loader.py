"""The configuration file: what it becomes."""

from __future__ import annotations

import dataclasses
import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
import trustme
import voluptuous as vol

from fleet2mqtt.config.loader import load
from fleet2mqtt.config.models import (
    EVERYWHERE,
    AlarmConfig,
    CommandConfig,
    Config,
    DiscoveryConfig,
    FirstRun,
    Language,
    ListenConfig,
    MqttConfig,
    Protocol,
    PushListenConfig,
    Secret,
    TlsConfig,
)
from fleet2mqtt.sdk import api
from tests.configuring import BACKENDS, PLATFORMS, read


def test_config_with_backends_only_has_every_default() -> None:
    config = read(BACKENDS)
    assert config == Config(path=Path("/nowhere/f.yaml"), data_dir=Path("/nowhere/data"), backends=config.backends)
    assert config.push == PushListenConfig(host="0.0.0.0", port=8098, trusted_proxies=())  # noqa: S104 - says where the default listens
    assert config.web == ListenConfig(host="127.0.0.1", port=8099)
    assert config.secrets == frozenset()
    backend = config.backends["hq"]
    assert (backend.name, backend.platform, backend.push, backend.allow, backend.stale_after) == (
        ("hq", "ums", None, (), 7200.0)
    )
    assert backend.options == {
        "url": "http://a",
        "time_zone": ZoneInfo("Asia/Shanghai"),
        "verify_tls": True,
        "timeout": 10.0,
        "headers": {},
        "page_size": 100,
        "scan_interval": {"devices": 60, "alarms": 30},
        "allow": (),
        "secrets": frozenset(),
    }


EVERYTHING = """
mqtt:
  {host: h, port: 1, username: u, password: sesame-1, client_id: c, protocol: 3.1.1, keepalive: 9, discovery_rate: 2.5,
   max_payload: 2048, will_delay: 0, tls: {ca: ca.pem, certificate: cert.pem, key: key.pem, verify: false}}
base_topic: site/f2m
discovery: {enabled: false, prefix: ha, birth_payload: up}
language: zh-Hans
data_dir: state
push: {port: 0, trusted_proxies: [127.0.0.1, "10.1.0.0/16"]}
web: {host: "::1", port: 0}
alarms: {max_rows: 1, max_bytes: 1024, history_rows: 2, first_run: 48h}
commands: {max_age: 5, confirm_timeout: 0.5, max_pending: 3}
backends:
  hq:
    platform: ums
    url: https://[fe80::1]:444/base/
    time_zone: UTC
    verify_tls: no
    ca: ca.pem
    timeout: 0.5
    headers: {Authorization: Bearer abc}
    push: {secret: s3cret.~_-, allow: [10.0.0.5, "fe80::/10"]}
    allow: [mapping_delete]
    stale_after: 0
    scan_interval: {devices: 1.5}
    extra: {token: t, password: sesame-2}
"""


@pytest.fixture
def everything(tmp_path: Path) -> Config:
    """With every option of the bridge and every common option of a backend, none of them the default."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("x")
    return read(EVERYTHING, tmp_path)


def test_config_with_every_option_of_the_bridge_has_its_values(everything: Config, tmp_path: Path) -> None:
    config = everything
    tls = TlsConfig(
        ca=f"{tmp_path}/ca.pem", certificate=f"{tmp_path}/cert.pem", key=f"{tmp_path}/key.pem", verify=False
    )
    assert config.mqtt == MqttConfig(
        host="h",
        port=1,
        username="u",
        password=Secret("sesame-1"),
        client_id="c",
        protocol=Protocol.V311,
        keepalive=9,
        tls=tls,
        discovery_rate=2.5,
        max_payload=2048,
        will_delay=0,
    )
    assert (config.base_topic, config.language, config.data_dir) == ("site/f2m", Language.CHINESE, tmp_path / "state")
    assert config.discovery == DiscoveryConfig(enabled=False, prefix="ha", birth_topic="ha/status", birth_payload="up")
    assert (config.push.port, config.web) == (0, ListenConfig(host="::1", port=0))
    assert config.push.trusted_proxies == (ip_network("127.0.0.1/32"), ip_network("10.1.0.0/16"))
    assert config.alarms == AlarmConfig(max_rows=1, max_bytes=1024, history_rows=2, first_run=FirstRun.TWO_DAYS)
    assert config.commands == CommandConfig(max_age=5, confirm_timeout=0.5, max_pending=3)
    assert config.secrets == {"sesame-1", "s3cret.~_-", "Bearer abc", "sesame-2"}


def test_backend_with_every_common_option_has_its_values(everything: Config, tmp_path: Path) -> None:
    backend = everything.backends["hq"]
    assert backend.options["url"] == "https://[fe80::1]:444/base"
    assert (backend.options["verify_tls"], backend.options["ca"]) == (False, f"{tmp_path}/ca.pem")
    assert (backend.options["timeout"], backend.options["headers"]) == (0.5, {"Authorization": "Bearer abc"})
    assert backend.options["scan_interval"] == {"devices": 1.5, "alarms": 30}
    assert backend.push
    assert backend.push.secret.reveal() == "s3cret.~_-"
    assert backend.push.allow == (ip_network("10.0.0.5/32"), ip_network("fe80::/10"))
    assert (backend.allow, backend.stale_after) == (("mapping_delete",), 0.0)


@pytest.mark.parametrize(
    ("options", "port", "tls"),
    [
        ("", 1883, None),
        (", tls: false", 1883, None),
        (", tls: true", 8883, TlsConfig()),
        (", tls: {}", 8883, TlsConfig()),
        (", tls:", 8883, TlsConfig()),
        (", tls: true, port: 1883", 1883, TlsConfig()),
    ],
)
def test_mqtt_port_left_out_follows_tls(options: str, port: int, tls: TlsConfig | None) -> None:
    assert read(f"mqtt: {{host: h{options}}}\n" + BACKENDS).mqtt == MqttConfig(host="h", port=port, tls=tls)


@pytest.mark.parametrize("section", ["discovery", "alarms", "commands", "push", "web"])
def test_section_left_empty_has_its_defaults(section: str) -> None:
    assert read(f"{section}:\n" + BACKENDS) == read(BACKENDS)


@pytest.mark.parametrize("text", ["backends: {}", "backends:"])
def test_backends_left_empty_are_accepted(text: str) -> None:
    assert read(text).backends == {}


def test_common_option_that_a_platform_redefines_is_the_platforms() -> None:
    options = read("backends: {x: {platform: locked, url: 'http://a', password: p}}").backends["x"].options
    assert (options["verify_tls"], options["password"]) == (False, "p")


def test_push_allow_left_out_allows_every_address() -> None:
    push = read("backends: {x: {platform: ums, url: 'http://a', push: {secret: 12345678a}}}").backends["x"].push
    assert push
    assert push.allow == EVERYWHERE
    assert [any(ip_address(each) in network for network in EVERYWHERE) for each in ("10.0.0.5", "fe80::1")] == [
        True,
        True,
    ]


def test_anchors_and_merge_keys_share_options() -> None:
    config = read(
        """
backends:
  a: &common {platform: ums, url: 'http://a', timeout: 5, page_size: 7}
  b:
    url: http://b
    <<: *common
  c:
    <<: [{timeout: 6}, *common]
"""
    )
    told = {
        name: (b.options["url"], b.options["timeout"], b.options["page_size"]) for name, b in config.backends.items()
    }
    assert told == {"a": ("http://a", 5.0, 7), "b": ("http://b", 5.0, 7), "c": ("http://a", 6.0, 7)}


def test_secret_shows_only_by_reveal() -> None:
    config = read("mqtt: {host: h, username: u, password: sesame-7}\n" + BACKENDS)
    assert config.mqtt
    password = config.mqtt.password
    assert password == Secret("sesame-7")
    assert password != Secret("sesame-8")
    assert len({password, Secret("sesame-7")}) == 1
    assert f"{password} {password!r} {[password]}" == "*** *** [***]"
    shown = [
        repr(config),
        str(dataclasses.asdict(config.mqtt)),
        json.dumps(dataclasses.asdict(config.mqtt), default=str),
    ]
    assert "sesame" not in "".join([*shown, orjson.dumps(config.mqtt, default=str).decode()])


def test_relative_paths_start_at_the_file_not_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    trustme.CA().cert_pem.write_to_path(tmp_path / "etc" / "ca.pem")
    (tmp_path / "etc" / "f.yaml").write_bytes(
        b"\xef\xbb\xbf" + f"mqtt: {{host: h, tls: {{ca: ca.pem}}}}\n{BACKENDS}".encode()
    )
    monkeypatch.chdir(tmp_path)
    config = load(Path("etc/f.yaml"), PLATFORMS)
    assert config.path == Path("etc/f.yaml")
    assert config.data_dir == tmp_path / "etc" / "data"
    assert config.mqtt
    assert config.mqtt.tls == TlsConfig(ca=f"{tmp_path}/etc/ca.pem")


def test_secret_options_of_a_platform_at_any_depth_are_secret(tmp_path: Path) -> None:
    own = {
        vol.Required("key", description=api.SECRET): str,
        vol.Optional("other", default=dict): {vol.Optional("token", default=None, description=api.SECRET): str},
    }
    platform: Any = SimpleNamespace(SCHEMA=own)
    text = "backends: {x: {platform: mine, url: 'http://a', key: sesame-3, other: {token: sesame-4}}}"
    file = tmp_path / "fleet2mqtt.yaml"
    file.write_text(text)
    config = load(file, {"mine": lambda: platform})
    assert config.backends["x"].secrets == {"sesame-3", "sesame-4"}
    assert config.secrets == {"sesame-3", "sesame-4"}


@pytest.mark.parametrize("off", ["off", "'off'", "false"])
def test_optional_source_may_be_off(off: str) -> None:
    backend = read(f"backends: {{hq: {{platform: ums, url: 'http://a', scan_interval: {{alarms: {off}}}}}}}").backends[
        "hq"
    ]
    assert backend.options["scan_interval"] == {"devices": 60, "alarms": None}
