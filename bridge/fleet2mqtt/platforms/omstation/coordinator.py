"""The coordinator: polls the sources, reads single devices, and turns responses into updates."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fleet2mqtt.devices.model import Device, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, InvalidResponse, RateLimited, Rejected
from fleet2mqtt.platforms.omstation.assets import ASSETS, BATCH_SIZE, AssetClient
from fleet2mqtt.platforms.omstation.client import COLLECTIONS, LATTICES, STATIONS, TRANSFERS, Client
from fleet2mqtt.platforms.omstation.device_store import Applied, DeviceStore, parse_statistics
from fleet2mqtt.platforms.omstation.entities import AUTHORISATIONS, FLEET
from fleet2mqtt.platforms.omstation.entities import STATIONS as STATIONS_SOURCE
from fleet2mqtt.platforms.omstation.envelope import list_member
from fleet2mqtt.platforms.omstation.models import FleetRecord, OpenAuthorisations
from fleet2mqtt.platforms.omstation.window import QueryWindow
from fleet2mqtt.sdk.sweep import Sweep, read_in_halves
from fleet2mqtt.sdk.updates import UpdateFactory
from fleet2mqtt.sdk.vendor_json import number

_LOG = logging.getLogger(__name__)

UNUSED, IN_USE = 0, 1
MAX_FAILED_BATCHES = 2
FIRST_SWEEP_TIMEOUT = 600.0
"""Seconds that the first poll of lock data waits for the first sweep over the stations."""


@dataclass(slots=True, kw_only=True)
class Coordinator:
    """The `client` of an omstation Backend."""

    client: Client
    store: DeviceStore
    update: UpdateFactory
    sweep: Sweep
    window: QueryWindow
    assets: AssetClient | None = None
    asset_sweep: Sweep = field(init=False)
    fleet: FleetRecord = field(default_factory=FleetRecord)
    _answered: frozenset[str] = frozenset()
    _lattices_swept: asyncio.Event = field(default_factory=asyncio.Event)
    _lattices_error: BackendError | None = None
    _failed_batches: int = 0

    def __post_init__(self) -> None:
        """Let a sweep for lock data give up when two batches in a row fail, whatever omstation's own sources do."""
        self.asset_sweep = Sweep(primary_fails=lambda: self._failed_batches >= MAX_FAILED_BATCHES)

    async def poll_stations(self) -> AsyncIterator[Update]:
        """Poll the list of stations, which has no pages."""
        requested_at = time.monotonic()
        yield self._update(requested_at, await self._read_stations())

    async def poll_lattices(self) -> AsyncIterator[Update]:
        """Sweep the lattices of all selected stations; poll the list first if it was not read yet.

        A station that fails is skipped. Raises BackendError if none can be read.
        """
        try:
            if not self.store.listed:
                async for update in self.poll_stations():
                    yield update
            async for id_, outcome in self.sweep.run(self.store.selected_stations(), self._sweep_station):
                if not isinstance(outcome, BackendError):
                    yield outcome
                elif self.sweep.is_missed(id_):
                    yield self._update(time.monotonic(), self.store.apply_missed(id_))
            self._lattices_error = None
        except BackendError as error:
            self._lattices_error = error
            raise
        finally:
            self._lattices_swept.set()

    async def poll_authorisations(self) -> AsyncIterator[Update]:
        """Poll the numbers of open authorisations."""
        requested_at = time.monotonic()
        await self._read_authorisations()
        yield self._update(requested_at, Applied())

    async def poll_assets(self) -> AsyncIterator[Update]:
        """Ask the asset system for all locks in selected compartments, a batch at a time, after they were read once.

        A batch that is rejected is halved down to the lock that it is rejected for. A lock that three sweeps missed is
        unknown. Raises BackendError if none can be read, if several batches in a row cannot, or if it is not known yet
        which locks there are.
        """
        if self.assets is None:
            return
        await self._wait_for_lattices()
        nothing_selected = self.store.listed and not self.store.selected_stations()
        if not self.store.is_read and not nothing_selected:
            error = self._lattices_error or Rejected("the compartments were not read yet", code="not_read")
            raise type(error)(str(error), endpoint=ASSETS, code=error.code)  # one vendor's failure, so of one kind
        ids = self.asset_sweep.order(sorted(self.store.locks()))
        for batch in (ids[start : start + BATCH_SIZE] for start in range(0, len(ids), BATCH_SIZE)):
            async for update in self._read_assets(self.assets, batch):
                yield update
        self.asset_sweep.close()
        self.store.assets_swept = True
        yield self._update(time.monotonic(), Applied(self.store.devices(self.store.stations())))

    async def _read_assets(self, assets: AssetClient, batch: list[str]) -> AsyncIterator[Update]:
        requested_at = time.monotonic()
        unread = dict.fromkeys(batch)
        try:
            async for part, outcome in read_in_halves(batch, assets.query, _is_about_one_lock):
                for id_ in part:
                    unread.pop(id_, None)
                if isinstance(outcome, BackendError):
                    yield self._miss_assets(part, outcome)
                else:
                    for id_ in part:
                        self.asset_sweep.record_success(id_)
                    self._failed_batches = 0
                    yield self._update(requested_at, self.store.apply_assets(part, outcome))
        except BackendError as error:
            self._failed_batches += 1
            yield self._miss_assets(tuple(unread), error)

    def _miss_assets(self, ids: Sequence[str], error: BackendError) -> Update:
        """Record locks that could not be read. Raises the error where the asset system itself is at fault."""
        for id_ in ids:
            self.asset_sweep.record_failure(id_, error)
        missed = [id_ for id_ in ids if self.asset_sweep.is_missed(id_)]
        return self._update(time.monotonic(), self.store.apply_assets(missed, {}))

    async def _wait_for_lattices(self) -> None:
        """Wait for the first sweep over the stations, which tells which locks there are; a bounded time."""
        try:
            async with asyncio.timeout(FIRST_SWEEP_TIMEOUT):
                await self._lattices_swept.wait()
        except TimeoutError:
            _LOG.warning("%s: the stations were not read in time to ask for all locks", self.store.cache.backend)

    async def read_device(self, device: Device) -> Update:
        """Read a station with its compartments, a compartment with its station, or the figures of the organisation.

        Raises BackendError: Rejected where the vendor does not list the station.
        """
        requested_at = time.monotonic()
        return self._update(requested_at, await self._read(device), UpdateOrigin.COMMAND)

    async def _read(self, device: Device) -> Applied:
        listed = await self._read_stations()
        if device.scope == "backend":
            await self._read_authorisations()
            return listed
        id_ = device.vendor_id if device.scope == "stations" else device.scope.removeprefix("lattices:")
        if id_ not in self.store.stations():
            raise Rejected(f"the vendor lists no station {id_}", endpoint="read", code="not_listed")
        applied = await self._read_lattices(id_)
        return Applied((*listed.devices, *applied.devices), (*listed.inventories, *applied.inventories))

    async def _sweep_station(self, id_: str) -> Update:
        requested_at = time.monotonic()
        return self._update(requested_at, await self._read_lattices(id_))

    async def _read_stations(self) -> Applied:
        data = await self.client.list_stations()
        items = list_member(data, "stationInfoList", STATIONS)
        self.fleet = replace(self.fleet, statistics=parse_statistics(self.fleet.statistics, data))
        self._answered |= {STATIONS_SOURCE}
        self.store.org_id = self.client.session.org_id or self.store.org_id
        stated = parse_statistics(FleetRecord().statistics, data).sumStationCount
        return self.store.apply_stations(items, stated)

    async def _read_lattices(self, id_: str) -> Applied:
        data = await self.client.list_lattices({"id": id_, **self.window.bounds()})
        return self.store.apply_lattices(id_, list_member(data, "stationLatticeInfoList", LATTICES), data)

    async def _read_authorisations(self) -> None:
        """Count the open authorisations. Their items are about persons, so nothing of them is kept."""
        counts = OpenAuthorisations(
            unused=_total(await self.client.list_authorisations(self._count_page(UNUSED)), COLLECTIONS),
            in_use=_total(await self.client.list_authorisations(self._count_page(IN_USE)), COLLECTIONS),
            transfers=_total(await self.client.list_transfers(self._count_page(UNUSED)), TRANSFERS),
        )
        self.fleet = replace(self.fleet, authorisations=counts)
        self._answered |= {AUTHORISATIONS}

    def _count_page(self, status: int) -> dict[str, Any]:
        """Return the body of a list of which only the total is wanted."""
        return {"status": status, "key": "", "pageNum": "1", "pageSize": 1, **self.window.bounds()}

    def _update(self, requested_at: float, applied: Applied, origin: UpdateOrigin = UpdateOrigin.POLL) -> Update:
        """Return an update with the backend's own device added."""
        return self.update(
            requested_at,
            devices=(*applied.devices, self._fleet_device()),
            inventories=applied.inventories,
            origin=origin,
        )

    def _fleet_device(self) -> Device:
        login = self.client.session.current
        if login is not None:
            self.fleet = replace(
                self.fleet, org_name=login.org_name, login_time=login.login_time, time_diff=login.time_diff
            )
        return self.store.cache.backend_device(self.fleet, FLEET, model="omstation", answered=self._answered)


def _is_about_one_lock(error: BackendError) -> bool:
    return isinstance(error, Rejected) and not isinstance(error, RateLimited)


def _total(data: Mapping[str, Any], endpoint: str) -> int:
    total = number(data.get("total"))
    if total is None:
        raise InvalidResponse(f"{endpoint}: the response has no total", endpoint=endpoint, code="no_total")
    return int(total)
