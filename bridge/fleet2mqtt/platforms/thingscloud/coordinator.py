"""One project: what to ask it, and what its answers mean. What rows, sources and actions work with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import product
from types import MappingProxyType
from typing import Any

from fleet2mqtt.devices.model import Device, Inventory, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError
from fleet2mqtt.platforms.thingscloud.attributes import Rules
from fleet2mqtt.platforms.thingscloud.client import Client, device_path
from fleet2mqtt.platforms.thingscloud.device_store import Fleet
from fleet2mqtt.platforms.thingscloud.geo import Coordinates
from fleet2mqtt.platforms.thingscloud.groups import flattened, read_groups
from fleet2mqtt.platforms.thingscloud.models import AlarmStat, DevicesStat, DeviceType, Project, Row
from fleet2mqtt.platforms.thingscloud.paging import Listing
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.poll_errors import PollErrors

CHUNK = 50
"""Devices after which the order of the others is looked at again."""
WRITING = 30.0
"""Seconds after a write during which a read-back asks only for what was written."""


class System:
    """The polls, writes and read-backs of one project."""

    def __init__(self, context: Context, client: Client) -> None:
        options = context.options
        self.name = context.name
        self.client = client
        rules = Rules(
            overrides=options["attributes"],
            writable=options["writable"],
            coordinates=Coordinates(options["coordinates"]),
        )
        self.fleet = Fleet(context, rules, options["buttons"])
        self._filters = tuple(product(options["types"] or (None,), options["groups"] or (None,)))
        self._schema_life = context.interval("schema") * 0.9
        self._listing = asyncio.Lock()
        self._listed = False
        self._written: dict[str, tuple[str, float]] = {}

    def update(
        self,
        requested_at: float | None = None,
        *,
        origin: UpdateOrigin = UpdateOrigin.POLL,
        checkpoints: Mapping[str, str] = MappingProxyType({}),
        **news: Any,
    ) -> Update:
        """An Update of this backend, observed now. Without `began` it is what is known now, whenever that was asked."""
        return Update(
            backend=self.name,
            origin=origin,
            requested_at=time.monotonic() if requested_at is None else requested_at,
            observed_at=datetime.now(UTC),
            checkpoints=checkpoints,
            **{kind: tuple(item for item in items if item is not None) for kind, items in news.items()},
        )

    # Sources

    async def poll_devices(self) -> AsyncIterator[Update]:
        """All devices, or those of the types and groups configured; then the inventory if every list was whole."""
        async with self._listing:
            async for update in self._list_devices():
                yield update
            self._listed = True

    async def _list_devices(self) -> AsyncIterator[Update]:
        requested_at = time.monotonic()
        whole, seen = True, set[str]()
        for type_, group in self._filters:
            listing = Listing(fetch=partial(self.client.devices, type_=type_, group=group))
            async for page in listing.pages():
                yield self.update(
                    page.requested_at, devices=[self.fleet.learn(row, page.requested_at) for row in page.rows]
                )
            whole &= listing.complete
            seen |= listing.seen
        if whole and seen:
            self.fleet.retain(seen)
            yield self.update(
                requested_at, inventories=[Inventory(scope="devices", ids=frozenset(map(self.fleet.id, seen)))]
            )

    async def poll_attributes(self) -> AsyncIterator[Update]:
        """The values of every device, with their definitions where those are not known yet."""
        async for update in self._each(self._read_values):
            yield update

    async def poll_schema(self) -> AsyncIterator[Update]:
        """The definitions of every device's attributes, unless they were just read, and its extended information."""
        async for update in self._each(self._read_schema):
            yield update

    async def poll_stat(self) -> AsyncIterator[Update]:
        """The figures of the project."""
        failures = PollErrors()
        figures: tuple[tuple[str, str, Any], ...] = (
            ("stat", "devices_stat", DevicesStat),
            ("alarms", "devices_alarm_stat", AlarmStat),
        )
        for part, endpoint, model in figures:
            try:
                info = await self.client.get(endpoint, endpoint)
            except BackendError as error:
                failures.skip(error)
            else:
                failures.ok()
                yield self.update(devices=[self.fleet.figure(**{part: model.model_validate(info)})])
        failures.close()

    async def poll_meta(self) -> AsyncIterator[Update]:
        """What rarely changes: the project, its types, its groups and who is in them, and how many users it has."""
        failures = PollErrors()
        for read in (self._read_project, self._read_types, self._read_customers, self._read_groups):
            try:
                devices = await read()
            except BackendError as error:
                failures.skip(error)
            else:
                failures.ok()
                yield self.update(devices=devices)
        failures.close()

    async def natives(self) -> tuple[str, ...]:
        """The devices known; reads the list where it has not been read yet. Raises BackendError."""
        async with self._listing:
            if not self._listed:
                async for _ in self._list_devices():
                    pass
                self._listed = True
        return self.fleet.natives()

    # One device

    async def read(self, device: Device) -> Update:
        """What ThingsCloud says of a device now: after a write only of what was written. Raises BackendError."""
        requested_at = time.monotonic()
        if device.id == self.name:
            info = await self.client.get("devices_stat", "devices_stat")
            return self._shown(requested_at, self.fleet.figure(stat=DevicesStat.model_validate(info)))
        vendor_id = device.vendor_id
        wrote, at = self._written.get(vendor_id, ("", 0.0))
        wanted = wrote if time.monotonic() - at < WRITING else ""
        if wanted != "attributes":
            self.learn_groups(vendor_id, await self._read_info(vendor_id))
        if wanted != "name":
            await self._read_values(vendor_id)
        return self._shown(requested_at, self.fleet.device(vendor_id) if vendor_id in self.fleet.natives() else None)

    async def write_attribute(self, device: Device, values: Row, *, cloud: bool) -> None:
        """Send values to a device, or change the cloud's copy only. Raises BackendError."""
        write = self.client.put_attributes if cloud else self.client.send_attributes
        self._written[device.vendor_id] = "attributes", time.monotonic()
        await write(device.vendor_id, values)

    async def send_command(self, vendor_id: str, method: str, params: Row, number: int | None = None) -> Row:
        """Send a device a command; gives the vendor's answer and the `id` of the reply, the time if none was given."""
        number = int(time.time() * 1000) if number is None else number
        answer = await self.client.send_command(vendor_id, method, params, number)
        self.fleet.hurry(vendor_id)
        return {**answer, "id": number}

    async def write_name(self, device: Device, name: str) -> None:
        """Give a device another name. Raises BackendError."""
        self._written[device.vendor_id] = "name", time.monotonic()
        await self.client.put(device_path(device.vendor_id, "info"), "device_info_set", {"name": name})

    def learn_groups(self, vendor_id: str, info: Row) -> None:
        """Take in the groups that a device's own information names."""
        if isinstance(info.get("groups"), list):
            self.fleet.group_one(vendor_id, [text for item in info["groups"] if (text := vendor_json.text(item))])

    def _shown(self, requested_at: float, device: Device | None) -> Update:
        return self.update(requested_at, origin=UpdateOrigin.COMMAND, devices=[device])

    async def _each(self, read: Callable[[str], Awaitable[Device | None]]) -> AsyncIterator[Update]:
        """Device after device; whoever sent something meanwhile comes next. One that fails costs the others nothing."""
        failures = PollErrors()
        left = set(await self.natives())
        while turn := self.fleet.waiting(left)[:CHUNK]:
            left.difference_update(turn)
            for vendor_id in turn:
                requested_at = time.monotonic()
                try:
                    device = await read(vendor_id)
                except BackendError as error:
                    failures.skip(error)
                else:
                    failures.ok()
                    yield self.update(requested_at, devices=[device])
        failures.close()

    async def _read_info(self, vendor_id: str) -> Row:
        requested_at = time.monotonic()
        info = await self.client.device(vendor_id)
        self.fleet.learn({**info, "id": vendor_id}, requested_at)
        return info

    async def _read_values(self, vendor_id: str) -> Device | None:
        if self.fleet.undefined(vendor_id):
            return await self._define(vendor_id)
        requested_at = time.monotonic()
        device = self.fleet.set_values(vendor_id, await self.client.attributes_raw(vendor_id), requested_at)
        return await self._define(vendor_id) if self.fleet.undefined(vendor_id) else device

    async def _define(self, vendor_id: str) -> Device | None:
        requested_at = time.monotonic()
        return self.fleet.define(vendor_id, await self.client.attributes(vendor_id), requested_at)

    async def _read_schema(self, vendor_id: str) -> Device | None:
        age = self.fleet.schema_age(vendor_id)
        if age is None or age > self._schema_life:
            await self._define(vendor_id)
        return self.fleet.extend(vendor_id, await self.client.extend_infos(vendor_id))

    # The project

    async def _read_project(self) -> Iterable[Device]:
        project = Project.model_validate(await self.client.get("project", "project"))
        return [self.fleet.figure(project=project)]

    async def _read_types(self) -> Iterable[Device]:
        found = await self.client.items("device_types", "device_types")
        types = tuple(DeviceType.model_validate(row) for row in found)
        self.fleet.model_names = {kind.id: kind.name for kind in types if kind.id and kind.name}
        return [self.fleet.figure(types=types)]

    async def _read_customers(self) -> Iterable[Device]:
        """Only how many there are leaves this function."""
        info = await self.client.get("customers", "customers")
        total, listed = vendor_json.number(info.get("total")), info.get("items")
        count = len(listed) if isinstance(listed, list) else None
        return [self.fleet.figure(customers=count if total is None else int(total))]

    async def _read_groups(self) -> Iterable[Device]:
        tree = flattened(await self.client.items("device_groups_tree", "device_groups_tree"))
        members = await read_groups(self.client, tree, self.fleet.members)
        return [self.fleet.figure(groups=tree), *self.fleet.group(tree, members)]
