"""The sources: stations, their lattices one after another, open authorisations; and the reading of one device."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from fleet2mqtt.devices.model import Device, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, Rejected
from fleet2mqtt.platforms.omstation.coordinator import News, Site
from fleet2mqtt.sdk.poll_errors import PollErrors


async def poll_stations(site: Site) -> AsyncIterator[Update]:
    """All stations; the list has no pages."""
    requested_at = time.monotonic()
    yield site.update(requested_at, await site.ask_stations())


async def poll_lattices(site: Site) -> AsyncIterator[Update]:
    """The lattices of station after station, whichever of them fails; before the first list, that list.

    Raises the fault of the last one if none could be read, and at once what all of them would meet.
    """
    if not site.stations.listed:
        async for update in poll_stations(site):
            yield update
    failures = PollErrors()
    stations = site.stations.all()
    for index, id_ in enumerate(stations):
        requested_at = time.monotonic()
        try:
            news = await site.ask_lattices(id_)
        except BackendError as error:
            hopeless = failures.is_system_wide(error)
            unread = stations[index:] if hopeless else (id_,)
            yield site.update(requested_at, (site.stations.fail(unread), ()))
            if hopeless:
                raise
        else:
            failures.ok()
            yield site.update(requested_at, news)
    failures.close()


async def poll_authorisations(site: Site) -> AsyncIterator[Update]:
    """How many are open."""
    requested_at = time.monotonic()
    yield site.update(requested_at, await site.ask_authorisations())


async def read_device(site: Site, device: Device) -> Update:
    """Ask now for a station with its lattices, a lattice with its station, or the figures of all. Raises BackendError.

    Rejected where the vendor does not list the station.
    """
    requested_at = time.monotonic()
    return site.update(requested_at, await _read(site, device), UpdateOrigin.COMMAND)


async def _read(site: Site, device: Device) -> News:
    devices, inventories = await site.ask_stations()
    if device.scope == "backend":
        await site.ask_authorisations()
        return devices, inventories
    id_ = device.vendor_id if device.scope == "stations" else device.scope.removeprefix("lattices:")
    if id_ not in site.stations.all():
        raise Rejected(f"the vendor lists no station {id_}", endpoint="read", code="not_listed")
    more, lattices = await site.ask_lattices(id_)
    return (*devices, *more), (*inventories, *lattices)
