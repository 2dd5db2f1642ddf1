"""The coordinator of one project: polls, read-backs and writes."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from fleet2mqtt.devices.model import Device, EntityDescription, Inventory, Name, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, Unconfirmed, Unreachable
from fleet2mqtt.platforms.thingscloud.attributes import ATTRIBUTES_SOURCE, AttributeOptions
from fleet2mqtt.platforms.thingscloud.client import Client, device_path
from fleet2mqtt.platforms.thingscloud.device_api import DeviceApi
from fleet2mqtt.platforms.thingscloud.device_store import INFO_PREFIX, DeviceStore
from fleet2mqtt.platforms.thingscloud.entities import (
    ALARM_STAT_ENTITIES,
    CUSTOMERS_ENTITY,
    DEVICES_STAT_ENTITIES,
    META_SOURCE,
    SCHEMA_SOURCE,
    STAT_SOURCE,
)
from fleet2mqtt.platforms.thingscloud.geo import Coordinates
from fleet2mqtt.platforms.thingscloud.groups import device_listing, flatten_tree, read_members
from fleet2mqtt.platforms.thingscloud.models import AlarmStat, DevicesStat, DeviceType, JsonObject, Project
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.sweep import DIFFERENT_ITEMS, Sweep
from fleet2mqtt.sdk.updates import UpdateFactory

_LOG = logging.getLogger(__name__)

CHUNK = 10
"""Devices after which a sweep orders the remaining ones again."""
EMPTY_LISTS_BEFORE_REMOVAL = 2
"""Lists in a row in which the vendor counts no device, before the devices are discarded."""
WRITE_WINDOW = 30.0
"""Seconds after a write during which a read-back reads only the part that was written."""

_ANY_INFO: EntityDescription[Any, Any] = EntityDescription(key=INFO_PREFIX, name=Name("", ""), source=SCHEMA_SOURCE)
"""Stands for an entity that is published with `entities: standard`."""


@dataclass(slots=True)
class _DeviceSweep:
    """A sweep over the devices, and when each was last tried (`time.monotonic()`)."""

    source: str
    sweep: Sweep
    attempted_at: dict[str, float] = field(default_factory=dict)


class Coordinator:
    """The polls, writes and read-backs of one project."""

    def __init__(
        self, context: Context, client: Client, has_active_alarms: Callable[[str], bool | None] = lambda _: None
    ) -> None:
        """`has_active_alarms` returns by vendor id whether an alarm on disk is active; None if unknown."""
        options = context.options
        self.name = context.name
        self._selects = context.selects
        self._reads_customers = context.is_enabled(CUSTOMERS_ENTITY)
        self._stat_parts = {
            name: read
            for name, read, entities in (
                ("stat", self._read_stat, DEVICES_STAT_ENTITIES),
                ("alarms", self._read_alarm_stat, ALARM_STAT_ENTITIES),
            )
            if any(map(context.is_enabled, entities))
        }
        self._reads_infos = context.is_enabled(_ANY_INFO) or context.may_enable(INFO_PREFIX)
        self.client = client
        key: str | None = options["device_api"]["project_key"]
        self._device_api = None if key is None else DeviceApi(client, key)
        self.update = UpdateFactory(context.name)
        attribute_options = AttributeOptions(
            overrides=options["attributes"],
            writable=options["writable"],
            coordinates=Coordinates(options["coordinates"]),
        )
        self.store = DeviceStore(context, attribute_options, options["buttons"], has_active_alarms)
        self._filters = tuple(product(options["types"] or (None,), options["groups"] or (None,)))
        self._narrow = context.narrow
        self._is_narrowed = False
        """True while only the types and groups are listed that the rules select."""
        self._max_definitions_age = context.interval("schema") * 0.9
        self._listing = asyncio.Lock()
        self._listed_at, self._live_until = -math.inf, 0.0
        """Times (`time.monotonic()`) of the request for the newest list, and of the last end of live reports."""
        self._live = False
        """While True, everything that devices report arrives by the application-side MQTT."""
        self._empty_lists = 0
        self._deleted: set[str] = set()
        """Vendor ids of devices that the vendor deleted for us."""
        self._written: dict[str, tuple[str, float]] = {}
        self._values_sweep = _DeviceSweep(ATTRIBUTES_SOURCE, Sweep(primary_fails=context.primary_fails))
        self._type_sweep = Sweep(primary_fails=context.primary_fails)
        self._schema_sweep = _DeviceSweep(SCHEMA_SOURCE, Sweep(primary_fails=context.primary_fails))
        self._part_sweeps = {
            source: Sweep(primary_fails=context.primary_fails) for source in (STAT_SOURCE, META_SOURCE)
        }

    # Sources

    async def poll_devices(self) -> AsyncIterator[Update]:
        """Read all devices, or those of the configured types and groups; yield their inventory if it is complete."""
        async with self._listing:
            async for update in self._list_devices():
                yield update

    async def _list_devices(self) -> AsyncIterator[Update]:
        requested_at = time.monotonic()
        complete, seen = True, set[str]()
        errors: list[BackendError] = []
        filters = self._list_filters()
        for type_, group in filters:
            listing = device_listing(self.client, type_=type_, group=group, is_deferred=self._is_reconciled_later)
            try:
                async for page in listing.pages():
                    devices = [self.store.apply_device(item, page.requested_at) for item in page.items]
                    yield self.update(page.requested_at, devices=devices)
            except Unreachable:
                raise
            except BackendError as error:  # the lists of other types and groups are read all the same
                errors.append(error)
                complete = False
            complete &= listing.complete
            seen |= listing.seen
        if len(errors) == len(filters):
            raise errors[-1]
        if complete:  # an explicit total of 0 is one, too
            self._is_narrowed = filters != self._filters
            self._empty_lists = 0 if seen else self._empty_lists + 1
            if seen or self._empty_lists >= EMPTY_LISTS_BEFORE_REMOVAL:
                self.store.retain(seen, is_all=filters == ((None, None),))
            ids = frozenset(map(self.store.device_id, seen))
            removed = [self.store.device_id(vendor_id) for vendor_id in self._deleted - seen]
            self._deleted.clear()
            inventory = Inventory(scope="devices", ids=ids, confirmed_empty=not ids)
            yield self.update(requested_at, inventories=[inventory], removed=removed)
        self._listed_at = requested_at

    def _list_filters(self) -> Sequence[tuple[str | None, str | None]]:
        """Return the types and groups to list: those of the options, else those to which `include` is limited.

        The lists of groups are read only where they have fewer pages than the list of all devices.
        """
        if self._filters != ((None, None),):
            return self._filters
        narrowed = sorted(self._narrow(self.store.model_names, self.store.group_names), key=str)
        return narrowed if narrowed and self.store.count_pages(narrowed) < self.store.count_pages() else self._filters

    async def poll_attributes(self) -> AsyncIterator[Update]:
        """Read the values of the devices that are due, with their definitions where those are not known yet."""

        def is_due(vendor_id: str) -> bool:
            return self.store.is_due(vendor_id, live=self._live)

        async for update in self._sweep_devices(self._values_sweep, self._read_values, is_due):
            yield update

    async def poll_schema(self) -> AsyncIterator[Update]:
        """Read the definitions of each type by one of its devices, unless they were just read.

        Read, too, is the extended information that each type defines, and that of devices where it is enabled.
        """
        vendor_ids = await self.vendor_ids()
        failure: BackendError | None = None
        try:
            async for update in self._sweep_type_infos():
                yield update
        except BackendError as error:  # definitions are read all the same
            failure = error
        readers = self.store.definition_readers(vendor_ids, self._max_definitions_age, self._schema_sweep.attempted_at)

        async def read(vendor_id: str) -> Device | None:
            device = await self._read_definitions(vendor_id) if vendor_id in readers else None
            if self.store.wants_infos(vendor_id):
                device = self.store.apply_extended(vendor_id, await self.client.extend_infos(vendor_id))
            return device

        def is_due(vendor_id: str) -> bool:
            return vendor_id in readers or self.store.wants_infos(vendor_id)

        async for update in self._sweep_devices(self._schema_sweep, read, is_due):
            yield update
        if failure is not None:
            raise failure

    async def _sweep_type_infos(self) -> AsyncIterator[Update]:
        """Read the extended information that each type defines: it tells which entities there are."""
        types = self.store.types() if self._reads_infos else ()
        async for type_, result in self._type_sweep.run(types, self.client.type_infos):
            if not isinstance(result, BackendError):
                yield self.update(devices=self.store.apply_type_infos(type_, result))

    async def poll_stat(self) -> AsyncIterator[Update]:
        """Read the totals of the project."""
        async for update in self._sweep_parts(STAT_SOURCE, self._stat_parts):
            yield update

    async def poll_meta(self) -> AsyncIterator[Update]:
        """Read the project, its types, its groups with their members, and its number of users where that is enabled."""
        parts: dict[str, Callable[[], Awaitable[Iterable[Device]]]] = {
            "project": self._read_project,
            "types": self._read_types,
            **({"customers": self._read_customers} if self._reads_customers else {}),
            "groups": self._read_groups,
        }
        async for update in self._sweep_parts(META_SOURCE, parts):
            yield update

    async def vendor_ids(self) -> tuple[str, ...]:
        """Return the vendor ids of the selected devices; reads the list if there is none, or only an outdated one.

        A list from before reports stopped arriving does not tell what devices have sent since. Raises BackendError.
        """
        if not self._has_list():
            async with self._listing:
                if not self._has_list():
                    async for _ in self._list_devices():
                        pass
        return tuple(filter(self.is_selected, self.store.vendor_ids()))

    def _has_list(self) -> bool:
        return self._listed_at >= self._live_until

    def unread(self) -> Iterator[str]:
        """Yield the vendor ids of the selected devices whose values have to be read for the first time."""
        return filter(self.is_selected, self.store.unread())

    def _is_reconciled_later(self) -> bool:
        """Return True while first values are missing: the list was read once, and to read it again can wait."""
        return self._has_list() and next(self.unread(), None) is not None

    def is_selected(self, vendor_id: str) -> bool:
        """Return False for a listed device that the options exclude."""
        return not self.store.is_listed(vendor_id) or self._selects(self.store.device(vendor_id))

    def may_select(self, vendor_id: str) -> bool:
        """Return False for a device that is not listed because the options exclude its group or type."""
        return not self._is_narrowed or self.store.is_listed(vendor_id)

    def set_live(self, live: bool) -> None:  # noqa: FBT001 - a callback
        """Poll the values of devices rarely from now on, as what they report arrives by itself, or as usual again."""
        if self._live and not live:
            self._live_until = time.monotonic()
        self._live = live

    # One device

    async def read(self, device: Device) -> Update:
        """Read a device now, after a write only the part that was written. Raises BackendError."""
        requested_at = time.monotonic()
        if device.id == self.name:
            return self._read_back(requested_at, *await self._read_stat())
        vendor_id = device.vendor_id
        part, written_at = self._written.get(vendor_id, ("", 0.0))
        part = part if time.monotonic() - written_at < WRITE_WINDOW else ""
        if part != "attributes":
            self.apply_groups(vendor_id, await self._read_info(vendor_id))
        if part != "name":
            await self._read_values(vendor_id)
        listed = vendor_id in self.store.vendor_ids()
        return self._read_back(requested_at, self.store.device(vendor_id) if listed else None)

    async def write_attributes(self, device: Device, values: JsonObject, *, cloud: bool) -> None:
        """Send values to a device, or change the cloud's copy only.

        Raises BackendError; Unconfirmed where the cloud accepted them for a device that is offline.
        """
        write = self.client.put_attributes if cloud else self.client.send_attributes
        self._written[device.vendor_id] = "attributes", time.monotonic()
        await write(device.vendor_id, values)
        if not cloud:
            await self._require_online(device.vendor_id)

    async def press_command(self, device: Device, method: str, params: Mapping[str, Any]) -> None:
        """Send a command to a device. Raises BackendError; Unconfirmed where the device is offline and cannot reply."""
        await self.send_command(device.vendor_id, method, params)
        if self._device_api is None:
            await self._require_online(device.vendor_id)

    async def _require_online(self, vendor_id: str) -> None:
        """Raise Unconfirmed for a device that is offline: the cloud accepts and shows what the device did not get."""
        try:
            await self._read_info(vendor_id)
        except BackendError as error:  # the write was accepted; the status of the list has to do
            _LOG.debug("%s: whether the device is online cannot be read: %s", vendor_id, error)
        if self.store.is_online(vendor_id) is False:
            message = "ThingsCloud accepted it, but the device is offline and did not get it"
            raise Unconfirmed(message, endpoint="device", code="device_offline")

    async def send_command(
        self, vendor_id: str, method: str, params: Mapping[str, Any], number: int | None = None
    ) -> JsonObject:
        """Send a command to a device; return the `id` of the command, by default the time, and the `outcome`.

        With the app-side device API the outcome is `replied`, beside the device's `reply`; otherwise it is `unknown`:
        the vendor accepted the command. Raises BackendError.
        """
        number = int(time.time() * 1000) if number is None else number
        if self._device_api is None:
            response = await self.client.send_command(vendor_id, method, params, number)
            result = {**response, "id": number, "outcome": "unknown"}
        else:
            reply = await self._device_api.send_command(vendor_id, method, params, number)
            result = {"id": number, "outcome": "replied", "reply": reply}
        self.store.request_values(vendor_id)
        return result

    async def write_name(self, device: Device, name: str) -> None:
        """Give a device another name. Raises BackendError."""
        self._written[device.vendor_id] = "name", time.monotonic()
        await self.client.put(device_path(device.vendor_id, "info"), "device_info_set", {"name": name})

    def mark_deleted(self, vendor_id: str) -> None:
        """Remember that the vendor deleted a device for us: it is removed as soon as the list lacks it."""
        self._deleted.add(vendor_id)

    def apply_groups(self, vendor_id: str, info: JsonObject) -> None:
        """Apply the groups that a device's own information names."""
        groups = info.get("groups")
        if isinstance(groups, list):
            self.store.apply_device_groups(vendor_id, [text for item in groups if (text := vendor_json.text(item))])

    def _read_back(self, requested_at: float, *devices: Device | None) -> Update:
        return self.update(requested_at, origin=UpdateOrigin.COMMAND, devices=devices)

    async def _sweep_devices(
        self, state: _DeviceSweep, read: Callable[[str], Awaitable[Device | None]], is_due: Callable[[str], bool]
    ) -> AsyncIterator[Update]:
        """Read one device after another of those that are due; those with new values come next.

        One that fails is skipped.
        """
        listed = state.sweep.order(await self.vendor_ids())
        state.attempted_at = {id_: at for id_ in listed if (at := state.attempted_at.get(id_)) is not None}
        remaining = dict.fromkeys(filter(is_due, listed))
        failed = set[str]()
        while chunk := self.store.sweep_order(remaining, state.attempted_at)[:CHUNK]:
            for vendor_id in chunk:
                del remaining[vendor_id]
            for vendor_id in filter(is_due, chunk):  # a report may have come meanwhile, or the connection
                requested_at = state.attempted_at[vendor_id] = time.monotonic()
                try:
                    device = await read(vendor_id)
                except BackendError as error:
                    state.sweep.record_failure(vendor_id, error)
                    failed.add(vendor_id)
                    if state.sweep.is_missed(vendor_id):
                        yield self.update(devices=[self.store.apply_missed(vendor_id, state.source)])
                else:
                    state.sweep.record_success(vendor_id)
                    checkpoints = self.store.unsaved_checkpoints(vendor_id)
                    changed = self.store.take_changed()
                    yield self.update(requested_at, devices=[*changed, device], checkpoints=checkpoints)
        if len(failed) >= min(DIFFERENT_ITEMS, len(listed)):  # fewer say nothing about those that were not due
            state.sweep.close()

    async def _sweep_parts(
        self, source: str, parts: Mapping[str, Callable[[], Awaitable[Iterable[Device]]]]
    ) -> AsyncIterator[Update]:
        """Read one part of the project after another; one that fails is skipped."""
        sweep, unanswered = self._part_sweeps[source], set(parts)
        async for part, result in sweep.run(parts, lambda part: parts[part]()):
            if not isinstance(result, BackendError):
                unanswered.discard(part)
                yield self.update(devices=result)
            elif sweep.is_missed(part):
                yield self.update(devices=[self.store.clear_project(part)])
        if not unanswered:
            self.store.mark_answered(source)
            yield self.update(devices=[self.store.update_project()], checkpoints=self.store.unsaved_places())

    async def _read_info(self, vendor_id: str) -> JsonObject:
        requested_at = time.monotonic()
        info = await self.client.device(vendor_id)
        self.store.apply_device({**info, "id": vendor_id}, requested_at)
        return info

    async def _read_values(self, vendor_id: str) -> Device | None:
        if self.store.needs_definitions(vendor_id):
            return await self._read_definitions(vendor_id)
        requested_at = time.monotonic()
        device = self.store.apply_values(vendor_id, await self.client.attributes_raw(vendor_id), requested_at)
        return await self._read_definitions(vendor_id) if self.store.needs_definitions(vendor_id) else device

    async def _read_definitions(self, vendor_id: str) -> Device | None:
        requested_at = time.monotonic()
        return self.store.apply_definitions(vendor_id, await self.client.attributes(vendor_id), requested_at)

    # The project

    async def _read_stat(self) -> Iterable[Device]:
        info = await self.client.get("devices_stat", "devices_stat")
        return [self.store.update_project(stat=DevicesStat.model_validate(info))]

    async def _read_alarm_stat(self) -> Iterable[Device]:
        info = await self.client.get("devices_alarm_stat", "devices_alarm_stat")
        return [self.store.update_project(alarms=AlarmStat.model_validate(info))]

    async def _read_project(self) -> Iterable[Device]:
        project = Project.model_validate(await self.client.get("project", "project"))
        return [self.store.update_project(project=project)]

    async def _read_types(self) -> Iterable[Device]:
        items = await self.client.items("device_types", "device_types")
        types = tuple(DeviceType.model_validate(item) for item in items)
        self.store.model_names = {type_.id: type_.name for type_ in types if type_.id and type_.name}
        return [self.store.update_project(types=types)]

    async def _read_customers(self) -> Iterable[Device]:
        """Count the users; nothing else about them leaves this function."""
        info = await self.client.get("customers", "customers")
        total, items = vendor_json.number(info.get("total")), info.get("items")
        count = len(items) if isinstance(items, list) else None
        return [self.store.update_project(customers=count if total is None else int(total))]

    async def _read_groups(self) -> Iterable[Device]:
        tree = flatten_tree(await self.client.items("device_groups_tree", "device_groups_tree"))
        members = await read_members(self.client, tree, self.store.members)
        return [self.store.update_project(groups=tree), *self.store.apply_groups(tree, members)]
