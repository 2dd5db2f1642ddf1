"""Group devices: a device for each of the vendors' groups, with the number of its devices online and with alarms."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
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
        self._members: defaultdict[Group, set[str]] = defaultdict(set)
        self._groups_of: dict[str, Mapping[Group, str]] = {}
        """By device its groups and their names."""

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
            return set(self._groups_of.get(device.via or "", ()))
        before = self._groups_of.pop(id_, {})
        groups: Mapping[Group, str] = {}
        if device is not None and device.kind is None and device.groups:
            groups = _groups_in(device.backend, tuple(device.groups.items()))
            self._groups_of[id_] = groups
        for group in before.keys() - groups.keys():
            self._members[group].discard(id_)
        for group in groups:
            self._members[group].add(id_)
        return before.keys() | groups.keys()

    def _show(self, group: Group) -> str | None:
        """Show a group device as of now; return its id if it has to be removed."""
        backend, vendor_id = group
        selection = self._running_selection(backend)
        if selection is None:  # its devices stay as they were
            return None
        device_id = self._ids(backend, GROUP_KIND, vendor_id)
        members = self._members[group]
        if not members:
            del self._members[group]
        if not members or not selection.group_devices:
            return device_id if device_id in self._registry.devices else None
        name = self._groups_of[min(members)][group]
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

    def _counts(self, members: set[str]) -> dict[str, Value]:
        online = [self._registry.is_online(id_) for id_ in members]
        return {
            "devices_online": sum(each is True for each in online),
            "devices_offline": sum(each is False for each in online),
            "devices_with_alarms": sum(map(self._hub.has_active_alarm, members)),
            **self._hub.alarm_counts(members),
        }


@lru_cache(maxsize=4096)
def _groups_in(backend: str, groups: tuple[tuple[str, str], ...]) -> Mapping[Group, str]:
    """Return the one mapping for groups of a backend, which all devices in them share."""
    return {(backend, group): name for group, name in groups}
