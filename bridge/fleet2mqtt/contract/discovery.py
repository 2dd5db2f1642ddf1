"""Discovery messages for Home Assistant's MQTT device discovery, without effects.

They are valid from Home Assistant 2025.4 to 2026.11 without a warning; docs/mqtt.md says which member is for which
release.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from fleet2mqtt.contract.payloads import OFFLINE, ONLINE, dumps
from fleet2mqtt.contract.published import discovery_facts, has_attributes, published_range
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import BRIDGE, EVENT, is_backend
from fleet2mqtt.devices.model import Component, Device, EntityDescription

SUPPORT_URL = "https://github.com/fleet2mqtt/fleet2mqtt"

_WITH_COMMAND_TOPIC = (Component.BUTTON, Component.NUMBER, Component.SELECT, Component.SWITCH, Component.TEXT)
# Home Assistant's defaults, as are empty connections: while it compiles a component's schema in a thread, it validates
# without adding defaults, and does not create an entity that lacks them (seen on 2025.4.4). An update's
# `display_precision` is one of them.
_AVAILABILITY_PAYLOADS = {"payload_available": ONLINE.decode(), "payload_not_available": OFFLINE.decode()}
# Home Assistant's abbreviations: a component whose source is not a primary one repeats the list, and there may be many.
_SHORT_PAYLOADS = {"pl_avail": ONLINE.decode(), "pl_not_avail": OFFLINE.decode()}
_ALARM_EVENT_TEMPLATE = (
    "{{ dict(value_json, event_type=value_json.severity if value_json.type == 'raised' else value_json.type)"
    " | tojson }}"
)


_PLACEHOLDER = f"device_{secrets.token_hex(16)}"
"""Device id in components that devices share: no text of a device has it."""
_MAX_TABLES = 100
"""Tables of entities whose components are kept; of more the oldest is made again."""


@dataclass(frozen=True, slots=True)
class _SharedComponents:
    """Components as JSON, with the placeholder for the device id; `entities` keeps alive what their key identifies."""

    entities: tuple[EntityDescription, ...]
    data: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """The discovery messages of one bridge, in one language."""

    topics: Topics
    language: str
    version: str
    secondary_sources: Callable[[str], Collection[str]] = lambda _: ()
    """Returns the sources of a backend that have an availability topic of their own."""
    _shared: dict[Any, _SharedComponents] = field(default_factory=dict, compare=False, repr=False)

    def payload(self, device: Device) -> bytes:
        """Return the discovery payload of a device as JSON.

        Devices with the same entities share their components but for the device id, so these are made once.
        """
        if device.id == BRIDGE or is_backend(device):
            return dumps(self.config(device))
        components = self._shared_components(device).replace(_PLACEHOLDER, device.id)
        return dumps(self._members(device))[:-1] + f',"components":{components}}}'.encode()

    def config(self, device: Device) -> dict[str, Any]:
        """Return the discovery payload of a device."""
        return self._members(device) | {"components": self._components(device)}

    def config_with_removals(self, device: Device, removed: Mapping[str, str]) -> dict[str, Any]:
        """Return the discovery payload that removes components (key → component) before the next `config`."""
        config = self.config(device)
        config["components"] |= {key: {"platform": component} for key, component in removed.items()}
        return config

    def _members(self, device: Device) -> dict[str, Any]:
        return {
            "device": self._device(device),
            "origin": {"name": "fleet2mqtt", "sw_version": self.version, "support_url": SUPPORT_URL},
            "availability": [{"topic": topic, **_AVAILABILITY_PAYLOADS} for topic in self._availability(device)],
            "availability_mode": "all",
        }

    def _components(self, device: Device) -> dict[str, dict[str, Any]]:
        node = self.topics.node(device.id)
        secondary = self.secondary_sources(device.backend)
        return {entity.key: self._component(device, node, entity, secondary) for entity in device.entities}

    def _shared_components(self, device: Device) -> str:
        """Return the components of a device as JSON with the placeholder for its id."""
        secondary = frozenset(self.secondary_sources(device.backend))
        key = (tuple(map(id, device.entities)), device.backend, device.source, secondary, discovery_facts(device))
        shared = self._shared.get(key)
        if shared is None:
            data = dumps(self._components(replace(device, id=_PLACEHOLDER))).decode()
            shared = self._shared[key] = _SharedComponents(device.entities, data)
            if len(self._shared) > _MAX_TABLES:
                del self._shared[next(iter(self._shared))]
        return shared.data

    def _device(self, device: Device) -> dict[str, Any]:
        members: dict[str, Any] = {
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
        return members | {key: value for key, value in optional.items() if value}

    def _availability(self, device: Device) -> list[str]:
        """Return the topics of bridge, backend and device; a backend's own device shows that it is unavailable."""
        topics = [self.topics.state]
        if device.id != BRIDGE and not is_backend(device):
            topics.append(self.topics.backend(device.backend, "availability"))
        return [*topics, self.topics.device(device.id, "availability")]

    def _component(
        self, device: Device, node: str, entity: EntityDescription, secondary: Collection[str]
    ) -> dict[str, Any]:
        object_id = f"{device.id}_{entity.key}"
        shared = _shared_members(entity, self.language)
        component: dict[str, Any] = {
            "unique_id": f"{node}_{entity.key}",
            "default_entity_id": f"{shared['platform']}.{object_id}",
            "object_id": object_id,
            **shared,
        }
        if entity.local:
            component["availability"] = [{"t": self.topics.state, **_SHORT_PAYLOADS}]
        elif entity.source in secondary and entity.source != device.source:
            with_source = [*self._availability(device), self.topics.source(device.backend, entity.source)]
            component["availability"] = [{"t": topic, **_SHORT_PAYLOADS} for topic in with_source]
        if entity.component is Component.EVENT:
            is_alarm = entity.key == EVENT
            topics = self.topics
            component["state_topic"] = (
                topics.alarm_event("+", device.id) if is_alarm else topics.device_event(device.id, entity.key)
            )
        elif entity.component is Component.DEVICE_TRACKER:
            component["json_attributes_topic"] = self.topics.device(device.id, "state")
        elif entity.component is not Component.BUTTON:
            component["state_topic"] = self.topics.device(device.id, "state")
        if entity.component in _WITH_COMMAND_TOPIC:
            component["command_topic"] = self.topics.device(device.id, f"set/{entity.key}")
        if (widened := published_range(entity, device.state.get(entity.key))) is not None:
            component["min"], component["max"] = widened
        if has_attributes(device, entity):
            component["json_attributes_topic"] = self.topics.device(device.id, "attributes")
            component["json_attributes_template"] = f"{{{{ value_json.get('{entity.key}', {{}}) | tojson }}}}"
        return component


@lru_cache(maxsize=10_000)
def _shared_members(entity: EntityDescription, language: str) -> Mapping[str, Any]:
    """Return the members of a component that depend on its entity description only, which most devices share."""
    component: dict[str, Any] = {
        "platform": entity.component.value,
        "name": entity.name.text(language),
        "qos": 1 if entity.component in (Component.BUTTON, Component.EVENT) else 0,
    }
    if entity.component is Component.EVENT:
        component |= {"value_template": _ALARM_EVENT_TEMPLATE} if entity.key == EVENT else {}
    elif entity.component is Component.DEVICE_TRACKER:
        component["json_attributes_template"] = f"{{{{ (value_json.get('{entity.key}') or {{}}) | tojson }}}}"
        component["source_type"] = "gps"
    elif entity.component is not Component.BUTTON:
        component["value_template"] = _value_template(entity)
    if entity.component is Component.UPDATE:
        component["display_precision"] = 0
    return component | _optional_members(entity)


def _value_template(entity: EntityDescription) -> str:
    if entity.secret:  # write-only: shown empty, whatever was written
        return "{{ '' }}"
    if entity.component is Component.UPDATE:  # null is refused with a warning, an empty object changes nothing
        return f"{{{{ (value_json.get('{entity.key}') or {{}}) | tojson }}}}"
    if entity.component is Component.TEXT:  # a text entity has no state None
        return f"{{{{ value_json.get('{entity.key}') or '' }}}}"
    return f"{{{{ value_json.get('{entity.key}') }}}}"


def _optional_members(entity: EntityDescription) -> dict[str, Any]:
    """Return the members that only some entity descriptions have."""
    listed = "event_types" if entity.component is Component.EVENT else "options"
    optional = {
        "device_class": entity.device_class,
        "state_class": entity.state_class,
        "unit_of_measurement": entity.unit,
        "suggested_display_precision": entity.precision,
        "entity_category": entity.category.value if entity.category else None,
        "enabled_by_default": None if entity.enabled else False,
        "icon": entity.icon,
        listed: list(entity.options) or None,
        "min": entity.minimum,
        "max": entity.maximum,
        "step": entity.step,
        "pattern": f"^(?:{entity.pattern})?$" if entity.pattern else None,  # an unknown text is shown as empty
        "mode": "password" if entity.secret else "box" if entity.component is Component.NUMBER else None,
    }
    return {key: value for key, value in optional.items() if value is not None}
