"""Group devices: a device for each of the vendors' groups, with the number of its devices online and with alarms."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from fleet2mqtt.devices.builtin_entities import GROUP_ENTITIES
from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import GROUP_KIND, Device, Value
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.devices.selection import Selection
from fleet2mqtt.hub import Hub

MIN_INTERVAL = 1.0
"""Seconds in which changes of devices are gathered."""

Group = tuple[str, str]
"""A backend, and the vendor's id of one of its groups."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A device in groups, as it is counted in them."""

    groups: Mapping[Group, str]
    """The groups that the device is in, and their names."""
    online: bool | None
    """None if it is not known."""
    has_alarm: bool


@dataclass(slots=True)
class _Members:
    """The devices in a group, and how many of them are online, offline, and have active alarms."""

    ids: set[str] = field(default_factory=set)
    online: int = 0
    offline: int = 0
    with_alarms: int = 0

    def add(self, id_: str, member: _Member) -> None:
        """Add a device, and count it."""
        self.ids.add(id_)
        self._count(member, 1)

    def remove(self, id_: str, member: _Member) -> None:
        """Remove a device that was added with the same state."""
        self.ids.remove(id_)
        self._count(member, -1)

    def _count(self, member: _Member, difference: int) -> None:
        if member.online is not None:
            if member.online:
                self.online += difference
            else:
                self.offline += difference
        if member.has_alarm:
            self.with_alarms += difference


class GroupDevices:
    """Keeps the group devices of all backends: each stands while a selected device is in its group."""

    def __init__(
        self, hub: Hub, registry: Registry, ids: Ids, running_selection: Callable[[str], Selection | None]
    ) -> None:
        """`running_selection` returns the selection of a backend, None of one that does not run."""
        self._hub = hub
        self._registry = registry
        self._ids = ids
        self._running_selection = running_selection
        self._groups: defaultdict[Group, _Members] = defaultdict(_Members)
        self._members: dict[str, _Member] = {}
        """By id the devices that are in a group."""

    async def run(self) -> None:
        """Apply changes of devices to the group devices, until cancelled."""
        while True:
            await self._hub.devices_changed.wait()
            self._hub.devices_changed.clear()
            await self.update()
            await asyncio.sleep(MIN_INTERVAL)

    async def update(self) -> None:
        """Apply the changes of devices since the last call."""
        changed, self._hub.changed_devices = self._hub.changed_devices, set()
        groups = set[Group]()
        for each in changed:
            groups |= self._apply(each)
        if gone := [id_ for group in groups if (id_ := self._show(group)) is not None]:
            await self._hub.forget(gone)

    def _apply(self, id_: str) -> set[Group]:
        """Apply one device; return the groups that it was in, is in, or stands for."""
        device = self._registry.devices.get(id_)
        if device is not None and device.kind == GROUP_KIND:
            return {(device.backend, device.vendor_id)}
        if device is not None and device.kind is not None:
            gateway = self._members.get(device.via or "")
            return set() if gateway is None else set(gateway.groups)
        before = self._members.pop(id_, None)
        if before is not None:
            for group in before.groups:
                self._groups[group].remove(id_, before)
        groups = set[Group]() if before is None else set(before.groups)
        if device is not None and device.kind is None and device.groups:
            member = self._members[id_] = _Member(
                _groups_in(device.backend, tuple(device.groups.items())),
                self._registry.is_online(id_),
                self._hub.has_active_alarm(id_),
            )
            for group in member.groups:
                self._groups[group].add(id_, member)
            groups |= member.groups.keys()
        return groups

    def _show(self, group: Group) -> str | None:
        """Show a group device as of now; return its id if it has to be removed."""
        backend, vendor_id = group
        selection = self._running_selection(backend)
        if selection is None:  # its devices stay as they were
            return None
        device_id = self._ids(backend, GROUP_KIND, vendor_id)
        members = self._groups[group]
        if not members.ids:
            del self._groups[group]
        if not members.ids or not selection.group_devices:
            return device_id if device_id in self._registry.devices else None
        name = self._members[min(members.ids)].groups[group]
        self._hub.accept_device(
            Device(
                id=device_id,
                backend=backend,
                vendor_id=vendor_id,
                scope="group_devices",
                kind=GROUP_KIND,
                name=name,
                via=backend,
                model="Group",
                entities=GROUP_ENTITIES,
                state=self._counts(members),
            )
        )
        return None

    def _counts(self, members: _Members) -> dict[str, Value]:
        return {
            "devices_online": members.online,
            "devices_offline": members.offline,
            "devices_with_alarms": members.with_alarms,
            **self._hub.alarm_counts(members.ids),
        }


@lru_cache(maxsize=4096)
def _groups_in(backend: str, groups: tuple[tuple[str, str], ...]) -> Mapping[Group, str]:
    """Return the one mapping for groups of a backend, which all devices in them share."""
    return {(backend, group): name for group, name in groups}
