"""The coordinator: polls and reads the vendor system, writes to it, and turns responses into updates."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.devices.model import Device, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, CommandError, Rejected
from fleet2mqtt.platforms.smart_gateway.client import Client
from fleet2mqtt.platforms.smart_gateway.device_store import DeviceStore
from fleet2mqtt.platforms.smart_gateway.entities import BACKEND
from fleet2mqtt.platforms.smart_gateway.mapping_store import MappingStore
from fleet2mqtt.platforms.smart_gateway.models import UNASSIGNED, BackendRecord, serial_number
from fleet2mqtt.platforms.smart_gateway.writes import SetBody, configuration, merged
from fleet2mqtt.sdk.pagination import Listing, Page, Position
from fleet2mqtt.sdk.updates import UpdateFactory

BATCH = 20
"""Gateways in one call of devices/query."""


@dataclass(slots=True, kw_only=True)
class Coordinator:
    """One smart gateway backend. `save_checkpoint(device id, text)` puts a rule's address on disk.

    `first_page` is the number of the list's first page: the option at first, corrected once the vendor's is known.
    """

    client: Client
    gateways: DeviceStore
    mappings: MappingStore
    update: UpdateFactory
    save_checkpoint: Callable[[str, str], Awaitable[None]]
    page_size: int
    first_page: int
    set_body: SetBody
    _page_zero: tuple[str | None, ...] | None = field(default=None)

    # Sources

    async def poll_devices(self) -> AsyncIterator[Update]:
        """Read all pages of the list; read it twice if items moved meanwhile. Document 1.1."""
        requested_at = time.monotonic()
        listing = Listing(fetch=self._fetch_page, key=serial_number)
        async for page in listing.pages():
            yield self.update(requested_at, devices=self._apply_page(page.response))
        inventories = self.gateways.apply_inventory(listing.seen) if listing.complete else ()
        queried = self.gateways.queried
        if queried is not None:
            not_queried = (sn for sn in self.gateways.serial_numbers() if sn not in queried)
            inventories += self.gateways.channel_inventories(not_queried)
        devices = (self._backend_device(), *self.mappings.devices())
        yield self.update(requested_at, devices=devices, inventories=inventories)

    async def poll_details(self) -> AsyncIterator[Update]:
        """Query the gateways that the option `query` names; poll the list first if it has not been read yet."""
        queried = self.gateways.queried
        if queried is None and not self.gateways.serial_numbers():
            async for update in self.poll_devices():
                yield update
        wanted = list(self.gateways.serial_numbers() if queried is None else queried)
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            requested_at = time.monotonic()
            devices = await self._query(batch)
            yield self.update(
                requested_at,
                devices=(*devices, *self.mappings.devices()),
                inventories=self.gateways.channel_inventories(batch),
            )

    async def poll_mappings(self) -> AsyncIterator[Update]:
        """Read all rules. Document 2.1."""
        requested_at = time.monotonic()
        await self.list_mappings()
        devices = (self._backend_device(), *self.mappings.devices())
        yield self.update(requested_at, devices=devices, inventories=self.mappings.inventory())

    async def read_device(self, device: Device) -> Update:
        """Read a rule and its gateways, a gateway with its channels, or the backend's figures."""
        requested_at = time.monotonic()
        devices = await self._read(device)
        return self.update(requested_at, devices=(*devices, *self.mappings.devices()), origin=UpdateOrigin.COMMAND)

    async def _read(self, device: Device) -> tuple[Device, ...]:
        if device.scope == "backend":
            await self.list_mappings()
            devices = self._apply_page(await self.client.list_devices(page=self.first_page, limit=1))
            return (self._backend_device(), *devices)
        if device.scope == "gateways":
            return await self._query([device.vendor_id])
        if device.scope != "mappings":
            return await self._query([device.scope.removeprefix("channels:")])
        before = self.mappings.holder(device.vendor_id)
        await self.list_mappings()
        holders = {before, self.mappings.holder(device.vendor_id)}
        serial_numbers = [sn for sn in holders if sn is not None]
        return await self._query(serial_numbers) if serial_numbers else ()

    async def list_mappings(self) -> list[dict[str, Any]]:
        """Read the rules into the mapping store; return them as the vendor sent them."""
        items = await self.client.list_mappings()
        self.mappings.apply_list(items)
        return items

    async def _query(self, serial_numbers: list[str]) -> tuple[Device, ...]:
        devices = self.gateways.apply_query(await self.client.query_devices(serial_numbers))
        self.mappings.apply_assignments()
        return devices

    def _apply_page(self, response: Mapping[str, Any]) -> tuple[Device, ...]:
        devices = self.gateways.apply_list(response.get("devices", ()), total_of(response))
        self.mappings.apply_assignments()
        return devices

    def _backend_device(self) -> Device:
        record = BackendRecord(count=self.gateways.count, rules=self.mappings.listed)
        return self.gateways.cache.backend_device(record, BACKEND)

    # Pages

    async def _fetch_page(self, position: Position) -> Page:
        """Return a page of the list. Finds out whether the vendor counts its pages from 0 or from 1."""
        page = await self._request_page(self.first_page + position.number - 1)
        serial_numbers = tuple(map(serial_number, page.items))
        if self.first_page == 0 and position.number == 1:
            self._page_zero = serial_numbers
            if not page.count and page.total != 0:  # refused or empty
                self.first_page = 1
                return await self._request_page(1)
        elif self.first_page == 0 and position.number == 2 and page.count and serial_numbers == self._page_zero:
            self.first_page = 1
            return await self._request_page(2)
        elif self.first_page == 1 and not page.count and (page.total or 0) > position.offset:
            self.first_page = 0  # as many as a page may be missing; a second reading tells
        return page

    async def _request_page(self, number: int) -> Page:
        requested_at = time.monotonic()
        try:
            response = await self.client.list_devices(page=number, limit=self.page_size)
        except Rejected:
            if number > 0:
                raise
            return Page(items=(), count=0, total=None, requested_at=requested_at)
        items = response["devices"]
        return Page(
            items=tuple(item for item in items if isinstance(item, dict)),
            count=len(items),
            total=total_of(response),
            requested_at=requested_at,
            response=response,
        )

    # Writes

    async def change_settings(self, sn: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Send changed settings of one gateway; the option `set_body` may put all its other settings around them.

        Those are read just before. Document 1.4. Raises BackendError.
        """
        body: dict[str, Any] = {"base": {"sn": sn}}
        if self.set_body is SetBody.FULL:
            await self._query([sn])
            body = merged(body, configuration(self.gateways.raw(sn)))
        return await self.client.set_devices({sn: merged(body, change)})

    async def set_subnet_ip(self, uuid: str, address: str) -> Update | None:
        """Set a rule's address in its gateway's LAN; that of an unassigned rule is saved for its next assignment."""
        sn = self.mappings.holder(uuid)
        if sn is not None:
            await self.client.reassign_mapping(uuid, sn, address)
        await self.remember_address(uuid, address)
        return None if sn is not None else self.update(devices=self.mappings.devices(), origin=UpdateOrigin.COMMAND)

    async def set_gateway(self, uuid: str, option: str) -> Update | None:
        """Assign a rule to a gateway, unassign it, or move it: then it is unassigned first and assigned after."""
        target = self.mappings.options().get(option.lower())
        if target is None and option.lower() != UNASSIGNED:
            raise CommandError("unknown_gateway", f"there is no gateway {option!r}")
        holder = self.mappings.holder(uuid)
        if target == holder:
            return None
        address = self.mappings.address(uuid)
        if target is not None and not address:
            message = (
                "the vendor needs the rule's address in the gateway's sub-net: set subnet_ip first, send both as "
                '{"subnet_ip": …, "gateway": …}, or use the action mapping_assign'
            )
            raise CommandError("subnet_ip_required", message)
        if holder is not None:
            await self.client.unassign_mappings(holder, [uuid])
        if address:
            await self.remember_address(uuid, address)
        if target is not None:
            await self._assign(uuid, target, str(address), holder)
        return None

    async def _assign(self, uuid: str, sn: str, address: str, former: str | None) -> None:
        try:
            await self.client.assign_mapping(uuid, sn, address)
        except BackendError as error:
            if former is None:
                raise
            message = f"{error}; the rule was already unassigned from {former} and may now be with no gateway"
            raise type(error)(message, endpoint=error.endpoint, code=error.code) from error

    async def remember_address(self, uuid: str, address: str) -> None:
        """Save a rule's address for its next assignment, across restarts: the vendor does not store it."""
        self.mappings.remember_address(uuid, address)
        if self.mappings.checkpoint(self.mappings.id(uuid)) != address:
            await self.save_checkpoint(self.mappings.id(uuid), address)


def total_of(response: Mapping[str, Any]) -> int | None:
    """Return the vendor's `count` of all devices, None where it is no number."""
    count = response.get("count")
    return int(count) if isinstance(count, int | str) and str(count).strip().isdigit() else None
