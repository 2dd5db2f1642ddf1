"""Overview: the content of `/api/status`. An allow-list, like everything that leaves the bridge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.contract.payloads import now, stamp
from fleet2mqtt.devices.builtin_entities import is_backend
from fleet2mqtt.devices.model import STATELESS, Device
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.ops.status import Status
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.polling.poller import Poller

MAX_ROWS = 500
MAX_VALUES = 4
_BRIDGE = ("uptime", "outbox", "dead_letters", "dropped", "mqtt", "loop_lag", "rss")
_BACKEND = ("available", "last_success", "error", "next_try", "stale_since")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """State of the bridge, its backends and devices at one moment."""

    registry: Registry
    outbox: Outbox
    mqtt: MqttClient
    status: Status
    pollers: Mapping[str, Poller]

    async def json(self, text: str) -> dict[str, Any]:
        """Return the overview, with the devices whose id, name, model, backend or availability contains a text."""
        health = self.status.health()
        return {
            "now": stamp(),
            "bridge": {
                "version": self.status.version,
                "connected": self.mqtt.connected,
                **{key: health[key] for key in _BRIDGE},
            },
            "backends": [_backend(name, poller) for name, poller in self.pollers.items()],
            "alarms": await self._alarms(),
            "devices": self._devices(text.casefold()),
        }

    async def _alarms(self) -> dict[str, dict[str, int]] | None:
        try:
            return await self.outbox.summary(now())
        except OutboxError:
            return None  # the page shows a failing disk, so it must not fail with it

    def _devices(self, wanted: str) -> dict[str, Any]:
        all_ = {
            id_: device for id_, device in self.registry.devices.items() if device.backend and not is_backend(device)
        }
        ids = sorted(id_ for id_, device in all_.items() if wanted in self._text(device))
        return {
            "total": len(all_),
            "matching": len(ids),
            "rows": [self._row(all_[id_]) for id_ in ids[:MAX_ROWS]],
        }

    def _text(self, device: Device) -> str:
        """Return the text that the filter searches."""
        availability = "online" if self._online(device) else "offline"
        return "\n".join((device.id, device.name, device.model or "", device.backend, availability)).casefold()

    def _online(self, device: Device) -> bool:
        """Return a device's availability as consumers see it: that of its backend counts, too."""
        poller = self.pollers.get(device.backend)
        return device.available and poller is not None and poller.health.available

    def _row(self, device: Device) -> dict[str, Any]:
        return {
            "id": device.id,
            "backend": device.backend,
            "name": device.name,
            "model": device.model,
            "online": self._online(device),
            "values": list(_values(device)),
        }


def _values(device: Device) -> Iterable[tuple[str, Any, str | None]]:
    """Return the first values of entities that are enabled and not diagnostic: name, value and unit."""
    found = (
        (entity.name.en, device.state[entity.key], entity.unit)
        for entity in device.entities
        if entity.category is None and entity.enabled and not entity.secret and entity.component not in STATELESS
        if isinstance(device.state.get(entity.key), str | int | float)
    )
    return (value for value, _ in zip(found, range(MAX_VALUES), strict=False))


def _backend(name: str, poller: Poller) -> dict[str, Any]:
    backend, health = poller.backend, poller.health.json()
    counts = backend.calls.values()
    return {
        "name": name,
        "platform": backend.platform,
        "title": backend.title,
        "calls": sum(count.calls for count in counts),
        "failures": sum(count.failures for count in counts),
        **{key: health[key] for key in _BACKEND},
    }
