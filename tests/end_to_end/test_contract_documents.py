"""The schemas and the AsyncAPI document in docs/contract describe exactly what passes at the broker."""

from __future__ import annotations

import copy
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator, ValidationError

from tests.bridge_under_test import CHANNEL, LINE, MAC, VOIP, RunningBridge, Site, node_names, open_site
from tests.contract_documents import ACTIONS, ASYNCAPI, CHANNELS, CONTRACT, REQUESTS, ROOT, SCHEMAS, validate_message
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.recording import Message

MESSAGES = sorted({*CONTRACT.glob("*.schema.json")} - {CONTRACT / "configuration.schema.json"})
OFTEN = {"conditions": {}, "suppression_delay": 0}
TARGET = {"url": "json://127.0.0.1:1/"}


def arguments(message: Message) -> tuple[Any, Any] | None:
    """Return the arguments of a request, and their schema."""
    match = re.fullmatch(r"fleet2mqtt/(bridge|backend/(\w+))/request/(\w+)", message.topic)
    if match is None or not message.payload:
        return None
    platform = {"hq_voip": "ums", "branch": "smart_gateway"}.get(match[2] or "", "")
    return message.json, (ACTIONS[platform] if platform else REQUESTS)[match[3]]


def requests(alarm: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every request to the bridge, with most of its arguments."""
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    operator = {"operator": "Li", "text": "at work"}
    yield "health", {}
    yield "devices", {"limit": 1000, "backend": "branch"}
    yield "alarms", {"after": 0, "limit": 10, "severity": ["critical", "major"], "device": VOIP, "shelved": False}
    yield "alarm", {"id": alarm}
    yield "alarm_acknowledge", {"id": alarm, **operator}
    yield "alarm_unacknowledge", {"device": VOIP, "alarm": "gateway_offline", **operator}
    yield "alarm_shelve", {"id": alarm, "until": later, **operator}
    yield "alarm_acknowledge", {"id": alarm}
    yield "alarm_unshelve", {"id": alarm, **operator}
    yield "alarm_close", {"id": alarm}
    yield "maintenance_add", {"selector": {"backend": "branch"}, "end": later, **operator}
    yield "maintenance_list", {}
    yield "maintenance_remove", {"id": "none"}
    yield "refresh", {"device": VOIP}
    yield "announce", {}
    yield "forget", {"devices": [LINE]}
    yield "reload", {}
    yield "log_level", {"level": "info", "logger": "fleet2mqtt"}
    yield "dead_letters", {"op": "list", "after": 0, "limit": 5}


async def traffic(site: Site, bridge: RunningBridge) -> None:
    """Have a message on every topic that this site can show."""
    await bridge.settle()
    site.ums.raise_alarm(MAC, push=False)
    await bridge.refresh(backend="hq_voip")
    site.ums.set_online(MAC, online=False, push=False)
    await bridge.refresh(backend="hq_voip")
    active = f"fleet2mqtt/alarm/active/{VOIP}/gateway_offline"
    raised = await wait_until(lambda: bridge.seen.latest(active), "an active alarm")
    for name, given in requests(raised.json["id"]):
        await bridge.ask(name, **given)
    site.ums.set_online(MAC, online=True, push=False)
    await bridge.refresh(backend="hq_voip")
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await bridge.set(CHANNEL, {"enable": "ON", "expires_at": later})
    await bridge.set_key(CHANNEL, "enable", "OFF")
    await bridge.set_key(CHANNEL, "nothing", "OFF")
    await site.broker.publish(f"fleet2mqtt/device/{VOIP}/get", {"transaction": "read"})
    await bridge.result(VOIP, "read")
    await bridge.ask("fxo_status", "backend/hq_voip", device_mac=MAC, limit=1)
    await bridge.ask("device_list", "backend/hq_voip", limit=0)
    await site.push(b"{")
    await wait_until(lambda: bridge.seen.latest("fleet2mqtt/bridge/logging"), "a line on bridge/logging")
    health = "fleet2mqtt/bridge/health"
    await wait_until(lambda: (bridge.seen.latest(health) or raised).json.get("dead_letters"), "a dead letter in health")


async def test_messages_of_a_bridge_are_as_the_documents_say(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, site.bridge(alarms=OFTEN, notify={"ops": TARGET}) as bridge:
        await traffic(site, bridge)
        seen = [message for message in bridge.seen.messages if message.topic.startswith("fleet2mqtt/")]
    used = {channel for channel in map(validate_message, seen) if channel is not None}
    # No vendor of this site has event entities, as test_subscription has, and a bridge alone has no nodes.
    of_nodes = set() if node_names() else {"nodeState", "nodeHealth"}
    assert CHANNELS.keys() - used == {"deviceEvent"} | of_nodes
    asked = {message.topic.rpartition("/")[2] for message in seen if "/bridge/request/" in message.topic}
    assert asked == REQUESTS.keys()
    for given, schema in filter(None, map(arguments, seen)):
        refused = given.get("limit") == 0  # the one that the bridge refuses, too
        assert Draft7Validator(schema).is_valid(given) is not refused, given


@pytest.mark.parametrize(
    ("schema", "change"),
    [
        ("state", {"_meta": {"source": "guess", "observed_at": None}}),
        ("result", {"status": "done"}),
        ("result", {"more": 1}),
        ("response", {"transaction": 1.5}),
        ("alarm_summary", {"last_day": {}}),
    ],
)
def test_message_that_is_not_in_the_contract_is_refused(schema: str, change: dict[str, Any]) -> None:
    error = {"code": "malformed", "message": "no JSON"}
    counts = dict.fromkeys(("critical", "major", "minor", "warning", "indeterminate"), 0)
    summary = ("last_hour", "last_day", "active", "unacknowledged", "shelved", "suppressed")
    valid: dict[str, dict[str, Any]] = {
        "state": {"signal": 5, "_meta": {"source": "poll", "observed_at": None}},
        "result": {
            "transaction": "a",
            "device": "d",
            "key": None,
            "status": "invalid",
            "requested": None,
            "observed": None,
            "error": error,
            "ts": "2026-11-22T01:53:38.398+00:00",
        },
        "response": {"transaction": 1, "status": "error", "data": None, "error": error},
        "alarm_summary": dict.fromkeys(summary, counts),
    }
    SCHEMAS[schema].validate(valid[schema])
    with pytest.raises(ValidationError):
        SCHEMAS[schema].validate({**valid[schema], **change})


def test_asyncapi_document_is_valid() -> None:
    official = Draft7Validator(json.loads((ROOT / "scripts/schemas/asyncapi-3.0.0.json").read_text("utf-8")))
    official.validate(ASYNCAPI)
    broken = copy.deepcopy(ASYNCAPI)
    del broken["operations"]["deviceState"]["action"]
    assert not official.is_valid(broken)
    for operation in ASYNCAPI["operations"].values():
        assert operation["channel"]["$ref"].rpartition("/")[2] in CHANNELS
    used = {schema for _, schema in CHANNELS.values()}
    assert used == ASYNCAPI["components"]["schemas"].keys() == ASYNCAPI["components"]["messages"].keys()


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_schema_of_a_message_is_that_of_the_document(path: Path) -> None:
    schema = json.loads(path.read_text("utf-8"))
    Draft7Validator.check_schema(schema)
    del schema["$schema"]
    assert schema == ASYNCAPI["components"]["schemas"][path.name.removesuffix(".schema.json")]


def test_argument_schemas_are_schemas() -> None:
    for schema in (*REQUESTS.values(), *(each for actions in ACTIONS.values() for each in actions.values())):
        Draft7Validator.check_schema(schema)
