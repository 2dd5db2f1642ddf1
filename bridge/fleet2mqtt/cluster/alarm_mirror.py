"""The alarm mirror: active alarms of other units at the bridge unit, for notifications."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fleet2mqtt.alarms.records import AlarmId
from fleet2mqtt.cluster.units import Units
from fleet2mqtt.devices.model import Device
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import CommandError, OutboxError

_MEMBERS = ("id", "backend", "vendor_id", "scope", "name", "via", "model", "kind", "groups", "tags", "location")
"""Members of a device that rules of selection compare, and that it needs to be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredAlarm:
    """An active alarm of another unit."""

    acknowledged: bool
    withheld: bool
    flapping: bool


@dataclass(slots=True, kw_only=True)
class AlarmMirror:
    """Active alarms and their devices as of the last `prepare`."""

    units: Units
    own: Callable[[Mapping[str, Any]], Awaitable[Any]]
    """Does work as an errand of the bridge unit would."""
    ask_all: Callable[[Mapping[str, Mapping[str, Any]]], Awaitable[Mapping[str, Any]]]
    records: dict[AlarmId, MirroredAlarm] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)

    async def prepare(self, ids: Iterable[AlarmId]) -> None:
        """Ask the units for these alarms and their devices. Raises OutboxError."""
        works: defaultdict[str | None, dict[str, Any]] = defaultdict(
            lambda: {"kind": "alarm_states", "ids": [], "repeatable": True}
        )
        for device, alarm in set(ids):
            works[self.units.unit_of_device(device)]["ids"].append((device, alarm))
        own = works.pop(None, None)
        try:
            parts = list((await self.ask_all({unit: work for unit, work in works.items() if unit})).values())
            if own is not None:
                parts.append(await self.own(own))
        except CommandError as error:
            raise OutboxError(str(error)) from error
        self.records.clear()
        self.devices.clear()
        for part in parts:
            for device, alarm, state in part["alarms"]:
                self.records[device, alarm] = MirroredAlarm(**state)
            for members in part["devices"]:
                tags = tuple(members["tags"])
                self.devices[members["id"]] = Device(**members | {"tags": tags}, entities=(), state={})


def alarm_states(ids: Iterable[AlarmId], records: Mapping[AlarmId, Any], registry: Registry) -> dict[str, list[Any]]:
    """Return those of these alarms that are active, and their devices with those that they are connected through."""
    alarms, devices = [], dict[str, Device]()
    for device, alarm in ids:
        record = records.get((device, alarm))
        if record is not None:
            state = MirroredAlarm(acknowledged=record.acknowledged, withheld=record.withheld, flapping=record.flapping)
            alarms.append((device, alarm, asdict(state)))
        via: str | None = device
        while via and via not in devices and (found := registry.devices.get(via)) is not None:
            devices[via] = found
            via = found.via
    return {
        "alarms": alarms,
        "devices": [{name: getattr(device, name) for name in _MEMBERS} for device in devices.values()],
    }
