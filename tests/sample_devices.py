"""Devices and updates for tests of the core, without a platform."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fleet2mqtt.devices.model import Component, Device, EntityDescription, Inventory, Name, Update, UpdateOrigin
from fleet2mqtt.devices.selection import Selection

AT = datetime(2026, 11, 22, 8, tzinfo=UTC)


def row(key: str, component: Component = Component.SENSOR, **more: Any) -> EntityDescription:
    return EntityDescription(key=key, name=Name(key, key), component=component, **more)


SIGNAL, ENABLE = row("signal"), row("enable", Component.SWITCH)


def device(id_: str = "hq_1", **changes: Any) -> Device:
    """A device of backend hq with a signal and a switch."""
    values: dict[str, Any] = {
        "backend": "hq",
        "vendor_id": id_.removeprefix("hq_"),
        "scope": "devices",
        "name": id_,
        "entities": (SIGNAL, ENABLE),
        "state": {"signal": -60, "enable": "ON"},
    }
    return Device(id=id_, **(values | changes))


def update(
    *devices: Device, requested_at: float = 0.0, origin: UpdateOrigin = UpdateOrigin.POLL, **more: Any
) -> Update:
    return Update(backend="hq", origin=origin, requested_at=requested_at, observed_at=AT, devices=devices, **more)


def inventory(*ids: str, scope: str = "devices") -> Inventory:
    return Inventory(scope=scope, ids=frozenset(ids))


def area(device: Device) -> str | None:
    """The area that is suggested for a device by default."""
    return Selection().area_of(device)
