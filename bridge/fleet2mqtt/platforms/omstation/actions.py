"""The vendor calls that are no plain entity, as actions. Arguments carry the vendor's own field names.

Authorisations hold names, telephone numbers and addresses: those go into the answer and nowhere else, and only where
`allow` names the action; their codes were dropped by the parser. A write that the vendor answers with 105 ends as an
error with that code.
"""

from __future__ import annotations

from typing import Any

from fleet2mqtt.errors import CommandError
from fleet2mqtt.platforms.omstation import schemas
from fleet2mqtt.platforms.omstation.client import STATIONS, rows_of
from fleet2mqtt.platforms.omstation.coordinator import Site, page, window
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of
from fleet2mqtt.sdk.vendor_json import number, text

Arguments = dict[str, Any]

_FIELDS = ("stationName", "deviceId", "totalCount", "latticeAssetList")


async def _station_list(site: Site, arguments: Arguments) -> Any:
    return await site.client.list_stations(arguments.get("orgId"))


async def _station_get(site: Site, arguments: Arguments) -> Any:
    first, last = window()
    start, end = arguments.get("startTime", first), arguments.get("endTime", last)
    if start > end:
        raise CommandError("bad_window", "startTime is after endTime")
    return await site.client.list_lattices(arguments["id"], start, end)


async def _station_add(site: Site, arguments: Arguments) -> Any:
    return await site.client.add_station(arguments)


async def _station_update(site: Site, arguments: Arguments) -> Any:
    """The page shows a station with all its fields: what is not given is taken from the list."""
    data = await site.client.list_stations(arguments.get("orgId"))
    rows = rows_of(data, "stationInfoList", STATIONS)
    known = next((row for row in rows if isinstance(row, dict) and text(row.get("id")) == arguments["id"]), None)
    if known is None:
        raise CommandError("unknown_station", f"the vendor lists no station {arguments['id']!r}")
    count = number(known.get("totalCount"))
    shown = {name: known.get(name) for name in _FIELDS} | {"totalCount": None if count is None else str(count)}
    whole = {name: value for name, value in shown.items() if value is not None} | arguments
    missing = [name for name in _FIELDS if name not in whole]
    if missing:
        raise CommandError("incomplete", f"the vendor does not show {', '.join(missing)}, so they have to be given")
    return await site.client.update_station(whole)


async def _device_register(site: Site, arguments: Arguments) -> Any:
    return await site.client.add_devices(arguments)


async def _authorisation_list(site: Site, arguments: Arguments) -> Any:
    return await site.client.list_authorisations(page(**arguments))


async def _transfer_list(site: Site, arguments: Arguments) -> Any:
    return await site.client.list_transfers(page(**arguments))


async def _authorisation_update(site: Site, arguments: Arguments) -> Any:
    return await site.client.update_authorisation(arguments)


async def _authorisation_transfer(site: Site, arguments: Arguments) -> Any:
    return await site.client.update_transfer(arguments)


_STATIONS = ("stations", "lattices")
_OPEN = ("authorisations",)
ACTIONS = (
    ActionDescription("station_list", "All stations and their sums", schemas.STATION_LIST, _station_list),
    ActionDescription("station_get", "The lattices of a station and their sums", schemas.STATION_GET, _station_get),
    ActionDescription("station_add", "Add a station", schemas.STATION_ADD, _station_add, _STATIONS),
    ActionDescription("station_update", "Change a station", schemas.STATION_UPDATE, _station_update, _STATIONS),
    ActionDescription("device_register", "Register locks", schemas.DEVICE_REGISTER, _device_register, _STATIONS),
    ActionDescription(
        "authorisation_list",
        "A page of authorisations",
        schemas.AUTHORISATION_LIST,
        _authorisation_list,
        destructive=True,
    ),
    ActionDescription(
        "authorisation_transfer_list",
        "A page of transfers",
        schemas.TRANSFER_LIST,
        _transfer_list,
        destructive=True,
    ),
    ActionDescription(
        "authorisation_update",
        "Change an authorisation",
        schemas.AUTHORISATION_UPDATE,
        _authorisation_update,
        _OPEN,
        destructive=True,
    ),
    ActionDescription(
        "authorisation_transfer",
        "Change a transfer of authorisations",
        schemas.AUTHORISATION_TRANSFER,
        _authorisation_transfer,
        _OPEN,
        destructive=True,
    ),
)


def site_actions(site: Site) -> tuple[Action, ...]:
    """One for each of the vendor's calls but the login."""
    return actions_of(site, ACTIONS)
