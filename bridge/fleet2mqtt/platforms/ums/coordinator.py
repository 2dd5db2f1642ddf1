"""Coordinator of one UMS: calls the client, keeps the device store and turns responses into updates."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from fleet2mqtt.devices.model import Device, Update, UpdateOrigin
from fleet2mqtt.devices.registry import MISSING_INVENTORIES_BEFORE_REMOVAL
from fleet2mqtt.errors import BackendError, RateLimited, Rejected
from fleet2mqtt.platforms.ums.client import Client, base_url, interval
from fleet2mqtt.platforms.ums.device_store import DeviceStore, item_mac, line_name
from fleet2mqtt.platforms.ums.line_schedule import LineSchedule
from fleet2mqtt.platforms.ums.models import EventCount, OnlineCount, normalize_mac, zone_context
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.pagination import Item, Listing, Page, Position
from fleet2mqtt.sdk.sweep import Sweep, read_in_halves
from fleet2mqtt.sdk.updates import UpdateFactory

_LOG = logging.getLogger(__name__)

LINES_CHECKPOINT = "lines"
"""Name of the checkpoint with the line schedule; those of histories are MACs, in upper case."""
BATCH = 50
"""Devices per call of the UMS document 3.4, which asks for batches and names no size."""
MAX_REJECTIONS = 16
"""Rejections of batches without any success after which batches are not halved any more."""


class Coordinator:
    """The polls, the line test and the read-back of one UMS.

    The device store has the newest data of each source, and refuses what was requested before that. So an update has no
    request time of its own: a gateway is made of several sources, and what one of them requested later does not make
    the others' newer responses older.
    """

    def __init__(self, context: Context, client: Client) -> None:
        self.name = context.name
        self.client = client
        self.page_size: int = context.options["page_size"]
        self.zone = context.zone
        self.url = f"{base_url(context.options['url'])}/index"
        self.update = UpdateFactory(context.name)
        self.store = DeviceStore(context.name, context.ids, context.zone, self.url, context.selects)
        self.schedule = LineSchedule.parse(context.checkpoint(LINES_CHECKPOINT))
        self._save_checkpoint = context.save_checkpoint
        self._concurrency: int = context.options["concurrency"]
        self._lines_sweep = Sweep(primary_fails=context.primary_fails)
        self._counts_sweep = Sweep(primary_fails=context.primary_fails)
        self.has_listed = False
        """True once a list of gateways was read to its end since the start."""
        self._empty_lists = 0
        """Device lists in a row in which the UMS counted no devices."""
        self._held_pushes: dict[str, tuple[Item, float]] = {}
        """Members of gateways that were pushed before the device list was read, by MAC, and when."""
        self._nameless = 0
        self._refused_offline: set[str] = set()
        """Offline gateways whose lines the UMS would not return."""

    async def poll_devices(self) -> AsyncIterator[Update]:
        """Yield gateways page by page, then the inventory if the list is complete: the UMS document 3.1."""
        listing = self.listing(self.client.device_list, item_mac)
        async for page in listing.pages():
            for update in self._apply_page(page):
                yield update
        for update in self._finish_list():
            yield update
        self._log_nameless(listing)
        self._empty_lists = self._empty_lists + 1 if listing.empty else 0
        if listing.complete:
            inventories = self.store.inventory(listing)
            if listing.seen or self._empty_lists >= MISSING_INVENTORIES_BEFORE_REMOVAL:
                self.store.discard_missing(listing.seen)
            yield self.update(inventories=inventories)

    async def poll_lines(self) -> AsyncIterator[Update]:
        """Yield the lines of one gateway after another, of offline ones until they were read: the UMS document 3.7.

        Of gateways without lines only those are requested that are due (`LineSchedule`).
        """
        macs = await self.macs()
        known = [mac for mac in macs if not self.store.has_read_lines(mac) and self._has_no_lines(mac)]
        if known:
            yield self.update(devices=map(self.store.apply_without_lines, known))
        online = [mac for mac in macs if self.store.is_online(mac)]
        self._refused_offline.difference_update(online)
        due = [mac for mac in online if self.schedule.is_due(mac, self.store.product(mac))]
        self.schedule.begin_sweep(macs, due)
        async for mac, result in self._lines_sweep.run(
            due, self.read_lines, concurrency=self._concurrency, first=self.schedule.first
        ):
            if isinstance(result, Update):
                yield result
            elif self._lines_sweep.is_missed(mac):
                yield self.update(devices=self.store.discard_line_states(mac))
        for mac in filter(self._is_unread, macs):
            try:
                update = await self.read_lines(mac)
            except (
                BackendError
            ):  # nothing can be concluded from it while the gateway is offline; read again once online
                self._refused_offline.add(mac)
            else:
                yield update
        text = self.schedule.text_to_save()
        if text is not None:
            await self._save_checkpoint(LINES_CHECKPOINT, text)

    async def poll_statistics(self) -> AsyncIterator[Update]:
        """Yield the alarm counts of all gateways, batch by batch: the UMS document 3.4.

        A rejected batch is halved until the gateways that the UMS has no counts for are found.
        """
        sweep = self._counts_sweep
        macs = sweep.order(await self.macs())
        rejections = _Rejections()
        for at in range(0, len(macs), BATCH):
            batch = macs[at : at + BATCH]
            try:
                async for part, result in read_in_halves(batch, self._read_counts, rejections.is_batch_error):
                    if isinstance(result, BackendError):
                        sweep.record_failure(part[0], result)
                        yield self._discard_counts(part)
                    else:
                        rejections.any_success = True
                        yield self._apply_counts(part, *result)
            except BackendError as error:
                sweep.record_failure(batch[-1], error, batch[:-1])
                yield self._discard_counts(batch)
        sweep.close()

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
        """Return the MACs of all selected gateways; reads the device list if no poll has yet. Raises BackendError."""
        if not self.has_listed:
            async for page in self.listing(self.client.device_list, item_mac).pages():
                self._apply_page(page)
            self._finish_list()
        return self.store.macs()

    def accept_connection(self, mac: str, members: Item) -> Update:
        """Return the update of a connection push: some members of an item of the device list, the UMS document 2.2.

        A push that comes before the list was read waits for it: alone it would be taken for all that the UMS knows.
        """
        requested_at = time.monotonic()
        if not self.has_listed:
            self._held_pushes[mac] = (members, requested_at)
            return self.update(origin=UpdateOrigin.PUSH)
        was_online = self.store.is_online(mac)
        gateway = self.store.merge(mac, members, requested_at)
        if self.store.is_online(mac) and not was_online:
            self.schedule.note_connection(mac)
        devices = [gateway, *self.store.pop_changed_lines()]
        return self.update(origin=UpdateOrigin.PUSH, devices=devices)

    async def read_lines(self, mac: str, *, origin: UpdateOrigin = UpdateOrigin.POLL) -> Update:
        """Return the lines of one gateway as last measured: the UMS document 3.7. Raises BackendError."""
        requested_at = time.monotonic()
        self.schedule.begin_read(mac)
        listing = self.listing(partial(self.client.fxo_status, self.store.vendor_mac(mac)), line_name)
        return self._apply_lines(mac, listing, await listing.items(), requested_at, origin)

    async def test_lines(self, gateway: Device) -> Update:
        """Test the lines of one gateway now: the UMS document 3.7 with `type=fxo`. Raises BackendError."""
        mac = gateway.vendor_id

        def fetch(offset: int, limit: int) -> Awaitable[Page]:
            call = self.client.fxo_status if offset else self.client.fxo_test  # each test occupies every line
            return call(self.store.vendor_mac(mac), offset, limit)

        listing = self.listing(fetch, line_name, again=False)
        items = await listing.items()
        self.schedule.note_test(mac)
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

    def _has_no_lines(self, mac: str) -> bool:
        return self.schedule.has_no_lines(mac, self.store.product(mac))

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
        updates = [self.update(devices=devices), *self._apply_held_pushes(page.keys)]
        lines = self.store.pop_changed_lines()
        return [*updates, self.update(devices=lines)] if lines else updates

    def _finish_list(self) -> list[Update]:
        """Return the updates of pushes about gateways that are not on the list, once it was read."""
        self.has_listed = True
        return self._apply_held_pushes(tuple(self._held_pushes))

    def _apply_held_pushes(self, macs: Iterable[str]) -> list[Update]:
        held = [(mac, *self._held_pushes.pop(mac)) for mac in macs if mac in self._held_pushes]
        return [
            self.update(origin=UpdateOrigin.PUSH, devices=[self.store.merge(mac, members, at)])
            for mac, members, at in held
        ]

    def _apply_counts(self, macs: Sequence[str], items: list[Item], period: str | None) -> Update:
        answered = {normalize_mac(item.get("metric_history_producer")) for item in items}
        self._counts_sweep.record_success(*(mac for mac in macs if mac in answered))
        missing = [mac for mac in macs if mac not in answered]
        self._counts_sweep.record_missing(*missing)
        counted = self.store.apply_counts(items, period)
        return self.update(devices=[*counted, *self._discard_counts(missing).devices])

    def _discard_counts(self, macs: Iterable[str]) -> Update:
        missed = (mac for mac in macs if self._counts_sweep.is_missed(mac))
        return self.update(devices=[self.store.discard_counts(mac) for mac in missed])

    def _apply_lines(
        self, mac: str, listing: Listing, items: Iterable[Item], requested_at: float, origin: UpdateOrigin
    ) -> Update:
        devices = self.store.apply_lines(mac, items, requested_at, complete=listing.complete)
        if listing.complete:
            self.schedule.record(
                mac,
                self.store.product(mac),
                has_lines=not self.store.is_without_lines(mac),
                is_excluded=self.store.excludes_all_lines(mac),
            )
        is_applied = devices or listing.empty
        inventories = self.store.line_inventory(mac, listing) if is_applied and listing.complete else ()
        return self.update(origin=origin, devices=devices, inventories=inventories)

    async def _read_gateway(self, mac: str) -> Update:
        async for page in self.listing(self.client.device_list, item_mac, again=False).pages():
            for item in page.items:
                if item_mac(item) == mac:
                    device = self.store.apply(mac, item, page.requested_at)
                    return self.update(origin=UpdateOrigin.COMMAND, devices=[device])
        raise Rejected(f"device_list: the UMS does not list {mac}", endpoint="device_list", code="not_listed")

    async def _read_counts(self, macs: Sequence[str]) -> tuple[list[Item], str | None]:
        """Return the counts of these gateways and their period; asks again for those that a cut response left out."""
        found: list[Item] = []
        rest = [self.store.vendor_mac(mac) for mac in macs]
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


@dataclass(slots=True)
class _Rejections:
    """Decides whether a rejected batch is halved: not for long where the UMS rejects every batch."""

    any_success: bool = False
    count: int = 0

    def is_batch_error(self, error: BackendError) -> bool:
        """Return True for a rejection that may be about one gateway of the batch."""
        self.count += 1
        may_be_one = self.any_success or self.count <= MAX_REJECTIONS
        return may_be_one and isinstance(error, Rejected) and not isinstance(error, RateLimited)


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _is_newest_first(statuses: list[OnlineCount]) -> bool:
    first, last = statuses[0].statistics_time, statuses[-1].statistics_time
    return first is not None and last is not None and first > last


def _event_key(item: Item) -> str:
    event = EventCount.model_validate(item)
    return f"{event.event_id}\x1f{event.metric_history_name}"
