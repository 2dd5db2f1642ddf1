"""One device with all its values, sub-devices and alarms: the content of `/api/device`. An allow-list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.contract.payloads import stamp
from fleet2mqtt.devices.model import STATELESS, Device
from fleet2mqtt.web.alarm_list import AlarmList
from fleet2mqtt.web.overview import UnitOverview
from fleet2mqtt.web.parameters import Parameters
from fleet2mqtt.web.search import natural_key

MAX_SUB_DEVICES = 500
MAX_PAST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """Devices as the page shows each of them."""

    overview: UnitOverview
    alarms: AlarmList

    async def json(self, parameters: Parameters) -> dict[str, Any] | None:
        """Return the device of the parameter `id`, None if there is none."""
        registry, language = self.overview.registry, parameters.language
        device = registry.devices.get(parameters.text("id"))
        if device is None:
            return None
        via = registry.devices.get(device.via) if device.via else None
        meta = registry.state_meta.get(device.id)
        subs = [registry.devices[id_] for id_ in registry.sub_devices(device.id) if id_ in registry.devices]
        subs.sort(key=lambda each: (natural_key(each.name), each.id))
        past = await self.alarms.past_of_device(device.id, MAX_PAST, language)
        return {
            "now": stamp(),
            "device": {
                "id": device.id,
                "backend": device.backend,
                "name": device.name,
                "online": self.overview.is_online(device),
                "observed_at": meta.observed_at if meta else None,
                "via": {"id": via.id, "name": via.name} if via else None,
                **{name: getattr(device, name) for name in ("manufacturer", "model", "serial_number")},
                **{name: getattr(device, name) for name in ("sw_version", "hw_version", "suggested_area", "location")},
                "addresses": [value for _, value in device.connections],
                "groups": list((device.groups or {}).values()),
                "tags": list(device.tags),
            },
            "values": {"rows": _values(device, language)},
            "sub_devices": {
                "total": len(subs),
                "rows": [self.overview.row(each, language) for each in subs[:MAX_SUB_DEVICES]],
            },
            "active": {"rows": self.alarms.of_devices((device.id, *(each.id for each in subs)), language)},
            "past": None if past is None else {"rows": past},
        }


def _values(device: Device, language: str) -> list[dict[str, Any]]:
    return [
        {
            "id": entity.key,
            "name": entity.name.text(language),
            "value": _scalar(device.state[entity.key]),
            "unit": entity.unit,
            "category": entity.category,
            "enabled": entity.enabled,
        }
        for entity in device.entities
        if not entity.secret and entity.component not in STATELESS and entity.key in device.state
    ]


def _scalar(value: Any) -> str | int | float | bool | None:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return value  # type: ignore[no-any-return]
