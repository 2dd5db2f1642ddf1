"""The coordinator: polls and reads the vendor system, writes to it, and turns responses into updates."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.devices.model import Device, Update, UpdateOrigin
from fleet2mqtt.errors import (
    AuthenticationError,
    BackendError,
    CommandError,
    RateLimited,
    Rejected,
    Unconfirmed,
    Unreachable,
)
from fleet2mqtt.platforms.smart_gateway import assignment
from fleet2mqtt.platforms.smart_gateway.client import ARGS, Client
from fleet2mqtt.platforms.smart_gateway.concurrency import Concurrency
from fleet2mqtt.platforms.smart_gateway.device_store import DeviceStore
from fleet2mqtt.platforms.smart_gateway.entities import BACKEND, DEVICES, MAPPINGS
from fleet2mqtt.platforms.smart_gateway.fields import RequestedFields
from fleet2mqtt.platforms.smart_gateway.mapping_store import MappingStore
from fleet2mqtt.platforms.smart_gateway.models import UNASSIGNED, BackendRecord, serial_number
from fleet2mqtt.platforms.smart_gateway.writes import SetBody, configuration, merged
from fleet2mqtt.sdk.pagination import SINGLE_PAGES, Listing, Page, Position
from fleet2mqtt.sdk.sweep import MISSED_SWEEPS, Sweep, read_in_halves
from fleet2mqtt.sdk.updates import UpdateFactory

_LOG = logging.getLogger(__name__)

BATCH = 20
"""Gateways in one call of devices/query, and those of a sweep that are asked for one by one after a refusal."""
FAILED_PAGES = 3
"""Pages that may fail one after another before a reading of the list ends."""
_SYSTEM_WIDE = (AuthenticationError, RateLimited, Unreachable)


@dataclass(slots=True, kw_only=True)
class Coordinator:
    """One smart gateway backend. `save_checkpoint(device id, text)` puts a rule's address on disk.

    `selects` returns False for a device that the options exclude. `first_page` is the number of the list's first page:
    the option at first, corrected once the vendor's is known.
    """

    client: Client
    gateways: DeviceStore
    mappings: MappingStore
    update: UpdateFactory
    save_checkpoint: Callable[[str, str], Awaitable[None]]
    page_size: int
    first_page: int
    set_body: SetBody
    details: Sweep
    selects: Callable[[Device], bool]
    requested: RequestedFields
    concurrency: Concurrency
    _refused: set[str] = field(default_factory=set)
    """Gateways whose details could not be read last time: they are requested one by one."""
    _unlisted: Counter[str] = field(default_factory=Counter)
    """By gateway the readings of the list in a row that missed it."""
    _failed_pages: int = 0
    """Pages of the list that failed one after another."""
    _fails: bool = False
    """True if a page of the list failed in this sweep."""
    _is_failing: bool = False
    """True if a page failed in the sweep before."""
    _page_zero: tuple[str | None, ...] | None = None
    _deleted_gateways: set[str] = field(default_factory=set)
    """Serial numbers that the vendor deleted for us."""
    _deleted_rules: set[str] = field(default_factory=set)
    """Uuids that the vendor deleted for us."""

    # Sources

    async def poll_devices(self) -> AsyncIterator[Update]:
        """Read all pages of the list; read it twice if items moved meanwhile. Document 1.1.

        A page that fails costs its gateways only; the list fails with its only page, or with several pages in a row.
        """
        if self.gateways.usage is not None:
            await self.gateways.usage.load()
        requested_at = time.monotonic()
        self._failed_pages, self._fails = 0, False
        listing = Listing(fetch=self._fetch_page, key=serial_number, concurrency=lambda: self.concurrency.limit)
        seen: set[str] = set()
        async for page in listing.pages():
            seen.update(page.keys)
            yield self.update(requested_at, devices=self._apply_page(page.response, page.requested_at))
        removed: list[str] = []
        if listing.complete:
            removed = [self.gateways.cache.id(sn) for sn in self._deleted_gateways - seen]
            self._deleted_gateways.clear()
        inventories = (
            self.gateways.apply_inventory(listing.seen, confirmed_empty=listing.empty) if listing.complete else ()
        )
        missed = self._count_missed(seen)
        self._log_failing_pages()
        queried = self.gateways.queried
        if queried is not None:
            not_queried = (sn for sn in self.gateways.serial_numbers() if sn not in queried)
            inventories += self.gateways.channel_inventories(not_queried)
        devices = (*self.gateways.devices(missed), self._backend_device(), *self.mappings.devices())
        yield self.update(requested_at, devices=devices, inventories=inventories, removed=removed)
        if self.gateways.usage is not None:
            await self.gateways.usage.save()

    async def poll_details(self) -> AsyncIterator[Update]:
        """Query the gateways that the option `query` names; poll the list first if it has not been read yet.

        A refused batch is halved until the gateways are found that it is refused for. From then on those are asked for
        apart from the others, some of them one by one.
        """
        if self.gateways.count is None and not self.gateways.serial_numbers() and self.gateways.queried != ():
            async for update in self.poll_devices():
                yield update
        wanted = self.details.order(sn for sn in self.gateways.serial_numbers() if self._has_details(sn))
        self._refused.intersection_update(wanted)
        refused = [sn for sn in wanted if sn in self._refused]
        async for update in self._poll_batches(_batches([sn for sn in wanted if sn not in self._refused]), halve=True):
            yield update
        singly, together = ([sn] for sn in refused[:BATCH]), _batches(refused[BATCH:])
        for batches, halve in ((singly, True), (together, False)):
            async for update in self._poll_batches(batches, halve=halve):
                yield update
        yield self.update(devices=self.mappings.devices())
        self.details.close()

    def _has_details(self, sn: str) -> bool:
        """Return True for a gateway that the options select."""
        chosen, device = self.gateways.queried, self.gateways.cache.get(self.gateways.cache.id(sn))
        return (chosen is None or sn in chosen) and (device is None or self.selects(device))

    async def _poll_batches(self, batches: Iterable[list[str]], *, halve: bool) -> AsyncIterator[Update]:
        """Query batches, as many at once as the server allows. Raises BackendError to end the sweep."""
        waiting, polling = deque(batches), set[asyncio.Task[list[Update]]]()
        try:
            while waiting or polling:
                while waiting and len(polling) < self.concurrency.limit:
                    polling.add(asyncio.create_task(self._collect_batch(waiting.popleft(), halve=halve)))
                done, polling = await asyncio.wait(polling, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    for update in each.result():
                        yield update
        finally:
            for each in polling:
                each.cancel()
            await asyncio.gather(*polling, return_exceptions=True)

    async def _collect_batch(self, batch: list[str], *, halve: bool) -> list[Update]:
        return [update async for update in self._poll_batch(batch, halve=halve)]

    async def _poll_batch(self, batch: list[str], *, halve: bool) -> AsyncIterator[Update]:
        """Query some gateways; yield an update for each part that was read. Raises BackendError to end the sweep."""
        waiting = set(batch)

        async def query(part: Sequence[str]) -> tuple[float, tuple[Device, ...]]:
            requested_at = time.monotonic()
            try:
                return requested_at, await self._query(part, self.requested.queried)
            except BackendError as error:
                if not self.concurrency.is_refused(error):
                    raise
            return time.monotonic(), await self._query(part, self.requested.queried)

        try:
            async for part, result in read_in_halves(batch, query, lambda error: halve and _may_be_one_gateway(error)):
                waiting -= set(part)
                if isinstance(result, BackendError):
                    if part[0] not in self._refused:
                        _LOG.info("%s: no details of gateway %s: %s", self.update.backend, part[0], result)
                        self._refused.add(part[0])
                    yield self._record_missed_details(part, result)
                    continue
                self.details.record_success(*part)
                self._refused.difference_update(part)
                requested_at, devices = result
                inventories = self.gateways.channel_inventories(part)
                yield self.update(requested_at, devices=devices, inventories=inventories)
        except BackendError as error:
            yield self._record_missed_details(sorted(waiting), error)

    def _record_missed_details(self, serial_numbers: Sequence[str], error: BackendError) -> Update:
        """Count gateways that could not be queried; after some sweeps their details are null. May raise `error`."""
        self.details.record_failure(serial_numbers[0], error, others=serial_numbers[1:])
        missed = [sn for sn in serial_numbers if self.details.is_missed(sn)]
        for sn in missed:
            self.gateways.mark_details_missed(sn)
        return self.update(devices=self.gateways.devices(missed))

    async def poll_mappings(self) -> AsyncIterator[Update]:
        """Read all rules. Document 2.1."""
        requested_at = time.monotonic()
        await self.list_mappings()
        removed = [self.mappings.id(uuid) for uuid in self._deleted_rules - self.mappings.uuids()]
        self._deleted_rules.clear()
        devices = (self._backend_device(), *self.mappings.devices())
        yield self.update(requested_at, devices=devices, inventories=self.mappings.inventory(), removed=removed)

    async def read_device(self, device: Device) -> Update:
        """Read a rule and its gateways, a gateway with its channels, or the backend's figures."""
        requested_at = time.monotonic()
        devices = await self._read(device)
        return self.update(requested_at, devices=(*devices, *self.mappings.devices()), origin=UpdateOrigin.COMMAND)

    async def _read(self, device: Device) -> tuple[Device, ...]:
        if device.scope == "backend":
            await self.list_mappings()
            args = self.requested.listed
            devices = self._apply_page(await self.client.list_devices(page=self.first_page, limit=1, args=args))
            return (self._backend_device(), *devices)
        if device.scope == "gateways":
            return await self._query([device.vendor_id], is_read_back=True)
        if device.scope != "mappings":
            return await self._query([device.scope.removeprefix("channels:")], is_read_back=True)
        before = self.mappings.holder(device.vendor_id)
        await self.list_mappings()
        holders = {before, self.mappings.holder(device.vendor_id)}
        devices = ()
        for sn in (sn for sn in holders if sn is not None):
            try:
                devices += await self._query([sn], is_read_back=True)
            except Rejected as error:  # a gateway that is offline; the list of rules has been read
                _LOG.debug("%s: gateway %s cannot be read: %s", self.update.backend, sn, error)
        return devices

    async def list_mappings(self) -> list[dict[str, Any]]:
        """Read the rules into the mapping store; return them as the vendor sent them."""
        items = await self.client.list_mappings()
        self.mappings.apply_list(items)
        return items

    async def _query(
        self, serial_numbers: Iterable[str], args: Mapping[str, Any] = ARGS, *, is_read_back: bool = False
    ) -> tuple[Device, ...]:
        requested_at = time.monotonic()
        response = await self.client.query_devices(serial_numbers, args)
        devices = self.gateways.apply_query(response, requested_at, is_read_back=is_read_back)
        self.mappings.apply_assignments()
        return devices

    def _apply_page(self, response: Mapping[str, Any], requested_at: float = math.inf) -> tuple[Device, ...]:
        devices = self.gateways.apply_list(response.get("devices", ()), total_of(response), requested_at)
        self.mappings.apply_assignments()
        return devices

    def _backend_device(self) -> Device:
        record = BackendRecord(count=self.gateways.count, rules=self.mappings.listed)
        answered = {DEVICES} if record.count is not None else set()
        answered |= {MAPPINGS} if record.rules is not None else set()
        return self.gateways.cache.backend_device(record, BACKEND, answered=frozenset(answered))

    def _count_missed(self, seen: set[str]) -> list[str]:
        """Count the gateways that a reading of the list missed; return those that it missed several times in a row."""
        missed = set(self.gateways.serial_numbers()) - seen
        for sn in self._unlisted.keys() - missed:
            del self._unlisted[sn]
        self._unlisted.update(missed)
        gone = [sn for sn in missed if self._unlisted[sn] >= MISSED_SWEEPS]
        for sn in gone:
            self.gateways.mark_list_missed(sn)
        return gone

    def _log_failing_pages(self) -> None:
        if self._fails is not self._is_failing:
            self._is_failing = self._fails
            if not self._fails:
                _LOG.info("%s: every page of the list of gateways can be read again", self.update.backend)

    # Pages

    async def _fetch_page(self, position: Position) -> Page:
        """Return a page of the list. Finds out whether the vendor counts its pages from 0 or from 1."""
        try:
            page = await self._request_page_of(position)
        except BackendError as error:
            return self._skip_page(position, error)
        self._failed_pages = 0
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
            self.first_page = 0  # a whole page may be missing: the second reading begins with it
        return page

    async def _request_page_of(self, position: Position) -> Page:
        """Request a page; once more where the server refuses calls at once."""
        try:
            return await self._request_page(self.first_page + position.number - 1)
        except BackendError as error:
            if position.number <= SINGLE_PAGES or not self.concurrency.is_refused(error):
                raise
        return await self._request_page(self.first_page + position.number - 1)

    def _skip_page(self, position: Position, error: BackendError) -> Page:
        """Return a page without gateways for one that failed. Raises `error` where the system fails, not the page."""
        pages = -(-(self.gateways.count or 0) // self.page_size)
        self._failed_pages += 1
        if isinstance(error, _SYSTEM_WIDE) or self._failed_pages >= min(FAILED_PAGES, pages):
            raise error
        if not self._is_failing:
            _LOG.warning(
                "%s: page %d of the list of gateways is left out: %s", self.update.backend, position.number, error
            )
        self._fails = self._is_failing = True
        return Page(items=(), count=self.page_size, total=None, pages=pages, requested_at=time.monotonic())

    async def _request_page(self, number: int) -> Page:
        requested_at = time.monotonic()
        try:
            response = await self.client.list_devices(page=number, limit=self.page_size, args=self.requested.listed)
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

    async def write_settings(self, sn: str, change: Mapping[str, Any]) -> None:
        """Send changed settings of one gateway. Raises BackendError.

        Raises Unconfirmed for settings of the gateway itself while it does not run: a read-back then shows the vendor's
        copy. Alias, remark, pin and lock are the vendor's own.
        """
        await self.change_settings(sn, change)
        if {"network", "channel"}.isdisjoint(change) or self._is_running(sn) is not False:
            return
        await self._read_again(sn)
        record = self.gateways.record(sn)
        if record is not None and record.running is False:
            name, state = record.base.alias or sn, record.base.state
            message = f"the vendor took the change, but gateway {name} does not run (its state is {state!r})"
            raise Unconfirmed(message, endpoint=self.client.set_path, code="device_offline")

    def _is_running(self, sn: str) -> bool | None:
        record = self.gateways.record(sn)
        return None if record is None else record.running

    async def _read_again(self, sn: str) -> None:
        """Read a gateway whose last known state may be old; where that fails, the old one counts."""
        try:
            await self._query([sn], is_read_back=True)
        except BackendError as error:
            _LOG.debug("%s: gateway %s cannot be read: %s", self.update.backend, sn, error)

    async def change_settings(self, sn: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Send changed settings of one gateway; the option `set_body` may put all its other settings around them.

        Those are read just before. Document 1.4. Raises BackendError.
        """
        body: dict[str, Any] = {"base": {"sn": sn}}
        if self.set_body is SetBody.FULL:
            await self._query([sn], is_read_back=True)
            body = merged(body, configuration(self.gateways.raw(sn)))
        return await self.client.set_devices({sn: merged(body, change)})

    async def set_subnet_ip(self, uuid: str, address: str) -> Update | None:
        """Set a rule's address in its gateway's LAN; that of an unassigned rule is saved for its next assignment."""
        sn = self.mappings.holder(uuid)
        if sn is None:
            await self.remember_address(uuid, address)
            return self.update(devices=self.mappings.devices(), origin=UpdateOrigin.COMMAND)
        await self.check_target(uuid, sn, address)
        await self.client.reassign_mapping(uuid, sn, address)
        await self.remember_address(uuid, address)
        return None

    async def set_gateway(self, uuid: str, option: str, *, address: str | None = None) -> Update | None:
        """Assign a rule to a gateway, move it, or unassign it; `address` is the new one in the gateway's LAN.

        The target is checked before anything changes. Raises CommandError, BackendError.
        """
        target = self.mappings.serial_number(option)
        if target is None and option.casefold() != UNASSIGNED:
            raise CommandError("unknown_gateway", f"there is no gateway {option!r}")
        holder = self.mappings.holder(uuid)
        if target == holder:
            return None if address is None else await self.set_subnet_ip(uuid, address)
        address = address or self.mappings.address(uuid)
        if target is not None:
            if address is None:
                message = (
                    "the vendor needs the rule's address in the gateway's sub-net: set subnet_ip first, send both as "
                    '{"subnet_ip": …, "gateway": …}, or use the action mapping_assign'
                )
                raise CommandError("subnet_ip_required", message)
            await self.check_target(uuid, target, address)
            await assignment.move(self.client, self.mappings, uuid, target, address)
        elif holder is not None:
            await assignment.unassign(self.client, self.mappings, uuid, holder)
        if address:
            await self.remember_address(uuid, address)
        return None

    async def check_target(self, uuid: str, sn: str, address: str) -> None:
        """Check that a gateway can take a rule at an address in its LAN; read it before. Raises CommandError.

        A gateway that cannot be read, or that does not send its LAN, is left to the vendor's judgement.
        """
        if not self.gateways.has(sn):
            return
        await self._query([sn], is_read_back=True)
        record = self.gateways.record(sn)
        if record is not None:
            assignment.check_target(record, address)
            assignment.check_free(self.mappings, uuid, sn, address)

    async def remember_address(self, uuid: str, address: str) -> None:
        """Save a rule's address for its next assignment, across restarts: the vendor does not store it."""
        self.mappings.remember_address(uuid, address)
        if self.mappings.checkpoint(self.mappings.id(uuid)) != address:
            await self.save_checkpoint(self.mappings.id(uuid), address)

    def mark_gateway_deleted(self, sn: str) -> None:
        """Remember that the vendor deleted a gateway for us: it is removed as soon as the list lacks it."""
        self.gateways.discard([sn])
        self._deleted_gateways.add(sn)

    def mark_rules_deleted(self, uuids: Iterable[str]) -> None:
        """Remember that the vendor deleted rules for us: they are removed as soon as the list lacks them."""
        self._deleted_rules.update(uuids)


def _batches(serial_numbers: list[str]) -> Iterator[list[str]]:
    return (serial_numbers[start : start + BATCH] for start in range(0, len(serial_numbers), BATCH))


def _may_be_one_gateway(error: BackendError) -> bool:
    """Return True for an error that one gateway of a batch may cause."""
    return not isinstance(error, _SYSTEM_WIDE)


def total_of(response: Mapping[str, Any]) -> int | None:
    """Return the vendor's `count` of all devices, None where it is no number."""
    count = response.get("count")
    return int(count) if isinstance(count, int | str) and str(count).strip().isdigit() else None
