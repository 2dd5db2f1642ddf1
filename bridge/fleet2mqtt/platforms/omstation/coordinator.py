"""The coordinator: polls the sources, reads single devices, and turns responses into updates."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fleet2mqtt.devices.model import Device, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, InvalidResponse, Rejected
from fleet2mqtt.platforms.omstation.client import COLLECTIONS, LATTICES, STATIONS, TRANSFERS, Client
from fleet2mqtt.platforms.omstation.device_store import Applied, DeviceStore, parse_statistics
from fleet2mqtt.platforms.omstation.entities import AUTHORISATIONS, FLEET
from fleet2mqtt.platforms.omstation.entities import STATIONS as STATIONS_SOURCE
from fleet2mqtt.platforms.omstation.envelope import list_member
from fleet2mqtt.platforms.omstation.models import FleetRecord, OpenAuthorisations
from fleet2mqtt.platforms.omstation.window import QueryWindow
from fleet2mqtt.sdk.sweep import Sweep
from fleet2mqtt.sdk.updates import UpdateFactory
from fleet2mqtt.sdk.vendor_json import number

UNUSED, IN_USE = 0, 1


@dataclass(slots=True, kw_only=True)
class Coordinator:
    """The `client` of an omstation Backend."""

    client: Client
    store: DeviceStore
    update: UpdateFactory
    sweep: Sweep
    window: QueryWindow
    fleet: FleetRecord = field(default_factory=FleetRecord)
    _answered: frozenset[str] = frozenset()

    async def poll_stations(self) -> AsyncIterator[Update]:
        """Poll the list of stations, which has no pages."""
        requested_at = time.monotonic()
        yield self._update(requested_at, await self._read_stations())

    async def poll_lattices(self) -> AsyncIterator[Update]:
        """Sweep the lattices of all stations; poll the list first if it was not read yet.

        A station that fails is skipped. Raises BackendError if none can be read.
        """
        if not self.store.listed:
            async for update in self.poll_stations():
                yield update
        async for id_, outcome in self.sweep.run(self.store.stations(), self._sweep_station):
            if not isinstance(outcome, BackendError):
                yield outcome
            elif self.sweep.is_missed(id_):
                yield self._update(time.monotonic(), self.store.apply_missed(id_))

    async def poll_authorisations(self) -> AsyncIterator[Update]:
        """Poll the numbers of open authorisations."""
        requested_at = time.monotonic()
        await self._read_authorisations()
        yield self._update(requested_at, Applied())

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


def _total(data: Mapping[str, Any], endpoint: str) -> int:
    total = number(data.get("total"))
    if total is None:
        raise InvalidResponse(f"{endpoint}: the response has no total", endpoint=endpoint, code="no_total")
    return int(total)
