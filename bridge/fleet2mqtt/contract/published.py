"""Values of a device as they are published, and how its discovery message depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.devices.model import Component, Device, EntityDescription, Value
from fleet2mqtt.sdk.limits import MAX_STATE, limit

DEFAULT_RANGE = (1, 100)
"""Home Assistant's range of a number that has none of its own."""


@dataclass(frozen=True, slots=True)
class PublishedValues:
    """State and attributes of a device as they are published."""

    state: Mapping[str, Value]
    attributes: Mapping[str, Mapping[str, Any]]


def published_values(device: Device) -> PublishedValues:
    """Return state and attributes of a device within the limits of Home Assistant's state machine and recorder."""
    return PublishedValues(*limit(dict(device.state), dict(device.attributes)))


def discovery_facts(device: Device) -> frozenset[tuple[str, float | None]]:
    """Return the values of a device that its discovery message depends on.

    They are the keys of entities that have attributes although their description has none, such as a text that is cut,
    and of numbers outside their range with the number.
    """
    facts: set[tuple[str, float | None]] = set()
    for entity in device.entities:
        value = device.state.get(entity.key)
        if entity.attributes is None and has_attributes(device, entity):
            facts.add((entity.key, None))
        if published_range(entity, value) is not None and isinstance(value, int | float):
            facts.add((entity.key, value))
    return frozenset(facts) if facts else _NO_FACTS


_NO_FACTS = frozenset[tuple[str, float | None]]()
"""One object for all devices without any, as most are."""


def has_attributes(device: Device, entity: EntityDescription) -> bool:
    """Return True if an entity has attributes, or may have some."""
    if entity.attributes is not None or entity.key in device.attributes:
        return True
    value = device.state.get(entity.key)
    return isinstance(value, str) and len(value) > MAX_STATE


def published_range(entity: EntityDescription, value: Value) -> tuple[float, float] | None:
    """Return the range of a number entity that contains its value, None if its own range does."""
    if entity.component is not Component.NUMBER or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    low = DEFAULT_RANGE[0] if entity.minimum is None else entity.minimum
    high = DEFAULT_RANGE[1] if entity.maximum is None else entity.maximum
    return None if low <= value <= high else (min(low, value), max(high, value))
