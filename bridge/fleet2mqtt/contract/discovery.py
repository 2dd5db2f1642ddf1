"""A Device as Home Assistant's MQTT device discovery wants it. Pure: a device in, a topic and a payload out.

Valid from Home Assistant 2025.4 to 2026.11 without a warning; docs/mqtt.md says which key is there for which release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fleet2mqtt.contract.payloads import OFFLINE, ONLINE
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import BRIDGE, is_backend
from fleet2mqtt.devices.model import Component, Device, EntityDescription

SUPPORT_URL = "https://github.com/fleet2mqtt/fleet2mqtt"

_COMMANDED = (Component.BUTTON, Component.NUMBER, Component.SELECT, Component.SWITCH, Component.TEXT)
# Home Assistant's own defaults, as are empty connections: while it compiles a platform's schema in a thread, what it
# validates gets no defaults, and an entity that misses them is not made (seen on 2025.4.4).
_PAYLOADS = {"payload_available": ONLINE.decode(), "payload_not_available": OFFLINE.decode()}
_EVENT_TEMPLATE = (
    "{{ dict(value_json, event_type='cleared' if value_json.type == 'cleared' else value_json.severity) | tojson }}"
)


@dataclass(frozen=True, slots=True)
class Discovery:
    """Discovery messages of one bridge, in one language."""

    topics: Topics
    language: str
    version: str

    def config(self, device: Device) -> dict[str, Any]:
        """The discovery payload of a device."""
        node = self.topics.node(device.id)
        return {
            "device": self._device(device),
            "origin": {"name": "fleet2mqtt", "sw_version": self.version, "support_url": SUPPORT_URL},
            "availability": [{"topic": topic, **_PAYLOADS} for topic in self._availability(device)],
            "availability_mode": "all",
            "components": {row.key: self._component(device, node, row) for row in device.entities},
        }

    def retiring(self, device: Device, retired: Mapping[str, str]) -> dict[str, Any]:
        """The payload that removes components (key → component) before the next `config`."""
        config = self.config(device)
        config["components"] |= {key: {"platform": component} for key, component in retired.items()}
        return config

    def _device(self, device: Device) -> dict[str, Any]:
        about: dict[str, Any] = {
            "identifiers": [self.topics.node(device.id)],
            "connections": [list(pair) for pair in device.connections],
            "name": device.name,
        }
        via = BRIDGE if is_backend(device) else device.via
        optional = {
            "manufacturer": device.manufacturer,
            "model": device.model,
            "sw_version": device.sw_version,
            "hw_version": device.hw_version,
            "serial_number": device.serial_number,
            "suggested_area": device.suggested_area,
            "configuration_url": device.configuration_url,
            "via_device": self.topics.node(via) if via else None,
        }
        return about | {key: value for key, value in optional.items() if value}

    def _availability(self, device: Device) -> list[str]:
        """Bridge, backend and device; a backend's own device stays, to show that the backend is away."""
        topics = [self.topics.state]
        if device.id != BRIDGE and not is_backend(device):
            topics.append(self.topics.backend(device.backend, "availability"))
        return [*topics, self.topics.device(device.id, "availability")]

    def _component(self, device: Device, node: str, row: EntityDescription) -> dict[str, Any]:
        object_id = f"{device.id}_{row.key}"
        said = _of_row(row, self.language)
        component: dict[str, Any] = {
            "unique_id": f"{node}_{row.key}",
            "default_entity_id": f"{said['platform']}.{object_id}",
            "object_id": object_id,
            **said,
        }
        if row.component is Component.EVENT:
            component["state_topic"] = self.topics.alarm_event("+", device.id)
        elif row.component is Component.DEVICE_TRACKER:
            component["json_attributes_topic"] = self.topics.device(device.id, "state")
        elif row.component is not Component.BUTTON:
            component["state_topic"] = self.topics.device(device.id, "state")
        if row.component in _COMMANDED:
            component["command_topic"] = self.topics.device(device.id, f"set/{row.key}")
        if row.attributes is not None or row.key in device.attributes:
            component["json_attributes_topic"] = self.topics.device(device.id, "attributes")
            component["json_attributes_template"] = f"{{{{ value_json.get('{row.key}', {{}}) | tojson }}}}"
        return component


@lru_cache(maxsize=10_000)
def _of_row(row: EntityDescription, language: str) -> Mapping[str, Any]:
    """What a component says of its row alone, whatever device it is of: most devices share their rows."""
    component: dict[str, Any] = {
        "platform": row.component.value,
        "name": row.name.text(language),
        "qos": 1 if row.component in (Component.BUTTON, Component.EVENT) else 0,
    }
    if row.component is Component.EVENT:
        component["value_template"] = _EVENT_TEMPLATE
    elif row.component is Component.DEVICE_TRACKER:
        component["json_attributes_template"] = f"{{{{ (value_json.get('{row.key}') or {{}}) | tojson }}}}"
        component["source_type"] = "gps"
    elif row.component is not Component.BUTTON:
        component["value_template"] = _value_template(row)
    return component | _details(row)


def _value_template(row: EntityDescription) -> str:
    if row.secret:  # write-only: shown empty, whatever was written
        return "{{ '' }}"
    if row.component is Component.TEXT:  # a text entity knows no None
        return f"{{{{ value_json.get('{row.key}') or '' }}}}"
    return f"{{{{ value_json.get('{row.key}') }}}}"


def _details(row: EntityDescription) -> dict[str, Any]:
    """What Home Assistant is told only where the row says it."""
    listed = "event_types" if row.component is Component.EVENT else "options"
    optional = {
        "device_class": row.device_class,
        "state_class": row.state_class,
        "unit_of_measurement": row.unit,
        "suggested_display_precision": row.precision,
        "entity_category": row.category.value if row.category else None,
        "enabled_by_default": None if row.enabled else False,
        "icon": row.icon,
        listed: list(row.options) or None,
        "min": row.minimum,
        "max": row.maximum,
        "step": row.step,
        "pattern": f"^(?:{row.pattern})?$" if row.pattern else None,  # an unknown text is shown as empty
        "mode": "password" if row.secret else "box" if row.component is Component.NUMBER else None,
    }
    return {key: value for key, value in optional.items() if value is not None}
