"""Coordinator of one UMS: calls the client, keeps the device store and turns responses into updates."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial

from fleet2mqtt.devices.model import Device, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, Rejected
from fleet2mqtt.platforms.ums.client import Client, interval
from fleet2mqtt.platforms.ums.device_store import DeviceStore, item_mac, line_name
from fleet2mqtt.platforms.ums.models import EventCount, OnlineCount, normalize_mac, zone_context
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.pagination import Item, Listing, Page, Position
from fleet2mqtt.sdk.poll_errors import PollErrors
from fleet2mqtt.sdk.updates import UpdateFactory

_LOG = logging.getLogger(__name__)

BATCH = 50
"""Devices per call of the UMS document 3.4, which asks for batches and names no size."""


class Coordinator:
    """The polls, the line test and the read-back of one UMS."""

    def __init__(self, context: Context, client: Client) -> None:
        self.name = context.name
        self.client = client
        self.page_size: int = context.options["page_size"]
        self.zone = context.zone
        self.url = f"{context.options['url']}/index"
        self.update = UpdateFactory(context.name)
        self.store = DeviceStore(context.name, context.ids, context.zone, self.url)
        self._has_list = False
        self._nameless = 0
        self._refused_offline: set[str] = set()
        """Offline gateways whose lines the UMS would not return."""

    async def poll_devices(self) -> AsyncIterator[Update]:
        """Yield gateways page by page, then the inventory if the list is complete: the UMS document 3.1."""
        requested_at = time.monotonic()
        listing = self.listing(self.client.device_list, item_mac)
        async for page in listing.pages():
            for update in self._apply_page(page):
                yield update
        self._has_list = True
        self._log_nameless(listing)
        if listing.complete and listing.seen:
            self.store.discard_missing(listing.seen)
            inventories = self.store.inventory(listing.seen)
            yield self.update(requested_at, inventories=inventories)

    async def poll_lines(self) -> AsyncIterator[Update]:
        """Yield the lines of one gateway after another, of offline ones until they were read: the UMS document 3.7."""
        errors = PollErrors()
        macs = await self.macs()
        for mac in filter(self.store.is_online, macs):
            self._refused_offline.discard(mac)
            try:
                update = await self.read_lines(mac)
            except BackendError as error:
                errors.skip(error)
            else:
                errors.ok()
                yield update
        errors.close()
        for mac in filter(self._is_unread, macs):
            try:
                update = await self.read_lines(mac)
            except (
                BackendError
            ):  # nothing can be concluded from it while the gateway is offline; read again once online
                self._refused_offline.add(mac)
            else:
                yield update

    async def poll_statistics(self) -> AsyncIterator[Update]:
        """Yield the alarm counts of all gateways, batch by batch: the UMS document 3.4."""
        errors = PollErrors()
        macs = [self.store.vendor_mac(mac) for mac in await self.macs()]
        for at in range(0, len(macs), BATCH):
            try:
                items, period = await self._read_counts(macs[at : at + BATCH])
            except BackendError as error:
                errors.skip(error)
            else:
                errors.ok()
                yield self.update(devices=self.store.apply_counts(items, period))
        errors.close()

    async def poll_status(self) -> AsyncIterator[Update]:
        """Yield the newest online count: the UMS document 3.6."""
        status = await self._read_newest_status()
        if status is not None:
            yield self.update(devices=[self.store.apply_figures(status=status)])

    async def poll_events(self) -> AsyncIterator[Update]:
        """Yield the event counts of the last hour: the UMS document 3.5 without a window."""
        listing = self.listing(self.client.event_statistics, _event_key, again=False)
        events = tuple(EventCount.model_validate(item) for item in await listing.items())
        yield self.update(devices=[self.store.apply_figures(events=events)])

    async def macs(self) -> tuple[str, ...]:
        """Return the MACs of all gateways; reads the device list if no poll has yet. Raises BackendError."""
        if not self._has_list:
            async for page in self.listing(self.client.device_list, item_mac).pages():
                self._apply_page(page)
            self._has_list = True
        return self.store.macs()

    async def read_lines(self, mac: str, *, origin: UpdateOrigin = UpdateOrigin.POLL) -> Update:
        """Return the lines of one gateway as last measured: the UMS document 3.7. Raises BackendError."""
        requested_at = time.monotonic()
        listing = self.listing(partial(self.client.fxo_status, self.store.vendor_mac(mac)), line_name)
        return self._apply_lines(mac, listing, await listing.items(), requested_at, origin)

    async def test_lines(self, gateway: Device) -> Update:
        """Test the lines of one gateway now: the UMS document 3.7 with `type=fxo`. Raises BackendError."""
        mac = gateway.vendor_id
        fetch = partial(self.client.fxo_test, self.store.vendor_mac(mac))
        listing = self.listing(fetch, line_name, again=False)
        items = await listing.items()
        # Measured values are as of the response: a poll that was requested meanwhile returns older ones.
        return self._apply_lines(mac, listing, items, time.monotonic(), UpdateOrigin.COMMAND)

    async def read(self, device: Device) -> Update:
        """Return the state of a device now. Raises BackendError; Rejected if the UMS does not list it."""
        if device.id == self.name:
            status = await self._read_newest_status()
            return self.update(origin=UpdateOrigin.COMMAND, devices=[self.store.apply_figures(status=status)])
        if device.scope == "devices":
            return await self._read_gateway(device.vendor_id)
        return await self.read_lines(device.vendor_id.partition("/")[0], origin=UpdateOrigin.COMMAND)

    def newest_statistics(self) -> datetime | None:
        """Return the time at which the UMS last counted its devices, None before the first count."""
        status = self.store.fleet.status
        return None if status is None else status.statistics_time

    def _is_unread(self, mac: str) -> bool:
        return not (self.store.is_online(mac) or self.store.has_read_lines(mac) or mac in self._refused_offline)

    def listing(
        self, fetch: Callable[[int, int], Awaitable[Page]], key: Callable[[Item], str | None], *, again: bool = True
    ) -> Listing:
        """Return a list to be read in pages of the configured size; `fetch(offset, limit)` returns a page."""

        def fetch_at(position: Position) -> Awaitable[Page]:
            return fetch(position.offset, self.page_size)

        return Listing(fetch=fetch_at, key=key, again=again)

    def _apply_page(self, page: Page) -> list[Update]:
        devices = self.store.apply_page(page.keys, page.items, page.requested_at)
        updates = [self.update(page.requested_at, devices=devices)]
        lines = self.store.pop_changed_lines()
        return [*updates, self.update(devices=lines)] if lines else updates

    def _apply_lines(
        self, mac: str, listing: Listing, items: Iterable[Item], requested_at: float, origin: UpdateOrigin
    ) -> Update:
        devices = self.store.apply_lines(mac, items, requested_at, complete=listing.complete)
        inventories = self.store.line_inventory(mac, listing.seen) if devices and listing.complete else ()
        return self.update(requested_at, origin=origin, devices=devices, inventories=inventories)

    async def _read_gateway(self, mac: str) -> Update:
        async for page in self.listing(self.client.device_list, item_mac, again=False).pages():
            for item in page.items:
                if item_mac(item) == mac:
                    device = self.store.apply(mac, item, page.requested_at)
                    return self.update(page.requested_at, origin=UpdateOrigin.COMMAND, devices=[device])
        raise Rejected(f"device_list: the UMS does not list {mac}", endpoint="device_list", code="not_listed")

    async def _read_counts(self, macs: list[str]) -> tuple[list[Item], str | None]:
        """Return the counts of these gateways and their period; asks again for those that a cut response left out."""
        found: list[Item] = []
        rest = macs
        while True:
            page = await self.client.alarm_statistics(rest)
            found += page.items
            answered = {normalize_mac(item.get("metric_history_producer")) for item in page.items}
            left = [mac for mac in rest if normalize_mac(mac) not in answered]
            if not left or len(left) == len(rest) or page.count >= (page.total or 0):
                return found, interval(page)
            rest = left

    async def _read_newest_status(self) -> OnlineCount | None:
        """Return the newest count in either order of the list: it is on the first page, or on the last."""
        page = await self.client.status_history(0, self.page_size)
        found = self._parse_statuses(page)
        if page.total is not None and page.total > page.count > 0 and not _is_newest_first(found):
            page = await self.client.status_history(max(page.total - self.page_size, 0), self.page_size)
            found += self._parse_statuses(page)
        return max(found, key=lambda status: status.statistics_time or _LONG_AGO, default=None)

    def _parse_statuses(self, page: Page) -> list[OnlineCount]:
        return [OnlineCount.model_validate(item, context=zone_context(self.zone)) for item in page.items]

    def _log_nameless(self, listing: Listing) -> None:
        if listing.nameless and not self._nameless:
            _LOG.warning("%s lists %d devices without a MAC: they are left out", self.name, listing.nameless)
        self._nameless = listing.nameless


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _is_newest_first(statuses: list[OnlineCount]) -> bool:
    first, last = statuses[0].statistics_time, statuses[-1].statistics_time
    return first is not None and last is not None and first > last


def _event_key(item: Item) -> str:
    event = EventCount.model_validate(item)
    return f"{event.event_id}\x1f{event.metric_history_name}"
