"""The sources: the paged list, the details, the rules; and the reading of one device."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.devices.model import Device, Inventory, Update, UpdateOrigin
from fleet2mqtt.errors import Rejected
from fleet2mqtt.platforms.smart_gateway.client import serial_of
from fleet2mqtt.platforms.smart_gateway.coordinator import Site, count_of

BATCH = 20
PASSES = 2


@dataclass(slots=True)
class _Pass:
    """One reading of the list from its first page on."""

    requested_at: float = field(default_factory=time.monotonic)
    seen: set[str] = field(default_factory=set)
    counts: set[int | None] = field(default_factory=set)
    largest: int = 0
    dry: bool = False

    def take(self, reply: dict[str, Any]) -> bool:
        """Whether this page brought anyone new."""
        rows = reply["devices"]
        new = {sn for row in rows if (sn := serial_of(row)) is not None} - self.seen
        self.seen |= new
        self.counts.add(count_of(reply))
        self.largest = max(self.largest, len(rows))
        self.dry = not rows
        return bool(new)

    @property
    def missing(self) -> int:
        """How many devices were not listed; -1 where the vendor gives no count or it changed while reading."""
        count = next(iter(self.counts)) if len(self.counts) == 1 else None
        return -1 if count is None else max(count - len(self.seen), 0)

    @property
    def shifted(self) -> bool:
        """Whether exactly a first page is missing: the server then starts its numbers one before ours."""
        return self.missing > 0 and self.dry and self.missing >= self.largest


async def poll_devices(site: Site) -> AsyncIterator[Update]:
    """All pages of the list; when devices came or went meanwhile, all once more, so that the inventory is complete."""
    for _ in range(PASSES):
        reading = _Pass()
        async for update in _pages(site, reading):
            yield update
        if reading.missing == 0 or reading.counts == {None}:
            break
    inventories: tuple[Inventory, ...] = ()
    if reading.missing == 0:
        inventories = site.gateways.inventory(reading.seen)
    chosen = site.gateways.queried
    if chosen is not None:
        rest = (sn for sn in site.gateways.serials() if sn not in chosen)
        inventories += site.gateways.channel_inventories(rest)
    yield site.update(reading.requested_at, (site.device(), *site.rules.devices()), inventories)


async def _pages(site: Site, reading: _Pass) -> AsyncIterator[Update]:
    """From the first page to the last; one more call finds out where the server numbers them otherwise."""
    start = number = site.first_page
    while True:
        reply = await _page(site, number)
        more = reply is not None and reading.take(reply)
        if reply is not None:
            yield site.update(reading.requested_at, site.take_page(reply))
        unsure = start == 0 and number <= 1  # page 0 may be refused, empty, or the same as page 1
        if reading.missing == 0 or not (more or unsure):
            break
        number += 1
    if start == 1 and reading.shifted:
        reply = await _page(site, 0)
        if reply is not None and reading.take(reply):
            site.first_page = 0
            yield site.update(reading.requested_at, site.take_page(reply))


async def _page(site: Site, number: int) -> dict[str, Any] | None:
    """A page of the list; None for a page 0 that the server refuses, because its numbers start with 1."""
    try:
        return await site.client.list_devices(page=number, limit=site.page_size)
    except Rejected:
        if number > 0:
            raise
        return None


async def poll_details(site: Site) -> AsyncIterator[Update]:
    """What only a query shows, for the gateways the option `query` names; before the first list, that list."""
    chosen = site.gateways.queried
    if chosen is None and not site.gateways.serials():
        async for update in poll_devices(site):
            yield update
    wanted = list(site.gateways.serials() if chosen is None else chosen)
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        requested_at = time.monotonic()
        devices = await site.query_devices(batch)
        yield site.update(requested_at, (*devices, *site.rules.devices()), site.gateways.channel_inventories(batch))


async def poll_mappings(site: Site) -> AsyncIterator[Update]:
    """All rules."""
    requested_at = time.monotonic()
    await site.list_mappings()
    yield site.update(requested_at, (site.device(), *site.rules.devices()), site.rules.inventory())


async def read_device(site: Site, device: Device) -> Update:
    """Ask now for a rule and the gateways concerned, a gateway with its channels, or the back end's figures."""
    requested_at = time.monotonic()
    found = await _read(site, device)
    return site.update(requested_at, (*found, *site.rules.devices()), origin=UpdateOrigin.COMMAND)


async def _read(site: Site, device: Device) -> tuple[Device, ...]:
    if device.scope == "backend":
        await site.list_mappings()
        page = site.take_page(await site.client.list_devices(page=site.first_page, limit=1))
        return (site.device(), *page)
    if device.scope != "mappings":
        return await site.query_devices(
            [device.vendor_id if device.scope == "gateways" else device.scope.removeprefix("channels:")]
        )
    before = site.rules.holder(device.vendor_id)
    await site.list_mappings()
    concerned = {before, site.rules.holder(device.vendor_id)} - {None}
    return await site.query_devices([sn for sn in concerned if sn is not None]) if concerned else ()
