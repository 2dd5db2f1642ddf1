"""Loading of the configuration file: YAML, validated as a whole, as frozen data.

Every option is in fleet2mqtt.example.yaml.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import voluptuous as vol

from fleet2mqtt.config import actions, alarm_options, environment, notify_options, validators, yaml_reader
from fleet2mqtt.config.models import (
    BASE_TOPIC,
    PREFIX,
    PUSH,
    WEB,
    AlarmConfig,
    BackendConfig,
    ClusterConfig,
    CommandConfig,
    Config,
    DiscoveryConfig,
    FirstRun,
    Language,
    MqttConfig,
    Protocol,
    PushConfig,
    Secret,
    TlsConfig,
    TracingConfig,
    hidden,
)
from fleet2mqtt.config.problems import OptionPath, Problem
from fleet2mqtt.config.yaml_reader import Document
from fleet2mqtt.devices.alarm_rules import NO_RULES
from fleet2mqtt.devices.builtin_conditions import BACKEND_CONDITIONS, bridge_conditions
from fleet2mqtt.devices.conditions import ConditionOptions
from fleet2mqtt.devices.model import GROUP_KIND
from fleet2mqtt.devices.selection import Area, Detail, Override, Rule, Selection
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.redaction import SECRET_KEYS
from fleet2mqtt.sdk import api
from fleet2mqtt.sdk import validators as sdk_validators

Platforms = Mapping[str, Callable[[], api.Platform]]

DEFAULT_FILE = Path("/etc/fleet2mqtt/fleet2mqtt.yaml")

_BIG = 2**31 - 1
BACKEND_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,23}")
BACKEND_NAME_EXPECTED = "expected a name of a-z 0-9 _ -, 24 at most, the first no _ or -; and not bridge"
_BACKENDS = "expected a mapping, a name: with platform: and url: under it"
_PUSH_SECRET = "8 or more characters of A-Z a-z 0-9 . _ ~ -"  # noqa: S105 - describes a valid one
_DSN = "the database: postgresql://USER:PASSWORD@HOST,HOST/DATABASE, or host=... dbname=..."
_NODE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_NODE_TEXT = "a name of at most 63 characters of A-Z a-z 0-9 . _ -, the first a letter or digit"
_port = validators.whole(0, 65_535)
_topic = validators.matching(
    r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*", "a topic of a-z A-Z 0-9 _ - with / only between its levels, no wildcard"
)


def load(file: Path, platforms: Platforms | None = None) -> Config:
    """Load a configuration file and the options of environment variables. Raises ConfigError with all problems.

    The default file may be missing if there are such variables.
    """
    variables = environment.option_variables(os.environ)
    is_missing = file == DEFAULT_FILE and bool(variables) and not file.exists()
    return parse("" if is_missing else yaml_reader.load_text(file), file, platforms, variables)


def parse(
    text: str, file: Path, platforms: Platforms | None = None, variables: Mapping[str, str] = MappingProxyType({})
) -> Config:
    """Parse the text of a configuration that is in `file`. Raises ConfigError with all of its problems.

    `variables` are environment variables of options, which go before those of the text.
    """
    read = yaml_reader.read(text, file)
    document = environment.apply_variables(read, variables)
    if document.value is None:
        empty = Problem(file=file, line=1, message="nothing in it; expected options, backends at least")
        raise ConfigError([str(empty)])
    installed = api.platforms() if platforms is None else platforms
    values, invalid = _validate(document, installed)
    rejected = variables.keys() & {document.variables.get(_path(each)) for each in invalid}
    if rejected:  # a password of digits, for instance
        document = environment.apply_variables(read, variables, rejected)
        values, invalid = _validate(document, installed)
    problems = [*document.problems, *(document.problem(path, text) for path, text in _contradictions(document))]
    problems += [
        _problem(document, each)
        for each in invalid
        if isinstance(each, validators.KeyProblem) or not document.is_broken(_path(each))
    ]
    unknown, warnings = actions.unknown_actions(document, installed)
    problems += unknown
    if problems:
        problems.sort(key=lambda problem: (problem.file != file, problem.line, problem.column))
        raise ConfigError(list(dict.fromkeys(map(str, problems))))
    state_directory = os.environ.get("STATE_DIRECTORY")  # of a systemd service
    defaults = {"data_dir": Path(state_directory) if state_directory else file.absolute().parent / "data"}
    config = Config(**(defaults | values), path=file, warnings=tuple(map(str, warnings)))
    return replace(config, secrets=document.secrets | frozenset(filter(None, hidden(config))))


def _validate(document: Document, platforms: Platforms) -> tuple[dict[str, Any], list[vol.Invalid]]:
    """Return the valid options, or what is wrong with the options."""
    try:
        options = _options(document.file.absolute().parent, platforms)
        return vol.Schema(validators.section(options))(document.value), []
    except vol.MultipleInvalid as error:
        return {}, error.errors


def _path(error: vol.Invalid) -> OptionPath:
    return tuple(key if isinstance(key, int) else str(key) for key in error.path)


def _problem(document: Document, error: vol.Invalid) -> Problem:
    path, message = _path(error), validators.message_of(error)
    value = document.at(path)
    # Some validators of voluptuous repeat the value; a secret of one letter is found in other words, too.
    if isinstance(value, str) and (value in document.secrets or SECRET_KEYS & set(path[-1:])):
        message = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "***", message)
    return document.problem(path, message)


def _options(folder: Path, platforms: Platforms) -> dict[Any, Any]:
    listen = {vol.Optional("host"): validators.host, vol.Optional("port"): _port}
    push = listen | {vol.Optional("trusted_proxies"): validators.networks_or_none}
    discovery = {
        vol.Optional("enabled"): validators.flag,
        vol.Optional("prefix"): _topic,
        vol.Optional("birth_topic"): validators.matching(
            r"[^+#\x00-\x1f\x7f-\x9f\ud800-\udfff]+", "a topic without + and #"
        ),
        vol.Optional("birth_payload"): validators.text,
    }
    alarms = {
        vol.Optional("max_rows"): validators.whole(1, _BIG),
        vol.Optional("max_bytes"): validators.whole(1024, 1 << 40),
        vol.Optional("history_rows"): validators.whole(1, _BIG),
        vol.Optional("first_run"): validators.choice(FirstRun),
        vol.Optional("max_shelve"): validators.number(60, _BIG),
        vol.Optional("suppression_delay"): validators.number(0, 86_400),
        vol.Optional("conditions"): partial(_conditions, platforms=platforms),
    }
    commands = {
        vol.Optional("max_age"): validators.number(0.1, 86_400),
        vol.Optional("confirm_timeout"): validators.number(0.1, 600),
        vol.Optional("max_pending"): validators.whole(1, 100_000),
    }
    cluster = {
        vol.Required("dsn", msg=f"missing; expected {_DSN}"): _dsn,
        vol.Optional("node"): validators.matching(_NODE, f"{_NODE_TEXT}"),
        vol.Optional("ttl"): validators.number(1, 600),
        vol.Optional("require_replication"): validators.flag,
    }
    return {
        vol.Optional("mqtt"): _section_of(_mqtt, _mqtt_options(folder)),
        vol.Optional("base_topic"): _topic,
        vol.Optional("discovery"): _section_of(_discovery, discovery),
        vol.Optional("language"): validators.choice(Language),
        vol.Optional("data_dir"): validators.path_in(folder),
        vol.Optional("push"): _section_of(partial(replace, PUSH), push),
        vol.Optional("web"): _section_of(partial(replace, WEB), listen),
        vol.Optional("alarms"): _section_of(AlarmConfig, alarms),
        vol.Optional("notify"): notify_options.targets,
        vol.Optional("commands"): _section_of(CommandConfig, commands),
        vol.Optional("cluster"): _section_of(_cluster, cluster),
        vol.Optional("tracing"): _section_of(
            TracingConfig,
            {
                vol.Required(
                    "endpoint",
                    msg="missing; expected the URL of an OTLP endpoint such as http://127.0.0.1:4318/v1/traces",
                ): sdk_validators.url
            },
        ),
        vol.Required("backends", msg=f"missing; {_BACKENDS}"): partial(_backends, folder=folder, platforms=platforms),
    }


def _conditions(value: Any, *, platforms: Platforms) -> Mapping[str, ConditionOptions]:
    """Validate options of conditions for all backends, whatever their platforms."""
    known = {each.key for load_platform in platforms.values() for each in api.conditions(load_platform())}
    own = (*BACKEND_CONDITIONS, *bridge_conditions(1))
    return alarm_options.conditions(value, known={*known, *(each.key for each in own)})


def _mqtt_options(folder: Path) -> dict[Any, Any]:
    return {
        vol.Required(
            "host", msg="missing; expected the broker's host, or no mqtt: at all for the embedded broker"
        ): validators.host,
        vol.Optional("port"): validators.whole(1, 65_535),
        vol.Optional("username"): validators.text,
        vol.Optional("password"): _secret,
        vol.Optional("client_id"): validators.matching(r"[ -~]{1,128}", "1 to 128 characters of ASCII"),
        vol.Optional("protocol"): validators.choice(Protocol),
        vol.Optional("keepalive"): validators.whole(1, 65_535),
        vol.Optional("tls"): partial(_tls, folder=folder),
        vol.Optional("discovery_rate"): validators.number(0.1, 100_000),
        vol.Optional("max_payload"): validators.whole(1024, 268_435_455),
        vol.Optional("will_delay"): validators.whole(0, _BIG),
        vol.Optional("take_over"): validators.flag,
    }


def _section_of(build: Callable[..., Any], options: Mapping[Any, Any]) -> validators.Validator:
    """Return the validator of a section that calls `build` with its options."""
    section = validators.section(options)
    return lambda value: build(**section(value))


def _secret(value: Any) -> Secret:
    return Secret(validators.text(value))


def _mqtt(**values: Any) -> MqttConfig:
    return MqttConfig(**({"port": 8883 if values.get("tls") else 1883} | values))


def _dsn(value: Any) -> Secret:
    text = validators.text(value)
    if not re.match(r"postgres(ql)?://|\s*\w+\s*=", text):
        raise vol.Invalid(f"expected {_DSN}")
    return Secret(text)


def _cluster(**values: Any) -> ClusterConfig:
    if "node" not in values:
        host = socket.gethostname()
        if not re.fullmatch(_NODE, host):
            raise vol.Invalid(f"node: missing, and this machine's host name is not {_NODE_TEXT}")
        values["node"] = host
    return ClusterConfig(**values)


def _tls(value: Any, *, folder: Path) -> TlsConfig | None:
    if isinstance(value, bool | str):
        return TlsConfig() if validators.flag(value) else None
    file = validators.file_in(folder)
    options = {
        vol.Optional("ca"): validators.authorities_in(folder),
        vol.Optional("certificate"): file,
        vol.Optional("key"): file,
        vol.Optional("verify"): validators.flag,
    }
    built: TlsConfig = _section_of(TlsConfig, options)(value)
    return built


def _discovery(**values: Any) -> DiscoveryConfig:
    given = DiscoveryConfig(**values)
    return given if "birth_topic" in values else replace(given, birth_topic=f"{given.prefix}/status")


def _backends(value: Any, *, folder: Path, platforms: Platforms) -> Mapping[str, BackendConfig]:
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise vol.Invalid(_BACKENDS)
    backends = {}
    problems: list[vol.Invalid] = []
    for name, given in value.items():
        if not BACKEND_NAME.fullmatch(name) or name == "bridge":
            problems.append(validators.KeyProblem(BACKEND_NAME_EXPECTED, [name]))
        try:
            backends[name] = _backend(name, given, folder=folder, platforms=platforms)
        except vol.Invalid as error:
            error.prepend([name])
            problems += error.errors if isinstance(error, vol.MultipleInvalid) else [error]
    if problems:
        raise vol.MultipleInvalid(problems)
    return MappingProxyType(backends)


def _backend(name: str, given: Any, *, folder: Path, platforms: Platforms) -> BackendConfig:
    platform = given.get("platform") if isinstance(given, dict) else None
    known = platforms.get(platform) if isinstance(platform, str) else None
    special = known().SCHEMA if known else {}
    own, selection = _own_options(known, platforms), _selection_of(special)
    # What other problems do not hide.
    problems = [*api.contradictions(known(), given), *_unknown_kinds(known(), given)] if known else []
    try:
        values = validators.section(_options_of(known, folder, platforms), extra=known is None)(given)
    except vol.MultipleInvalid as error:
        raise vol.MultipleInvalid([*error.errors, *problems]) from error
    if problems:
        raise vol.MultipleInvalid(problems)
    selected = {str(marker): values.pop(str(marker)) for marker in selection if str(marker) in values}
    mine = {str(marker): values.pop(str(marker)) for marker in own if str(marker) in values}
    secrets = frozenset(_secret_options(special, values))
    options = MappingProxyType(values | {"allow": mine.get("allow", ()), "secrets": secrets})
    rules, conditions = mine.pop("alarms", (NO_RULES, {}))
    return BackendConfig(
        name=name,
        options=options,
        secrets=secrets,
        selection=Selection(**selected),
        alarm_rules=rules,
        conditions=conditions,
        **mine,
    )


def backend_options(platform: Callable[[], api.Platform], platforms: Platforms) -> dict[Any, Any]:
    """Return all options of a backend of a platform with their validators, for a schema of the configuration."""
    return _options_of(platform, Path(), platforms)


def options(platforms: Platforms) -> dict[Any, Any]:
    """Return the options of the bridge with their validators, for a schema of the configuration."""
    return _options(Path(), platforms)


def _options_of(platform: Callable[[], api.Platform] | None, folder: Path, platforms: Platforms) -> dict[Any, Any]:
    special = platform().SCHEMA if platform else {}
    common = {marker: validate for marker, validate in _common_options(folder).items() if marker not in special}
    return common | dict(special) | _own_options(platform, platforms) | _selection_of(special)


def _own_options(platform: Callable[[], api.Platform] | None, platforms: Platforms) -> dict[Any, Any]:
    return {
        vol.Required("platform", msg=f"missing; installed are {', '.join(sorted(platforms)) or 'none'}"): partial(
            validators.one_of, names=platforms, kind="platform"
        ),
        vol.Optional("push"): _section_of(PushConfig, _push_options()),
        vol.Optional("allow"): validators.actions,
        vol.Optional("stale_after"): validators.number(0, _BIG),
        vol.Optional("alarms"): partial(
            alarm_options.backend_alarms,
            known={each.key for each in (*BACKEND_CONDITIONS, *(api.conditions(platform()) if platform else ()))},
        ),
    }


def _selection_of(special: Mapping[Any, Any]) -> dict[Any, Any]:
    return {marker: validate for marker, validate in _selection_options().items() if marker not in special}


def _unknown_kinds(platform: api.Platform, given: Mapping[str, Any]) -> Iterator[vol.Invalid]:
    """Yield the kinds in rules of selection that the platform's sub-devices do not have."""
    kinds = api.kinds(platform)
    for option in ("include", "exclude") if kinds is not None else ():
        rules = given.get(option)
        for index, rule in enumerate(rules if isinstance(rules, list) else ()):
            kind = rule.get("kind") if isinstance(rule, dict) else None
            if isinstance(kind, str) and kinds is not None and kind not in kinds | {GROUP_KIND}:
                listed = ", ".join(sorted(kinds | {GROUP_KIND}))
                yield vol.Invalid(f"no kind of sub-device of this platform; there is {listed}", [option, index, "kind"])


def _selection_options() -> dict[Any, Any]:
    """Return the options that select devices and entities of a backend, or say where they belong."""
    override = {
        vol.Optional("enabled"): validators.flag,
        vol.Optional("name"): validators.text,
        vol.Optional("icon"): validators.matching(r"[a-z]+:[a-z0-9-]+", "an icon such as mdi:phone"),
        vol.Optional("unit"): validators.text,
    }
    return {
        vol.Optional("include"): validators.each(_rule, "expected a list of rules such as [{group: Branch*}]"),
        vol.Optional("exclude"): validators.each(_rule, "expected a list of rules such as [{model: OM20*}]"),
        vol.Optional("entities"): validators.choice(Detail),
        vol.Optional("area"): validators.choice(Area),
        vol.Optional("group_devices"): validators.flag,
        vol.Optional("overrides"): partial(_overrides, validate=_section_of(Override, override)),
    }


def _rule(value: Any) -> Rule:
    pattern = validators.text
    attributes = dict.fromkeys(("id", "name", "model", "group", "tag", "location"), pattern)
    kind = validators.matching(r"[a-z_]+", "the kind of a sub-device such as line")
    options = {vol.Optional(name): validate for name, validate in attributes.items()} | {vol.Optional("kind"): kind}
    values = validators.section(options)(value)
    if not values:
        raise vol.Invalid(f"expected one of {', '.join((*attributes, 'kind'))} at least")
    return Rule(**values)


def _overrides(value: Any, *, validate: validators.Validator) -> Mapping[str, Override]:
    given = {} if value is None else value
    if not isinstance(given, dict):
        raise vol.Invalid("expected a mapping, lines like key: {enabled: false}")
    built, problems = {}, []
    for key, override in given.items():
        try:
            built[key] = validate(override)
        except vol.Invalid as error:
            error.prepend([key])
            problems += error.errors if isinstance(error, vol.MultipleInvalid) else [error]
    if problems:
        raise vol.MultipleInvalid(problems)
    return MappingProxyType(built)


def _secret_options(schema: Mapping[Any, Any], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of the options that a platform marks as secret, at any depth."""
    for marker, validate in schema.items():
        value = values.get(str(marker))
        if isinstance(validate, Mapping) and isinstance(value, Mapping):
            yield from _secret_options(validate, value)
        elif isinstance(marker, vol.Marker) and marker.description == api.SECRET and value:
            yield str(value)


def _push_options() -> dict[Any, Any]:
    return {
        vol.Required("secret", msg=f"missing; expected {_PUSH_SECRET}"): _push_secret,
        vol.Optional("allow"): validators.networks,
    }


def _push_secret(value: Any) -> Secret:
    return Secret(validators.matching(r"[A-Za-z0-9._~-]{8,}", _PUSH_SECRET)(value))


def _common_options(folder: Path) -> dict[Any, Any]:
    return {
        vol.Required("url", msg="missing; expected a URL such as http://10.0.0.5:8080"): sdk_validators.url,
        vol.Optional("time_zone", default="Asia/Shanghai"): validators.time_zone,
        vol.Optional("verify_tls", default=True): validators.flag,
        vol.Optional("ca"): validators.authorities_in(folder),
        vol.Optional("timeout", default=10): validators.number(0.5, 120),
        vol.Optional("headers", default=dict): validators.headers,
    }


def _contradictions(document: Document) -> Iterator[tuple[OptionPath, str]]:
    """Yield what is wrong in no option alone; found in the file as it is, so that other problems do not hide it."""
    base = _valid(document, ("base_topic",), _topic, BASE_TOPIC)
    prefix = _valid(document, ("discovery", "prefix"), _topic, PREFIX)
    if base and prefix and f"{base}/".startswith(f"{prefix}/"):
        path: OptionPath = ("base_topic",) if document.at(("base_topic",)) else ("discovery", "prefix")
        yield path, "the base topic may not be the discovery prefix nor lie inside it; choose another"
    push, web = (
        (
            _valid(document, (name, "host"), validators.host, default.host),
            _valid(document, (name, "port"), _port, default.port),
        )
        for name, default in (("push", PUSH), ("web", WEB))
    )
    if push[1] and push[1] == web[1] and (push[0] == web[0] or {push[0], web[0]} & {"0.0.0.0", "::"}):  # noqa: S104
        yield ("web", "port") if document.at(("web", "port")) else ("push", "port"), "push and web need different ports"
    if document.at(("cluster",)) is not None:
        yield from _cluster_contradictions(document)
    if document.at(("mqtt", "password")) is not None and document.at(("mqtt", "username")) is None:
        yield ("mqtt", "password"), "a password needs a username beside it"
    if document.at(("mqtt", "tls", "key")) is not None and document.at(("mqtt", "tls", "certificate")) is None:
        yield ("mqtt", "tls", "key"), "a key needs a certificate beside it"


def _cluster_contradictions(document: Document) -> Iterator[tuple[OptionPath, str]]:
    """Yield what is wrong in a cluster only."""
    if document.at(("mqtt",)) is None:
        yield (
            ("cluster",),
            "a cluster needs mqtt: with a broker that all nodes use; the embedded one is each node's own",
        )
    backends = document.at(("backends",))
    names = sorted(name for name in backends if isinstance(name, str)) if isinstance(backends, dict) else []
    for name in names:
        for other in names:
            if other.startswith(f"{name}_"):
                message = (
                    f"in a cluster no name may begin with another one and _ ({name}_): their devices' ids may collide"
                )
                yield ("backends", other), message


def _valid(document: Document, path: OptionPath, validate: validators.Validator, default: Any) -> Any:
    """Return the value of an option, None where it is wrong by itself."""
    value = document.at(path)
    try:
        return default if value is None else validate(value)
    except vol.Invalid:
        return None
