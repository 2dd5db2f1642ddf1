"""What the UMS pushes, the UMS document 2: alarms and connection changes."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import orjson

from fleet2mqtt.devices.model import Update, UpdateOrigin
from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.platforms.ums.alarms import alarm_of, record_of
from fleet2mqtt.platforms.ums.coordinator import System
from fleet2mqtt.platforms.ums.device_store import row_mac
from fleet2mqtt.platforms.ums.models import parse
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context, Push

_SUCCESS = orjson.dumps({"code": 0, "status": "成功"})


def pushes(context: Context, system: System) -> tuple[Push, ...]:
    """The kinds of push, `event` and `device`."""
    return (
        Push(kind="event", accept=partial(_event, context, system), success=_SUCCESS, failure=_failure),
        Push(kind="device", accept=partial(_device, system), success=_SUCCESS, failure=_failure),
    )


def _event(context: Context, system: System, body: bytes) -> Update:
    """An alarm, the UMS document 2.1. Raises InvalidResponse."""
    raw = _object(body)
    record = record_of(raw, context.zone)
    if record.mac is None:
        raise _missing("metric_history_producer")
    if vendor_json.text(raw.get("id")) is None and vendor_json.text(raw.get("metric_history_time")) is None:
        raise _missing("id")
    return system.update(origin=UpdateOrigin.PUSH, alarms=[alarm_of(context, record, UpdateOrigin.PUSH)])


def _device(system: System, body: bytes) -> Update:
    """A gateway that came or went, the UMS document 2.2: some members of its entry. Raises InvalidResponse."""
    raw = _object(body)
    mac = row_mac(raw)
    if mac is None:
        raise _missing("device_mac")
    requested_at = time.monotonic()
    gateway = system.fleet.merge(mac, raw, requested_at)
    return system.update(requested_at, origin=UpdateOrigin.PUSH, devices=[gateway, *system.fleet.turned()])


def _object(body: bytes) -> dict[str, Any]:
    value = parse(body)
    if not isinstance(value, dict):
        raise InvalidResponse("not an object", code="bad_push")
    return value


def _missing(member: str) -> InvalidResponse:
    return InvalidResponse(f"{member} is missing", code="bad_push")


def _failure(why: str) -> bytes:
    return orjson.dumps({"code": 1, "status": why})
