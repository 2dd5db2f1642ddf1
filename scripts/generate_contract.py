"""Generate docs/contract: JSON Schemas of the messages on MQTT, and an AsyncAPI 3 document of their topics.

    scripts/generate [--check]

Statuses, severities, event types, requests and actions come from the bridge's enumerations and argument schemas, topics
from its own topic functions. A test validates what a running bridge publishes against the files, without tolerance for
members that they do not name.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock

from fleet2mqtt import __version__
from fleet2mqtt.alarms.records import AlarmState, EventType
from fleet2mqtt.commands.router import MAX_TRANSACTION
from fleet2mqtt.contract.payloads import ResultStatus
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.model import Severity, UpdateOrigin
from fleet2mqtt.ops.alarm_requests import AlarmRequests
from fleet2mqtt.ops.bridge_requests import BridgeRequests
from fleet2mqtt.sdk.api import platforms
from fleet2mqtt.sdk.json_schema import json_schema

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "contract"
DRAFT = "http://json-schema.org/draft-07/schema#"

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
ANY_OBJECT: Schema = {"type": "object"}
TRANSACTION: Schema = {
    "description": "Repeated in the reply; the same one is carried out once.",
    "anyOf": [{"type": "string", "maxLength": MAX_TRANSACTION}, {"type": "integer"}],
}
ON_OFF: Schema = {"type": "string", "enum": ["online", "offline"]}


def choice(members: type[StrEnum], *but: StrEnum) -> Schema:
    """Return the schema of the values of an enumeration."""
    return {"type": "string", "enum": [member.value for member in members if member not in but]}


def nullable(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def array(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def mapping(values: Schema) -> Schema:
    """Return the schema of an object with values of one kind by names that are not fixed."""
    return {"type": "object", "additionalProperties": values}


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of an object with these members. More may come with later versions."""
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


ERROR = record({"code": {"type": ["integer", "string"]}, "message": TEXT})
BACKEND_ERROR = record({"class": TEXT, "code": {"type": ["integer", "string", "null"]}, "text": TEXT, "endpoint": TEXT})
BACKEND_ERROR["properties"]["endpoint"] = nullable(TEXT)
COUNTS = record({severity.value: COUNT for severity in Severity if severity is not Severity.CLEARED})

MANAGEMENT: dict[str, Schema] = {
    "state": nullable(choice(AlarmState)),
    "acknowledged": FLAG,
    "acknowledged_by": nullable(TEXT),
    "acknowledged_at": nullable(TIME),
    "shelved_until": nullable(TIME),
    "shelved_by": nullable(TEXT),
    "suppressed_by": nullable(TEXT),
    "flapping": FLAG,
}
"""Members that alarm management adds to an alarm."""
CHANGE: dict[str, Schema] = {"operator": TEXT, "text": nullable(TEXT), "at": TIME, "until": nullable(TIME)}
"""Members of an event about a change of an alarm."""
ALARM: dict[str, Schema] = {
    "id": TEXT,
    "seq": {"type": "integer", "minimum": 1},
    "type": choice(EventType),
    "backend": TEXT,
    "device": TEXT,
    "device_name": nullable(TEXT),
    "line": nullable(TEXT),
    "severity": choice(Severity),
    "level": TEXT,
    "code": {"type": ["integer", "string", "null"]},
    "category": nullable(TEXT),
    "name": TEXT,
    "description": nullable(TEXT),
    "description_en": nullable(TEXT),
    "raised_at": TIME,
    "received_at": TIME,
    "source": choice(UpdateOrigin, UpdateOrigin.COMMAND),
    "tags": array(TEXT),
    "alarm_type": TEXT,
}

VALUE: Schema = {
    "description": "The value of an entity: ON or OFF, a number, a time, a text; null if it is not known.",
    "type": ["string", "number", "boolean", "object", "null"],
}
SOURCE_HEALTH = record(
    {
        "available": nullable(FLAG),
        "failures": COUNT,
        "last_success": nullable(TIME),
        "age": nullable(NUMBER),
        "error": nullable(BACKEND_ERROR),
        "next_try": nullable(TIME),
        "stale_since": nullable(TIME),
        "interval": NUMBER,
        "items": nullable(COUNT),
        "calls": nullable(COUNT),
        "duration": nullable(NUMBER),
        "oldest_age": nullable(NUMBER),
    }
)
SUBSCRIPTION_HEALTH = record(
    {
        "connected": FLAG,
        "since": nullable(TIME),
        "failures": COUNT,
        "messages": COUNT,
        "dropped": COUNT,
        "last_message": nullable(TIME),
        "error": nullable(BACKEND_ERROR),
        "next_try": nullable(TIME),
    }
)
NOTIFICATIONS = record(
    {
        **dict.fromkeys(("sent", "failed", "queued", "missed"), COUNT),
        "oldest_age": nullable(NUMBER),
        "last_error": nullable(TEXT),
    }
)
ACTION = record({"name": TEXT, "summary": TEXT, "destructive": FLAG, "arguments": ANY_OBJECT})

ENVELOPE: dict[str, Schema] = {"transaction": nullable(TRANSACTION), "expires_at": TIME}
"""Members of commands and requests beside their own."""

MESSAGES: dict[str, Schema] = {
    "state": {
        "title": "State of a device",
        "type": "object",
        "properties": {
            "_meta": record(
                {
                    "source": nullable(choice(UpdateOrigin)),
                    "observed_at": nullable(TIME),
                }
            )
        },
        "required": ["_meta"],
        "additionalProperties": VALUE,
    },
    "attributes": {"title": "Attributes of a device's entities", **mapping(ANY_OBJECT)},
    "device_event": {
        "title": "Event of a device",
        **record({"event_type": TEXT, "observed_at": TIME}),
        "additionalProperties": True,
    },
    "alarm": {
        "title": "Alarm event",
        **record(ALARM, {**MANAGEMENT, **CHANGE, "backlog": FLAG, "suppressed": FLAG}),
    },
    "active_alarm": {
        "title": "Active alarm",
        **record({**ALARM, **MANAGEMENT}, {**CHANGE, "backlog": FLAG}),
    },
    "alarm_summary": {
        "title": "Alarm summary",
        **record(dict.fromkeys(("last_hour", "last_day", "active", "unacknowledged", "shelved", "suppressed"), COUNTS)),
    },
    "result": {
        "title": "Result of a command",
        **record(
            {
                "transaction": nullable(TRANSACTION),
                "device": TEXT,
                "key": nullable(TEXT),
                "status": choice(ResultStatus),
                "requested": {},
                "observed": {},
                "error": nullable(ERROR),
                "ts": TIME,
            }
        ),
    },
    "response": {
        "title": "Response to a request",
        **record(
            {
                "transaction": nullable(TRANSACTION),
                "status": {"type": "string", "enum": ["ok", "error"]},
                "data": {},
                "error": nullable(ERROR),
            }
        ),
    },
    "bridge_info": {
        "title": "The bridge and its backends",
        **record(
            {
                "id": TEXT,
                "version": TEXT,
                "started_at": TIME,
                "mqtt_protocol": nullable(TEXT),
                "backends": mapping(record({"platform": TEXT, "title": TEXT, "actions": array(ACTION)})),
            }
        ),
    },
    "bridge_health": {
        "title": "Health of the bridge",
        **record(
            {
                "started_at": TIME,
                "uptime": COUNT,
                "outbox": record({"depth": COUNT, "bytes": COUNT, "oldest_age": nullable(NUMBER), "last_seq": COUNT}),
                "dead_letters": COUNT,
                "dropped": mapping(COUNT),
                "mqtt": record(
                    {
                        "protocol": nullable(TEXT),
                        "reconnects": COUNT,
                        "published": COUNT,
                        "last_error": nullable(TEXT),
                        "oldest_unacknowledged_age": nullable(NUMBER),
                    }
                ),
                "other_bridge": nullable(TEXT),
                "loop_lag": NUMBER,
                "rss": COUNT,
            },
            {
                "notifications": mapping(NOTIFICATIONS),
                "nodes": mapping(
                    record({"state": TEXT, "owner": FLAG, "units": mapping(COUNT), "draining": FLAG, "version": TEXT})
                ),
                "storage": record({"engine": TEXT, "durability": TEXT, "commit_seconds": NUMBER, "inbox": COUNT}),
            },
        ),
    },
    "node_health": {
        "title": "Health of a node of a cluster",
        **record(
            {
                "version": TEXT,
                "owner": FLAG,
                "units": mapping(COUNT),
                "lease_valid": FLAG,
                "draining": FLAG,
                "config_digest": TEXT,
                "database": record({"connected": FLAG, "durability": TEXT}),
                "inbox": COUNT,
            }
        ),
    },
    "backend_health": {
        "title": "Health of a backend",
        **record(
            {
                "available": FLAG,
                "last_success": nullable(TIME),
                "error": nullable(BACKEND_ERROR),
                "next_try": nullable(TIME),
                "stale_since": nullable(TIME),
                "sources": mapping(SOURCE_HEALTH),
                "endpoints": mapping(record({"calls": COUNT, "failures": COUNT})),
                "quota": ANY_OBJECT,
            },
            {"subscription": SUBSCRIPTION_HEALTH},
        ),
    },
    "log_line": {"title": "Line of the log", **record({"level": TEXT, "logger": TEXT, "message": TEXT})},
    "set": {
        "title": "Command for several keys of a device",
        "type": "object",
        "properties": ENVELOPE,
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    },
    "get": {
        "title": "Command to read a device",
        **record({}, {"transaction": nullable(TRANSACTION), "expires_at": TIME}),
    },
}
AVAILABILITY: Schema = {"title": "Availability", **ON_OFF}


class Channel(NamedTuple):
    """A topic with what passes on it; `message` is a name in MESSAGES, `bridge` says what the bridge does."""

    name: str
    topic: str
    bridge: str
    message: str
    summary: str
    retain: bool = False


def bridge_requests() -> dict[str, Schema]:
    """Return the schemas of the arguments of the requests to the bridge, by name."""
    parts = Mock()  # the table of requests is wanted, not what they work on
    requests = BridgeRequests(
        parts, parts, parts, parts, parts, parts, {}, parts, parts, AlarmRequests(parts, parts, parts, parts)
    )
    return {name: _request(action.summary, action.schema) for name, action in requests.actions().items()}


def backend_actions() -> dict[str, dict[str, Schema]]:
    """Return the schemas of the arguments of actions, by platform and name."""
    return {
        name: {action.name: _request(action.summary, action.schema) for action in getattr(load(), "ACTIONS", ())}
        for name, load in sorted(platforms().items())
    }


def _request(summary: str, arguments: Mapping[Any, Any]) -> Schema:
    schema = json_schema(arguments)
    return {**schema, "description": summary, "properties": {**schema.get("properties", {}), **ENVELOPE}}


def channels() -> Iterator[Channel]:
    """Yield the topics below the default base topic."""
    topics = Topics("fleet2mqtt", "homeassistant")
    backend, device, key = "{backend}", "{device}", "{key}"
    yield Channel("bridgeState", topics.state, "send", "availability", "The bridge, also its last will.", retain=True)
    yield Channel("bridgeInfo", topics.bridge("info"), "send", "bridge_info", "Id, version, backends.", retain=True)
    yield Channel("bridgeHealth", topics.bridge("health"), "send", "bridge_health", "Its figures.", retain=True)
    yield Channel("bridgeLogging", topics.bridge("logging"), "send", "log_line", "Warnings and errors, QoS 0.")
    node = "{node}"
    yield Channel(
        "nodeState", topics.cluster_node(node, "state"), "send", "availability", "A node of a cluster.", retain=True
    )
    yield Channel("nodeHealth", topics.cluster_node(node, "health"), "send", "node_health", "Its figures.", retain=True)
    yield Channel("bridgeRequest", topics.bridge("request/{name}"), "receive", "bridge_request", "To the bridge.")
    yield Channel("bridgeResponse", topics.bridge("response/{name}"), "send", "response", "One for each request.")
    yield Channel(
        "backendAvailability",
        topics.backend(backend, "availability"),
        "send",
        "availability",
        "A backend.",
        retain=True,
    )
    yield Channel(
        "sourceAvailability", topics.source(backend, "{source}"), "send", "availability", "A source.", retain=True
    )
    yield Channel(
        "backendHealth", topics.backend(backend, "health"), "send", "backend_health", "Its sources.", retain=True
    )
    yield Channel(
        "backendRequest", topics.backend(backend, "request/{action}"), "receive", "backend_request", "To a vendor."
    )
    yield Channel(
        "backendResponse", topics.backend(backend, "response/{action}"), "send", "response", "One for each request."
    )
    yield Channel("deviceState", topics.device(device, "state"), "send", "state", "A key for each entity.", retain=True)
    yield Channel(
        "deviceAttributes", topics.device(device, "attributes"), "send", "attributes", "Attributes by key.", retain=True
    )
    yield Channel(
        "deviceAvailability", topics.device(device, "availability"), "send", "availability", "A device.", retain=True
    )
    yield Channel("deviceSet", topics.device(device, "set"), "receive", "set", "Values by key.")
    yield Channel("deviceSetKey", topics.device(device, f"set/{key}"), "receive", "plain_value", "The plain value.")
    yield Channel("deviceGet", topics.device(device, "get"), "receive", "get", "Read the device now.")
    yield Channel("deviceResult", topics.device(device, "result"), "send", "result", "One for each key of a command.")
    yield Channel("deviceEvent", topics.device_event(device, key), "send", "device_event", "Never retained.")
    yield Channel("alarmEvent", topics.alarm_event("{severity}", device), "send", "alarm", "Never retained.")
    yield Channel(
        "alarmSuppressed", topics.alarm_suppressed("{severity}", device), "send", "alarm", "Withheld; never retained."
    )
    active = topics.alarm_active(device, "alarm").removesuffix("alarm") + "{alarm}"
    yield Channel("alarmActive", active, "send", "active_alarm", "Empty once it is cleared.", retain=True)
    yield Channel("alarmSummary", topics.alarm_summary, "send", "alarm_summary", "Counts by severity.", retain=True)


PARAMETERS = {
    "node": "Name of a node of a cluster.",
    "action": "Name of an action of the backend's platform.",
    "alarm": "Key of the alarm within its device.",
    "backend": "Name of a backend in the configuration.",
    "device": "Id of a device.",
    "key": "Key of an entity.",
    "name": "Name of a request to the bridge.",
    "source": "Name of a source of the backend that is not a primary one.",
}


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI document, with the schemas inside."""
    schemas = {name: {"$schema": DRAFT, **schema} for name, schema in MESSAGES.items()}
    schemas |= {
        "availability": AVAILABILITY,
        "plain_value": {"title": "Plain value", "type": "string", "description": "ON, 5, auto, PRESS for a button."},
        "bridge_request": {"title": "Arguments of a request", "type": "object"},
        "backend_request": {"title": "Arguments of an action", "type": "object"},
    }
    listed = list(channels())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "fleet2mqtt",
            "version": __version__,
            "description": "Topics below the default base topic. docs/mqtt.md has the meaning; arguments of requests "
            "are in bridge_requests.json and actions.json. A consumer ignores members that it does not know.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": {"host": "localhost:1883", "protocol": "mqtt", "protocolVersion": "5"}},
        "channels": {each.name: _channel(each) for each in listed},
        "operations": {each.name: _operation(each) for each in listed},
        "components": {
            "messages": {name: _message(name, schemas[name]) for name in sorted({each.message for each in listed})},
            "schemas": {name: _plain(schema) for name, schema in sorted(schemas.items())},
        },
    }


def _channel(channel: Channel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "address": channel.topic,
        "summary": channel.summary,
        "messages": {channel.message: {"$ref": f"#/components/messages/{channel.message}"}},
    }
    names = re.findall(r"\{(\w+)\}", channel.topic)
    if names:
        found["parameters"] = {name: _parameter(name) for name in names}
    return found


def _parameter(name: str) -> dict[str, Any]:
    if name == "severity":
        return {"description": "ITU-T X.733 perceived severity.", "enum": choice(Severity)["enum"]}
    return {"description": PARAMETERS[name]}


def _operation(channel: Channel) -> dict[str, Any]:
    binding: dict[str, Any] = {"qos": 0 if channel.name == "bridgeLogging" else 1, "bindingVersion": "0.2.0"}
    if channel.bridge == "send":
        binding["retain"] = channel.retain
    return {
        "action": channel.bridge,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{channel.message}"}],
        "bindings": {"mqtt": binding},
    }


def _message(name: str, schema: Schema) -> dict[str, Any]:
    plain = name in {"availability", "plain_value"}
    return {
        "title": schema["title"],
        "contentType": "text/plain" if plain else "application/json",
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }


def _plain(schema: Schema) -> Schema:
    return {name: member for name, member in schema.items() if name != "$schema"}


def generate() -> dict[Path, str]:
    """Return the content of each file."""
    files: dict[str, Any] = {f"{name}.schema.json": {"$schema": DRAFT, **schema} for name, schema in MESSAGES.items()}
    files |= {
        "bridge_requests.json": bridge_requests(),
        "actions.json": backend_actions(),
        "asyncapi.json": asyncapi(),
    }
    return {FOLDER / name: json.dumps(content, ensure_ascii=False, indent=2) + "\n" for name, content in files.items()}


def main(arguments: list[str]) -> int:
    """Write the files, or with --check tell which are not up to date; return the exit code."""
    wanted = generate()
    of_others = {FOLDER / "configuration.schema.json"}
    present = {path: path.read_text("utf-8") for path in {*FOLDER.glob("*.json")} - of_others}
    outdated = sorted(path for path in wanted.keys() | present.keys() if wanted.get(path) != present.get(path))
    if arguments == ["--check"]:
        for path in outdated:
            print(f"{path.relative_to(ROOT)} is not up to date: run scripts/generate", file=sys.stderr)  # noqa: T201
        return 1 if outdated else 0
    FOLDER.mkdir(exist_ok=True)
    for path in outdated:
        if path in wanted:
            path.write_text(wanted[path], "utf-8")
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
