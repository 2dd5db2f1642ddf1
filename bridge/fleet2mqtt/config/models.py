"""Models of the configuration: frozen data with defaults. fleet2mqtt.config.loader builds them from a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import time
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from fleet2mqtt.devices.alarm_rules import NO_RULES, AlarmRules
from fleet2mqtt.devices.conditions import ConditionOptions
from fleet2mqtt.devices.model import Severity
from fleet2mqtt.devices.selection import DEFAULT, Rule, Selection
from fleet2mqtt.redaction import SECRET_KEYS

Network = IPv4Network | IPv6Network

BASE_TOPIC = "fleet2mqtt"
PREFIX = "homeassistant"
_TOKEN_LENGTH = 8
_SECRET_PARAMETER = re.compile(r"pass|pwd|token|secret|key|auth|sign", re.IGNORECASE)
EVERYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Language(StrEnum):
    """Language of entity names."""

    ENGLISH = "en"
    CHINESE = "zh-Hans"


class Protocol(StrEnum):
    """MQTT version; `auto` is 5 where the broker has it, else 3.1.1."""

    AUTO = "auto"
    V5 = "5"
    V311 = "3.1.1"


class FirstRun(StrEnum):
    """Alarms that are published as events although they were raised before the first run."""

    NONE = "none"
    TWO_DAYS = "48h"


class Secret:
    """A text that shows as `***`; `reveal()` returns it.

    No dataclass: dataclasses.asdict() and orjson would look into one.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Paths of PEM files; without `ca` the system's authorities count. `key` may also be in `certificate`."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttConfig:
    """The broker. `keepalive` and `will_delay` are seconds, `discovery_rate` devices a second, `max_payload` bytes."""

    host: str
    port: int
    username: str | None = None
    password: Secret | None = None
    client_id: str | None = None
    protocol: Protocol = Protocol.AUTO
    keepalive: int = 30
    tls: TlsConfig | None = None
    discovery_rate: float = 100.0
    max_payload: int = 1 << 20
    will_delay: int = 10
    take_over: bool = False
    """Start even if another bridge is online on the base topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryConfig:
    """Home Assistant's discovery; it publishes `birth_payload` on `birth_topic` after a start."""

    enabled: bool = True
    prefix: str = PREFIX
    birth_topic: str = f"{PREFIX}/status"
    birth_payload: str = "online"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenConfig:
    """Address of an HTTP server; port 0 lets the system choose."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PushListenConfig(ListenConfig):
    """Address at which pushes are received; only `trusted_proxies` are believed their X-Forwarded-For header."""

    trusted_proxies: tuple[Network, ...] = ()


PUSH = PushListenConfig(host="0.0.0.0", port=8098)  # noqa: S104 - vendors' systems are on other machines
WEB = ListenConfig(host="127.0.0.1", port=8099)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmConfig:
    """Bounds of the outbox in alarms and bytes, of the history in alarms, and what a first run publishes.

    `max_shelve` and `suppression_delay` are seconds; `conditions` are options of conditions for all backends.
    """

    max_rows: int = 100_000
    max_bytes: int = 256 << 20
    history_rows: int = 100_000
    first_run: FirstRun = FirstRun.NONE
    max_shelve: float = 86_400.0
    suppression_delay: float = 120.0
    conditions: Mapping[str, ConditionOptions] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """Hours of each day, in a time zone, in which only alarms of the severities in `but` are notified at once."""

    start: time
    end: time
    zone: ZoneInfo
    but: frozenset[Severity] = frozenset((Severity.CRITICAL,))


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyConfig:
    """One target of notifications. `include` and `exclude` select devices; sub-devices with them.

    An alarm is notified after `delay` seconds, and again every `escalate_after` seconds, `escalate_repeat` times, while
    it is active and not acknowledged. More than `storm_count` within `storm_within` seconds become one digest.
    """

    name: str
    url: Secret
    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()
    severities: frozenset[Severity] = frozenset(Severity) - {Severity.CLEARED}
    quiet_hours: QuietHours | None = None
    storm_count: int = 20
    storm_within: float = 60.0
    delay: float = 0.0
    escalate_after: float | None = None
    escalate_repeat: int = 1
    language: Language | None = None
    time_zone: ZoneInfo | None = None
    """Of the times in texts; left out, that of the quiet hours, else UTC."""
    title: str | None = None
    body: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandConfig:
    """Bounds of commands: age and duration of the read-back in seconds, and number of waiting commands."""

    max_age: float = 60.0
    confirm_timeout: float = 10.0
    max_pending: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """A cluster of nodes on PostgreSQL. A node that has not renewed its lease for `ttl` seconds is taken over from.

    With `require_replication` nothing is acknowledged that no synchronous standby has.
    """

    dsn: Secret
    node: str
    ttl: float = 10.0
    require_replication: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PushConfig:
    """Conditions for a vendor's pushes: the secret in their URL and an address in `allow`."""

    secret: Secret
    allow: tuple[Network, ...] = EVERYWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """One backend. `options` are those that its platform gets: the common ones and its own, defaults filled in.

    `allow` names the destructive actions that work, `secrets` are the values of options that the platform calls secret;
    both are among the options too. Data older than `stale_after` seconds counts as old; 0 is never.
    """

    name: str
    platform: str
    options: Mapping[str, Any] = field(repr=False)
    push: PushConfig | None = None
    allow: tuple[str, ...] = ()
    selection: Selection = DEFAULT
    alarm_rules: AlarmRules = NO_RULES
    conditions: Mapping[str, ConditionOptions] = field(default_factory=dict)
    stale_after: float = 7200.0
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingConfig:
    """Export of traces: the URL of an OTLP endpoint over HTTP."""

    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration. `mqtt` None means the embedded broker.

    `secrets` are the texts that no output may show: all that `!secret` gave, passwords, push secrets, the values of
    headers, and the backends' options of a name in redaction.SECRET_KEYS.
    """

    path: Path
    data_dir: Path
    mqtt: MqttConfig | None = None
    base_topic: str = BASE_TOPIC
    discovery: DiscoveryConfig = field(default_factory=DiscoveryConfig)
    language: Language = Language.ENGLISH
    push: PushListenConfig = PUSH
    web: ListenConfig = WEB
    alarms: AlarmConfig = field(default_factory=AlarmConfig)
    commands: CommandConfig = field(default_factory=CommandConfig)
    notify: Mapping[str, NotifyConfig] = field(default_factory=dict)
    cluster: ClusterConfig | None = None
    tracing: TracingConfig | None = None
    backends: Mapping[str, BackendConfig]
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """Options without effect, which do no harm, as `file:line: option: message`."""


def hidden(config: Config) -> Iterator[str]:
    """Yield the texts that are secret wherever they are in a configuration."""
    if config.mqtt and config.mqtt.password:
        yield config.mqtt.password.reveal()
    if config.cluster:
        yield from _hidden_dsn(config.cluster.dsn.reveal())
    for target in config.notify.values():
        yield from _hidden_parts(target.url.reveal())
    for each in config.backends.values():
        if each.push:
            yield each.push.secret.reveal()
        yield from each.secrets
        yield from each.options["headers"].values()
        yield from _hidden_options(each.options)


def _hidden_parts(url: str) -> Iterator[str]:
    """Yield the URL of a notification target and its parts that may be a token or a password."""
    yield url
    _, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    login, at, rest = rest.rpartition("@")
    user, _, password = login.partition(":")
    parts = [password] if at else []
    parts += [part for part in (user, *re.split(r"[/:]+", rest)) if _may_be_secret(part)]
    for name, _, value in (part.partition("=") for part in query.split("&")):
        if _SECRET_PARAMETER.search(name) or _may_be_secret(value):
            parts.append(value)
    for part in filter(None, parts):
        yield from {part, unquote(part)}


def _may_be_secret(part: str) -> bool:
    is_host = re.fullmatch(r"([a-z0-9-]+(\.[a-z0-9-]+)+)|[^@]+(@|%40)[a-z0-9.-]+", part)
    mixed = re.search(r"\d", part) or (part != part.lower() and not part.istitle())
    return len(part) >= _TOKEN_LENGTH and not is_host and bool(mixed)


def _hidden_dsn(dsn: str) -> Iterator[str]:
    """Yield the DSN of a database, and the passwords in it."""
    yield dsn
    for password in re.findall(r"://[^/@]*?:([^/@]*)@|\bpassword\s*=\s*('(?:[^'\\\\]|\\\\.)*'|[^\s&]+)", dsn):
        text = "".join(password).strip("'")
        yield from {text, unquote(text)}


def _hidden_options(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _hidden_options(value)
        elif isinstance(value, str) and name.lower() in SECRET_KEYS:
            yield value
