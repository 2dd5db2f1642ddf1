"""The documents in docs/contract, to validate messages against."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft7Validator

if TYPE_CHECKING:
    from tests.recording import Message

ROOT = Path(__file__).parents[1]
CONTRACT = ROOT / "docs" / "contract"
PLAIN = {"availability", "plain_value"}


def load(name: str) -> Any:
    return json.loads((CONTRACT / name).read_text("utf-8"))


ASYNCAPI: dict[str, Any] = load("asyncapi.json")
REQUESTS: dict[str, Any] = load("bridge_requests.json")
ACTIONS: dict[str, Any] = load("actions.json")


def strict(schema: Any) -> Any:
    """The schema without tolerance for members that it does not name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: strict(member) for name, member in schema.items()}
    if isinstance(schema.get("properties"), dict):
        inner.setdefault("additionalProperties", False)
    return inner


SCHEMAS = {name: Draft7Validator(strict(schema)) for name, schema in ASYNCAPI["components"]["schemas"].items()}
CHANNELS: dict[str, tuple[re.Pattern[str], str]] = {
    channel: (re.compile(re.sub(r"\{\w+\}", "[^/]+", each["address"])), next(iter(each["messages"])))
    for channel, each in ASYNCAPI["channels"].items()
}


def validate_message(message: Message) -> str | None:
    """Validate one message; return the channel it belongs to, None for one that empties a topic."""
    if not message.payload:
        return None
    (channel,) = [name for name, (pattern, _) in CHANNELS.items() if pattern.fullmatch(message.topic)]
    schema = CHANNELS[channel][1]
    SCHEMAS[schema].validate(message.text if schema in PLAIN else message.json)
    operation: dict[str, Any] = ASYNCAPI["operations"][channel]
    assert message.qos == operation["bindings"]["mqtt"]["qos"], message.topic
    return channel
