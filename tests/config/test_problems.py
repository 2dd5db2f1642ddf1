"""Every way the configuration can be wrong, with the words an operator reads."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from fleet2mqtt.config.loader import parse
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.sdk.api import Platform
from tests.configuring import BACKENDS, PAIRED, problems

KEYS = (
    "alarms, backends, base_topic, cluster, commands, data_dir, discovery, language, mqtt, notify, push, tracing, web"
)
MQTT_KEYS = (
    "client_id, discovery_rate, host, keepalive, max_payload, password, port, protocol, take_over, tls, username, "
    "will_delay"
)
SELECTED_BY = "id, name, model, group, tag, location, kind"
RULE_KEYS = "group, id, kind, location, model, name, tag"
UMS_KEYS = (
    "alarms, allow, area, ca, entities, exclude, extra, group_devices, headers, include, mode, overrides, page_size, "
    "platform, push, scan_interval, stale_after, time_zone, timeout, url, verify_tls"
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


# One problem each: what is written, then what is said.
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
    (BACKENDS + BACKENDS, "2: backends: this key is here twice; keep one"),
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
    (
        BACKENDS + "mqtt:",
        "2: mqtt.host: missing; expected the broker's host, or no mqtt: at all for the embedded broker",
    ),
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
    ("scan_interval: {devices: off}", "scan_interval.devices: expected a number of seconds"),
    ("scan_interval: {alarms: on}", "scan_interval.alarms: expected a number of seconds, or off"),
    ("scan_interval: {alarms: never}", "scan_interval.alarms: expected a number of seconds, or off"),
    ("scan_interval: {alarms: 0}", "scan_interval.alarms: value must be at least 0.1"),
    ("scan_interval: {device: 1}",
     "scan_interval.device: unknown option; did you mean devices? allowed are alarms, devices"),
    ("scan_interval: 5", f"scan_interval: {MAPPING}"),
    ("page_size: many", "page_size: expected a whole number"),
    ("extra: {password: 5}", "extra.password: expected a text, quoted where it reads as a number"),
    ("exclude: [{kind: lime}]", "exclude[0].kind: no kind of sub-device of this platform; there is group, line"),
    ("include: [{grup: a}]", "include[0].grup: unknown option; did you mean group? allowed are " + RULE_KEYS),
    ("exclude: [{}]", f"exclude[0]: expected one of {SELECTED_BY} at least"),
    ("exclude: {model: OM20}", "exclude: expected a list of rules such as [{model: OM20*}]"),
    ("entities: some", "entities: expected one of minimal, standard, full"),
    ("overrides: {uptime: {icon: clock}}", "overrides.uptime.icon: expected an icon such as mdi:phone"),
    ("time_out: 5", f"time_out: unknown option; did you mean timeout? allowed are {UMS_KEYS}"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), WRONG)
def test_problem_of_an_option_names_line_option_and_what_is_allowed(text: str, problem: str) -> None:
    said = problems(text)
    assert said == [problem]
    assert "sesame" not in said[0]


@pytest.mark.parametrize(("option", "problem"), WRONG_OPTIONS)
def test_problem_of_a_backend_names_line_option_and_what_is_allowed(option: str, problem: str) -> None:
    url = "" if option.startswith("url:") else "    url: http://a\n"
    said = problems(f"backends:\n  hq:\n    platform: ums\n{url}    {option}\n")
    assert said == [f"{5 if url else 4}: backends.hq.{problem}"]
    assert "sesame" not in said[0]


def test_problems_of_a_file_are_reported_together_in_order_of_lines(tmp_path: Path) -> None:
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
    assert problems(text, tmp_path) == [
        "1: mqtt.host: missing; expected the broker's host, or no mqtt: at all for the embedded broker",
        "2: mqtt.port: expected a whole number from 1 to 65535",
        f"3: mqtt.pasword: unknown option; did you mean password? allowed are {MQTT_KEYS}",
        "3: mqtt.pasword: no secret nix in secrets.yaml",
        "5: mqtt.tls.key: a key needs a certificate beside it",
        "5: mqtt.tls.key: expected a file that can be read; this one: no such file or directory",
        "6: language: expected one of en, zh-Hans",
        "7: base_topic: the base topic may not be the discovery prefix nor lie inside it; choose another",
        "8: language: this key is here twice; keep one",
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
def test_check_of_a_platform_reports_contradictions_between_options(options: str, expected: list[str]) -> None:
    text = f"backends:\n  p: {{platform: paired, url: 'http://a',\n    {options}}}\n"
    with pytest.raises(ConfigError) as raised:
        parse(text, Path("/nowhere/f.yaml"), {"paired": lambda: cast("Platform", PAIRED)})
    assert [problem.removeprefix("/nowhere/f.yaml:") for problem in raised.value.problems] == expected


def test_ca_file_without_certificates_is_a_problem(tmp_path: Path) -> None:
    for name, content in (("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), ("empty", "")):
        (tmp_path / name).write_text(content)
    text = "mqtt: {host: h, tls: {ca: key.pem}}\nbackends: {hq: {platform: ums, url: 'https://a', ca: empty}}"
    assert problems(text, tmp_path) == [
        "1: mqtt.tls.ca: expected a file with certificates in PEM",
        "2: backends.hq.ca: expected a file with certificates in PEM",
    ]
