"""Overview: the content of `/api/status`. An allow-list, like everything that leaves the bridge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.alarms.manager import AlarmManager
from fleet2mqtt.contract.payloads import now, stamp
from fleet2mqtt.devices.model import STATELESS, Device
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.ops.status import Status
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.polling.poller import Poller
from fleet2mqtt.web.parameters import Parameters
from fleet2mqtt.web.search import DeviceIndex, Query

MAX_ROWS = 500
MAX_VALUES = 4
_ONLINE_WORDS, _OFFLINE_WORDS = "online 在线", "offline 离线"
"""By which a search finds devices that are available, and others."""
_BRIDGE = ("uptime", "outbox", "dead_letters", "dropped", "mqtt", "loop_lag", "rss")
_BACKEND = ("available", "last_success", "error", "next_try", "stale_since")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOverview:
    """State of a unit's backends and devices at one moment."""

    registry: Registry
    index: DeviceIndex
    alarms: AlarmManager
    pollers: Mapping[str, Poller]

    def backends(self) -> list[dict[str, Any]]:
        """Return the backends."""
        return [_backend(name, poller) for name, poller in self.pollers.items()]

    def availability(self) -> dict[str, bool]:
        """Return whether each backend is available."""
        return {name: poller.health.available for name, poller in self.pollers.items()}

    async def find(self, wanted: Query) -> list[str]:
        """Return the ids of the devices that match, in the order of the list."""
        return await self.index.find(wanted, self._status_words)

    async def devices(self, wanted: Query, page: int, language: str) -> dict[str, Any]:
        """Return a page of the devices that match."""
        total = len(self.index.ids())
        ids = await self.find(wanted)
        page, pages = page_of(page, len(ids))
        shown = [self.registry.devices[id_] for id_ in ids[(page - 1) * MAX_ROWS : page * MAX_ROWS]]
        return {
            "total": total,
            "matching": len(ids),
            "page": page,
            "pages": pages,
            "rows": [self.row(device, language) for device in shown],
        }

    def _status_words(self, device: Device) -> str:
        return _ONLINE_WORDS if self.is_online(device) else _OFFLINE_WORDS

    def is_online(self, device: Device) -> bool:
        """Return a device's availability as consumers see it: that of its backend counts, too."""
        if not device.backend:
            return device.available
        poller = self.pollers.get(device.backend)
        return device.available and poller is not None and poller.health.available

    def row(self, device: Device, language: str) -> dict[str, Any]:
        """Return a device as lists show it."""
        return {
            "id": device.id,
            "backend": device.backend,
            "name": device.name,
            "model": device.model,
            "online": self.is_online(device),
            "alarm": self.alarms.has_active(device.id),
            "values": list(_values(device, language)),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """State of the bridge, its backends and devices at one moment."""

    unit: UnitOverview
    outbox: Outbox
    mqtt: MqttClient
    status: Status

    async def json(self, parameters: Parameters) -> dict[str, Any]:
        """Return the overview, with a page of the devices that `filter` finds. Raises ParameterError."""
        wanted, page = Query(parameters.text("filter")), parameters.number("page", 1)
        return {
            **self.bridge(),
            "backends": self.unit.backends(),
            "alarms": await self.counts(self.unit.alarms.counts()),
            "devices": await self.unit.devices(wanted, page, parameters.language),
        }

    def bridge(self) -> dict[str, Any]:
        """Return the bridge itself, and the cluster if it is one."""
        health = self.status.health()
        return {
            "now": stamp(),
            "bridge": {
                "version": self.status.version,
                "connected": self.mqtt.connected,
                **{key: health[key] for key in _BRIDGE},
            },
            "cluster": _cluster(health),
        }

    async def counts(self, active: Mapping[str, Mapping[str, int]]) -> dict[str, Mapping[str, int]] | None:
        """Return numbers of alarms by severity, with these of active ones; None while the outbox cannot be read."""
        try:
            return {**await self.outbox.summary(now()), **active}
        except OutboxError:
            return None  # the page shows a failing disk, so it must not fail with it


def page_of(page: int, count: int) -> tuple[int, int]:
    """Return the page to show, which exists, and the number of pages of so many rows."""
    pages = max(1, -(-count // MAX_ROWS))
    return min(page, pages), pages


def _values(device: Device, language: str) -> Iterable[tuple[str, Any, str | None]]:
    """Return the first values of entities that are enabled and not diagnostic: name, value and unit."""
    found = (
        (entity.name.text(language), device.state[entity.key], entity.unit)
        for entity in device.entities
        if entity.category is None and entity.enabled and not entity.secret and entity.component not in STATELESS
        if isinstance(device.state.get(entity.key), str | int | float)
    )
    return (value for value, _ in zip(found, range(MAX_VALUES), strict=False))


def _cluster(health: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the nodes and the storage of a cluster; None for a bridge of one process."""
    if "nodes" not in health:
        return None
    return {
        "nodes": [{"name": name, **node} for name, node in sorted(health["nodes"].items())],
        "storage": health["storage"],
    }


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
