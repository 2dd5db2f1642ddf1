"""Pushes of the UMS, document section 2: alarms and connection changes."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from fleet2mqtt.devices.model import Update, UpdateOrigin
from fleet2mqtt.errors import InvalidResponse, NotReady
from fleet2mqtt.platforms.ums.alarms import build_alarm, parse_alarm
from fleet2mqtt.platforms.ums.backfill import passed_over
from fleet2mqtt.platforms.ums.coordinator import Coordinator
from fleet2mqtt.platforms.ums.device_store import item_mac
from fleet2mqtt.platforms.ums.models import parse
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context, Push

_SUCCESS = orjson.dumps({"code": 0, "status": "成功"})


def pushes(context: Context, coordinator: Coordinator) -> tuple[Push, ...]:
    """Return the kinds of push, `event` and `device`."""
    return (
        Push(kind="event", accept=partial(_event, context, coordinator), success=_SUCCESS, failure=_failure),
        Push(kind="device", accept=partial(_device, coordinator), success=_SUCCESS, failure=_failure),
    )


def _event(context: Context, coordinator: Coordinator, body: bytes) -> Update:
    """Return the update of an alarm push, the UMS document 2.1. Raises InvalidResponse, NotReady."""
    item = _parse_object(body)
    record = parse_alarm(item, context.zone)
    if record.mac is None:
        raise _missing("metric_history_producer")
    if record.item.id is None and vendor_json.text(item.get("metric_history_time")) is None:
        raise _missing("id")
    if context.has_rules and not coordinator.has_listed and not coordinator.store.is_known(record.mac):
        # Nothing is lost: a selected gateway's alarm is read from its history, too.
        raise NotReady("the gateways have not been read since the start, and this one may be excluded")
    if not coordinator.store.is_selected(record.mac):
        return coordinator.update(origin=UpdateOrigin.PUSH, checkpoints={record.mac: passed_over(record).text()})
    coordinator.schedule.note_alarm(record.mac, record.item.line_id)
    return coordinator.update(origin=UpdateOrigin.PUSH, alarms=[build_alarm(context, record, UpdateOrigin.PUSH)])


def _device(coordinator: Coordinator, body: bytes) -> Update:
    """Return the update of a connection push, the UMS document 2.2: some members of a list item.

    Raises InvalidResponse.
    """
    item = _parse_object(body)
    mac = item_mac(item)
    if mac is None:
        raise _missing("device_mac")
    return coordinator.accept_connection(mac, item)


def _parse_object(body: bytes) -> dict[str, Any]:
    value = parse(body)
    if not isinstance(value, dict):
        raise InvalidResponse("not an object", code="bad_push")
    return value


def _missing(member: str) -> InvalidResponse:
    return InvalidResponse(f"{member} is missing", code="bad_push")


def _failure(message: str) -> bytes:
    return orjson.dumps({"code": 1, "status": message})
