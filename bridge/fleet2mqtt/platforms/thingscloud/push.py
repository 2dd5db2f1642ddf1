"""The pushes of ThingsCloud: by its webhooks, by its rule engine, and as messages of its application-side MQTT."""

from __future__ import annotations

import orjson

from fleet2mqtt.devices.model import Device, DeviceEvent, Update, UpdateOrigin
from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.platforms.thingscloud.alarm_matching import AlarmMatcher
from fleet2mqtt.platforms.thingscloud.alarms import build_alarm, entry_from_push
from fleet2mqtt.platforms.thingscloud.coordinator import Coordinator
from fleet2mqtt.platforms.thingscloud.entities import DATA_TYPE, EVENT, EVENT_TYPE, REPLY_TYPE
from fleet2mqtt.platforms.thingscloud.models import (
    AlarmNotification,
    AlarmRule,
    JsonObject,
    json_object,
    zone_context,
)
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context, Push
from fleet2mqtt.sdk.vendor_json import iso

_SUCCESS = orjson.dumps({"result": True})


def build_pushes(context: Context, coordinator: Coordinator, matcher: AlarmMatcher) -> tuple[Push, ...]:
    """Build the push handlers: `alarm`, `attributes`, `online`, `event`, `reply` and `data`."""
    parser = PushParser(context, coordinator, matcher)
    kinds = {
        "alarm": parser.accept_alarm,
        "attributes": parser.accept_attributes,
        "online": parser.accept_online,
        "event": parser.accept_event,
        "reply": parser.accept_reply,
        "data": parser.accept_data,
    }
    return tuple(Push(kind=kind, accept=accept, success=_SUCCESS, failure=_failure) for kind, accept in kinds.items())


class PushParser:
    """Turns each kind of push into an update."""

    def __init__(self, context: Context, coordinator: Coordinator, matcher: AlarmMatcher) -> None:
        self._context = context
        self._coordinator = coordinator
        self._matcher = matcher

    def accept_alarm(self, body: bytes) -> Update:
        """Accept an alarm, raised or cleared: `project, device, alarm_rule, alarm, …`. Raises InvalidResponse."""
        content = _parse(body)
        device = self._device(content)
        rule = AlarmRule.model_validate(json_object(content.get("alarm_rule")))
        context = zone_context(self._context.zone)
        notification = AlarmNotification.model_validate(json_object(content.get("alarm")), context=context)
        pushed = entry_from_push(device, rule, notification)
        if pushed is None:
            raise _missing("alarm.ts")
        entry = self._matcher.match_push(pushed)
        if entry is None:
            return self._coordinator.update(origin=UpdateOrigin.PUSH)
        alarms = [build_alarm(self._context, entry, rule, UpdateOrigin.PUSH)]
        changed = self._coordinator.store.apply_alarms(device, pushed=True)
        checkpoints = self._matcher.checkpoints((entry.device,))
        return self._coordinator.update(
            origin=UpdateOrigin.PUSH,
            alarms=alarms if self._coordinator.may_select(entry.device) else (),
            devices=[changed],
            checkpoints=checkpoints,
        )

    def accept_attributes(self, body: bytes) -> Update:
        """Accept values that a device reported: `device, attributes, ts`. Raises InvalidResponse."""
        content = _parse(body)
        values = content.get("attributes")
        if not isinstance(values, dict):
            raise _missing("attributes")
        at = vendor_json.timestamp(content.get("ts"), self._context.zone)
        return self._update(self._coordinator.store.apply_report(self._device(content), values, at))

    def accept_online(self, body: bytes) -> Update:
        """Accept that a device came or went: `device, online, ts`. Raises InvalidResponse."""
        content = _parse(body)
        online = vendor_json.boolean(content.get("online"))
        if online is None:
            raise _missing("online")
        at = vendor_json.timestamp(content.get("ts"), self._context.zone)
        return self._update(self._coordinator.store.apply_online(self._device(content), online, at))

    def accept_event(self, body: bytes) -> Update:
        """Accept an event of a device: `device, event{method, params, id}, ts`. Raises InvalidResponse."""
        content = _parse(body)
        fields = content.get("event")
        if not isinstance(fields, dict):
            raise _missing("event")
        return self._event(content, EVENT_TYPE, fields)

    def accept_reply(self, body: bytes) -> Update:
        """Accept a device's reply to a command: `device, reply{method, params, id}, ts`, or those beside `device`.

        Raises InvalidResponse.
        """
        content = _parse(body)
        fields = content.get("reply", content)
        if not isinstance(fields, dict) or not {"method", "id"} & fields.keys():
            raise _missing("reply")
        return self._event(content, REPLY_TYPE, fields)

    def accept_data(self, body: bytes) -> Update:
        """Accept what a device sent on a custom data stream: `device, data{identifier, type, msg}, ts`.

        Those beside `device` are accepted, too, and `message` for `msg`: the vendor has no example. Raises
        InvalidResponse.
        """
        content = _parse(body)
        fields = json_object(content.get("data")) or content
        identifier = vendor_json.text(fields.get("identifier"))
        if identifier is None:
            raise _missing("data.identifier")
        attributes = {
            "identifier": identifier,
            "type": vendor_json.text(fields.get("type")),
            "msg": fields.get("msg", fields.get("message")),
        }
        return self._device_event(content, DATA_TYPE, attributes)

    def _event(self, content: JsonObject, event_type: str, fields: JsonObject) -> Update:
        attributes = {
            "method": vendor_json.text(fields.get("method")),
            "params": fields.get("params"),
            "id": vendor_json.text(fields.get("id")),
        }
        return self._device_event(content, event_type, attributes)

    def _device_event(self, content: JsonObject, event_type: str, attributes: JsonObject) -> Update:
        at = iso(vendor_json.timestamp(content.get("ts"), self._context.zone))
        device = self._coordinator.store.device_id(self._device(content))
        event = DeviceEvent(device=device, key=EVENT, event_type=event_type, attributes={**attributes, "ts": at})
        return self._coordinator.update(origin=UpdateOrigin.PUSH, events=[event])

    def _update(self, device: Device | None) -> Update:
        return self._coordinator.update(origin=UpdateOrigin.PUSH, devices=[device])

    def _device(self, content: JsonObject) -> str:
        """Return the vendor id of the device that a push is about. Raises InvalidResponse."""
        device = json_object(content.get("device"))
        vendor_id = vendor_json.text(device.get("id")) or self._coordinator.store.find_by_key(
            vendor_json.text(device.get("device_key"))
        )
        if vendor_id is None:
            raise _missing("device.id")
        return vendor_id


def _parse(body: bytes) -> JsonObject:
    content = vendor_json.parse(body)
    if not isinstance(content, dict):
        raise InvalidResponse("not an object", code="bad_push")
    return content


def _missing(member: str) -> InvalidResponse:
    return InvalidResponse(f"{member} is missing", code="bad_push")


def _failure(message: str) -> bytes:
    return orjson.dumps({"result": False, "message": message})
