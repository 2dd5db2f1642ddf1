"""One UMS: what to ask it, and what its answers mean. The platform object that rows, sources and actions work with."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fleet2mqtt.devices.model import Device, Inventory, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, Rejected
from fleet2mqtt.platforms.ums.client import Client
from fleet2mqtt.platforms.ums.device_store import Fleet, line_name, row_mac
from fleet2mqtt.platforms.ums.models import EventCount, Status, in_zone, mac_of
from fleet2mqtt.platforms.ums.paging import Listing, Page, Row
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.poll_errors import PollErrors

_LOG = logging.getLogger(__name__)

BATCH = 50
"""Devices to a call of the UMS document 3.4, which asks for batches and names no size."""


class System:
    """The polls, the live test and the read-back of one UMS."""

    def __init__(self, context: Context, client: Client) -> None:
        self.name = context.name
        self.client = client
        self.page_size: int = context.options["page_size"]
        self.zone = context.zone
        self.url = f"{context.options['url']}/index"
        self.fleet = Fleet(context.name, context.ids, context.zone, self.url)
        self._listed = False
        self._nameless = 0
        self._silent: set[str] = set()

    def update(
        self, requested_at: float | None = None, *, origin: UpdateOrigin = UpdateOrigin.POLL, **news: Any
    ) -> Update:
        """An Update of this backend, observed now. Without `began` it is what is known now, whenever that was asked."""
        listed: dict[str, Any] = {kind: tuple(items) for kind, items in news.items()}
        return Update(
            backend=self.name,
            origin=origin,
            requested_at=time.monotonic() if requested_at is None else requested_at,
            observed_at=datetime.now(UTC),
            **listed,
        )

    async def poll_devices(self) -> AsyncIterator[Update]:
        """The UMS document 3.1: gateways page by page, then the inventory if the list was read whole."""
        requested_at = time.monotonic()
        listing = self._listing(self.client.device_list, row_mac)
        async for page in listing.pages():
            for update in self._take_devices(page):
                yield update
        self._listed = True
        self._note_nameless(listing)
        if listing.complete and listing.seen:
            self.fleet.retain(listing.seen)
            yield self.update(requested_at, inventories=[Inventory(scope="devices", ids=self.fleet.ids(listing.seen))])

    async def poll_lines(self) -> AsyncIterator[Update]:
        """The UMS document 3.7 with `type=curfxo`, gateway after gateway; offline ones until they answered."""
        failures = PollErrors()
        macs = await self.macs()
        for mac in filter(self.fleet.online, macs):
            self._silent.discard(mac)
            try:
                update = await self.ask_lines(mac)
            except BackendError as error:
                failures.skip(error)
            else:
                failures.ok()
                yield update
        failures.close()
        for mac in filter(self._unheard, macs):
            try:
                update = await self.ask_lines(mac)
            except BackendError:  # what an offline gateway has no answer for is no news; asked again once online
                self._silent.add(mac)
            else:
                yield update

    async def poll_statistics(self) -> AsyncIterator[Update]:
        """The UMS document 3.4: alarm counts of all gateways known, in batches."""
        failures = PollErrors()
        macs = [self.fleet.vendor_mac(mac) for mac in await self.macs()]
        for at in range(0, len(macs), BATCH):
            try:
                rows, interval = await self._counts(macs[at : at + BATCH])
            except BackendError as error:
                failures.skip(error)
            else:
                failures.ok()
                yield self.update(devices=self.fleet.count(rows, interval))
        failures.close()

    async def poll_status(self) -> AsyncIterator[Update]:
        """The UMS document 3.6: the newest count of devices online."""
        status = await self._newest_status()
        if status is not None:
            yield self.update(devices=[self.fleet.figure(status=status)])

    async def poll_events(self) -> AsyncIterator[Update]:
        """The UMS document 3.5 without a window: the events of the last hour."""
        listing = self._listing(self.client.event_statistics, _event_key, again=False)
        rows = await listing.rows()
        events = tuple(EventCount.model_validate(row) for row in rows)
        yield self.update(devices=[self.fleet.figure(events=events)])

    async def macs(self) -> tuple[str, ...]:
        """The gateways known; reads the list where it has not been read yet. Raises BackendError."""
        if not self._listed:
            async for page in self._listing(self.client.device_list, row_mac).pages():
                self._take_devices(page)
            self._listed = True
        return self.fleet.macs()

    async def ask_lines(self, mac: str, *, origin: UpdateOrigin = UpdateOrigin.POLL) -> Update:
        """The lines of one gateway as the UMS knows them, the UMS document 3.7. Raises BackendError."""
        requested_at = time.monotonic()
        listing = self._listing(partial(self.client.fxo_status, self.fleet.vendor_mac(mac)), line_name)
        return self._take_lines(mac, listing, await listing.rows(), requested_at, origin)

    async def test_lines(self, gateway: Device) -> Update:
        """The lines of one gateway, tested now. Raises BackendError."""
        mac = gateway.vendor_id
        fetch = partial(self.client.fxo_test, self.fleet.vendor_mac(mac))
        listing = self._listing(fetch, line_name, again=False)
        rows = await listing.rows()
        # What was measured is as of the answer: a poll that asked meanwhile got older values.
        return self._take_lines(mac, listing, rows, time.monotonic(), UpdateOrigin.COMMAND)

    async def read(self, device: Device) -> Update:
        """What the UMS says of a device now. Raises BackendError; Rejected if it does not list it."""
        if device.id == self.name:
            status = await self._newest_status()
            return self.update(origin=UpdateOrigin.COMMAND, devices=[self.fleet.figure(status=status)])
        if device.scope == "devices":
            return await self._read_gateway(device.vendor_id)
        return await self.ask_lines(device.vendor_id.partition("/")[0], origin=UpdateOrigin.COMMAND)

    def newest_statistics(self) -> datetime | None:
        """When the UMS last counted its devices: a clock of its own."""
        status = self.fleet.figures.status
        return None if status is None else status.statistics_time

    def _unheard(self, mac: str) -> bool:
        return not (self.fleet.online(mac) or self.fleet.knows_lines(mac) or mac in self._silent)

    def _listing(
        self, fetch: Callable[[int, int], Awaitable[Page]], key: Callable[[Row], str | None], *, again: bool = True
    ) -> Listing:
        return Listing(fetch=fetch, key=key, limit=self.page_size, again=again)

    def _take_devices(self, page: Page) -> list[Update]:
        devices = self.fleet.learn_page(page.keys, page.rows, page.requested_at)
        updates = [self.update(page.requested_at, devices=devices)]
        turned = self.fleet.turned()
        return [*updates, self.update(devices=turned)] if turned else updates

    def _take_lines(
        self, mac: str, listing: Listing, rows: Iterable[Row], requested_at: float, origin: UpdateOrigin
    ) -> Update:
        complete = listing.complete
        devices = self.fleet.take_lines(mac, rows, requested_at, complete=complete)
        scope = f"lines:{mac}"
        ids = frozenset(device.id for device in devices if device.scope == scope and _line_of(device) in listing.seen)
        whole = [Inventory(scope=scope, ids=ids)] if complete and ids else []
        return self.update(requested_at, origin=origin, devices=devices, inventories=whole)

    async def _read_gateway(self, mac: str) -> Update:
        async for page in self._listing(self.client.device_list, row_mac, again=False).pages():
            for row in page.rows:
                if row_mac(row) == mac:
                    return self.update(
                        page.requested_at,
                        origin=UpdateOrigin.COMMAND,
                        devices=[self.fleet.learn(mac, row, page.requested_at)],
                    )
        raise Rejected(f"device_list: the UMS does not list {mac}", endpoint="device_list", code="not_listed")

    async def _counts(self, macs: list[str]) -> tuple[list[Row], str | None]:
        """The counts of these devices; asks again for those that an answer cut short left out."""
        found: list[Row] = []
        rest = macs
        while True:
            page = await self.client.alarm_statistics(rest)
            found += page.rows
            answered = {mac_of(row.get("metric_history_producer")) for row in page.rows}
            left = [mac for mac in rest if mac_of(mac) not in answered]
            if not left or len(left) == len(rest) or page.count >= (page.total or 0):
                return found, vendor_json.text(page.meta.get("interval"))
            rest = left

    async def _newest_status(self) -> Status | None:
        """The newest count, whichever way they are sorted: on the first page, or on the last."""
        page = await self.client.status_history(0, self.page_size)
        found = self._statuses(page)
        if page.total is not None and page.total > page.count > 0 and not _newest_first(found):
            page = await self.client.status_history(max(page.total - self.page_size, 0), self.page_size)
            found += self._statuses(page)
        return max(found, key=lambda status: status.statistics_time or _LONG_AGO, default=None)

    def _statuses(self, page: Page) -> list[Status]:
        return [Status.model_validate(row, context=in_zone(self.zone)) for row in page.rows]

    def _note_nameless(self, listing: Listing) -> None:
        if listing.nameless and not self._nameless:
            _LOG.warning("%s lists %d devices without a MAC: they are left out", self.name, listing.nameless)
        self._nameless = listing.nameless


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _newest_first(statuses: list[Status]) -> bool:
    first, last = statuses[0].statistics_time, statuses[-1].statistics_time
    return first is not None and last is not None and first > last


def _event_key(row: Row) -> str:
    event = EventCount.model_validate(row)
    return f"{event.event_id}\x1f{event.metric_history_name}"


def _line_of(device: Device) -> str:
    return device.vendor_id.partition("/")[2]
