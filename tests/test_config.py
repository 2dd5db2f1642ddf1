"""The configuration file: what it becomes, and every way it can be wrong with the words an operator reads."""

from __future__ import annotations

import dataclasses
import json
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

import orjson
import pytest
import trustme
import voluptuous as vol
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.backend import Platform, scan_interval
from bridge.config import (
    EVERYWHERE,
    Alarms,
    Commands,
    Config,
    Discovery,
    Language,
    Listen,
    Mqtt,
    Protocol,
    Secret,
    Tls,
    load,
    parse,
)
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.config import Platforms

UMS = SimpleNamespace(
    SCHEMA={
        vol.Optional("page_size", default=100): vol.All(int, vol.Range(min=1, max=1000)),
        vol.Optional("mode"): vol.Literal("fast"),
        vol.Optional("extra"): {vol.Optional("token"): str, vol.Optional("password"): str},
        **scan_interval(devices=60, alarms=30),
    }
)
LOCKED = SimpleNamespace(SCHEMA={vol.Optional("verify_tls", default=False): bool, vol.Required("password"): str})
PAIRED = SimpleNamespace(
    SCHEMA={vol.Optional("low"): int, vol.Optional("high"): int},
    check=lambda options: [] if "high" in options else [vol.Invalid("needs high beside it", ["low"])],
)
PLATFORMS: Platforms = {"ums": lambda: cast("Platform", UMS), "locked": lambda: cast("Platform", LOCKED)}

BACKENDS = "backends: {hq: {platform: ums, url: 'http://a'}}\n"
KEYS = "alarms, backends, base_topic, commands, data_dir, discovery, language, mqtt, push, web"
MQTT_KEYS = (
    "client_id, discovery_rate, host, keepalive, max_payload, password, port, protocol, tls, username, will_delay"
)
UMS_KEYS = (
    "allow, ca, extra, headers, mode, page_size, platform, push, scan_interval, stale_after, time_zone, timeout, url, "
    "verify_tls"
)
TAB = (
    "2: not YAML: while scanning for the next token: found character '\\t' that cannot start any token; "
    "indent with spaces"
)
QUOTE = "expected a text; quote one that reads as a number or as yes or no"
URL = "expected a URL such as http://10.0.0.5:8080"
HOST = "expected a host name or an address alone, without mqtt:// and without a port"
TOPIC = "expected a topic of a-z A-Z 0-9 _ - with / only between its levels, no wildcard"
MAPPING = "expected a mapping, lines like key: value"
NAME = "expected a name of a-z 0-9 _ -, 24 at most, the first no _ or -; and not bridge"
SECRET = "expected 8 or more characters of A-Z a-z 0-9 . _ ~ -"
TAG = "unknown tag; allowed are !secret NAME and !env_var NAME [default], quote a text that begins with !"


def faults(text: str, folder: Path | None = None) -> list[str]:
    """What is wrong, without the name of the file."""
    file = (folder or Path("/nowhere")) / "f.yaml"
    with pytest.raises(ConfigError) as raised:
        parse(text, file, PLATFORMS)
    return [fault.replace(f"{file.parent}/", "").removeprefix("f.yaml:") for fault in raised.value.faults]


def read(text: str, folder: Path = Path("/nowhere")) -> Config:
    return parse(text, folder / "f.yaml", PLATFORMS)


def test_the_least_configuration_has_every_default() -> None:
    config = read(BACKENDS)
    assert config == Config(path=Path("/nowhere/f.yaml"), data_dir=Path("/nowhere/data"), backends=config.backends)
    assert config.push == Listen(host="0.0.0.0", port=8098)  # noqa: S104 - says where the default listens
    assert config.web == Listen(host="127.0.0.1", port=8099)
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


def test_everything_that_can_be_set(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("x")
    config = read(
        """
mqtt:
  {host: h, port: 1, username: u, password: sesame-1, client_id: c, protocol: 3.1.1, keepalive: 9, discovery_rate: 2.5,
   max_payload: 2048, will_delay: 0, tls: {ca: ca.pem, certificate: cert.pem, key: key.pem, verify: false}}
base_topic: site/f2m
discovery: {enabled: false, prefix: ha, birth_payload: up}
language: zh-Hans
data_dir: state
push: {port: 0}
web: {host: "::1", port: 0}
alarms: {max_rows: 1, max_bytes: 1024, history_rows: 2}
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
""",
        tmp_path,
    )
    tls = Tls(ca=f"{tmp_path}/ca.pem", certificate=f"{tmp_path}/cert.pem", key=f"{tmp_path}/key.pem", verify=False)
    assert config.mqtt == Mqtt(
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
    assert config.discovery == Discovery(enabled=False, prefix="ha", birth_topic="ha/status", birth_payload="up")
    assert (config.push.port, config.web) == (0, Listen(host="::1", port=0))
    assert config.alarms == Alarms(max_rows=1, max_bytes=1024, history_rows=2)
    assert config.commands == Commands(max_age=5, confirm_timeout=0.5, max_pending=3)
    backend = config.backends["hq"]
    assert backend.options["url"] == "https://[fe80::1]:444/base"
    assert (backend.options["verify_tls"], backend.options["ca"]) == (False, f"{tmp_path}/ca.pem")
    assert (backend.options["timeout"], backend.options["headers"]) == (0.5, {"Authorization": "Bearer abc"})
    assert backend.options["scan_interval"] == {"devices": 1.5, "alarms": 30}
    assert backend.push
    assert backend.push.secret.reveal() == "s3cret.~_-"
    assert backend.push.allow == (ip_network("10.0.0.5/32"), ip_network("fe80::/10"))
    assert (backend.allow, backend.stale_after) == (("mapping_delete",), 0.0)
    assert config.secrets == {"sesame-1", "s3cret.~_-", "Bearer abc", "sesame-2"}


@pytest.mark.parametrize(
    ("options", "port", "tls"),
    [
        ("", 1883, None),
        (", tls: false", 1883, None),
        (", tls: true", 8883, Tls()),
        (", tls: {}", 8883, Tls()),
        (", tls:", 8883, Tls()),
        (", tls: true, port: 1883", 1883, Tls()),
    ],
)
def test_the_port_follows_tls(options: str, port: int, tls: Tls | None) -> None:
    assert read(f"mqtt: {{host: h{options}}}\n" + BACKENDS).mqtt == Mqtt(host="h", port=port, tls=tls)


@pytest.mark.parametrize("section", ["discovery", "alarms", "commands", "push", "web"])
def test_a_section_left_empty_has_its_defaults(section: str) -> None:
    assert read(f"{section}:\n" + BACKENDS) == read(BACKENDS)


@pytest.mark.parametrize("text", ["backends: {}", "backends:"])
def test_a_bridge_may_have_no_backends_yet(text: str) -> None:
    assert read(text).backends == {}


def test_a_platform_may_have_its_own_view_of_a_common_option() -> None:
    options = read("backends: {x: {platform: locked, url: 'http://a', password: p}}").backends["x"].options
    assert (options["verify_tls"], options["password"]) == (False, "p")


def test_pushes_are_let_in_from_everywhere_by_default() -> None:
    push = read("backends: {x: {platform: ums, url: 'http://a', push: {secret: 12345678a}}}").backends["x"].push
    assert push
    assert push.allow == EVERYWHERE
    assert [any(ip_address(each) in network for network in EVERYWHERE) for each in ("10.0.0.5", "fe80::1")] == [
        True,
        True,
    ]


def test_anchors_and_merges_share_options() -> None:
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


def test_a_secret_shows_only_when_asked() -> None:
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


# One fault each: what is written, then what is said.
WRONG = [
    # The document.
    ("", "1: nothing in it; expected options, backends at least"),
    ("# only this\n", "1: nothing in it; expected options, backends at least"),
    ("- a", "1: expected a mapping, lines like key: value"),
    ("x", "1: expected a mapping, lines like key: value"),
    ("language: en", "1: backends: missing; expected a mapping, a name: with platform: and url: under it"),
    ("backends: 5", "1: backends: expected a mapping, a name: with platform: and url: under it"),
    ("a: [1", "1: not YAML: while parsing a flow sequence: expected ',' or ']', but got '<stream end>'"),
    ("a:\n\tb: 1", TAB),
    ("a: @sesame", "1: not YAML: while scanning for the next token: found character that cannot start any token"),
    ("\na: *sesame", "2: not YAML: found undefined alias; quote a text that begins with * or &"),
    ("a: &b 1\nc: &b 2\nd: &b 3", "2: not YAML: found duplicate anchor: second occurrence"),
    ("a: !x!sesame 1", "1: not YAML: while parsing a node: found undefined tag handle"),
    ("a: 1\n---\nb: 2", "2: not YAML: expected a single document in the stream: but found another document"),
    ("a\n\nb: \x01", "3: not YAML: a character that it does not allow"),
    ('a:\n  "\\U99999999"', "2: not YAML: a number or character code that does not exist"),
    ("[" * 5000, "1: nested too deeply, or an alias within itself"),
    ("&a {<<: *a}", "1: nested too deeply, or an alias within itself"),
    ("a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcde", "bcdef", strict=True)
    ), "1: too large: more than 50000 values"),
    (BACKENDS + "<<: 5", "2: <<: takes a mapping, or a list of mappings"),
    (BACKENDS + "[a]: 5", "2: a key must be a plain text"),
    (BACKENDS + BACKENDS, "2: backends: this key stands here twice; keep one"),
    (BACKENDS + "language: !sesame en", f"2: language: {TAG}"),
    (BACKENDS + "language: !secret [en]", f"2: language: {TAG}"),
    (BACKENDS + "language: !!set {en}", f"2: language: {TAG}"),
    (BACKENDS + "language: 0x_", "2: language: looks like a number and is none; quote a text"),
    (BACKENDS + "language: !!bool sesame", "2: language: looks like a number and is none; quote a text"),
    # Options at the root.
    (BACKENDS + "backend: {}", f"2: backend: unknown option; did you mean backends? allowed are {KEYS}"),
    (BACKENDS + "zzz: 1", f"2: zzz: unknown option; allowed are {KEYS}"),
    (BACKENDS + '"z\\n\\e[1m": 1', f"2: z\\n\\x1b[1m: unknown option; allowed are {KEYS}"),
    (BACKENDS + "language: de", "2: language: expected one of en, zh-Hans"),
    (BACKENDS + "base_topic: 0x" + "f" * 5000, f"2: base_topic: {TOPIC}"),
    (BACKENDS + "base_topic: a/", f"2: base_topic: {TOPIC}"),
    (BACKENDS + "base_topic: a/+/b", f"2: base_topic: {TOPIC}"),
    (BACKENDS + "base_topic: homeassistant/x",
     "2: base_topic: the base topic may not be the discovery prefix nor lie inside it; choose another"),
    (BACKENDS + "discovery: {prefix: fleet2mqtt}",
     "2: discovery.prefix: the base topic may not be the discovery prefix nor lie inside it; choose another"),
    (BACKENDS + "discovery: {birth_topic: 'a/#'}", "2: discovery.birth_topic: expected a topic without + and #"),
    (BACKENDS + "discovery: {enabled: 1}", "2: discovery.enabled: expected true or false"),
    (BACKENDS + "discovery: [prefix]", f"2: discovery: {MAPPING}"),
    (BACKENDS + "data_dir: ''", "2: data_dir: expected a text in one line that is not empty"),
    (BACKENDS + "data_dir: 5", f"2: data_dir: {QUOTE}"),
    (BACKENDS + "push: {port: 65536}", "2: push.port: expected a whole number from 0 to 65535"),
    (BACKENDS + "push: {port: true}", "2: push.port: expected a whole number from 0 to 65535"),
    (BACKENDS + "push: {port: 1.5}", "2: push.port: expected a whole number from 0 to 65535"),
    (BACKENDS + "push: {port: x}", "2: push.port: expected a whole number from 0 to 65535"),
    (BACKENDS + "push: {host: [a]}", f"2: push.host: {HOST}"),
    (BACKENDS + "push: {port: 8099}", "2: push.port: push and web need different ports"),
    (BACKENDS + "web: {port: 8098}", "2: web.port: push and web need different ports"),
    (BACKENDS + "web:\n  hosts: a", "3: web.hosts: unknown option; did you mean host? allowed are host, port"),
    (BACKENDS + "alarms: {max_bytes: 1}", "2: alarms.max_bytes: expected a whole number from 1024 to 1099511627776"),
    (BACKENDS + "commands: {max_age: .nan}", "2: commands.max_age: expected a number from 0.1 to 86400"),
    (BACKENDS + "commands: {max_age: .inf}", "2: commands.max_age: expected a number from 0.1 to 86400"),
    # The broker.
    (BACKENDS + "mqtt:", "2: mqtt.host: missing; expected the broker's host, or no mqtt: at all for the one inside"),
    (BACKENDS + "mqtt: {host: 'mqtt://h'}", f"2: mqtt.host: {HOST}"),
    (BACKENDS + "mqtt: {host: 'h:1883'}", f"2: mqtt.host: {HOST}"),
    (BACKENDS + "mqtt: {host: h, protocol: 4}", "2: mqtt.protocol: expected one of auto, 5, 3.1.1"),
    (BACKENDS + "mqtt: {host: h, username: 12}", f"2: mqtt.username: {QUOTE}"),
    (BACKENDS + "mqtt: {host: h, password: a}", "2: mqtt.password: a password needs a username beside it"),
    (BACKENDS + 'mqtt: {host: h, client_id: "a\\tb"}', "2: mqtt.client_id: expected 1 to 128 characters of ASCII"),
    (BACKENDS + "mqtt: {host: h, tls: maybe}", "2: mqtt.tls: expected true or false"),
    (BACKENDS + "mqtt: {host: h, tls: 5}", f"2: mqtt.tls: {MAPPING}"),
    (BACKENDS + "mqtt: {host: h, tls: {ca: no.pem}}",
     "2: mqtt.tls.ca: expected a file that can be read; this one: no such file or directory"),
    (BACKENDS + "mqtt: {host: h, tls: {certificate: /}}",
     "2: mqtt.tls.certificate: expected a file that can be read; this one: is a directory"),
    (BACKENDS + "mqtt: {host: h, tls: {verfy: false}}",
     "2: mqtt.tls.verfy: unknown option; did you mean verify? allowed are ca, certificate, key, verify"),
    # Backends.
    ("backends:\n  bridge: {platform: ums, url: 'http://a'}", f"2: backends.bridge: {NAME}"),
    ("backends:\n  HQ: {platform: ums, url: 'http://a'}", f"2: backends.HQ: {NAME}"),
    (f"backends:\n  {'a' * 25}: {{platform: ums, url: 'http://a'}}", f"2: backends.{'a' * 25}: {NAME}"),
    ("backends:\n  hq: ums", f"2: backends.hq: {MAPPING}"),
    ("backends:\n  hq: {url: 'http://a'}", "2: backends.hq.platform: missing; installed are locked, ums"),
    ("backends:\n  hq: {url: 'http://a', platform: usm, page_size: x}",
     "2: backends.hq.platform: unknown platform; did you mean ums? installed are locked, ums"),
    ("backends:\n  hq: {url: 'http://a', platform: [1]}",
     "2: backends.hq.platform: unknown platform; installed are locked, ums"),
    ("backends:\n  hq:\n    platform: ums", f"2: backends.hq.url: missing; {URL}"),
    ("backends:\n  hq: {url: 'http://a', platform: locked}", "2: backends.hq.password: missing, and required"),
]  # fmt: skip

# The same for one option of a backend.
WRONG_OPTIONS = [
    ("url: ftp://a", f"url: {URL}"),
    ("url: http://", f"url: {URL}"),
    ("url: http://a:99999", f"url: {URL}"),
    ("url: 'http://[::1'", f"url: {URL}"),
    ("url: 'http://a b'", f"url: {URL}"),
    ("url: 7", f"url: {URL}"),
    ("url: http://u:sesame@a", "url: expected a URL without credentials, query and fragment"),
    ("url: http://a?sesame", "url: expected a URL without credentials, query and fragment"),
    ("time_zone: Nowhere/At_All", "time_zone: expected an IANA time zone such as Asia/Shanghai"),
    ("time_zone: 8", "time_zone: expected an IANA time zone such as Asia/Shanghai"),
    ("verify_tls: sometimes", "verify_tls: expected true or false"),
    ("timeout: 0.4", "timeout: expected a number from 0.5 to 120"),
    ("headers: [a]", "headers: expected a mapping, lines like Name: text"),
    ("headers: {X: 5}", f"headers.X: {QUOTE}"),
    ('headers: {X: "a\\r\\nY: b"}', "headers.X: expected a text in one line that is not empty"),
    ("headers: {'X Y': b}", "headers.X Y: expected the name of an HTTP header such as Authorization"),
    ("allow: mapping_delete", "allow: expected a list of actions such as [mapping_delete]"),
    ("allow: [a, Bad]", "allow[1]: expected the name of an action such as mapping_delete"),
    ("stale_after: -1", "stale_after: expected a number from 0 to 2.14748e+09"),
    ("push:", f"push.secret: missing; {SECRET}"),
    ("push: {secret: sesame}", f"push.secret: {SECRET}"),
    ("push: {secret: sesame/sesame}", f"push.secret: {SECRET}"),
    ("push: {secret: sesame-sesame, allow: []}",
     "push.allow: expected a list of addresses or networks such as [10.0.0.5/32]"),
    ("push: {secret: sesame-sesame, allow: [10.0.0.5/24]}",
     "push.allow[0]: expected an address or a network such as 10.0.0.5 or 10.0.0.0/24"),
    ("scan_interval: {devices: 0}", "scan_interval.devices: value must be at least 0.1"),
    ("scan_interval: {device: 1}",
     "scan_interval.device: unknown option; did you mean devices? allowed are alarms, devices"),
    ("scan_interval: 5", f"scan_interval: {MAPPING}"),
    ("page_size: many", "page_size: expected a whole number"),
    ("extra: {password: 5}", "extra.password: expected a text, quoted where it reads as a number"),
    ("time_out: 5", f"time_out: unknown option; did you mean timeout? allowed are {UMS_KEYS}"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fault"), WRONG)
def test_a_fault_says_where_and_what(text: str, fault: str) -> None:
    said = faults(text)
    assert said == [fault]
    assert "sesame" not in said[0]


@pytest.mark.parametrize(("option", "fault"), WRONG_OPTIONS)
def test_a_fault_of_a_backend_says_where_and_what(option: str, fault: str) -> None:
    url = "" if option.startswith("url:") else "    url: http://a\n"
    said = faults(f"backends:\n  hq:\n    platform: ums\n{url}    {option}\n")
    assert said == [f"{5 if url else 4}: backends.hq.{fault}"]
    assert "sesame" not in said[0]


def test_all_faults_are_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    (tmp_path / "secrets.yaml").write_text("good: x\nempty:\n")
    text = """mqtt:
  port: 0
  pasword: !secret nix
  tls:
    key: no.pem
language: fr
base_topic: homeassistant
language: en
backends:
  a:
    platform: nix
    timeout: 0
  b:
    platform: ums
    url: !secret empty
    page_size: 0
  Bridge: [1]
"""
    assert faults(text, tmp_path) == [
        "1: mqtt.host: missing; expected the broker's host, or no mqtt: at all for the one inside",
        "2: mqtt.port: expected a whole number from 1 to 65535",
        f"3: mqtt.pasword: unknown option; did you mean password? allowed are {MQTT_KEYS}",
        "3: mqtt.pasword: no secret nix in secrets.yaml",
        "5: mqtt.tls.key: a key needs a certificate beside it",
        "5: mqtt.tls.key: expected a file that can be read; this one: no such file or directory",
        "6: language: expected one of en, zh-Hans",
        "7: base_topic: the base topic may not be the discovery prefix nor lie inside it; choose another",
        "8: language: this key stands here twice; keep one",
        f"10: backends.a.url: missing; {URL}",
        "11: backends.a.platform: unknown platform; installed are locked, ums",
        "12: backends.a.timeout: expected a number from 0.5 to 120",
        "16: backends.b.page_size: value must be at least 1",
        f"17: backends.Bridge: {NAME}",
        f"17: backends.Bridge: {MAPPING}",
        "secrets.yaml:2: empty: expected a text that is not empty; quote one that begins with !",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("low: 1", ["3: backends.p.low: needs high beside it"]),
        ("low: x", ["3: backends.p.low: expected a whole number", "3: backends.p.low: needs high beside it"]),
        ("high: x", ["3: backends.p.high: expected a whole number"]),
    ],
)
def test_a_platform_tells_what_is_wrong_in_no_option_alone(options: str, expected: list[str]) -> None:
    text = f"backends:\n  p: {{platform: paired, url: 'http://a',\n    {options}}}\n"
    with pytest.raises(ConfigError) as raised:
        parse(text, Path("/nowhere/f.yaml"), {"paired": lambda: cast("Platform", PAIRED)})
    assert [fault.removeprefix("/nowhere/f.yaml:") for fault in raised.value.faults] == expected


def test_secrets_are_read_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "secrets.yaml").write_text("pin: 007\ntoken: 'a b'\nport: 1884\n")
    config = read(
        "mqtt: {host: h, port: !secret port, username: u, password: !secret pin}\n"
        "backends: {x: {platform: ums, url: 'http://a', headers: {A: !secret token}}}",
        tmp_path,
    )
    assert config.mqtt == Mqtt(host="h", port=1884, username="u", password=Secret("007"))
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
        ("lang: en\nlang: sesame", ["secrets.yaml:2: lang: this name stands here twice; keep one"]),
        ("lang: en\n[sesame]: en", ["secrets.yaml:2: a name must be a plain text"]),
        ("- sesame", ["secrets.yaml:1: expected lines like NAME: VALUE"]),
        ("lang: *sesame", ["secrets.yaml:1: not YAML: found undefined alias; quote a text that begins with * or &"]),
    ],
)
def test_a_fault_of_secrets_tells_none(tmp_path: Path, secrets: str | None, expected: list[str]) -> None:
    if secrets is not None:
        (tmp_path / "secrets.yaml").write_text(secrets)
    assert faults(BACKENDS + "language: !secret lang", tmp_path) == expected


def test_a_secret_needs_a_name() -> None:
    assert faults(BACKENDS + "language: !secret") == ["2: language: expected !secret NAME"]


def test_a_check_that_repeats_the_value_does_not_tell_a_secret(tmp_path: Path) -> None:
    (tmp_path / "secrets.yaml").write_text("word: sesame-9")
    text = "backends: {x: {platform: ums, url: 'http://a', mode: !secret word}}"
    assert faults(text, tmp_path) == ["1: backends.x.mode: *** not match for fast"]


def test_the_environment_gives_texts_numbers_and_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("F2M_PORT", "1884")
    monkeypatch.setenv("F2M_HOST", "broker")
    monkeypatch.delenv("F2M_NONE", raising=False)
    config = read(
        "mqtt: {host: !env_var F2M_HOST, port: !env_var F2M_PORT 1, tls: !env_var F2M_NONE yes}\n"
        "discovery: {birth_payload: !env_var F2M_NONE two words}\n" + BACKENDS
    )
    assert config.mqtt == Mqtt(host="broker", port=1884, tls=Tls())
    assert config.discovery.birth_payload == "two words"
    assert config.secrets == frozenset()


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("F2M_NONE", "the environment variable F2M_NONE is not set, and no default is given"),
        ("", "expected !env_var NAME or !env_var NAME default"),
        ("A=B", "expected !env_var NAME or !env_var NAME default"),
    ],
)
def test_a_fault_of_the_environment(monkeypatch: pytest.MonkeyPatch, value: str, fault: str) -> None:
    monkeypatch.delenv("F2M_NONE", raising=False)
    assert faults(BACKENDS + f"language: !env_var {value}") == [f"2: language: {fault}"]


def test_a_file_that_cannot_be_read_is_one_fault(tmp_path: Path) -> None:
    def told(name: str | Path) -> list[str]:
        with pytest.raises(ConfigError) as raised:
            load(tmp_path / name, PLATFORMS)
        return raised.value.faults

    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    (tmp_path / "empty.yaml").write_bytes(b"")
    assert told("none.yaml") == [f"{tmp_path}/none.yaml: cannot be read: no such file or directory"]
    assert told(tmp_path) == [f"{tmp_path}: cannot be read: is a directory"]
    assert told("a\0b") == [f"{tmp_path}/a\0b: cannot be read: no such path"]
    assert told("latin.yaml") == [f"{tmp_path}/latin.yaml:2: not UTF-8; save the file in that encoding"]
    assert told("empty.yaml") == [f"{tmp_path}/empty.yaml:1: nothing in it; expected options, backends at least"]


def test_a_file_without_certificates_vouches_for_nobody(tmp_path: Path) -> None:
    for name, content in (("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), ("empty", "")):
        (tmp_path / name).write_text(content)
    text = "mqtt: {host: h, tls: {ca: key.pem}}\nbackends: {hq: {platform: ums, url: 'https://a', ca: empty}}"
    assert faults(text, tmp_path) == [
        "1: mqtt.tls.ca: expected a file with certificates in PEM",
        "2: backends.hq.ca: expected a file with certificates in PEM",
    ]


def test_paths_are_relative_to_the_file_and_not_to_where_one_stands(
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
    assert config.mqtt.tls == Tls(ca=f"{tmp_path}/etc/ca.pem")


PIECES = st.sampled_from(
    [
        *"{}[]:,-#&*!|>%@`?'\"\\ \n\t",
        *(
            ": ",
            "\n  ",
            "\n    ",
            "- ",
            "<<: ",
            "*a",
            "&a ",
            "!secret ",
            "!env_var ",
            "!!int ",
            "!!float ",
            "0x",
            "1:2:3",
        ),
        *(
            "backends:",
            "hq:",
            "platform: ums",
            "platform: ",
            "url: http://",
            "url: ",
            "mqtt:",
            "tls: ",
            "push: ",
            "port: ",
        ),
        *("secret: ", "allow: ", "headers: ", "scan_interval: ", "time_zone: ", "true", "null", ".nan", "2021-13-45"),
        *('"\\ud800"', '"\\0"', '"\\U00110000"', "é", "\x85", "\ufeff", "0" * 30, "9" * 5000, "0x" + "f" * 5000),
    ]
)


def faults_or_none(text: str) -> list[str]:
    try:
        parse(text, Path("/nowhere/f.yaml"), PLATFORMS)
    except ConfigError as error:
        return error.faults
    return []


@given(st.text() | st.lists(PIECES | st.text(max_size=3), max_size=40).map("".join))
def test_no_text_raises_anything_but_faults(text: str) -> None:
    for fault in faults_or_none(text):
        assert re.match(r"/nowhere/f\.yaml:\d+: ", fault)
        assert fault.isprintable()


OPTIONS = st.sampled_from(
    [
        *("mqtt", "host", "port", "tls", "ca", "key", "password", "discovery", "prefix", "base_topic", "push", "web"),
        *("backends", "hq", "platform", "url", "headers", "secret", "allow", "scan_interval", "devices", "time_zone"),
        *("timeout", "stale_after", "page_size", "extra", "language", "alarms"),
    ]
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["ums", "http://a"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(OPTIONS, inner, max_size=6),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(["mqtt", "backends", "push", "web", "discovery", "base_topic"]), VALUES))
def test_no_structure_raises_anything_but_faults(value: dict[str, object]) -> None:
    for fault in faults_or_none(json.dumps(value)):
        assert re.match(r"/nowhere/f\.yaml:1: ", fault)


def test_examples_are_the_same_each_time_and_have_no_deadline() -> None:
    """By default hypothesis makes up others in each run, and fails a test whose machine was busy for 0.2 s."""
    now = settings()
    assert (now.derandomize, now.deadline) == (True, None)
