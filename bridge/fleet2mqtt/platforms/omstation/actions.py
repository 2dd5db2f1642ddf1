"""The actions: vendor calls that are not entities. Arguments carry the vendor's own field names.

Authorisations contain names, telephone numbers and addresses: those go into the response and nowhere else, and only
where `allow` names the action; their codes were dropped by the parser. A write that the vendor answers with 105 ends as
an error with that code.
"""

from __future__ import annotations

from typing import Any

from fleet2mqtt.errors import CommandError
from fleet2mqtt.platforms.omstation import schemas
from fleet2mqtt.platforms.omstation.client import STATIONS
from fleet2mqtt.platforms.omstation.coordinator import Coordinator, page, window
from fleet2mqtt.platforms.omstation.envelope import list_member
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of
from fleet2mqtt.sdk.vendor_json import number, text

Arguments = dict[str, Any]

_FIELDS = ("stationName", "deviceId", "totalCount", "latticeAssetList")


async def _station_list(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.list_stations(arguments.get("orgId"))


async def _station_get(coordinator: Coordinator, arguments: Arguments) -> Any:
    earliest, latest = window()
    start, end = arguments.get("startTime", earliest), arguments.get("endTime", latest)
    if start > end:
        raise CommandError("bad_window", "startTime is after endTime")
    return await coordinator.client.list_lattices(arguments["id"], start, end)


async def _station_add(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.add_station(arguments)


async def _station_update(coordinator: Coordinator, arguments: Arguments) -> Any:
    """Change a station; the vendor's page wants all its fields, so those not given are taken from the list."""
    data = await coordinator.client.list_stations(arguments.get("orgId"))
    stations = [item for item in list_member(data, "stationInfoList", STATIONS) if isinstance(item, dict)]
    current = next((station for station in stations if text(station.get("id")) == arguments["id"]), None)
    if current is None:
        raise CommandError("unknown_station", f"the vendor lists no station {arguments['id']!r}")
    count = number(current.get("totalCount"))
    listed = {name: current.get(name) for name in _FIELDS} | {"totalCount": None if count is None else str(count)}
    station = {name: value for name, value in listed.items() if value is not None} | arguments
    missing = [name for name in _FIELDS if name not in station]
    if missing:
        raise CommandError("incomplete", f"the vendor does not list {', '.join(missing)}, so they must be given")
    return await coordinator.client.update_station(station)


async def _device_register(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.add_devices(arguments)


async def _authorisation_list(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.list_authorisations(page(**arguments))


async def _transfer_list(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.list_transfers(page(**arguments))


async def _authorisation_update(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.update_authorisation(arguments)


async def _authorisation_transfer(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.update_transfer(arguments)


_STATION_SOURCES = ("stations", "lattices")
_AUTHORISATION_SOURCES = ("authorisations",)
ACTIONS = (
    ActionDescription("station_list", "All stations and their sums", schemas.STATION_LIST, _station_list),
    ActionDescription("station_get", "The lattices of a station and their sums", schemas.STATION_GET, _station_get),
    ActionDescription("station_add", "Add a station", schemas.STATION_ADD, _station_add, _STATION_SOURCES),
    ActionDescription("station_update", "Change a station", schemas.STATION_UPDATE, _station_update, _STATION_SOURCES),
    ActionDescription("device_register", "Register locks", schemas.DEVICE_REGISTER, _device_register, _STATION_SOURCES),
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
        _AUTHORISATION_SOURCES,
        destructive=True,
    ),
    ActionDescription(
        "authorisation_transfer",
        "Change a transfer of authorisations",
        schemas.AUTHORISATION_TRANSFER,
        _authorisation_transfer,
        _AUTHORISATION_SOURCES,
        destructive=True,
    ),
)


def backend_actions(coordinator: Coordinator) -> tuple[Action, ...]:
    """Return the actions of a backend: each vendor call but the login."""
    return actions_of(coordinator, ACTIONS)
