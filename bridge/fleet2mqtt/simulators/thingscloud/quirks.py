"""The oddities that a real ThingsCloud may have where its document is silent, or its copies differ."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.simulators.thingscloud.data import Attribute, Definition, Device

_TYPES = {
    "number": "float",
    "switch": "bool",
    "text": "string",
    "enum": "Enum",
    "object": "Object",
    "list": "array",
    "mappoint": "MapPoint",
    "mapcircle": "MapCircle",
    "mappolygon": "MapPolygon",
    "dailytimer": "DailyTimer",
}
_CLASSES = {"report": "设备上报", "push": "云端下发", "both": "设备云端共享", "cloud": "云端私有"}
_OPTIONS = {"precision": "decimal", "options": "items"}


@dataclass(slots=True, kw_only=True)
class Quirks:
    """Switches for oddities; all off by default."""

    empty_as_list: bool = False  # {} arrives as []
    alarm_status: bool = False  # `alarm` of a device has status, level and ts; off: {}, as the document prints it
    alarm_only_active: bool = False  # with alarm_status: {} again when no alarm is active
    customers_without_role: bool = False
    data_type_aliases: bool = False  # "float", "bool", "array", "Enum" …
    option_aliases: bool = False  # `decimal` for `precision`, `items` for `options`
    chinese_attr_types: bool = False
    series_timestamp: bool = False  # `timestamp` for `ts` in series
    drifting_pages: bool = False  # a device moves to the page that was just read, another one is missed
    no_expires_in: bool = False
    send_changes_cloud: bool = False  # what is sent to a device is the cloud's copy at once, delivered or not
    create_time_ms: bool = False  # milliseconds; off: seconds
    token_401: bool = False  # HTTP 401 for a token that is missing, unknown or expired; off: 200 with result false
    ignores_page_records: bool = False  # of the device lists, where it is undocumented
    clamps_page_records: bool = False  # of the device lists: too many are cut, and still counted with in `page_total`
    refuses_page_records: bool = False  # of series, beyond 100; off: the vendor's tools send 500 and get 100

    def encode(self, payload: Any) -> bytes:
        """Return the bytes of a response or a push."""
        return json.dumps(_empty_as_list(payload) if self.empty_as_list else payload, ensure_ascii=False).encode()

    def created(self, milliseconds: int) -> int:
        """Return a `create_time` or `update_time`."""
        return milliseconds if self.create_time_ms else milliseconds // 1000

    def alarm(self, device: Device) -> dict[str, Any]:
        """Return the `alarm` of a device, whose content the document does not print."""
        level = device.alarm_level
        if not self.alarm_status or not device.alarm_changed_at or (self.alarm_only_active and not level):
            return {}
        return {"status": int(level > 0), "level": level, "ts": device.alarm_changed_at}

    def data_type(self, definition: Definition) -> str:
        """Return the `data_type` of a definition."""
        return _TYPES.get(definition.data_type, "") if self.data_type_aliases else definition.data_type

    def attribute(self, attribute: Attribute) -> dict[str, Any]:
        """Return an item of the attribute list."""
        definition = attribute.definition
        kinds = {
            "attr_type": _CLASSES[definition.attr_type] if self.chinese_attr_types else definition.attr_type,
            "data_type": self.data_type(definition),
        }
        item = {"identifier": definition.identifier, "value": attribute.value, **kinds, "ts": attribute.ts}
        if definition.modelled:
            names = _OPTIONS if self.option_aliases else {}
            options = {names.get(name, name): value for name, value in definition.options.items()}
            item["model"] = {"name": definition.name, **kinds, "data_options": options}
        return item

    def customer(self, customer: dict[str, Any], *, role: bool = True) -> dict[str, Any]:
        """Return a customer as responses have it: no password, and a count of the devices."""
        hidden = {"password", "devices"} | (set() if role and not self.customers_without_role else {"role_id"})
        item = {name: value for name, value in customer.items() if name not in hidden}
        count = {"device_count": len(customer["devices"])}
        return item | {"create_time": self.created(customer["create_time"]), "count": count}


def _empty_as_list(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _empty_as_list(part) for key, part in value.items()} if value else []
    return [_empty_as_list(part) for part in value] if isinstance(value, list) else value
