"""What ThingsCloud pushes (findings 3.3): alarms by its webhook, attributes and events by its rule engine."""

from __future__ import annotations

from typing import Any

import orjson

from fleet2mqtt.devices.model import Device, Update, UpdateOrigin
from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.platforms.thingscloud.alarm_matching import Ledger
from fleet2mqtt.platforms.thingscloud.alarms import alarm_of, entry_of_push
from fleet2mqtt.platforms.thingscloud.coordinator import System
from fleet2mqtt.platforms.thingscloud.entities import Event
from fleet2mqtt.platforms.thingscloud.models import Notice, Row, Rule, in_zone, table
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context, Push

_SUCCESS = orjson.dumps({"result": True})


def pushes(context: Context, system: System, ledger: Ledger) -> tuple[Push, ...]:
    """The kinds of push: `alarm`, `attributes` and `event`."""
    inbox = Inbox(context, system, ledger)
    kinds = {"alarm": inbox.take_alarm, "attributes": inbox.take_attributes, "event": inbox.take_event}
    return tuple(Push(kind=kind, accept=accept, success=_SUCCESS, failure=_failure) for kind, accept in kinds.items())


class Inbox:
    """What each kind of push means. Of a device that is not known attributes and events change nothing."""

    def __init__(self, context: Context, system: System, ledger: Ledger) -> None:
        self._context = context
        self._system = system
        self._ledger = ledger

    def take_alarm(self, body: bytes) -> Update:
        """An alarm raised or recovered: `project, device, alarm_rule, alarm, …`. Raises InvalidResponse."""
        raw = _object(body)
        device = self._device(raw)
        rule = Rule.model_validate(table(raw.get("alarm_rule")))
        notice = Notice.model_validate(table(raw.get("alarm")), context=in_zone(self._context.zone))
        seen = entry_of_push(device, rule, notice)
        if seen is None:
            raise _missing("alarm.ts")
        entry = self._ledger.take_push(seen)
        if entry is None:
            return self._system.update(origin=UpdateOrigin.PUSH)
        alarm = alarm_of(self._context, entry, rule, UpdateOrigin.PUSH)
        changed = self._system.fleet.alarm(device, alarm.raised_at, cleared=entry.cleared)
        checkpoints = self._ledger.checkpoints((entry.device,))
        return self._system.update(origin=UpdateOrigin.PUSH, alarms=[alarm], devices=[changed], checkpoints=checkpoints)

    def take_attributes(self, body: bytes) -> Update:
        """What a device reported: `device, attributes, ts`. Raises InvalidResponse."""
        raw = _object(body)
        values = raw.get("attributes")
        if not isinstance(values, dict):
            raise _missing("attributes")
        at = vendor_json.moment(raw.get("ts"), self._context.zone)
        return self._changed(self._system.fleet.report(self._device(raw), values, at))

    def take_event(self, body: bytes) -> Update:
        """What happened to a device: `device, event{method, params, id}, ts`. Raises InvalidResponse."""
        raw = _object(body)
        said = raw.get("event")
        if not isinstance(said, dict):
            raise _missing("event")
        event = Event(
            method=vendor_json.text(said.get("method")),
            params=said.get("params"),
            id=vendor_json.text(said.get("id")),
            at=vendor_json.moment(raw.get("ts"), self._context.zone),
        )
        return self._changed(self._system.fleet.happen(self._device(raw), event))

    def _changed(self, device: Device | None) -> Update:
        return self._system.update(origin=UpdateOrigin.PUSH, devices=[device])

    def _device(self, raw: Row) -> str:
        """The vendor's id of the device that a push is about."""
        device: dict[str, Any] = table(raw.get("device"))
        found = vendor_json.text(device.get("id")) or self._system.fleet.by_key(
            vendor_json.text(device.get("device_key"))
        )
        if found is None:
            raise _missing("device.id")
        return found


def _object(body: bytes) -> Row:
    value = vendor_json.parse(body)
    if not isinstance(value, dict):
        raise InvalidResponse("not an object", code="bad_push")
    return value


def _missing(member: str) -> InvalidResponse:
    return InvalidResponse(f"{member} is missing", code="bad_push")


def _failure(why: str) -> bytes:
    return orjson.dumps({"result": False, "message": why})
