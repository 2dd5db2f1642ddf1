"""The attributes of a simulated project's devices, with their history."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from random import Random
from typing import Any

from fleet2mqtt.simulators.thingscloud.data import Attribute, Definition, Device, make_attributes, past
from fleet2mqtt.simulators.thingscloud.requests import data_type_of

_MAX_HISTORY = 2_000


@dataclass(slots=True, kw_only=True)
class AttributeStore:
    """Attributes by device and identifier, generated when first read, so that thousands of devices cost little."""

    seed: int
    devices: dict[str, dict[str, Attribute]] = field(default_factory=dict)
    changes: dict[tuple[str, str], deque[tuple[int, Any]]] = field(default_factory=dict)

    def of(self, device: Device) -> dict[str, Attribute]:
        """Return the attributes of one device by identifier."""
        found = self.devices.get(device.id)
        if found is None:
            rng = Random(f"{self.seed}/{device.id}")  # noqa: S311
            found = self.devices[device.id] = make_attributes(device, rng) if device.seeded else {}
        return found

    def set(self, device: Device, identifier: str, value: Any, attr_type: str, ts: int) -> Attribute:
        """Change the cloud's copy at `ts`; a new attribute has no model and this `attr_type`."""
        attributes = self.of(device)
        attribute = attributes.get(identifier)
        if attribute is None:
            definition = Definition(
                identifier=identifier, attr_type=attr_type, data_type=data_type_of(value), modelled=False
            )
            attribute = attributes[identifier] = Attribute(definition=definition, value=value, actual=None, ts=ts)
        attribute.value, attribute.ts = value, ts
        self.changes.setdefault((device.id, identifier), deque(maxlen=_MAX_HISTORY)).append((ts, value))
        return attribute

    def series(self, device: Device, identifier: str) -> Iterator[tuple[int, Any]]:
        """Return an attribute's times (ms) and values, newest first; none for an unknown one."""
        attribute = self.of(device).get(identifier)
        changed = reversed(self.changes.get((device.id, identifier), ()))
        if attribute is None or attribute.first is None:
            return iter(changed)
        rng = Random(f"{self.seed}/{device.id}/{identifier}")  # noqa: S311
        return chain(changed, past(attribute.definition, attribute.first, rng))

    def delete(self, device: Device, identifier: str) -> None:
        """Delete an attribute and its history."""
        self.of(device).pop(identifier, None)
        self.changes.pop((device.id, identifier), None)

    def delete_all(self, device: Device) -> None:
        """Delete everything of a device."""
        for identifier in self.devices.pop(device.id, ()):
            self.changes.pop((device.id, identifier), None)
